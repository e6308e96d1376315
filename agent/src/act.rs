//! I/O out: carries a step out. One match, no choices.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_core::decide::{IdentitySource, Step};
use agent_core::facts::{Digest, MaintenanceMode, VolumeNote};
use agent_core::shards::came_empty;
use thiserror::Error;
use tokio::time::Instant;

use crate::couch::{Couch, CouchError, Holder, Survey, Surveyed};
use crate::kubernetes::{Claim, Founding, LeaseError, RecordError};
use crate::observe::Directory;

/// What steps are carried out with.
#[derive(Clone)]
pub struct Hand {
    /// The client for CouchDB.
    pub couch: Arc<Couch>,
    /// Where everybody is.
    pub directory: Directory,
    /// What enable_cluster makes CouchDB listen on.
    pub bind_address: String,
    /// The hand on the StatefulSet's Lease, if Kubernetes is asked.
    pub claim: Option<Claim>,
    /// How far the comparison of shards has come, so that it need not begin anew each second. Nothing is decided by it.
    pub survey: Arc<Mutex<Option<Survey>>>,
}

/// Why a step failed.
#[derive(Debug, Error)]
pub enum ActError {
    /// CouchDB didn't do it.
    #[error(transparent)]
    Couch(#[from] CouchError),
    /// The Lease was not to be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// It takes longer.
    #[error("{0}")]
    NotYet(Progress),
    /// Kubernetes didn't do it.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// How far a step has come that takes several rounds.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Progress {
    /// This database's copy here lacks documents.
    #[error("'{database}' has {mine} of {theirs} documents here")]
    Behind {
        /// The database.
        database: String,
        /// The documents here, deleted ones included.
        mine: u64,
        /// The documents that the fullest other copies have.
        theirs: u64,
    },
    /// Nobody who answers has another copy of a shard.
    #[error(
        "no member that answers has another copy of some shards of '{database}': nobody knows what is missing here"
    )]
    Unanswered {
        /// The database.
        database: String,
    },
    /// There is more to compare.
    #[error("comparing the databases' shards")]
    Comparing,
}

/// Does what `step` says, on the local CouchDB only; `now` is written down where a time is.
pub async fn act(hand: &Hand, step: &Step, now: String) -> Result<(), ActError> {
    let Hand { couch, directory, bind_address, claim, .. } = hand;
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
        Step::EnterMaintenance => couch.set_maintenance(&local, true).await?,
        Step::Fill { from } => {
            hand.survey(from, false).await?;
            // In this order: who dies in between finds the note, and begins again.
            if couch.standing(&local).await?.mode == MaintenanceMode::On {
                couch.set_maintenance(&local, false).await?;
            }
            couch.write_note(&local, VolumeNote::Complete).await?;
            couch.mark_compared(&local).await?;
        }
        Step::Found => couch.finish_cluster(&local).await?,
        Step::Join(peer) => couch.join(&local, &directory.node(*peer)).await?,
        Step::MakeSessionSecret => couch.make_session_secret(&local).await?,
        Step::NoteFilling => couch.write_note(&local, VolumeNote::Filling).await?,
        Step::CompareVolume { with } => {
            let survey = hand.survey(with, true).await?;
            let empty = came_empty(survey.mine, survey.theirs);
            couch.write_note(&local, if empty { VolumeNote::Filling } else { VolumeNote::Complete }).await?;
            couch.mark_compared(&local).await?;
        }
        Step::RecordFounding { size, instead_of, uuid: decided } => {
            let uuid = couch.uuid(&local).await?;
            // Another one meanwhile: the next round sees it.
            let same = decided.is_none_or(|decided| Digest::of([&uuid]) == decided);
            if let Some(claim) = claim.as_ref().filter(|_| same) {
                claim
                    .record(Founding { uuid, size: *size, instead_of: instead_of.as_ref(), at: now })
                    .await?;
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

impl Hand {
    /// Goes on comparing the shards here with those of `others`, for about [`SLICE`]; the outcome once all are through.
    async fn survey(&self, others: &BTreeSet<u32>, counts_on: bool) -> Result<Survey, ActError> {
        let Self { couch, directory, .. } = self;
        let me = Holder { name: directory.node(directory.me.pod().ordinal()), base: directory.local() };
        let holder = |ordinal: &u32| {
            let peer = directory.me.sibling(*ordinal).ok()?;
            Some(Holder { name: directory.node(*ordinal), base: directory.peer(&peer) })
        };
        let others: Vec<Holder> = others.iter().filter_map(holder).collect();
        let begun = self.kept().take().filter(|survey| survey.counts_on == counts_on);
        let mut survey = begun.unwrap_or_else(|| Survey::new(counts_on));
        let end = Instant::now() + SLICE;
        loop {
            let surveyed = couch.survey(&me, &others, &mut survey).await;
            let progress = match surveyed.inspect_err(|_| *self.kept() = Some(survey.clone()))? {
                Surveyed::Through => return Ok(survey),
                Surveyed::More if Instant::now() < end => continue,
                Surveyed::More => Progress::Comparing,
                Surveyed::Behind { database, mine, theirs } => {
                    couch.sync_shards(&me.base, &database).await?;
                    Progress::Behind { database, mine, theirs }
                }
                Surveyed::Unanswered { database } => Progress::Unanswered { database },
            };
            *self.kept() = Some(survey);
            return Err(ActError::NotYet(progress));
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Survey>> {
        self.survey.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent looks around again after so long, also when there are 10,000 databases to compare.
const SLICE: Duration = Duration::from_secs(1);

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hand").field("directory", &self.directory).finish_non_exhaustive()
    }
}
