//! I/O out: carries a step out. One match, no choices.

use crate::couch::{Couch, CouchError};
use crate::observe::Directory;
use crate::step::Step;

/// Does what `step` says, on the local CouchDB only.
pub async fn act(
    couch: &Couch,
    directory: &Directory,
    bind_address: &str,
    step: &Step,
) -> Result<(), CouchError> {
    let local = directory.local();
    match step {
        Step::CreateDatabase(database) => couch.create_database(&local, *database).await,
        Step::Dial { peers, .. } => {
            for peer in peers {
                if let Ok(peer) = directory.me.sibling(*peer) {
                    couch.dial(&local, &peer.node().to_string()).await;
                }
            }
            Ok(())
        }
        Step::EnableCluster { node_count } => couch.enable_cluster(&local, bind_address, *node_count).await,
        Step::Found => couch.finish_cluster(&local).await,
        Step::Join(peer) => match directory.me.sibling(*peer) {
            Ok(peer) => couch.join(&local, &peer.node().to_string()).await,
            // A name too long for DNS was never seen, so nobody decides to join it.
            Err(_) => Ok(()),
        },
        Step::MakeSessionSecret => couch.make_session_secret(&local).await,
        Step::Refuse(_) | Step::Settled | Step::Wait(_) => Ok(()),
    }
}
