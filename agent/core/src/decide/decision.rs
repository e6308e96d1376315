//! The outcome of a round.

use super::conditions::{Condition, conditions};
use super::moves::copies_to_record;
use super::order::next_step;
use super::readiness::{Readiness, readiness};
use super::step::Step;
use crate::facts::{CountedCopies, Observed, PodManagement};

/// Everything that one round decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The next step.
    pub step: Step,
    /// The answer to the readiness probe.
    pub readiness: Readiness,
    /// Problems beside the step, any number at once.
    pub conditions: Vec<Condition>,
    /// The copies to write into the record on the Lease, beside the step.
    pub record: Option<CountedCopies>,
}

/// Decides the next step, and what is done and reported beside it. `policy` is the StatefulSet's `podManagementPolicy`.
pub fn decide(observed: &Observed, policy: PodManagement) -> Decision {
    let step = next_step(observed);
    let readiness = readiness(observed, &step, policy);
    let record = copies_to_record(observed, &step);
    Decision { step, readiness, conditions: conditions(observed), record }
}
