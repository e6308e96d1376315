//! Steps that failed or are not complete.

use agent_core::facts::Pause;
use thiserror::Error;

use crate::couch::CouchError;
use crate::kubernetes::{LeaseError, RecordError};

/// A step failed, or is not complete.
#[derive(Debug, Error)]
pub enum ActError {
    /// A call to CouchDB failed.
    #[error(transparent)]
    Couch(#[from] CouchError),
    /// The Lease is held by another agent, or can't be written.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The step takes several rounds.
    #[error("{0}")]
    NotYet(Progress),
    /// The founding record can't be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The state of a comparison that takes several rounds.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Progress {
    /// The local copy of this database is missing documents.
    #[error("'{database}' has {mine} of {theirs} documents on this node, and not all changes of them")]
    Behind {
        /// The database.
        database: String,
        /// The documents in the local copy, deleted ones included.
        mine: u64,
        /// The documents in the fullest other copies. Where the numbers are equal, edits are missing.
        theirs: u64,
    },
    /// The properties of the local copy were set as those of the others are.
    #[error("setting the properties of '{database}' on this node")]
    Properties {
        /// The database.
        database: String,
    },
    /// Copies are being moved.
    #[error("{done} of {copies} copies are moved")]
    Moving {
        /// The copies that are moved.
        done: u64,
        /// All copies to move.
        copies: u64,
    },
    /// No copy may be moved now.
    #[error("no copy is moved: {0}")]
    MovesPaused(Pause),
    /// Nodes do not know yet that another one gets no new copies.
    #[error("waiting until every node knows which nodes get no new copies")]
    MarkingLeaving,
    /// There are more databases to compare.
    #[error("comparing the databases' shards")]
    Comparing,
    /// No node that answers holds another copy of some shard.
    #[error(
        "no member that answers has another copy of some shards of '{database}', so it is unknown what is missing here"
    )]
    Unanswered {
        /// The database.
        database: String,
    },
}
