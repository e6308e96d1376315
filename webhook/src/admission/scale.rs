//! Requests for the subresource `scale` of a StatefulSet. Pure: what the request does not contain is read by the caller.

use inject::guard::{Replicas, ScaleDown, Verdict};
use inject::{Outcome, Reason, Settings};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::admit::{Answer, audit};
use super::review::{Operation, Request, Response};

/// A change of `spec.replicas` by the subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleRequest {
    /// The StatefulSet's namespace.
    pub namespace: String,
    /// The StatefulSet's name.
    pub name: String,
    /// The numbers before and after the change.
    pub replicas: Replicas,
}

/// The change of a request, if it may remove pods.
///
/// The webhook configuration requests no others. With one that does, they must be allowed.
pub fn scale_request(request: &Request<'_>) -> Option<ScaleRequest> {
    let sub_resource = request.sub_resource.as_ref().map(|sub_resource| sub_resource.as_str());
    if request.operation != Operation::Update || !request.kind.is_scale() || sub_resource != Some("scale") {
        return None;
    }
    let replicas = Replicas { old: replicas(request.old_object?)?, new: replicas(request.object?)? };
    (replicas.new < replicas.old).then(|| ScaleRequest {
        namespace: request.namespace.as_ref().map_or("", |namespace| namespace.as_str()).to_owned(),
        name: request.name.as_ref().map_or("", |name| name.as_str()).to_owned(),
        replicas,
    })
}

fn replicas(scale: &RawValue) -> Option<u32> {
    #[derive(Deserialize)]
    struct Scale {
        #[serde(default)]
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    struct Spec {
        // A Scale omits 0 replicas.
        #[serde(default)]
        replicas: u32,
    }
    serde_json::from_str::<Scale>(scale.get()).ok().map(|scale| scale.spec.replicas)
}

impl Answer {
    /// Allows a request for the subresource without a change.
    pub fn scale_allowed(settings: &Settings, request: &Request<'_>, reason: Reason) -> Self {
        let uid = request.uid.as_str().to_owned();
        let outcome = Outcome::Skip;
        let response = Response { uid, audit: audit(settings, outcome, reason), ..Response::default() };
        Self { response, outcome, reason, scale_down: None }
    }

    /// Applies the verdict about the pods that a request for the subresource removes.
    pub fn scale_judged(self, settings: &Settings, scale_down: &ScaleDown, verdict: &Verdict) -> Self {
        let patch = match verdict {
            Verdict::Drain { .. } => scale_down.scale_patch(),
            Verdict::Allow(_) | Verdict::Deny(_) => String::new(),
        };
        self.with_verdict(settings, verdict, (Outcome::Skip, Reason::NodesRemovable), patch)
    }
}
