//! Shard maps that need repair.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Databases with a problem in their shard map: the count of all, and the names of the first few.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BrokenMaps {
    /// The first few, by database.
    pub named: BTreeMap<String, MapProblem>,
    /// The number of all, the named ones included.
    pub count: usize,
}

/// Databases with a common property: the count of all, and the names of the first few.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamedDatabases {
    /// The first few.
    pub named: BTreeSet<String>,
    /// The number of all, the named ones included.
    pub count: usize,
}

impl NamedDatabases {
    /// Counts one more database, and names it while there are few.
    pub fn add(&mut self, database: &str) {
        if self.named.contains(database) {
            return;
        }
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.insert(database.to_owned());
        }
    }
}

/// Ranges of databases whose only copies were on a volume that was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LostRanges {
    /// The ranges of the first few databases.
    pub named: BTreeMap<String, Vec<String>>,
    /// The number of all databases, the named ones included.
    pub count: usize,
}

impl LostRanges {
    /// Counts one more database, and names it while there are few.
    pub fn add(&mut self, database: &str, ranges: Vec<String>) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.insert(database.to_owned(), ranges);
        }
    }
}

/// A problem in one database's shard map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MapProblem {
    /// The map has conflicting revisions: two databases were created under one name, or the map was changed on two
    /// nodes. CouchDB uses one revision and hides the other.
    Conflict,
    /// No node holds part of the database's range.
    MissingRange,
    /// The map lists this node, which is not a member.
    UnknownHolder(String),
}

impl BrokenMaps {
    /// Counts one more database, and names it while there are few.
    pub fn add(&mut self, database: &str, problem: MapProblem) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.insert(database.to_owned(), problem);
        }
    }
}

/// As many names as fit into an Event.
const NAMED: usize = 5;
