//! The facts about moves of copies: the user's wishes, the record on the Lease, and the demands of the maps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use contract::moves::{NodeCopies, NodeState};

use super::node::Release;

/// The facts about moves of copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MoveFacts {
    /// The pods that the user wants to be drained.
    pub leaving: BTreeSet<u32>,
    /// The databases that the user wants to be spread over all nodes.
    pub rebalance: Rebalance,
    /// The number of copies that the user wants every database to have.
    pub copies: Option<u32>,
    /// The copies on each node by the record on the Lease; nodes that it does not contain are missing.
    pub recorded: BTreeMap<u32, NodeCopies>,
    /// The time since this process wrote the record; `None` if it never has.
    pub recorded_for: Option<Duration>,
    /// The copies on each node by the shard maps. Counted by the agent that leads moves.
    pub counted: Option<CountedCopies>,
    /// The reason why no copy is moved just now although the user wants it. Known to the agent that leads moves.
    pub paused: Option<Pause>,
    /// What the shard maps call for. Looked for only while everything else is in order.
    pub maps: MapDemands,
}

/// The copies on each node, by the shard maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CountedCopies {
    /// When the maps were read, RFC 3339.
    pub as_of: String,
    /// The copies by ordinal.
    pub nodes: BTreeMap<u32, NodeCopies>,
}

/// The moves that shard maps call for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MapDemands {
    /// The number of databases with a move that was begun.
    pub begun: u64,
    /// The number of moves after which every node has its share of the copies.
    pub unbalanced: u64,
    /// The number of databases with fewer copies than [`MoveFacts::copies`].
    pub too_few: u64,
    /// `true` if resharding is stopped for moves, and must be started again after them.
    pub resharding_held: bool,
}

/// The databases whose copies are spread over all nodes when the cluster has grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rebalance {
    /// All databases.
    All,
    /// None, and the system databases get no copies either.
    Off,
    /// The system databases, up to the number of copies that CouchDB gives new databases.
    #[default]
    System,
}

/// The reason why no copy may be moved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pause {
    /// Replication of this node is redirected for other reasons than moves.
    ForeignRedirects(String),
    /// The copies of `count` databases can't be moved.
    Hindered {
        /// The reasons, by the names of the first few databases.
        databases: BTreeMap<String, String>,
        /// The number of databases.
        count: u64,
    },
    /// This node is in maintenance mode.
    Maintenance(String),
    /// A resharding job is unfinished, which changes maps by its own picture of them.
    Resharding,
    /// The copies of this database have been in the map together for minutes without becoming equal.
    Stalled {
        /// The database.
        database: String,
        /// The node that gets a copy.
        node: String,
    },
    /// This file on the node that is drained has changes that no copy in its map has.
    UnprovedFile(String),
    /// Moves were not tried on this release of CouchDB; `None` if the release is unknown.
    UntriedRelease(Option<Release>),
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignRedirects(node) => {
                write!(f, "[mem3.redirects] of node '{node}' has entries of another origin")
            }
            Self::Hindered { databases, count } => {
                write!(f, "the copies of {count} databases can't be moved")?;
                for (position, (name, reason)) in databases.iter().enumerate() {
                    write!(f, "{}'{name}': {reason}", if position == 0 { ": " } else { "; " })?;
                }
                Ok(())
            }
            Self::Maintenance(node) => write!(f, "node '{node}' is in maintenance mode"),
            Self::Resharding => f.write_str("a resharding job is unfinished"),
            Self::Stalled { database, node } => {
                write!(f, "CouchDB has copied nothing of database '{database}' to node '{node}' for minutes")
            }
            Self::UntriedRelease(Some(Release { major, minor })) => {
                write!(f, "moves of copies are not tested on CouchDB {major}.{minor}")
            }
            Self::UntriedRelease(None) => f.write_str("the release of CouchDB is unknown"),
            Self::UnprovedFile(file) => {
                write!(f, "file '{file}' on the drained node has changes that no copy in the shard map has")
            }
        }
    }
}

impl FromStr for Rebalance {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "all" => Ok(Self::All),
            "off" => Ok(Self::Off),
            "system" => Ok(Self::System),
            _ => Err(()),
        }
    }
}

impl MoveFacts {
    /// The state of a node by the record.
    pub fn state(&self, ordinal: u32) -> NodeState {
        self.recorded.get(&ordinal).map(|node| node.state).unwrap_or_default()
    }
}
