//! Derives the findings from the facts. Pure: the time is an argument.

mod failed_call;
mod fixes;
mod stateful_set;
mod webhook;

use time::OffsetDateTime;

use crate::check::facts::{ClusterFacts, DryRun};
use crate::check::finding::Finding;

/// Returns all findings about a cluster, those about the webhook first.
pub(super) fn judge(facts: &ClusterFacts, now: OffsetDateTime) -> Vec<Finding> {
    let mut all = webhook::judge(facts, now);
    // The dry run is the only source of the version that injects now.
    let serving = match &facts.admission {
        Ok(DryRun::Injected { version }) => version.as_deref(),
        Ok(DryRun::NotInjected | DryRun::CallFailed(_)) | Err(_) => None,
    };
    for stateful_set in facts.stateful_sets.iter().flatten() {
        all.extend(stateful_set::judge(stateful_set, serving));
    }
    all
}
