//! I/O out: carries a step out. One match, no choices.

use std::fmt;
use std::sync::Arc;

use kube::Client;
use thiserror::Error;

use crate::couch::{Couch, CouchError};
use crate::kubernetes::{Founding, RecordError, write_record};
use crate::observe::Directory;
use crate::step::{Difference, Step};

/// What steps are carried out with.
#[derive(Clone)]
pub struct Hand {
    /// The client for CouchDB.
    pub couch: Arc<Couch>,
    /// Where everybody is.
    pub directory: Directory,
    /// What enable_cluster makes CouchDB listen on.
    pub bind_address: String,
    /// The client for Kubernetes, if it is asked.
    pub kubernetes: Option<Client>,
}

/// Why a step failed.
#[derive(Debug, Error)]
pub enum ActError {
    /// CouchDB didn't do it.
    #[error(transparent)]
    Couch(#[from] CouchError),
    /// Kubernetes didn't do it.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Does what `step` says, on the local CouchDB only; `now` is written down where a time is.
pub async fn act(hand: &Hand, step: &Step, now: String) -> Result<(), ActError> {
    let Hand { couch, directory, bind_address, kubernetes } = hand;
    let local = directory.local();
    match step {
        Step::Adopt(Difference { what, from }) => {
            if let Ok(peer) = directory.me.sibling(*from) {
                couch.adopt(&directory.peer(&peer), &local, *what).await?;
            }
        }
        Step::CreateDatabase(database) => couch.create_database(&local, *database).await?,
        Step::Dial { peers, .. } => {
            for peer in peers.iter().filter_map(|peer| directory.me.sibling(*peer).ok()) {
                couch.dial(&local, &peer.node().to_string()).await;
            }
        }
        Step::EnableCluster { node_count } => couch.enable_cluster(&local, bind_address, *node_count).await?,
        Step::Found => couch.finish_cluster(&local).await?,
        Step::Join(peer) => {
            // A name too long for DNS was never seen, so nobody decides to join it.
            if let Ok(peer) = directory.me.sibling(*peer) {
                couch.join(&local, &peer.node().to_string()).await?;
            }
        }
        Step::MakeSessionSecret => couch.make_session_secret(&local).await?,
        Step::RecordFounding { size, instead_of } => {
            if let Some(client) = kubernetes {
                let uuid = couch.uuid(&local).await?;
                let founding = Founding { uuid, size: *size, instead_of: instead_of.as_ref(), at: now };
                write_record(client, &directory.me, founding).await?;
            }
        }
        Step::Refuse(_) | Step::Settled | Step::Wait(_) => {}
    }
    Ok(())
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hand").field("directory", &self.directory).finish_non_exhaustive()
    }
}
