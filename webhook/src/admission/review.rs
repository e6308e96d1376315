//! AdmissionReview on the wire: what the API server asks, and what it may be answered.
//!
//! Own types rather than kube's, because a review must be read without copying it (the object is left as raw
//! JSON), and answered as API servers expect: the patch in base64, the uid always echoed, no empty status. kube's
//! writes the patch as an array of numbers (kube#1781) and loses the uid of an invalid request.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use inject::{Text, place};
use serde::de::Deserialize;
use serde::{Deserialize as DeserializeDerive, Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

/// What the API server asks.
#[derive(Debug)]
pub struct Request<'a> {
    /// Ties the answer to the question; echoed in every answer.
    pub uid: Text<'a>,
    /// What is done to the object.
    pub operation: Operation,
    /// What kind of object it is.
    pub kind: Kind<'a>,
    /// Set when only a part of the object is concerned, such as `scale` or `status`.
    pub sub_resource: Option<Text<'a>>,
    /// The object's namespace.
    pub namespace: Option<Text<'a>>,
    /// The object's name; absent when the API server is to make one up.
    pub name: Option<Text<'a>>,
    /// The object as it would be stored; absent when it is deleted.
    pub object: Option<&'a RawValue>,
    /// The object as it is stored; absent when it is created.
    pub old_object: Option<&'a RawValue>,
    /// Nothing will be stored.
    pub dry_run: bool,
}

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// It is connected to, as in `kubectl exec`.
    Connect,
}

/// Group, version and kind.
#[derive(Debug, DeserializeDerive)]
pub struct Kind<'a> {
    /// Such as `apps`.
    #[serde(borrow, default)]
    pub group: Text<'a>,
    /// Such as `v1`.
    #[serde(borrow, default)]
    pub version: Text<'a>,
    /// Such as `StatefulSet`.
    #[serde(borrow, default)]
    pub kind: Text<'a>,
}

/// What the API server is answered.
#[derive(Debug, Default)]
pub struct Response {
    /// The question's uid.
    pub uid: String,
    /// A JSON Patch, or empty for none.
    pub patch: String,
    /// Why it is denied; allowed when absent.
    pub denial: Option<String>,
    /// Printed by kubectl, one line each.
    pub warnings: Vec<String>,
    /// Kept in the audit log.
    pub audit: Vec<(&'static str, Cow<'static, str>)>,
}

/// Why a body is no review that can be answered.
#[derive(Debug, Error)]
pub enum Error {
    /// Not JSON, or a field of the wrong type.
    #[error("unable to read the body as an AdmissionReview: {place}")]
    Malformed {
        /// The field, and what is wrong with it.
        place: String,
    },
    /// The review has no request.
    #[error("the AdmissionReview has no 'request': only an API server's question can be answered")]
    NoRequest,
    /// A version that is not spoken here.
    #[error(
        "the review is '{kind}' of '{api_version}', expected 'AdmissionReview' of '{API_VERSION}': list only 'v1' in admissionReviewVersions"
    )]
    Version {
        /// The body's kind.
        kind: String,
        /// The body's apiVersion.
        api_version: String,
    },
}

/// The only version that is spoken: v1beta1 was removed with Kubernetes 1.22.
pub const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

impl<'a> Request<'a> {
    /// Reads a review.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let (mut request, object) = Self::with_object::<&'a RawValue>(body)?;
        request.object = object.filter(|object| object.get() != "null");
        Ok(request)
    }

    /// Reads a review, and its object as an `O` in the same pass.
    pub(crate) fn with_object<O: Deserialize<'a>>(body: &'a [u8]) -> Result<(Self, Option<O>), Error> {
        let text = std::str::from_utf8(body)
            .map_err(|error| Error::Malformed { place: format!("not UTF-8: {error}") })?;
        // Serde takes a list for a struct whose fields it holds in order.
        if body.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
            return Err(Error::Malformed { place: "expected a JSON object".to_owned() });
        }
        let envelope: Envelope<'a, O> = match serde_json::from_str(text) {
            Ok(envelope) => envelope,
            Err(_) => {
                let place = place::<Envelope<'_, O>>(body).trim_start_matches('.').to_owned();
                return Err(Error::Malformed { place });
            }
        };
        if envelope.kind.as_str() != KIND || envelope.api_version.as_str() != API_VERSION {
            let (kind, api_version) = (envelope.kind.0.into_owned(), envelope.api_version.0.into_owned());
            return Err(Error::Version { kind, api_version });
        }
        envelope.request.map(RequestIn::split).ok_or(Error::NoRequest)
    }
}

