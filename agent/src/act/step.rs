//! One match without choices: what to do was decided before, from facts.

use agent_core::decide::{IdentitySource, Step, recorded_uuid};
use agent_core::facts::{MaintenanceMode, SystemDatabase, VolumeNote};
use agent_core::shards::Purpose;

use super::actor::Actor;
use super::error::ActError;
use crate::couch::Note;
use crate::kubernetes::Founding;
use crate::observe::Directory;

/// Carries `step` out, on the local CouchDB or the Lease only. `now` is the current time, RFC 3339.
pub async fn act(actor: &Actor, directory: &Directory, step: &Step, now: String) -> Result<(), ActError> {
    let Actor { couch, bind_address, claim, .. } = actor;
    let local = directory.local();
    match step {
        Step::AddCopies(databases) => {
            for database in databases {
                actor.add_copy(&local, &directory.node(directory.me.pod().ordinal()), *database).await?;
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
            let survey = actor.compare(directory, from, Purpose::Completeness).await?;
            // The note after everything else: an agent that ends in between finds the old note, and compares again.
            couch.end_maintenance(&local).await?;
            actor.complete_opening(&local, &survey).await;
            let disagreeing = survey.disagreeing().clone();
            couch.write_note(&local, Note { state: VolumeNote::Complete, first: false, disagreeing }).await?;
            actor.remember_volumes(directory, from).await?;
            couch.mark_compared(&local).await?;
        }
        Step::Found => couch.finish_cluster(&local).await?,
        Step::Join(peer) => couch.join(&local, &directory.node(*peer)).await?,
        Step::MakeSessionSecret => couch.make_session_secret(&local).await?,
        Step::Move { task, nodes } => actor.advance_moves(directory, task, nodes, &now).await?,
        Step::NoteFilling => {
            let Note { state, first, .. } = couch.note(&local).await?;
            let first = first || state == VolumeNote::None;
            let note = Note { state: VolumeNote::Filling, first, ..Note::default() };
            couch.write_note(&local, note).await?;
        }
        Step::CompareVolume { with } => {
            let survey = actor.compare(directory, with, Purpose::Volume).await?;
            let Note { state, first, disagreeing } = couch.note(&local).await?;
            let first = state == VolumeNote::None || first;
            let state = survey.note();
            let first = first && state == VolumeNote::Filling;
            couch.write_note(&local, Note { state, first, disagreeing }).await?;
            if state == VolumeNote::Complete {
                actor.remember_volumes(directory, with).await?;
            }
            couch.mark_compared(&local).await?;
        }
        Step::RecordFounding { size, instead_of, uuid: decided } => {
            // Read again: a node that restarted since the decision has generated another uuid.
            let uuid = recorded_uuid(couch.uuid(&local).await?, *decided);
            if let (Some(claim), Some(uuid)) = (claim, uuid) {
                let founding = Founding { uuid, size: *size, instead_of: instead_of.as_ref(), at: now };
                claim.record_founding(founding).await?;
            }
        }
        Step::RemoveEmptyDatabases => {
            let me = directory.node(directory.me.pod().ordinal());
            for database in SystemDatabase::ALL {
                couch.remove_if_empty(&local, &me, database).await?;
            }
        }
        Step::Readmit(node) => couch.join(&local, &directory.node(*node)).await?,
        Step::RemoveMember(node) => actor.remove_member(directory, *node).await?,
        Step::SetZone(zone) => {
            let me = directory.node(directory.me.pod().ordinal());
            couch.set_zone(&local, &me, zone).await?;
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
