//! The clients and the state that steps are carried out with.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::comparison::Comparison;
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
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor").field("bind_address", &self.bind_address).finish_non_exhaustive()
    }
}
