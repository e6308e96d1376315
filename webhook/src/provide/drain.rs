//! StatefulSets whose nodes are drained by `scale-down: drain`: the replicas are lowered when the drain is complete, and the
//! target size is removed when the members have removed the nodes. No clock, no call.

use std::collections::BTreeMap;

use contract::keys;
use contract::moves::NodeState;
use inject::guard::Evidence;
use kube::Resource as _;
use kube::runtime::watcher::Event;

use super::needs::{Key, Labelled};

/// A StatefulSet with a target size that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    pub(crate) uid: String,
    /// The version that the other fields are of.
    pub(crate) resource_version: String,
    pub(crate) replicas: u32,
    pub(crate) target: u32,
    start: u32,
}

/// The next change of a [`Drain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainStep {
    /// Nothing: nodes are drained, or removed from the members' list.
    Wait,
    /// Lowers the replicas to the target.
    Lower,
    /// Removes the target size: it is reached, and would drain nodes that are added later.
    Forget,
}

impl Drain {
    /// Returns `None` for a StatefulSet that drains nothing, or whose replicas are the user's to lower.
    fn of(set: &Labelled) -> Option<Self> {
        let metadata = set.meta();
        let annotations = metadata.annotations.as_ref()?;
        if metadata.deletion_timestamp.is_some() || annotations.get(keys::SCALE_DOWN)? != "drain" {
            return None;
        }
        let target = annotations.get(keys::TARGET_SIZE)?.parse().ok().filter(|target| *target > 0)?;
        let replicas = set.replicas();
        // Scaled to 0, the drain goes on when the nodes are back.
        (replicas >= target).then(|| Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            replicas,
            target,
            start: set.first_ordinal(),
        })
    }

    /// The next change of the StatefulSet called `set`.
    pub(crate) fn next(&self, set: &str, evidence: &Evidence) -> DrainStep {
        let Evidence::Recorded(record) = evidence else { return DrainStep::Wait };
        let [first, end] = [self.target, self.replicas].map(|size| u64::from(self.start) + u64::from(size));
        if self.replicas > self.target {
            // Ends at the first node that is not drained: the record has few nodes, whatever the size is.
            let is_drained =
                (first..end).rev().all(|ordinal| record.state(&format!("{set}-{ordinal}")).is_removable());
            return if is_drained { DrainStep::Lower } else { DrainStep::Wait };
        }
        let is_removed = record.from_ordinal(set, first).all(|(_, node)| node.state == NodeState::Removed);
        if is_removed { DrainStep::Forget } else { DrainStep::Wait }
    }
}

/// All StatefulSets with a target size that is not done.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    sets: BTreeMap<Key, Drain>,
    /// Namespaces whose StatefulSets are ignored.
    excluded: Vec<String>,
}

impl Drains {
    /// None yet, and never any of these namespaces.
    pub(crate) fn except(excluded: Vec<String>) -> Self {
        Self { excluded, ..Self::default() }
    }

