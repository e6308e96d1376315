//! The nodes of the StatefulSet by ordinal and by the name that shard maps use.

use std::collections::{BTreeMap, BTreeSet};

/// The nodes that copies are moved between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    names: BTreeMap<u32, String>,
    /// The nodes that get no copies, because they are drained.
    leaving: BTreeSet<u32>,
    /// The `zone` in each node's `_nodes` document, by name.
    zones: BTreeMap<String, String>,
}

impl Roster {
    /// The nodes with these names; those in `leaving` get no copies.
    pub fn new(names: BTreeMap<u32, String>, leaving: BTreeSet<u32>) -> Self {
        Self { names, leaving, zones: BTreeMap::new() }
    }

    /// The same with the zones of some nodes, by name.
    pub fn with_zones(self, zones: BTreeMap<String, String>) -> Self {
        Self { zones, ..self }
    }

    /// The name of the node with this ordinal.
    pub fn name(&self, ordinal: u32) -> Option<&str> {
        self.names.get(&ordinal).map(String::as_str)
    }

    /// The ordinal of the node of this name; `None` for a node outside of the StatefulSet.
    pub fn ordinal(&self, name: &str) -> Option<u32> {
        self.names.iter().find(|(_, known)| *known == name).map(|(ordinal, _)| *ordinal)
    }

    /// The ordinals of all nodes.
    pub fn ordinals(&self) -> impl Iterator<Item = u32> + '_ {
        self.names.keys().copied()
    }

    /// The names of all nodes, the lowest ordinal first.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.names.values().map(String::as_str)
    }

    /// The ordinals of the nodes that may get copies.
    pub fn staying(&self) -> impl Iterator<Item = u32> + '_ {
        self.ordinals().filter(|ordinal| !self.leaving.contains(ordinal))
    }

    /// The zone of a node, if it has one.
    pub(super) fn zone(&self, name: &str) -> Option<&str> {
        self.zones.get(name).map(String::as_str)
    }
}