impl Kind<'_> {
    /// Whether it is an apps/v1 StatefulSet.
    pub fn is_stateful_set(&self) -> bool {
        self.group.as_str() == "apps" && self.version.as_str() == "v1" && self.kind.as_str() == "StatefulSet"
    }
}

impl Operation {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Connect => "connect",
        }
    }
}

impl Response {
    /// The review that carries this answer.
    pub fn to_json(&self) -> Vec<u8> {
        let review = ReviewOut { api_version: API_VERSION, kind: KIND, response: self };
        let mut json = Vec::with_capacity(512 + self.patch.len() * 4 / 3);
        // Strings and maps of strings into memory: there is nothing that can fail.
        let _ = serde_json::to_writer(&mut json, &review);
        json
    }
}

#[derive(DeserializeDerive)]
#[serde(rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>"))]
struct Envelope<'a, O> {
    #[serde(borrow, default)]
    api_version: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow)]
    request: Option<RequestIn<'a, O>>,
}

#[derive(DeserializeDerive)]
#[serde(rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>"))]
struct RequestIn<'a, O> {
    #[serde(borrow)]
    uid: Text<'a>,
    operation: OperationIn,
    #[serde(borrow)]
    kind: Kind<'a>,
    #[serde(borrow)]
    sub_resource: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    object: Option<O>,
    #[serde(borrow)]
    old_object: Option<&'a RawValue>,
    dry_run: Option<bool>,
}

#[derive(DeserializeDerive)]
#[serde(rename_all = "UPPERCASE")]
enum OperationIn {
    Create,
    Update,
    Delete,
    Connect,
}

impl<'a, O> RequestIn<'a, O> {
    fn split(self) -> (Request<'a>, Option<O>) {
        let Self { uid, operation, kind, sub_resource, namespace, name, object, old_object, dry_run } = self;
        let operation = match operation {
            OperationIn::Create => Operation::Create,
            OperationIn::Update => Operation::Update,
            OperationIn::Delete => Operation::Delete,
            OperationIn::Connect => Operation::Connect,
        };
        let present = |text: Option<Text<'a>>| text.filter(|text| !text.as_str().is_empty());
        let request = Request {
            uid,
            operation,
            kind,
            sub_resource: present(sub_resource),
            namespace: present(namespace),
            name: present(name),
            object: None,
            old_object: old_object.filter(|object| object.get() != "null"),
            dry_run: dry_run.unwrap_or(false),
        };
        (request, object)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewOut<'a> {
    api_version: &'a str,
    kind: &'a str,
    response: &'a Response,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseOut<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(serialize_with = "as_map", skip_serializing_if = "<[_]>::is_empty")]
    audit_annotations: &'a [(&'static str, Cow<'static, str>)],
}

/// `kubectl` prints "The request is invalid: ..." for this code and reason; without them it says "Forbidden".
#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { uid, patch, denial, warnings, audit } = self;
        let patch = (!patch.is_empty()).then(|| STANDARD.encode(patch));
        ResponseOut {
            uid,
            allowed: denial.is_none(),
            status: denial.as_deref().map(|message| Status { code: 422, reason: "Invalid", message }),
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            warnings,
            audit_annotations: audit,
        }
        .serialize(serializer)
    }
}

fn as_map<S: Serializer>(
    pairs: &[(&'static str, Cow<'static, str>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}
