//! Reads the pages, counts and checkpoints that a comparison of shards asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::decide::{is_remembered, is_stalled};
use agent_core::facts::{Stalled, VolumeNote, WriteFailure};
use agent_core::shards::{
    Compared, LocalShard, Next, OtherCopy, Purpose, ShardState, Survey, reads_properties, sync_is_due,
};
use contract::error::chain;
use futures::future::{join_all, try_join_all};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::actor::Actor;
use super::comparison::{Comparison, States};
use super::error::{ActError, Progress};
use crate::couch::{Couch, CouchError, FileAt};
use crate::observe::Directory;

/// Another node that holds copies.
#[derive(Clone, Debug)]
struct Holder {
    /// Its name in shard maps.
    name: String,
    /// Its base URL; that of a member outside of the StatefulSet is its name.
    base: String,
    /// The note on its volume.
    note: VolumeNote,
    place: Place,
}

/// The place of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A pod of the StatefulSet.
    Pod,
    /// Outside of the StatefulSet: only the local node may be asked about it.
    Outside,
}

/// The nodes of one comparison.
struct Holders<'a> {
    couch: &'a Couch,
    /// The local node's name in shard maps.
    me: String,
    /// The local node's base URL.
    base: String,
    others: Vec<Holder>,
}

impl Actor {
    /// Continues the comparison of the local shards with those of the nodes `with`, for about [`SLICE`]. Returns the
    /// survey once all databases have been compared.
    pub(super) async fn compare(
        &self,
        directory: &Directory,
        with: &BTreeSet<u32>,
        purpose: Purpose,
    ) -> Result<Survey, ActError> {
        let holders = Holders::ask(&self.couch, directory, with).await?;
        let mut kept = self.comparison.lock().await;
        let begun = kept.take().filter(|comparison| comparison.survey.purpose() == purpose);
        let mut comparison = begun.unwrap_or_else(|| Comparison::new(purpose));
        // After a failed call, too, the comparison goes on where it stopped.
        let error = match holders.compare_for(SLICE, &mut comparison).await {
            Ok(None) => return Ok(comparison.survey),
            Ok(Some(progress)) => ActError::NotYet(progress),
            Err(error) => error.into(),
        };
        *kept = Some(comparison);
        Err(error)
    }

    /// The standstill of the comparison, if it has lasted for long.
    pub async fn stalled(&self) -> Option<Stalled> {
        let kept = self.comparison.lock().await;
        let comparison = kept.as_ref()?;
        let (last, since) = comparison.last.as_ref()?;
        let database = last.database.clone();
        is_stalled(since.elapsed()).then(|| Stalled { database, write_error: comparison.write_error.clone() })
    }

    /// Replicates once more, and sets what single files have no interface for, after the node was opened.
    ///
    /// A failure leaves the node open: what it missed arrives by CouchDB's own replication.
    pub(super) async fn complete_opening(&self, base: &str, survey: &Survey) {
        for some in survey.last_pass().chunks(AT_ONCE) {
            for synced in join_all(some.iter().map(|database| self.couch.sync_shards(base, database))).await {
                if let Err(error) = synced {
                    debug!(error = chain(&error), "failed to replicate a database after opening the node");
                }
            }
        }
        for (database, limit) in survey.purge_limits() {
            if let Err(error) = self.couch.set_purge_limit(base, database, *limit).await {
                warn!(database, limit, error = chain(&error), "failed to set _purged_infos_limit");
            }
        }
    }

    /// Notes on the local volume which volumes the nodes `with` have, so that their loss can be detected.
    pub(super) async fn remember_volumes(
        &self,
        directory: &Directory,
        with: &BTreeSet<u32>,
    ) -> Result<(), ActError> {
        let before = &self.couch.remembered_volumes(&directory.local()).await?;
        let peers = with.iter().filter_map(|ordinal| Some((*ordinal, directory.me.sibling(*ordinal).ok()?)));
        let found = try_join_all(peers.map(|(ordinal, peer)| async move {
            let (name, base) = (directory.node(ordinal), directory.peer(&peer));
            let Some(volume) = self.couch.volume(&base).await? else { return Ok(None) };
            let note = self.couch.note(&base).await?.state;
            let is_remembered = is_remembered(before.get(&name).map(String::as_str), &volume, note);
            Ok::<_, CouchError>(is_remembered.then_some((name, volume)))
        }))
        .await?;
        let volumes: BTreeMap<String, String> = found.into_iter().flatten().collect();
        Ok(self.couch.remember_volumes(&directory.local(), volumes).await?)
    }
}

