//! Moving copies between nodes: the record of drained nodes on the Lease, and the reports about moves on the agent's
//! pages.
//!
//! The agents, the webhook and the command line may be of different releases: a missing field reads as its default, an
//! unknown field is ignored, and an unknown word in [`NodeCopies::state`] reads as [`NodeState::Unknown`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::{PodName, ordinal_in};

/// The copies on each node, an annotation of the Lease ([`keys::COPIES_RECORD`](crate::keys::COPIES_RECORD)).
///
/// Written by the agent that leads moves, whenever it has read the shard maps. The webhook answers requests that lower
/// `replicas` from it, so it contains no more than that takes: at most 3 names of databases for each node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CopiesRecord {
    /// When the shard maps were read, RFC 3339.
    pub as_of: String,
    /// The nodes, by pod name. A node that is missing here was never looked at.
    pub nodes: BTreeMap<String, NodeCopies>,
}

impl CopiesRecord {
    /// The nodes by the ordinals of their pods. A name that no pod of a StatefulSet has is left out.
    pub fn by_ordinal(self) -> BTreeMap<u32, NodeCopies> {
        let nodes = self.nodes.into_iter();
        nodes.filter_map(|(name, node)| Some((name.parse::<PodName>().ok()?.ordinal(), node))).collect()
    }
}

/// The copies on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeCopies {
    /// The state of the node.
    pub state: NodeState,
    /// The number of databases that have a copy on the node.
    pub databases: u64,
    /// The number of databases of which the node holds the only copy of some documents.
    pub only_copies: u64,
    /// The names of the first such databases, or, if there are none, of the first databases on the node: at most
    /// [`EXAMPLES`](Self::EXAMPLES), each cut to [`EXAMPLE_LENGTH`](Self::EXAMPLE_LENGTH) bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// The state of a node, by its copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeState {
    /// The node holds copies, or may get some.
    Holding,
    /// The node gets no new copies, and its copies are being moved.
    Draining,
    /// The node gets no new copies, no shard map lists it, and everything that it had is on other nodes.
    Drained,
    /// The node was drained and is no longer a member. A volume of this name must be emptied before it is used again.
    Removed,
    /// Missing, or a word of another release.
    #[default]
    #[serde(other)]
    Unknown,
}

impl NodeCopies {
    /// The most names of databases in [`examples`](Self::examples).
    pub const EXAMPLES: usize = 3;
    /// The most bytes of one name in [`examples`](Self::examples).
    pub const EXAMPLE_LENGTH: usize = 64;
}

impl NodeState {
    /// `true` if the node can be removed without a loss of documents or copies.
    pub fn is_removable(self) -> bool {
        matches!(self, Self::Drained | Self::Removed)
    }
}

impl CopiesRecord {
    /// The nodes of the StatefulSet `set` with this ordinal or a higher one.
    pub fn from_ordinal<'a>(
        &'a self,
        set: &'a str,
        first: u64,
    ) -> impl Iterator<Item = (&'a str, &'a NodeCopies)> {
        let nodes = self.nodes.iter().map(|(name, node)| (name.as_str(), node));
        nodes.filter(move |(name, _)| ordinal_in(set, name).is_some_and(|ordinal| ordinal >= first))
    }

    /// The state of the pod `name`.
    pub fn state(&self, name: &str) -> NodeState {
        self.nodes.get(name).map_or(NodeState::Unknown, |node| node.state)
    }
}

/// Moves that are under way, on the [status page](crate::status::Page) of the agent that leads them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Moves {
    /// The purpose of the moves.
    pub task: Task,
    /// The pod that is drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The number of copies to move or drop, those that are done included.
    pub copies: u64,
    /// The number of copies that are done.
    pub done: u64,
    /// The bytes of the files that are still to be copied.
    pub bytes_left: u64,
    /// The estimated time until the end, in seconds, from the rate so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// The reason why no copy is moved just now, a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
}

/// The purpose of moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Task {
    /// All copies leave one node.
    Drain,
    /// Copies are spread over all nodes.
    Rebalance,
    /// Databases with too few copies get more.
    Copies,
    /// Missing, or a word of another release.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The moves that a change of size takes, the answer of the agent to `GET /plan?replicas=N`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Plan {
    /// The number of nodes that the plan is for.
    pub replicas: u32,
    /// The reasons why the plan cannot be carried out now, a sentence each. Empty if it can.
    pub refused: Vec<String>,
    /// The number of databases with a copy that is moved or dropped.
    pub databases: u64,
    /// The number of copies that get another node.
    pub moves: u64,
    /// The number of copies that are dropped, because all remaining nodes have one already.
    pub drops: u64,
    /// The bytes of the files that are copied.
    pub bytes: u64,
    /// The estimated time, in seconds, from the last measured rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// The number of copies on each node, by pod name.
    pub nodes: BTreeMap<String, PlanNode>,
    /// The first steps, at most [`FIRST`](Self::FIRST).
    pub first: Vec<PlannedMove>,
}

/// One node in a [`Plan`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlanNode {
    /// The number of copies on the node now.
    pub before: u64,
    /// The number of copies on the node at the end.
    pub after: u64,
    /// The bytes of all shard files on the node now.
    pub bytes: u64,
}

/// One copy that is moved or dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlannedMove {
    /// The database.
    pub database: String,
    /// The range of hashes: `00000000-7fffffff`.
    pub range: String,
    /// The pod that loses the copy; `None` if only a copy is added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The pod that gets the copy; `None` if the copy is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The bytes of the file.
    pub bytes: u64,
}

impl Plan {
    /// The most steps in [`first`](Self::first).
    pub const FIRST: usize = 50;
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    use super::*;

    #[test]
    fn the_record_is_compact_and_a_newer_one_can_be_read() {
        let node = NodeCopies { state: NodeState::Drained, ..NodeCopies::default() };
        let record = CopiesRecord {
            as_of: "2026-11-21T01:54:00Z".to_owned(),
            nodes: [("db-4".to_owned(), node)].into(),
        };
        let text = to_string(&record).unwrap();
        assert_eq!(
            text,
            r#"{"asOf":"2026-11-21T01:54:00Z","nodes":{"db-4":{"state":"drained","databases":0,"onlyCopies":0}}}"#
        );
        assert_eq!(from_str::<CopiesRecord>(&text).unwrap(), record);
        assert!(record.state("db-4").is_removable());
        let newer: CopiesRecord =
            from_str(r#"{"nodes":{"db-4":{"state":"sealed","brandNew":1}},"brandNew":2}"#).unwrap();
        assert_eq!(newer.state("db-4"), NodeState::Unknown);
        assert!(!newer.state("db-4").is_removable());
        assert!(!newer.state("db-3").is_removable());
    }
}
