//! From a request that removes pods to the verdict about it.

use std::time::Duration;

use contract::error::chain;
use inject::guard::{Denial, Evidence, ScaleDown, Verdict};
use tokio::time::timeout;

use super::look::{Look, LookError};
use crate::admission::ScaleRequest;
use crate::kubernetes::Kubernetes;

/// Judges requests that remove pods.
#[derive(Debug)]
pub(crate) struct Guard {
    look: Look,
}

/// A change of the target size that a verdict needs in addition to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetSize {
    /// The patch of the answer sets it.
    ByPatch,
    /// A call sets it.
    ByCall,
    /// Nothing is changed: the request is a dry run.
    Unchanged,
}

impl Guard {
    pub(crate) fn new(kubernetes: Kubernetes) -> Self {
        Self { look: Look::new(kubernetes) }
    }

    /// Judges an update of a StatefulSet.
    pub(crate) async fn judge_update(&self, scale_down: &ScaleDown) -> Verdict {
        let judging = self.judge(scale_down, TargetSize::ByPatch);
        timeout(LIMIT, judging).await.unwrap_or_else(|_| out_of_time(scale_down))
    }

    /// Judges a request for the subresource `scale`. `None`: the StatefulSet is not one of couchdiscover's, or keeps its pods.
    ///
    /// An error means that the StatefulSet could not be read. It may be any in the cluster, most of which do not concern
    /// couchdiscover.
    pub(crate) async fn judge_scale(
        &self,
        request: &ScaleRequest,
        dry_run: bool,
    ) -> Result<Option<(ScaleDown, Verdict)>, LookError> {
        let ScaleRequest { namespace, name, replicas } = request;
        let stored = timeout(LIMIT, self.look.stateful_set(namespace, name));
        let stored = stored.await.unwrap_or(Err(LookError::OutOfTime(LIMIT)))?;
        let scale_down = stored.and_then(|stored| ScaleDown::of_scale(&stored, *replicas, Some(namespace)));
        let Some(scale_down) = scale_down else { return Ok(None) };
        let target = if dry_run { TargetSize::Unchanged } else { TargetSize::ByCall };
        let judging = self.judge(&scale_down, target);
        let verdict = timeout(LIMIT, judging).await.unwrap_or_else(|_| out_of_time(&scale_down));
        Ok(Some((scale_down, verdict)))
    }

    async fn judge(&self, scale_down: &ScaleDown, by: TargetSize) -> Verdict {
        let namespace = scale_down.namespace.as_deref().unwrap_or("default");
        let evidence = if scale_down.needs_evidence() {
            let found = self.look.evidence(namespace, &scale_down.name).await;
            found.unwrap_or_else(|error| Evidence::Unknown(chain(&error)))
        } else {
            Evidence::NotRecorded
        };
        let verdict = scale_down.judge(&evidence);
        match verdict {
            Verdict::Drain { target, .. } => {
                match self.begin_drain(scale_down, namespace, target, by).await {
                    Some(denial) => Verdict::Deny(denial),
                    None => verdict,
                }
            }
            Verdict::Allow(_) | Verdict::Deny(_) => verdict,
        }
    }

    /// Sets the target size if `by` requires it; returns the reason why there will be no drain.
    async fn begin_drain(
        &self,
        scale_down: &ScaleDown,
        namespace: &str,
        target: u32,
        by: TargetSize,
    ) -> Option<Denial> {
        let name = &scale_down.name;
        // Without the permission the replicas would never be lowered, and the user would wait for it.
        match self.look.may_change(namespace, name).await {
            Ok(true) => {}
            Ok(false) => return Some(Denial::may_not_drain(scale_down)),
            Err(error) => return Some(Denial::target_not_set(scale_down, &chain(&error))),
        }
        // The API server repeats a review whose object has changed since, as it does here: a second call would change it for
        // ever.
        if by != TargetSize::ByCall || scale_down.target() == Some(target) {
            return None;
        }
        let set = self.look.set_target(namespace, name, target).await;
        set.err().map(|error| Denial::target_not_set(scale_down, &chain(&error)))
    }
}

fn out_of_time(scale_down: &ScaleDown) -> Verdict {
    let evidence = Evidence::Unknown(LookError::OutOfTime(LIMIT).to_string());
    // Not by a repeated call, so a drain cannot begin.
    match scale_down.judge(&evidence) {
        Verdict::Drain { .. } => {
            Verdict::Deny(Denial::target_not_set(scale_down, &chain(&LookError::OutOfTime(LIMIT))))
        }
        verdict @ (Verdict::Allow(_) | Verdict::Deny(_)) => verdict,
    }
}

/// For each of two steps. Both together are shorter than the `timeoutSeconds` of the manifests: past it, the API server
/// continues without an answer.
const LIMIT: Duration = Duration::from_millis(1500);
