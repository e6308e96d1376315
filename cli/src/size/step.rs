//! The next step of a change of size. A pure function of the facts, so an interrupted change is continued by a second call.

use contract::moves::NodeState;
use inject::guard::Evidence;

use super::facts::SizeFacts;

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The size is as it was asked for.
    Done,
    /// Removes the target size: it is reached, or nodes shall stay that it drains.
    RemoveTarget,
    /// Sets the target size, so that the agents drain these nodes. Needs the user's consent.
    SetTarget {
        /// The pods, the highest first.
        pods: Vec<String>,
    },
    /// Sets `spec.replicas`.
    SetReplicas,
    /// The agents drain these nodes.
    WaitForDrain {
        /// The pods that are not drained, the highest first.
        pods: Vec<String>,
    },
    /// Kubernetes stops these pods.
    WaitForEnd {
        /// The pods.
        pods: Vec<String>,
    },
    /// The members remove these nodes from their list.
    WaitForRemoval {
        /// The pods.
        pods: Vec<String>,
    },
    /// Pods become ready.
    WaitForPods {
        /// The number of ready pods.
        ready: usize,
    },
}

/// Returns what comes next on the way to `wanted` nodes.
pub(super) fn next(facts: &SizeFacts, wanted: u32) -> Step {
    if wanted < facts.replicas {
        return down(facts, wanted);
    }
    if wanted == facts.replicas && facts.target == Some(wanted) {
        return finish(facts, wanted);
    }
    up(facts, wanted)
}

fn up(facts: &SizeFacts, wanted: u32) -> Step {
    // First: nodes that are added beyond it would be drained at once.
    if facts.target.is_some() {
        return Step::RemoveTarget;
    }
    if facts.replicas < wanted {
        return Step::SetReplicas;
    }
    let ready = facts.ready(wanted);
    if ready < wanted as usize { Step::WaitForPods { ready } } else { Step::Done }
}

fn down(facts: &SizeFacts, wanted: u32) -> Step {
    // Scaled to 0 all volumes stay, and scaled back the cluster is the same. Without a cluster there is nothing to move.
    if wanted == 0 || facts.evidence == Evidence::NeverFormed {
        return Step::SetReplicas;
    }
    let pods = facts.pods_between(wanted, facts.replicas);
    if facts.target != Some(wanted) {
        return Step::SetTarget { pods };
    }
    let pods: Vec<String> = pods.into_iter().filter(|pod| !facts.state(pod).is_removable()).collect();
    if pods.is_empty() { Step::SetReplicas } else { Step::WaitForDrain { pods } }
}

/// After the replicas were lowered, the target size stays until the members have removed the nodes.
fn finish(facts: &SizeFacts, wanted: u32) -> Step {
    let pods = facts.pods_beyond(wanted);
    if !pods.is_empty() {
        return Step::WaitForEnd { pods };
    }
    let mut nodes = facts.recorded_beyond(wanted);
    nodes.retain(|node| facts.state(node) != NodeState::Removed);
    if nodes.is_empty() { Step::RemoveTarget } else { Step::WaitForRemoval { pods: nodes } }
}

#[cfg(test)]
mod tests {
    use contract::moves::{CopiesRecord, NodeCopies};

    use super::*;
    use crate::cluster::PodFacts;

    fn facts(replicas: u32, target: Option<u32>, pods: u32, states: &[(&str, NodeState)]) -> SizeFacts {
        let nodes = states
            .iter()
            .map(|(name, state)| ((*name).to_owned(), NodeCopies { state: *state, ..NodeCopies::default() }));
        SizeFacts {
            namespace: "shop".to_owned(),
            name: "db".to_owned(),
            replicas,
            start: 0,
            target,
            claims: vec!["data".to_owned()],
            pods: (0..pods).map(|index| pod(&format!("db-{index}"), true)).collect(),
            evidence: Evidence::Recorded(CopiesRecord { as_of: String::new(), nodes: nodes.collect() }),
        }
    }

