//! The result for one StatefulSet.

use crate::guard::ScaleDown;
use crate::outcome::{Outcome, Problem, Reason, Warning};

/// The decision for one StatefulSet.
#[derive(Debug)]
pub struct Decision {
    /// The effect.
    pub outcome: Outcome,
    /// The rule that led to it.
    pub reason: Reason,
    /// A JSON Patch; empty if nothing changes.
    pub patch: String,
    /// The reasons for a denial; empty unless the outcome is [`Outcome::Deny`].
    pub problems: Vec<Problem>,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
    /// The pods that the request removes, if it does. Whether it may is judged from the Lease, which is not part of the
    /// request.
    pub scale_down: Option<Box<ScaleDown>>,
}

impl Decision {
    /// The decision to do nothing.
    pub fn skipped(reason: Reason) -> Self {
        Self::new(Outcome::Skip, reason, String::new())
    }

    pub(crate) fn new(outcome: Outcome, reason: Reason, patch: String) -> Self {
        Self { outcome, reason, patch, problems: Vec::new(), warnings: Vec::new(), scale_down: None }
    }

    pub(crate) fn deny(problems: Vec<Problem>, warnings: Vec<Warning>) -> Self {
        Self { problems, warnings, ..Self::new(Outcome::Deny, Reason::Invalid, String::new()) }
    }

    pub(crate) fn with(mut self, warnings: Vec<Warning>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}
