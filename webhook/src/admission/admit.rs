//! From a request to its response: which requests concern the webhook, and how a decision is answered.

use std::borrow::Cow;

use contract::text::{MESSAGE_LIMIT, cut, one_line};
use inject::guard::{ScaleDown, Verdict};
use inject::{
    Decision, Outcome, Problem, Question, Reason, Settings, StatefulSet, Warning, decide, decide_read,
};

use super::review::{self, Denial, DenialKind, Operation, Request, Response};

/// A response, and its explanation for log and metrics.
#[derive(Debug)]
pub struct Answer {
    /// The response to the API server.
    pub response: Response,
    /// The result of the decision.
    pub outcome: Outcome,
    /// The reason of the result.
    pub reason: Reason,
    /// The pods that the request removes. The answer is complete once a [`Verdict`] about them is applied.
    pub scale_down: Option<Box<ScaleDown>>,
}

/// Answers a request. Pure: no log, no clock, no I/O.
pub fn admit(settings: &Settings, request: &Request<'_>) -> Answer {
    match irrelevant(request) {
        Some(reason) => answer(settings, request, Decision::skipped(reason)),
        None => answer(settings, request, decision(settings, request)),
    }
}

/// Parses a body and answers it.
///
/// The object is parsed along with its envelope: skipping it first, to find its end, takes as long as all the rest.
pub fn admit_body<'a>(settings: &Settings, body: &'a [u8]) -> Result<(Request<'a>, Answer), review::Error> {
    if let Ok((request, Some(object))) = Request::with_object::<StatefulSet<'a>>(body)
        && irrelevant(&request).is_none()
    {
        let decision = decide_read(settings, &object, old(&request), namespace(&request));
        let answer = answer(settings, &request, decision);
        return Ok((request, answer));
    }
    // Another kind, or a malformed StatefulSet: slower, but with a message.
    let request = Request::parse(body)?;
    let answer = admit(settings, &request);
    Ok((request, answer))
}

/// Returns the reason for which a request does not concern the webhook.
///
/// The webhook configuration requests none of these. With one that does, they must be allowed without a patch: an API
/// server refuses a patch to a DELETE, and with it the deletion.
fn irrelevant(request: &Request<'_>) -> Option<Reason> {
    // Scaling by the subresource changes no template: the size in it is only a record, and agents read the replicas live.
    // The pods that it removes are judged at the path of its own.
    if !request.kind.is_stateful_set() || request.sub_resource.is_some() {
        return Some(Reason::OtherResource);
    }
    match request.operation {
        Operation::Create | Operation::Update => None,
        Operation::Delete | Operation::Connect => Some(Reason::OtherOperation),
    }
}

fn decision(settings: &Settings, request: &Request<'_>) -> Decision {
    // Without an object there is nothing to inject into.
    let Some(object) = request.object else { return Decision::skipped(Reason::OtherOperation) };
    let question = Question { object: object.get(), old: old(request), namespace: namespace(request) };
    decide(settings, &question)
}

fn old<'r>(request: &Request<'r>) -> Option<&'r str> {
    request.old_object.map(|old| old.get())
}

fn namespace<'r>(request: &'r Request<'_>) -> Option<&'r str> {
    request.namespace.as_ref().map(|namespace| namespace.as_str())
}

fn answer(settings: &Settings, request: &Request<'_>, decision: Decision) -> Answer {
    let Decision { outcome, reason, patch, problems, warnings, scale_down } = decision;
    let response = Response {
        uid: request.uid.as_str().to_owned(),
        patch,
        denial: (!problems.is_empty()).then(|| Denial {
            message: cut(&Problem::message(&problems), MAX_DENIAL_LENGTH).into_owned(),
            kind: DenialKind::Invalid,
        }),
        warnings: shown(&warnings).collect(),
        audit: audit(settings, outcome, reason),
    };
    Answer { response, outcome, reason, scale_down }
}

impl Answer {
    /// Applies the verdict about the pods that an update removes.
    pub fn judged(mut self, settings: &Settings, scale_down: &ScaleDown, verdict: &Verdict) -> Self {
        let patch = match verdict {
            Verdict::Drain { target, .. } => scale_down.drain_patch(&self.response.patch, *target),
            Verdict::Allow(_) => std::mem::take(&mut self.response.patch),
            // A denial must not contain a patch.
            Verdict::Deny(_) => String::new(),
        };
        let allowed = (self.outcome, self.reason);
        self.with_verdict(settings, verdict, allowed, patch)
    }

    /// The outcome `allowed` applies if the pods may be removed.
    pub(super) fn with_verdict(
        mut self,
        settings: &Settings,
        verdict: &Verdict,
        allowed: (Outcome, Reason),
        patch: String,
    ) -> Self {
        self.response.patch = patch;
        (self.outcome, self.reason) = match verdict {
            Verdict::Allow(warnings) => {
                self.response.warnings.extend(shown(warnings));
                allowed
            }
            Verdict::Deny(denial) => {
                let message = one_line(&denial.to_string(), MESSAGE_LIMIT).into_owned();
                self.response.denial = Some(Denial { message, kind: DenialKind::Forbidden });
                (Outcome::Deny, Reason::NodesNotDrained)
            }
            Verdict::Drain { warnings, .. } => {
                self.response.warnings.extend(shown(warnings));
                (Outcome::Drain, Reason::NodesNotDrained)
            }
        };
        self.response.audit = audit(settings, self.outcome, self.reason);
        self
    }
}

/// The warnings as lines. They quote names and values, and an API server drops a warning with control characters.
pub(super) fn shown(warnings: &[Warning]) -> impl Iterator<Item = String> {
    warnings.iter().map(|warning| one_line(&warning.to_string(), MESSAGE_LIMIT).into_owned())
}

pub(super) fn audit(
    settings: &Settings,
    outcome: Outcome,
    reason: Reason,
) -> Vec<(&'static str, Cow<'static, str>)> {
    vec![
        ("outcome", outcome.as_str().into()),
        ("reason", reason.as_str().into()),
        ("version", settings.version.clone().into()),
    ]
}

/// Denials quote values, and every setting wrong makes about 3 kB. The answer is held in memory until it is fetched.
const MAX_DENIAL_LENGTH: usize = 16 << 10;
