//! Carries a step out. One match without choices: what to do was decided before, from facts.

mod compare;

use std::fmt;
use std::sync::Arc;

use agent_core::decide::{IdentitySource, Step, recorded_uuid};
use agent_core::facts::{MaintenanceMode, VolumeNote};
use agent_core::shards::{Purpose, Survey};
use thiserror::Error;
use tokio::sync::Mutex;

pub use compare::Progress;

use crate::couch::{Couch, CouchError};
use crate::kubernetes::{Claim, Founding, LeaseError, RecordError};
use crate::observe::Directory;

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
    pub survey: Arc<Mutex<Option<Survey>>>,
}

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

/// Carries `step` out, on the local CouchDB or the Lease only. `now` is the current time, RFC 3339.
pub async fn act(actor: &Actor, directory: &Directory, step: &Step, now: String) -> Result<(), ActError> {
    let Actor { couch, bind_address, claim, .. } = actor;
    let local = directory.local();
    match step {
        Step::AddCopies(databases) => {
            for database in databases {
                couch.add_copy(&local, &directory.node(directory.me.pod().ordinal()), *database).await?;
            }
        }
        Step::Adopt(difference) => match &difference.from {
            IdentitySource::Member(ordinal) => {
                if let Ok(peer) = directory.me.sibling(*ordinal) {
                    couch.adopt(&directory.peer(&peer), &local, difference).await?;
                }
            }
            IdentitySource::Record { uuid } => couch.set_uuid(&local, uuid).await?,
        },
        Step::CreateDatabase(database) => couch.create_database(&local, *database).await?,
        Step::Dial { peers, .. } => {
            for peer in peers {
                couch.dial(&local, &directory.node(*peer)).await;
            }
        }
        Step::EnableCluster { node_count } => couch.enable_cluster(&local, bind_address, *node_count).await?,
        Step::EnterMaintenance => couch.set_maintenance(&local, MaintenanceMode::On).await?,
        Step::Fill { from } => {
            actor.compare(directory, from, Purpose::Completeness).await?;
            // The note last: an agent that ends in between finds the old note, and compares again.
            couch.end_maintenance(&local).await?;
            couch.write_note(&local, VolumeNote::Complete).await?;
            couch.mark_compared(&local).await?;
        }
        Step::Found => couch.finish_cluster(&local).await?,
        Step::Join(peer) => couch.join(&local, &directory.node(*peer)).await?,
        Step::MakeSessionSecret => couch.make_session_secret(&local).await?,
        Step::NoteFilling => couch.write_note(&local, VolumeNote::Filling).await?,
        Step::CompareVolume { with } => {
            let survey = actor.compare(directory, with, Purpose::Volume).await?;
            couch.write_note(&local, survey.note()).await?;
            couch.mark_compared(&local).await?;
        }
        Step::RecordFounding { size, instead_of, uuid: decided } => {
            let uuid = recorded_uuid(couch.uuid(&local).await?, *decided);
            if let (Some(claim), Some(uuid)) = (claim, uuid) {
                let founding = Founding { uuid, size: *size, instead_of: instead_of.as_ref(), at: now };
                claim.record_founding(founding).await?;
            }
        }
        Step::ReleaseLease => {
            if let Some(claim) = claim {
                claim.release().await?;
            }
        }
        Step::TakeLease => {
            if let Some(claim) = claim {
                claim.take(&now).await?;
            }
        }
        Step::Refuse(_) | Step::Settled | Step::Wait(_) => {}
    }
    Ok(())
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor").field("bind_address", &self.bind_address).finish_non_exhaustive()
    }
}