impl<'a> Holders<'a> {
    /// Reads the notes of the nodes `with`: a copy that may be incomplete proves less than a complete one.
    async fn ask(couch: &'a Couch, directory: &Directory, with: &BTreeSet<u32>) -> Result<Self, CouchError> {
        let mut others = vec![];
        for &ordinal in with {
            if let Ok(peer) = directory.me.sibling(ordinal) {
                let base = directory.peer(&peer);
                let note = couch.note(&base).await?.state;
                others.push(Holder { name: directory.node(ordinal), base, note, place: Place::Pod });
            }
        }
        // No agent runs beside the others, so their volumes have no note.
        let colleagues = directory.colleagues.iter();
        others.extend(colleagues.map(|name| Holder {
            name: name.clone(),
            base: name.clone(),
            note: VolumeNote::None,
            place: Place::Outside,
        }));
        let me = directory.node(directory.me.pod().ordinal());
        Ok(Self { couch, me, base: directory.local(), others })
    }

    /// Compares pages until `slice` is over or a database is incomplete; `None` if nothing is left to compare.
    async fn compare_for(
        &self,
        slice: Duration,
        comparison: &mut Comparison,
    ) -> Result<Option<Progress>, CouchError> {
        let end = Instant::now() + slice;
        loop {
            let page = self.couch.maps_page(&self.base, comparison.survey.next_page()).await?;
            comparison.survey.begin_page(page.total_rows);
            if page.rows.is_empty() {
                return Ok(None);
            }
            for row in &page.rows {
                let Some(map) = row.map() else {
                    comparison.survey.pass(&row.id);
                    continue;
                };
                let shards = map.local_shards(&row.id, &self.me);
                if let Some(progress) = self.compare_database(comparison, &row.id, shards).await? {
                    return Ok(Some(progress));
                }
            }
            if Instant::now() >= end {
                return Ok(Some(Progress::Comparing));
            }
        }
    }

    /// Compares one database; the reason to stop there, if it is incomplete.
    async fn compare_database(
        &self,
        comparison: &mut Comparison,
        database: &str,
        shards: Vec<LocalShard>,
    ) -> Result<Option<Progress>, CouchError> {
        let purpose = comparison.survey.purpose();
        // Before the goals are read, so that they never seem newer than they are.
        let now = comparison.begun.elapsed();
        let mut states = self.read_all(shards, purpose).await?;
        // Properties are read once: while documents are missing, they decide nothing.
        if purpose == Purpose::Completeness && !comparison.survey.is_behind(&states, now) {
            self.read_all_properties(comparison, database, &mut states).await?;
        }
        let (compared, Next::Stop) = comparison.survey.compare(database, &states, now) else {
            return Ok(None);
        };
        let database = database.to_owned();
        Ok(Some(match compared {
            Compared::Behind { mine, theirs } => {
                if comparison.observe(&database, &states) {
                    comparison.write_error = self.try_to_write().await;
                }
                self.replicate(comparison, &database).await?;
                Progress::Behind { database, mine, theirs }
            }
            Compared::Differs(repairs) => {
                for repair in repairs {
                    self.couch.set_property(self.local(&repair.file), &repair.property).await?;
                }
                Progress::Properties { database }
            }
            Compared::Unanswered | Compared::Complete => Progress::Unanswered { database },
        }))
    }

    fn local<'f>(&'f self, file: &'f str) -> FileAt<'f> {
        FileAt { base: &self.base, node: "_local", file }
    }

    /// Reads the states of all copies of these shards.
    async fn read_all(&self, shards: Vec<LocalShard>, purpose: Purpose) -> Result<States, CouchError> {
        let mut read = Vec::with_capacity(shards.len());
        for some in shards.chunks(AT_ONCE) {
            let states = try_join_all(some.iter().map(|shard| self.read(shard, purpose))).await?;
            read.extend(some.iter().cloned().zip(states));
        }
        Ok(read)
    }

