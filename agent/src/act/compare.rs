//! Reads the pages and counts that a comparison of shards asks for.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_core::facts::VolumeNote;
use agent_core::shards::{Compared, LocalShard, Next, OtherCopy, Purpose, ShardCounts, Survey, local_shards};
use futures::future::try_join_all;
use tokio::time::Instant;

use super::actor::Actor;
use super::error::{ActError, Progress};
use crate::couch::{Couch, CouchError};
use crate::observe::Directory;

/// Another node that holds copies.
#[derive(Clone, Debug)]
struct Holder {
    /// Its name in shard maps.
    name: String,
    /// Its base URL.
    base: String,
    /// The note on its volume.
    note: VolumeNote,
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
        let mut kept = self.survey.lock().await;
        let mut survey =
            kept.take().filter(|survey| survey.purpose() == purpose).unwrap_or_else(|| Survey::new(purpose));
        // After a failed call, too, the comparison goes on where it stopped.
        let error = match holders.compare_for(SLICE, &mut survey).await {
            Ok(None) => return Ok(survey),
            Ok(Some(progress)) => ActError::NotYet(progress),
            Err(error) => error.into(),
        };
        *kept = Some(survey);
        Err(error)
    }
}

impl<'a> Holders<'a> {
    /// Reads the notes of the nodes `with`: a copy that may be incomplete proves less than a complete one.
    async fn ask(couch: &'a Couch, directory: &Directory, with: &BTreeSet<u32>) -> Result<Self, CouchError> {
        let mut others = vec![];
        for &ordinal in with {
            if let Ok(peer) = directory.me.sibling(ordinal) {
                let base = directory.peer(&peer);
                let note = couch.note(&base).await?;
                others.push(Holder { name: directory.node(ordinal), base, note });
            }
        }
        let me = directory.node(directory.me.pod().ordinal());
        Ok(Self { couch, me, base: directory.local(), others })
    }

    /// Compares pages until `slice` is over or a database is incomplete; `None` if nothing is left to compare.
    async fn compare_for(
        &self,
        slice: Duration,
        survey: &mut Survey,
    ) -> Result<Option<Progress>, CouchError> {
        let end = Instant::now() + slice;
        loop {
            let page = self.couch.maps_page(&self.base, survey.next_page()).await?;
            survey.begin_page(page.total_rows);
            if page.rows.is_empty() {
                return Ok(None);
            }
            for row in &page.rows {
                let Some(map) = row.map() else {
                    survey.pass(&row.id);
                    continue;
                };
                let counted = self.count_all(local_shards(map, &row.id, &self.me)).await?;
                if let (compared, Next::Stop) = survey.compare(&row.id, &counted) {
                    return Ok(Some(self.replicate(row.id.clone(), compared).await?));
                }
            }
            if Instant::now() >= end {
                return Ok(Some(Progress::Comparing));
            }
        }
    }

    /// Counts the documents in all copies of these shards.
    async fn count_all(&self, shards: Vec<LocalShard>) -> Result<Vec<(LocalShard, ShardCounts)>, CouchError> {
        let mut counted = Vec::with_capacity(shards.len());
        for some in shards.chunks(AT_ONCE) {
            let counts = try_join_all(some.iter().map(|shard| self.count(shard))).await?;
            counted.extend(some.iter().cloned().zip(counts));
        }
        Ok(counted)
    }

    async fn count(&self, shard: &LocalShard) -> Result<ShardCounts, CouchError> {
        let mut theirs = vec![];
        for other in self.others.iter().filter(|other| shard.holders.contains(&other.name)) {
            let documents = self.couch.documents(&other.base, &shard.file).await?;
            theirs.push(OtherCopy { documents, note: other.note });
        }
        // The local count last: documents that arrive meanwhile must not make the copy seem behind.
        let mine = self.couch.documents(&self.base, &shard.file).await?;
        Ok(ShardCounts { mine, theirs })
    }

    /// Starts replication of a database that was found behind.
    async fn replicate(&self, database: String, compared: Compared) -> Result<Progress, CouchError> {
        let Compared::Behind { mine, theirs } = compared else {
            return Ok(Progress::Unanswered { database });
        };
        self.couch.sync_shards(&self.base, &database).await?;
        Ok(Progress::Behind { database, mine, theirs })
    }
}

/// The agent observes again after this time, even with 10,000 databases to compare.
const SLICE: Duration = Duration::from_secs(1);
/// Shards of one database that are counted at the same time.
const AT_ONCE: usize = 8;
