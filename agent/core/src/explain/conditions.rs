//! The messages of conditions: problems that are reported beside the step.

use std::collections::BTreeSet;

use super::explainer::Explainer;
use super::explanation::{Explanation, agreeing};
use crate::decide::{Condition, WaitFor};
use crate::facts::{Observed, Unseen};

/// A condition, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedCondition {
    /// Reason and message. Where the condition is also a step, those of the step.
    pub explanation: Explanation,
    /// The observations behind it, one per line.
    pub evidence: Vec<String>,
}

impl Explainer<'_> {
    /// Explains a condition of the round that observed `observed`.
    pub fn condition(&self, observed: &Observed, condition: &Condition) -> ExplainedCondition {
        let admin = vec![format!("user '{}' from {}", self.user, self.credentials_source)];
        let (explanation, evidence) = match condition {
            Condition::AdminPasswordsDiffer(peers) => (self.passwords_differ(peers), self.nodes(observed)),
            Condition::ClosedByHand(mode) => (self.closed(*mode), vec![]),
            Condition::CredentialsLockedOut => (self.local(&Unseen::LockedOut), admin),
            Condition::CredentialsRejected => (self.local(&Unseen::Rejects), admin),
            Condition::MembersBeyondSize(pods) => {
                (self.wait(&WaitFor::MembersBeyondSize(pods.clone())), self.nodes(observed))
            }
            Condition::StrangersListed(names) => {
                (self.strangers_listed(names), self.strangers(observed, names))
            }
        };
        ExplainedCondition { explanation, evidence }
    }

    fn passwords_differ(&self, peers: &BTreeSet<u32>) -> Explanation {
        let pods = Vec::from_iter(peers.iter().map(|peer| self.pod(*peer))).join(" ");
        Explanation::with_fix(
            "AdminPasswordsDiffer",
            format!(
                "{} {} the password of user '{}' that this node accepts: clients can log in at some nodes only",
                self.pods(peers),
                agreeing(peers, "rejects", "reject"),
                self.user
            ),
            format!(
                "if a rolling restart is bringing a new password, wait for its end; otherwise restart the nodes with \
                 another password: {}",
                self.kubectl(&format!("delete pod {pods}"))
            ),
        )
    }
}
