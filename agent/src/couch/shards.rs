//! Shards: who holds which, how full each copy is, and how to ask for one more.

use std::collections::BTreeMap;

use futures::future::join_all;
use reqwest::StatusCode;
use serde::Deserialize;

use super::maps::{MapRow, encoded};
use super::{Couch, CouchError};

/// A node that holds copies.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Its name, as shard maps have it.
    pub name: String,
    /// Its base URL.
    pub base: String,
}

/// How far a comparison of one node's shards with all other copies has come. It goes page by page through the node's
/// `_dbs`, so it takes as much memory for 10,000 databases as for ten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Whether to stop at the first database that lacks something, or to count on.
    pub counts_on: bool,
    /// The last database that was compared.
    after: Option<String>,
    /// The rows that are left out between two pages.
    skip: u64,
    /// Of the next database, where it lacked something before: what the others held of each shard then. Where somebody
    /// writes all the time, a copy that takes part in no write is always some documents behind.
    goals: BTreeMap<String, u64>,
    /// The documents in this node's shards so far, deleted ones included.
    pub mine: u64,
    /// What the fullest other copies of the same shards held, read before mine.
    pub theirs: u64,
}

/// What a page showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Surveyed {
    /// This database's copy here lacks documents that another copy had before.
    Behind {
        /// The database.
        database: String,
        /// The documents here.
        mine: u64,
        /// The documents there.
        theirs: u64,
    },
    /// There are further pages.
    More,
    /// Everything was compared.
    Through,
    /// No other holder of a shard of this database answers, so nobody knows what the copy here lacks.
    Unanswered {
        /// The database.
        database: String,
    },
}

impl Survey {
    /// One that begins.
    pub fn new(counts_on: bool) -> Self {
        Self { counts_on, ..Self::default() }
    }
}

impl Couch {
    /// Compares the next page of shards at `me` with those of whichever `others` hold them too. A database that was found
    /// behind is compared with what the others held then, however much has been written since.
    ///
    /// The sum of living and deleted documents only ever grows, but for purges, so a copy that has as many as another
    /// one had before lacks none of them. The backlog that CouchDB tells is no proof: it is 0 before a sync begins.
    pub async fn survey(
        &self,
        me: &Holder,
        others: &[Holder],
        survey: &mut Survey,
    ) -> Result<Surveyed, CouchError> {
        let maps = self.maps_after(&me.base, survey.after.as_deref(), survey.skip, PAGE).await?;
        // What is only to tell an empty volume from a full one needs no more than a sample of many databases.
        survey.skip =
            if survey.counts_on { (maps.total_rows / SAMPLE).saturating_sub(1) * PAGE as u64 } else { 0 };
        for map in &maps.rows {
            match self.compare(me, others, survey, map).await? {
                Some(found) if !survey.counts_on => return Ok(found),
                Some(_) | None => survey.after = Some(map.id.clone()),
            }
        }
        Ok(if maps.rows.is_empty() { Surveyed::Through } else { Surveyed::More })
    }

    /// What hinders one database here from being whole.
    async fn compare(
        &self,
        me: &Holder,
        others: &[Holder],
        survey: &mut Survey,
        row: &MapRow,
    ) -> Result<Option<Surveyed>, CouchError> {
        let Some(map) = row.map() else { return Ok(None) };
        let database = || row.id.clone();
        let shards = map.by_range.iter().filter(|(_, holders)| holders.contains(&me.name));
        let shards: Vec<_> = shards.map(|(range, holders)| (map.shard(&row.id, range), holders)).collect();
        let (mut here, mut there, mut goals) = (0, 0, BTreeMap::new());
        for some in shards.chunks(AT_ONCE) {
            let compared = some.iter().map(|(shard, holders)| self.compare_shard(me, others, shard, holders));
            for ((shard, _), compared) in some.iter().zip(join_all(compared.collect::<Vec<_>>()).await) {
                match compared? {
                    (_, None) => return Ok(Some(Surveyed::Unanswered { database: database() })),
                    (mine, Some(theirs)) => {
                        let goal = survey.goals.get(shard).map_or(theirs, |before| theirs.min(*before));
                        here += mine.min(goal);
                        there += goal;
                        goals.insert(shard.clone(), goal);
                    }
                }
            }
        }
        survey.goals = if here < there { goals } else { BTreeMap::new() };
        // Shard by shard: a full one must not make up for an empty one.
        survey.mine += here;
        survey.theirs += there;
        Ok((here < there).then(|| Surveyed::Behind { database: database(), mine: here, theirs: there }))
    }

    /// The documents in a shard here, and in the fullest other copy; none where there are others and none answers.
    async fn compare_shard(
        &self,
        me: &Holder,
        others: &[Holder],
        shard: &str,
        holders: &[String],
    ) -> Result<(u64, Option<u64>), CouchError> {
        let mut theirs = (holders.len() < 2).then_some(0);
        for other in others.iter().filter(|other| holders.contains(&other.name)) {
            theirs = theirs.max(Some(self.documents(&other.base, shard).await?));
        }
        Ok((self.documents(&me.base, shard).await?, theirs))
    }

    /// The documents in one copy of a shard, deleted ones included. A file that isn't there holds none.
    async fn documents(&self, base: &str, shard: &str) -> Result<u64, CouchError> {
        #[derive(Deserialize)]
        struct Info {
            doc_count: u64,
            doc_del_count: u64,
        }
        match self.transport.get::<Info>(base, &format!("/_node/_local/{}", encoded(shard))).await {
            Ok(Info { doc_count, doc_del_count }) => Ok(doc_count + doc_del_count),
            Err(CouchError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// So many databases are compared, and up to twice as many: of 10,000 that is 3,000 questions and not 60,000.
const SAMPLE: u64 = 500;
/// Maps in one answer: each has some 500 bytes for each range and copy.
const PAGE: usize = 50;
/// The shards of one database that are asked for at the same time.
const AT_ONCE: usize = 8;
