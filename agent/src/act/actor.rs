//! The clients and the state that steps are carried out with.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::Mutex;

use super::comparison::Comparison;
use super::moves::Mover;
use crate::couch::Couch;
use crate::kubernetes::Claim;

/// The clients and the state that steps are carried out with.
#[derive(Clone)]
pub struct Actor {
    /// The client for CouchDB.
    pub couch: Arc<Couch>,
    /// The address that `enable_cluster` makes CouchDB listen on.
    pub bind_address: String,
    /// The StatefulSet's Lease, where Kubernetes is used.
    pub claim: Option<Claim>,
    /// A comparison of shards that takes several rounds, so that it does not begin again in each.
    pub comparison: Arc<Mutex<Option<Comparison>>>,
    /// Moves of copies that take many rounds.
    pub moves: Arc<Mutex<Option<Mover>>>,
    /// The number of tasks of moves that this process has ended.
    pub moves_ended: Arc<AtomicU64>,
    /// The time for which a moved copy stays in the map beside the new one, so that readers of `_changes` pass on to it.
    pub readers_stay: Duration,
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor").field("bind_address", &self.bind_address).finish_non_exhaustive()
    }
}
