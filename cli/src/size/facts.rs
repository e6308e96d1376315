//! The facts about a StatefulSet that changes its size.

use contract::keys;
use contract::moves::NodeState;
use contract::name::ordinal_in;
use inject::guard::Evidence;
use serde_json::Value;

use crate::cluster::{PodFacts, items, string};

/// A StatefulSet, its pods, and what its agents recorded.
#[derive(Clone, Debug)]
pub(super) struct SizeFacts {
    pub(super) namespace: String,
    pub(super) name: String,
    /// `spec.replicas`.
    pub(super) replicas: u32,
    /// `spec.ordinals.start`.
    pub(super) start: u32,
    /// The annotation `target-size`, if it is a number.
    pub(super) target: Option<u32>,
    /// The names of the claim templates.
    pub(super) claims: Vec<String>,
    /// The existing pods.
    pub(super) pods: Vec<PodFacts>,
    /// The records on the Lease.
    pub(super) evidence: Evidence,
}

impl SizeFacts {
    /// The facts of a stored StatefulSet.
    pub(super) fn of(stored: &Value, pods: Vec<PodFacts>, evidence: Evidence) -> Self {
        let (metadata, spec) = (&stored["metadata"], &stored["spec"]);
        let count = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let target = metadata["annotations"][keys::TARGET_SIZE].as_str();
        Self {
            namespace: string(&metadata["namespace"]),
            name: string(&metadata["name"]),
            replicas: count(&spec["replicas"]).unwrap_or(1),
            start: count(&spec["ordinals"]["start"]).unwrap_or(0),
            target: target.and_then(|target| target.parse().ok()),
            claims: items(&spec["volumeClaimTemplates"])
                .map(|claim| string(&claim["metadata"]["name"]))
                .collect(),
            pods,
            evidence,
        }
    }

    /// The names of the pods from the size `from` up to the size `to`, the highest first.
    pub(super) fn pods_between(&self, from: u32, to: u32) -> Vec<String> {
        // A size may be any number; more names than these are of no use.
        let shown = (from..to).rev().take(MOST_PODS);
        shown.map(|index| format!("{}-{}", self.name, u64::from(self.start) + u64::from(index))).collect()
    }

    /// The state of a node in the record of copies.
    pub(super) fn state(&self, pod: &str) -> NodeState {
        if let Evidence::Recorded(record) = &self.evidence { record.state(pod) } else { NodeState::Unknown }
    }

    /// The names of nodes in the record with an ordinal beyond the size `size`.
    pub(super) fn recorded_beyond(&self, size: u32) -> Vec<String> {
        let Evidence::Recorded(record) = &self.evidence else { return vec![] };
        let beyond = u64::from(self.start) + u64::from(size);
        let nodes = record.from_ordinal(&self.name, beyond);
        let mut names: Vec<String> = nodes.map(|(name, _)| name.to_owned()).collect();
        names.sort_by_key(|name| std::cmp::Reverse(self.ordinal(name)));
        names
    }

    /// The existing pods with an ordinal beyond the size `size`.
    pub(super) fn pods_beyond(&self, size: u32) -> Vec<String> {
        let beyond = u64::from(self.start) + u64::from(size);
        let pods = self.pods.iter().map(|pod| &pod.name);
        pods.filter(|name| self.ordinal(name).is_some_and(|found| found >= beyond)).cloned().collect()
    }

    /// The number of ready pods among the first `size`.
    pub(super) fn ready(&self, size: u32) -> usize {
        let beyond = u64::from(self.start) + u64::from(size);
        let ready = self.pods.iter().filter(|pod| pod.ready);
        ready.filter(|pod| self.ordinal(&pod.name).is_some_and(|found| found < beyond)).count()
    }

    fn ordinal(&self, pod: &str) -> Option<u64> {
        ordinal_in(&self.name, pod)
    }
}

/// More pods than any CouchDB cluster has.
const MOST_PODS: usize = 1000;
