//! The nodes that should exist, and whether this pod is still the one that Kubernetes knows.

use std::collections::BTreeSet;

use crate::facts::{PodInstance, SetFacts, Size};

/// The ordinals that should exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// The ordinals that are members by the current size.
    pub expected: BTreeSet<u32>,
    /// The ordinals that must all be present before the cluster is formed.
    pub founders: BTreeSet<u32>,
    /// The expected ordinals that the user wants to be drained.
    pub leaving: BTreeSet<u32>,
}

/// Computes the expected ordinals: from the StatefulSet's spec where it is known, else from the injected size. A size
/// that the user pinned decides the founders.
pub fn expectation(size: Option<Size>, set: Option<&SetFacts>) -> Expectation {
    let injected = size.map(|size| size.nodes.get());
    let start = set.map(|set| set.start).or(size.map(|size| size.start)).unwrap_or(0);
    // The injected size may be older than the spec.
    let live = set.map(|set| set.replicas);
    let pinned = size.filter(|size| size.pinned).map(|size| size.nodes.get());
    let expected = ordinals(start, live.or(injected));
    let target = set.and_then(|set| set.target_size).map(u32::from);
    // A target of 0 would leave no node for the copies.
    let first_leaving = target.filter(|target| *target > 0).map(|target| start.saturating_add(target));
    let leaving =
        first_leaving.map_or_else(BTreeSet::new, |first| expected.range(first..).copied().collect());
    Expectation { expected, founders: ordinals(start, pinned.or(live).or(injected)), leaving }
}

/// Returns the uid of the pod that has taken this pod's name. `occupant` is the pod that Kubernetes knows by this name.
///
/// An occupant without an address of its own does not run yet: a replacement is only started when this pod is gone,
/// unless this one was deleted by force while its machine was cut off.
pub fn displaced_by(me: Option<&PodInstance>, occupant: Option<&PodInstance>) -> Option<String> {
    let (me, occupant) = (me?, occupant?);
    // A pod that keeps its address has only been read with a wrong uid, one that keeps its uid has moved.
    let displaced = me.uid != occupant.uid && me.ip != occupant.ip;
    displaced.then(|| occupant.uid.clone())
}

fn ordinals(start: u32, count: Option<u16>) -> BTreeSet<u32> {
    let count = count.map_or(0, u32::from);
    (start..start.saturating_add(count)).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use contract::OtherMembers;

    use super::*;
    use crate::facts::{PodManagement, Rebalance};

    fn size(nodes: u16, pinned: bool) -> Option<Size> {
        Some(Size { nodes: NonZeroU16::new(nodes).unwrap(), pinned, start: 0 })
    }

    fn set(replicas: u16, start: u32) -> Option<SetFacts> {
        Some(SetFacts {
            replicas,
            start,
            pod_management: PodManagement::Parallel,
            form_anew: None,
            accept_loss: None,
            other_members: OtherMembers::default(),
            zone: None,
            target_size: None,
            rebalance: Rebalance::System,
            copies: None,
        })
    }

    #[test]
    fn the_live_size_is_expected_and_the_pinned_size_founds() {
        let ordinals = |size, set: Option<SetFacts>| {
            let Expectation { expected, founders, .. } = expectation(size, set.as_ref());
            (Vec::from_iter(expected), Vec::from_iter(founders))
        };
        assert_eq!(ordinals(None, None), (vec![], vec![]));
        assert_eq!(ordinals(size(2, false), None), (vec![0, 1], vec![0, 1]));
        assert_eq!(ordinals(size(2, false), set(3, 0)), (vec![0, 1, 2], vec![0, 1, 2]), "scaled since");
        assert_eq!(ordinals(size(2, true), set(3, 0)), (vec![0, 1, 2], vec![0, 1]), "fewer founders");
        assert_eq!(ordinals(size(3, true), set(2, 0)), (vec![0, 1], vec![0, 1, 2]), "more founders");
        assert_eq!(ordinals(None, set(2, 5)), (vec![5, 6], vec![5, 6]));
        assert_eq!(ordinals(size(2, false), set(0, 0)), (vec![], vec![]), "scaled to 0");
        let from_7 = size(2, false).map(|size| Size { start: 7, ..size });
        assert_eq!(ordinals(from_7, None), (vec![7, 8], vec![7, 8]));
        assert_eq!(ordinals(from_7, set(2, 5)), (vec![5, 6], vec![5, 6]), "the live start wins");
    }

    #[test]
    fn the_pods_beyond_the_target_leave() {
        let leaving = |replicas, start, target| {
            let set = set(replicas, start).map(|set| SetFacts { target_size: target, ..set });
            Vec::from_iter(expectation(None, set.as_ref()).leaving)
        };
        assert_eq!(leaving(5, 0, Some(3)), [3, 4]);
        assert_eq!(leaving(5, 7, Some(3)), [10, 11], "the target counts nodes");
        assert!(leaving(3, 0, Some(3)).is_empty());
        assert!(leaving(3, 0, Some(5)).is_empty());
        assert!(leaving(3, 0, Some(0)).is_empty(), "no node would be left");
        assert!(leaving(3, 0, None).is_empty());
    }

    #[test]
    fn a_pod_is_displaced_by_another_one_that_has_an_address_of_its_own() {
        let pod = |uid: &str, ip: &str| PodInstance { uid: uid.to_owned(), ip: ip.parse().unwrap() };
        let me = pod("u1", "10.0.0.1");
        let by = |uid, ip| displaced_by(Some(&me), Some(&pod(uid, ip)));
        assert_eq!(by("u2", "10.0.0.2"), Some("u2".to_owned()));
        assert_eq!(by("u1", "10.0.0.1"), None);
        assert_eq!(by("u1", "10.0.0.2"), None, "the same pod under a new address");
        assert_eq!(by("u2", "10.0.0.1"), None, "the injected uid was wrong");
        assert_eq!(displaced_by(None, Some(&pod("u2", "10.0.0.2"))), None, "nothing is known about this pod");
    }
}