    async fn read(&self, shard: &LocalShard, purpose: Purpose) -> Result<ShardState, CouchError> {
        // The uuid of the local file, which the other copies' checkpoints name.
        let mut mine = self.couch.file_state(self.local(&shard.file)).await?;
        let indices = 0..shard.others.len();
        let theirs = indices.filter_map(|index| Some((index, self.file_of(shard, index)?)));
        let theirs = try_join_all(
            theirs.map(|(index, file)| self.read_other(shard, index, file, mine.uuid.as_deref())),
        );
        let theirs: Vec<OtherCopy> = theirs.await?.into_iter().flatten().collect();
        if purpose == Purpose::Volume {
            // Counted last: documents that arrive meanwhile must not make the copy seem behind.
            mine = self.couch.file_state(self.local(&shard.file)).await?;
        }
        Ok(ShardState { mine, theirs })
    }

    async fn read_other(
        &self,
        shard: &LocalShard,
        index: usize,
        (holder, file): (&Holder, &str),
        mine: Option<&str>,
    ) -> Result<Option<OtherCopy>, CouchError> {
        let at = FileAt { base: &holder.base, node: "_local", file };
        let state = self.couch.file_state(at).await?;
        let Some(mut copy) = OtherCopy::new(shard, index, holder.note, state) else { return Ok(None) };
        // Most shards of many databases are empty: nothing more is asked about them.
        if copy.state.update_seq == 0 {
            return Ok(Some(copy));
        }
        if let Some(mine) = mine {
            copy.checkpoint = self.couch.checkpoint(at, mine).await?;
            if let Some(source) = copy.state.uuid.as_deref().filter(|_| copy.state.purge_seq > 0) {
                copy.purge_checkpoint = self.couch.purge_checkpoint(at, source, mine).await?;
            }
        }
        // A checkpoint that has reached all changes of any kind has reached those of documents.
        copy.last_change = match copy.checkpoint {
            reached if reached >= copy.state.update_seq => reached,
            _ => self.couch.last_change(at).await?,
        };
        Ok(Some(copy))
    }

    async fn read_all_properties(
        &self,
        comparison: &mut Comparison,
        database: &str,
        states: &mut States,
    ) -> Result<(), CouchError> {
        let mut informed = None;
        for (shard, state) in
            states.iter_mut().filter(|(_, state)| reads_properties(&state.mine, &state.theirs))
        {
            state.mine.properties = self.couch.properties(self.local(&shard.file)).await?;
            for copy in &mut state.theirs {
                let Some((holder, file)) = self.file_of(shard, copy.index()) else { continue };
                let at = FileAt { base: &holder.base, node: "_local", file };
                copy.state.properties = self.couch.properties(at).await?;
                if holder.note != VolumeNote::Filling && holder.place == Place::Pod {
                    informed = Some(holder);
                }
            }
        }
        // Only the node itself knows the limit of its copy, and the question contains the password.
        if let Some(holder) = informed.filter(|holder| holder.base.starts_with("https:"))
            && let Some(limit) = self.couch.purge_limit(&holder.base, database).await?
        {
            comparison.survey.found_purge_limit(database, limit);
        }
        Ok(())
    }

    /// The node of an other copy, if it answers, and the copy's file.
    fn file_of<'s>(&'s self, shard: &'s LocalShard, index: usize) -> Option<(&'s Holder, &'s str)> {
        let file = shard.others.get(index)?;
        let holder = self.others.iter().find(|other| other.name == file.node)?;
        Some((holder, file.file.as_str()))
    }

    /// Starts a pass of internal replication, unless one was started a moment ago.
    async fn replicate(&self, comparison: &mut Comparison, database: &str) -> Result<(), CouchError> {
        let last = comparison.synced.as_ref().filter(|(synced, _)| synced == database);
        if sync_is_due(last.map(|(_, at)| at.elapsed())) {
            self.couch.sync_shards(&self.base, database).await?;
            comparison.synced = Some((database.to_owned(), Instant::now()));
        }
        Ok(())
    }

    /// Writes the note on the local volume again. CouchDB reports no free space, but a full disk fails the write.
    async fn try_to_write(&self) -> Option<WriteFailure> {
        let written = async {
            let note = self.couch.note(&self.base).await?;
            self.couch.write_note(&self.base, note).await
        };
        match written.await {
            Err(error) if error.is_about_space() => Some(WriteFailure::NoSpace(chain(&error))),
            Err(error @ CouchError::Refused { .. }) => Some(WriteFailure::Other(chain(&error))),
            Err(_) | Ok(()) => None,
        }
    }
}

/// The agent observes again after this time, even with 10,000 databases to compare.
const SLICE: Duration = Duration::from_secs(1);
/// Calls for shards of one database, or databases, that are sent at the same time.
const AT_ONCE: usize = 8;
