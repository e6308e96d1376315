//! AdmissionReview on the wire: requests and responses.
//!
//! The types are not kube's. A review must be parsed without copying it, so the object stays raw JSON; and API servers
//! expect the patch in base64, the uid in every response and no empty status, while kube writes the patch as an array
//! of numbers (kube#1781) and loses the uid of an invalid request.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use inject::{Text, place};
use serde::de::Deserialize;
use serde::{Deserialize as DeserializeDerive, Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

/// The request of a review.
#[derive(Debug)]
pub struct Request<'a> {
    /// Identifies the request; the response must contain it.
    pub uid: Text<'a>,
    /// The operation on the object.
    pub operation: Operation,
    /// Group, version and kind of the object.
    pub kind: Kind<'a>,
    /// Such as `scale` or `status`, if the operation concerns only that part of the object.
    pub sub_resource: Option<Text<'a>>,
    /// The object's namespace.
    pub namespace: Option<Text<'a>>,
    /// The object's name; `None` if the API server will generate one.
    pub name: Option<Text<'a>>,
    /// The object as it would be stored; `None` for a deletion.
    pub object: Option<&'a RawValue>,
    /// The object as it is stored; `None` for a creation.
    pub old_object: Option<&'a RawValue>,
    /// `true` if nothing will be stored.
    pub dry_run: bool,
}

/// An operation on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, DeserializeDerive)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// A creation.
    Create,
    /// A change.
    Update,
    /// A deletion.
    Delete,
    /// A connection, as by `kubectl exec`.
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

/// The response of a review.
#[derive(Debug, Default)]
pub struct Response {
    /// The request's uid.
    pub uid: String,
    /// A JSON Patch; empty if the object is not changed.
    pub patch: String,
    /// The reason of a denial; `None` if the object is allowed.
    pub denial: Option<Denial>,
    /// kubectl prints them, one per line.
    pub warnings: Vec<String>,
    /// Annotations of the audit log.
    pub audit: Vec<(&'static str, Cow<'static, str>)>,
}

/// The reason of a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The message for the user.
    pub message: String,
    /// The kind, which decides how clients react.
    pub kind: DenialKind,
}

/// The kind of a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialKind {
    /// The object can never work as it is. kubectl prints "The request is invalid: ..".
    Invalid,
    /// The request must not be made now. Not `Invalid`, at which `kubectl apply --force` deletes the object and creates it
    /// again.
    Forbidden,
}

/// A body that is not a review of the supported version.
#[derive(Debug, Error)]
pub enum Error {
    /// Not JSON, or a field of the wrong type.
    #[error("failed to parse the body as an AdmissionReview: {place}")]
    Malformed {
        /// The path of the field, and the parser's message.
        place: String,
    },
    /// The review has no request.
    #[error("the AdmissionReview has no 'request'. Only an API server's requests are answered")]
    NoRequest,
    /// Another kind or version.
    #[error(
        "the review is '{kind}' of '{api_version}', expected 'AdmissionReview' of '{API_VERSION}'. Fix: list only 'v1' \
         in admissionReviewVersions"
    )]
    Version {
        /// The body's `kind`.
        kind: String,
        /// The body's `apiVersion`.
        api_version: String,
    },
}

/// The only supported version: v1beta1 was removed with Kubernetes 1.22.
pub const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

impl<'a> Request<'a> {
    /// Parses a review.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let (mut request, object) = Self::with_object::<&'a RawValue>(body)?;
        request.object = object.filter(|object| object.get() != "null");
        Ok(request)
    }

    /// Parses a review, and its object as an `O` in the same pass.
    pub(crate) fn with_object<O: Deserialize<'a>>(body: &'a [u8]) -> Result<(Self, Option<O>), Error> {
        let text = std::str::from_utf8(body)
            .map_err(|error| Error::Malformed { place: format!("not UTF-8: {error}") })?;
        // Serde accepts a list of the fields in order as a struct.
        if body.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
            return Err(Error::Malformed { place: "expected a JSON object".to_owned() });
        }
        let envelope: Envelope<'a, O> = match serde_json::from_str(text) {
            Ok(envelope) => envelope,
            // Parsed again for the path of the field: tracking it costs time that a good review need not spend.
            Err(_) => {
                let place = place::<Envelope<'_, O>>(body).trim_start_matches('.').to_owned();
                return Err(Error::Malformed { place });
            }
        };
        // Checked after parsing, so that a body of another version is reported as such if its fields happen to fit.
        if envelope.kind.as_str() != KIND || envelope.api_version.as_str() != API_VERSION {
            let (kind, api_version) = (envelope.kind.0.into_owned(), envelope.api_version.0.into_owned());
            return Err(Error::Version { kind, api_version });
        }
        envelope.request.map(RequestIn::split).ok_or(Error::NoRequest)
    }
}

impl Kind<'_> {
    /// `true` for the subresource `scale` of any kind.
    pub fn is_scale(&self) -> bool {
        self.group.as_str() == "autoscaling" && self.version.as_str() == "v1" && self.kind.as_str() == "Scale"
    }

    /// `true` for a StatefulSet of apps/v1.
    pub fn is_stateful_set(&self) -> bool {
        self.group.as_str() == "apps" && self.version.as_str() == "v1" && self.kind.as_str() == "StatefulSet"
    }
}

impl Operation {
    /// The value in logs and metrics.
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
    /// Renders the review that contains this response.
    pub fn to_json(&self) -> Vec<u8> {
        let review = ReviewOut { api_version: API_VERSION, kind: KIND, response: self };
        let mut json = Vec::with_capacity(512 + self.patch.len() * 4 / 3);
        // Writing strings and maps of strings to memory does not fail.
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
    operation: Operation,
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

impl<'a, O> RequestIn<'a, O> {
    fn split(self) -> (Request<'a>, Option<O>) {
        let Self { uid, operation, kind, sub_resource, namespace, name, object, old_object, dry_run } = self;
        // API servers send an empty string for what is absent.
        let present = |text: Option<Text<'a>>| text.filter(|text| !text.as_str().is_empty());
        let request = Request {
            uid,
            operation,
            kind,
            sub_resource: present(sub_resource),
            namespace: present(namespace),
            name: present(name),
            // The caller gets it apart, in the type that it has asked for.
            object: None,
            // API servers send `null` for an object that is absent.
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

/// For the code and reason of an invalid object kubectl prints "The request is invalid: ..."; without them, "Forbidden".
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
            status: denial.as_ref().map(Denial::status),
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            warnings,
            audit_annotations: audit,
        }
        .serialize(serializer)
    }
}

impl Denial {
    fn status(&self) -> Status<'_> {
        let (code, reason) = match self.kind {
            DenialKind::Invalid => (422, "Invalid"),
            DenialKind::Forbidden => (403, "Forbidden"),
        };
        Status { code, reason, message: &self.message }
    }
}

fn as_map<S: Serializer>(
    pairs: &[(&'static str, Cow<'static, str>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}
