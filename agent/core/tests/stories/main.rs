//! Named situations: the step that the agent decides, the readiness of the pod, and the message that a person reads.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its result")]

mod cluster;
mod conditions;
mod copies;
mod diagnosis;
mod established;
mod forming;
mod joining;
mod moves;
mod readiness;
mod readiness_table;
#[path = "../support/mod.rs"]
mod support;

use agent_core::decide::{Readiness, Step, next_step, readiness};
use agent_core::explain::{Explainer, Explanation};
use agent_core::facts::{Observed, PodManagement};
use contract::{Naming, PodFqdn};

/// The readiness under `Parallel`, the reason and the message.
fn explained(observed: &Observed) -> String {
    let step = next_step(observed);
    let Explanation { reason, message, fix } = explain(observed, |explainer| explainer.step(&step));
    assert!(fix.is_none_or(|fix| message.ends_with(&format!("Fix: {fix}"))), "{message}");
    let ready = if is_ready(observed, &step, PodManagement::Parallel) { "ready" } else { "not ready" };
    format!("[{ready}] {reason}: {message}")
}

/// The observations that the step is based on.
fn evidence(observed: &Observed) -> String {
    explain(observed, |explainer| explainer.evidence(observed, &next_step(observed))).join("\n")
}

fn is_ready(observed: &Observed, step: &Step, policy: PodManagement) -> bool {
    readiness(observed, step, policy) == Readiness::Ready
}

fn explain<T>(observed: &Observed, explain: impl FnOnce(&Explainer<'_>) -> T) -> T {
    let me: PodFqdn = format!("couchdb-{}.couchdb.default.svc.cluster.local", observed.me).parse().unwrap();
    explain(&Explainer {
        me: &me,
        naming: &Naming::usual(&me),
        user: "admin",
        credentials_source: "COUCHDB_USER and COUCHDB_PASSWORD",
        lost_part: None,
        couchdb_url: "http://127.0.0.1:5984".to_owned(),
    })
}
