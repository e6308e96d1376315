//! The explanation of a round's decision.

use super::conditions::ExplainedCondition;
use super::explainer::Explainer;
use super::explanation::{Explanation, visible};
use crate::decide::{Decision, Readiness};
use crate::facts::Observed;

/// The explanations of one decision, for the log, Events, metrics and the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedDecision {
    /// The next step.
    pub step: Explanation,
    /// The readiness: that of the step where the pod is ready.
    pub readiness: Explanation,
    /// The observations behind the step, one per line.
    pub evidence: Vec<String>,
    /// The conditions beside the step.
    pub conditions: Vec<ExplainedCondition>,
}

impl Explainer<'_> {
    /// Explains what was decided from `observed`.
    pub fn decision(&self, observed: &Observed, decision: &Decision) -> ExplainedDecision {
        let step = self.step(&decision.step);
        let readiness = match &decision.readiness {
            Readiness::Ready => step.clone(),
            Readiness::NotReady(reason) => self.not_ready(reason, Some(&decision.step)),
        };
        let conditions = decision.conditions.iter().map(|condition| self.condition(observed, condition));
        ExplainedDecision {
            step,
            readiness,
            evidence: self.evidence(observed, &decision.step).into_iter().map(visible).collect(),
            conditions: conditions.collect(),
        }
    }
}
