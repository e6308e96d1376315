//! Counters since the start of the agent. [`publish::exposition`](crate::publish::exposition) renders them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts calls, steps and refusals.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
}

/// The counters by label value. All label values are constants of the agent, so their number is bounded.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Calls to CouchDB by outcome.
    pub couchdb_calls: BTreeMap<&'static str, u64>,
    /// Steps by reason and outcome.
    pub steps: BTreeMap<(&'static str, StepOutcome), u64>,
    /// Refusals by reason.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Parts of the cluster's identity that this node adopted.
    pub identity_heals: u64,
    /// The time of the last settled round, RFC 3339.
    pub last_settled: Option<String>,
}

/// The outcome of a step that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepOutcome {
    /// The step succeeded, or made progress.
    Done,
    /// A call of the step failed.
    Failed,
}

impl StepOutcome {
    /// The value of the label `outcome`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl Metrics {
    /// Counts a call to CouchDB.
    pub fn called(&self, outcome: &'static str) {
        *self.lock().couchdb_calls.entry(outcome).or_default() += 1;
    }

    /// Counts a step that was carried out.
    pub fn stepped(&self, step: &'static str, outcome: StepOutcome) {
        *self.lock().steps.entry((step, outcome)).or_default() += 1;
    }

    /// Counts the beginning of a refusal.
    pub fn refused(&self, reason: &'static str) {
        *self.lock().refusals.entry(reason).or_default() += 1;
    }

    /// Counts an adopted part of the cluster's identity.
    pub fn healed(&self) {
        self.lock().identity_heals += 1;
    }

    /// Sets the time of the last settled round, RFC 3339.
    pub fn settled(&self, now: String) {
        self.lock().last_settled = Some(now);
    }

    /// The present counts.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Each change of the counts is complete in itself, so a panic elsewhere leaves them valid.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
