//! The copies on each node, as the record on the Lease contains them.

use std::collections::BTreeMap;

use contract::moves::{NodeCopies, NodeState};
use contract::text::cut;

use super::document::Document;
use super::roster::Roster;

/// The copies on each node, counted from shard maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    nodes: BTreeMap<u32, NodeCopies>,
}

impl Holdings {
    /// No copies on the nodes of the roster.
    pub fn new(roster: &Roster) -> Self {
        let holding = NodeCopies { state: NodeState::Holding, ..NodeCopies::default() };
        Self { nodes: roster.ordinals().map(|ordinal| (ordinal, holding.clone())).collect() }
    }

    /// Counts the copies of one database.
    pub fn count(&mut self, document: &Document, roster: &Roster) {
        let only = document.only_holders();
        for name in document.all_holders() {
            let node = roster.ordinal(name).and_then(|ordinal| self.nodes.get_mut(&ordinal));
            if let Some(node) = node {
                note(node, &document.database, only.contains(name));
            }
        }
    }

    /// The number of databases with a copy on the node.
    pub fn databases_on(&self, ordinal: u32) -> u64 {
        self.nodes.get(&ordinal).map_or(0, |node| node.databases)
    }

    /// The copies by ordinal.
    pub fn nodes(&self) -> &BTreeMap<u32, NodeCopies> {
        &self.nodes
    }

    /// The same, without a copy.
    pub fn into_nodes(self) -> BTreeMap<u32, NodeCopies> {
        self.nodes
    }
}

/// The nodes of the record after the copies were `counted`. Maps show no state of a node: `recorded` contains it.
pub fn recorded_after(
    counted: &BTreeMap<u32, NodeCopies>,
    recorded: &BTreeMap<u32, NodeCopies>,
) -> BTreeMap<u32, NodeCopies> {
    let mut nodes = counted.clone();
    for (ordinal, before) in recorded {
        match (before.state, nodes.get_mut(ordinal)) {
            // Counted again, or no member any more.
            (NodeState::Holding, _) => {}
            (NodeState::Draining, Some(node)) => node.state = NodeState::Draining,
            // A map that was changed manually has given the drained node a copy again.
            (NodeState::Drained, Some(node)) if node.databases > 0 => node.state = NodeState::Draining,
            // The state of another release is not replaced by a guess.
            (NodeState::Draining | NodeState::Drained | NodeState::Removed | NodeState::Unknown, _) => {
                nodes.insert(*ordinal, before.clone());
            }
        }
    }
    // The highest ordinals are the first to be removed, so their databases are named.
    nodes.values_mut().rev().skip(NAMED).for_each(|node| node.examples.clear());
    nodes
}

/// Counts one more database on a node.
fn note(node: &mut NodeCopies, database: &str, is_only_holder: bool) {
    node.databases += 1;
    if is_only_holder {
        // The names of databases that would be lost are worth more than those of others.
        if node.only_copies == 0 {
            node.examples.clear();
        }
        node.only_copies += 1;
    }
    if is_only_holder || node.only_copies == 0 {
        // System databases are on every node: the user's own come first.
        let system = node.examples.iter().position(|name| is_system(name)).filter(|_| !is_system(database));
        let name = cut(database, NodeCopies::EXAMPLE_LENGTH).into_owned();
        node.examples.insert(system.unwrap_or(node.examples.len()), name);
        node.examples.truncate(NodeCopies::EXAMPLES);
    }
}

/// `true` for a name that only databases of CouchDB itself have.
fn is_system(database: &str) -> bool {
    database.starts_with('_')
}

/// The nodes whose databases are named. The names of 100 nodes have at most 20 kB; an object's annotations have 256 kB together.
const NAMED: usize = 100;