    fn pod(name: &str, ready: bool) -> PodFacts {
        PodFacts {
            name: name.to_owned(),
            ready,
            has_agent: true,
            problem: None,
            page: None,
            revision: String::new(),
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_scale_down_drains_lowers_waits_and_cleans_up() {
        let held = [("db-3", NodeState::Holding), ("db-4", NodeState::Holding)];
        let both = names(&["db-4", "db-3"]);
        assert_eq!(next(&facts(5, None, 5, &held), 3), Step::SetTarget { pods: both.clone() });
        assert_eq!(
            next(&facts(5, Some(4), 5, &held), 3),
            Step::SetTarget { pods: both.clone() },
            "another target"
        );
        assert_eq!(next(&facts(5, Some(3), 5, &held), 3), Step::WaitForDrain { pods: both });
        let first = [("db-3", NodeState::Draining), ("db-4", NodeState::Drained)];
        assert_eq!(next(&facts(5, Some(3), 5, &first), 3), Step::WaitForDrain { pods: names(&["db-3"]) });
        assert_eq!(
            next(&facts(5, Some(3), 5, &[("db-4", NodeState::Drained)]), 3),
            Step::WaitForDrain { pods: names(&["db-3"]) }
        );
        let drained = [("db-3", NodeState::Drained), ("db-4", NodeState::Drained)];
        assert_eq!(next(&facts(5, Some(3), 5, &drained), 3), Step::SetReplicas);
        assert_eq!(
            next(&facts(3, Some(3), 5, &drained), 3),
            Step::WaitForEnd { pods: names(&["db-3", "db-4"]) }
        );
        let removal = Step::WaitForRemoval { pods: names(&["db-4", "db-3"]) };
        assert_eq!(next(&facts(3, Some(3), 3, &drained), 3), removal);
        let removed = [("db-3", NodeState::Removed), ("db-4", NodeState::Removed)];
        assert_eq!(next(&facts(3, Some(3), 3, &removed), 3), Step::RemoveTarget);
        assert_eq!(next(&facts(3, None, 3, &removed), 3), Step::Done);
    }

    #[test]
    fn a_scale_up_removes_the_target_first_and_waits_for_the_pods() {
        assert_eq!(next(&facts(3, Some(3), 3, &[]), 5), Step::RemoveTarget);
        assert_eq!(next(&facts(3, None, 3, &[]), 5), Step::SetReplicas);
        let mut starting = facts(5, None, 4, &[]);
        starting.pods.push(pod("db-4", false));
        assert_eq!(next(&starting, 5), Step::WaitForPods { ready: 4 });
        assert_eq!(next(&facts(5, None, 5, &[]), 5), Step::Done);
    }

    #[test]
    fn asked_for_the_present_size_a_drain_is_cancelled() {
        let half = [("db-3", NodeState::Draining), ("db-4", NodeState::Drained)];
        assert_eq!(next(&facts(5, Some(3), 5, &half), 5), Step::RemoveTarget);
    }

    #[test]
    fn a_cluster_that_was_never_formed_or_is_stopped_as_a_whole_is_not_drained() {
        let mut unformed = facts(5, None, 5, &[]);
        unformed.evidence = Evidence::NeverFormed;
        assert_eq!(next(&unformed, 3), Step::SetReplicas);
        assert_eq!(next(&facts(5, None, 5, &[("db-4", NodeState::Holding)]), 0), Step::SetReplicas);
        assert_eq!(next(&facts(0, None, 0, &[]), 5), Step::SetReplicas);
        let mut unread = facts(5, Some(3), 5, &[]);
        unread.evidence = Evidence::NotRecorded;
        assert_eq!(next(&unread, 3), Step::WaitForDrain { pods: names(&["db-4", "db-3"]) });
    }

    #[test]
    fn ordinals_begin_where_the_statefulset_says() {
        let mut high = facts(3, Some(1), 0, &[("db-11", NodeState::Drained), ("db-12", NodeState::Holding)]);
        high.start = 10;
        high.pods = [10, 11, 12].map(|index| pod(&format!("db-{index}"), true)).into();
        assert_eq!(next(&high, 1), Step::WaitForDrain { pods: names(&["db-12"]) });
        assert_eq!(high.ready(1), 1);
        assert_eq!(high.pods_beyond(1), ["db-11", "db-12"]);
    }
}