    pub(crate) fn observe(&mut self, event: &Event<Labelled>) {
        match event {
            // The list that follows contains all that exist.
            Event::Init => self.sets.clear(),
            Event::InitApply(set) | Event::Apply(set) => {
                let key = Key::of(set);
                match Drain::of(set).filter(|_| !self.excluded.contains(&key.namespace)) {
                    Some(drain) => drop(self.sets.insert(key, drain)),
                    None => drop(self.sets.remove(&key)),
                }
            }
            Event::InitDone => {}
            Event::Delete(set) => drop(self.sets.remove(&Key::of(set))),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// All of them, as they are now.
    pub(crate) fn all(&self) -> Vec<(Key, Drain)> {
        self.sets.iter().map(|(key, drain)| (key.clone(), drain.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use contract::moves::{CopiesRecord, NodeCopies};
    use serde_json::{Value, json};

    use super::*;

    fn set(replicas: u32, annotations: Value) -> Labelled {
        serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": "db", "uid": "u", "resourceVersion": "7", "annotations": annotations },
            "spec": { "replicas": replicas, "ordinals": { "start": 1 }, "template": { "spec": { "containers": [] } } },
        }))
        .unwrap()
    }

    fn drain(target: &str) -> Value {
        json!({ keys::SCALE_DOWN: "drain", keys::TARGET_SIZE: target, "other": "x" })
    }

    fn recorded(states: &[(&str, NodeState)]) -> Evidence {
        let node = |state: NodeState| NodeCopies { state, ..NodeCopies::default() };
        let nodes = states.iter().map(|(name, state)| ((*name).to_owned(), node(*state))).collect();
        Evidence::Recorded(CopiesRecord { as_of: String::new(), nodes })
    }

    #[test]
    fn only_statefulsets_that_ask_for_it_are_lowered() {
        assert!(Drain::of(&set(5, drain("3"))).is_some());
        assert!(Drain::of(&set(3, drain("3"))).is_some(), "the target size is left to remove");
        for (replicas, annotations) in [
            (5, json!({})),
            (5, json!({ keys::TARGET_SIZE: "3" })),
            (5, json!({ keys::SCALE_DOWN: "guard", keys::TARGET_SIZE: "3" })),
            (5, json!({ keys::SCALE_DOWN: "drain" })),
            (5, drain("0")),
            (5, drain("three")),
            (2, drain("3")),
            (0, drain("3")),
        ] {
            assert_eq!(Drain::of(&set(replicas, annotations.clone())), None, "{replicas} {annotations}");
        }
    }

    #[test]
    fn replicas_are_lowered_when_every_node_is_drained_and_the_target_removed_when_they_are_no_members() {
        let next = |replicas: u32, evidence: &Evidence| {
            Drain::of(&set(replicas, drain("3"))).unwrap().next("db", evidence)
        };
        // The first ordinal is 1: the nodes beyond 3 are 4 and 5.
        let half = recorded(&[("db-4", NodeState::Draining), ("db-5", NodeState::Drained)]);
        assert_eq!(next(5, &half), DrainStep::Wait);
        assert_eq!(
            next(5, &recorded(&[("db-5", NodeState::Drained)])),
            DrainStep::Wait,
            "db-4 was never looked at"
        );
        let drained = recorded(&[
            ("db-3", NodeState::Holding),
            ("db-4", NodeState::Drained),
            ("db-5", NodeState::Drained),
        ]);
        assert_eq!(next(5, &drained), DrainStep::Lower);
        assert_eq!(next(3, &drained), DrainStep::Wait, "they are still members");
        let removed = recorded(&[
            ("db-3", NodeState::Holding),
            ("db-4", NodeState::Removed),
            ("db-5", NodeState::Removed),
        ]);
        assert_eq!(next(3, &removed), DrainStep::Forget);
        for unknown in [Evidence::NeverFormed, Evidence::NotRecorded, Evidence::Unknown(String::new())] {
            assert_eq!((next(5, &unknown), next(3, &unknown)), (DrainStep::Wait, DrainStep::Wait));
        }
    }

    #[test]
    fn a_set_is_followed_until_it_is_done_or_gone() {
        let mut drains = Drains::except(vec!["kube-system".to_owned()]);
        drains.observe(&Event::Apply(set(5, drain("3"))));
        assert_eq!(drains.all().len(), 1);
        drains.observe(&Event::Apply(set(3, json!({}))));
        assert!(drains.is_empty());
        for event in [Event::InitApply(set(5, drain("3"))), Event::Delete(set(5, drain("3")))] {
            drains.observe(&event);
        }
        assert!(drains.is_empty());
        drains.observe(&Event::Apply(set(5, drain("3"))));
        drains.observe(&Event::Init);
        assert!(drains.is_empty(), "what the list does not contain is gone");
        let mut excluded = Drains::except(vec!["shop".to_owned()]);
        excluded.observe(&Event::Apply(set(5, drain("3"))));
        assert!(excluded.is_empty());
    }
}
