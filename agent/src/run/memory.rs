//! State that the loop keeps between rounds.

use std::collections::BTreeMap;

use agent_core::decide::{Decision, Step};
use tokio::time::Instant;

/// State that the loop keeps between rounds, for pauses, the log and the status page. No rule reads it.
#[derive(Debug)]
pub(super) struct Memory {
    /// The step of the last round.
    pub(super) step: Option<Step>,
    /// When `step` was first decided, RFC 3339.
    pub(super) since: String,
    /// The number of further rounds in a row that decided `step`.
    pub(super) repeats: u32,
    /// Rounds since the agent started.
    pub(super) rounds: u64,
    /// The error of the last failed call, until a change succeeds.
    pub(super) last_error: Option<String>,
    /// `true` if a peer was joined since the agent started and the membership has not been announced.
    pub(super) joined: bool,
    /// Rejected credentials are not looked up again before this time.
    pub(super) next_credentials_lookup: Instant,
    /// The messages of the conditions that are reported, by reason.
    pub(super) conditions: BTreeMap<&'static str, String>,
    /// Progress of a step that takes several rounds.
    pub(super) progress: Option<String>,
}

impl Memory {
    /// The memory before the first round.
    pub(super) fn new(now: String) -> Self {
        Self {
            step: None,
            since: now,
            repeats: 0,
            rounds: 0,
            last_error: None,
            joined: false,
            next_credentials_lookup: Instant::now(),
            conditions: BTreeMap::new(),
            progress: None,
        }
    }

    /// Counts the round, and returns `true` if its step differs from that of the last round.
    pub(super) fn begin(&mut self, decision: &Decision, now: impl FnOnce() -> String) -> bool {
        self.rounds += 1;
        if self.step.as_ref() == Some(&decision.step) {
            self.repeats = self.repeats.saturating_add(1);
            return false;
        }
        self.step = Some(decision.step.clone());
        self.since = now();
        self.repeats = 0;
        true
    }
}
