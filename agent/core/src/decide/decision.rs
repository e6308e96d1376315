//! The outcome of a round.

use super::conditions::{Condition, conditions};
use super::order::next_step;
use super::readiness::{Readiness, readiness};
use super::step::Step;
use crate::facts::{Observed, PodManagement};

/// Everything that one round decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The next step.
    pub step: Step,
    /// The answer to the readiness probe.
    pub readiness: Readiness,
    /// Problems beside the step, any number at once.
    pub conditions: Vec<Condition>,
}

/// Decides the next step, the readiness and the conditions. `policy` is the StatefulSet's `podManagementPolicy`.
pub fn decide(observed: &Observed, policy: PodManagement) -> Decision {
    let step = next_step(observed);
    let readiness = readiness(observed, &step, policy);
    Decision { step, readiness, conditions: conditions(observed) }
}
