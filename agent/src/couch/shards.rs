//! Shards: who holds which, how full each copy is, and how to ask for one more.

use std::collections::BTreeMap;

use futures::future::join_all;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Couch, CouchError, READ, WRITE};
use crate::step::SystemDatabase;

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

    /// Whether the node came to its cluster without its share of the data, rather than to have been away for a while:
    /// it has less than half of it. Of two nodes not both can have less than half of what the other has, so never do
    /// all holders of a shard find this of themselves. What is less than [`FEW`] documents is brought in a moment, and
    /// a founding's first documents must not seem missing while they are on their way.
    pub fn came_empty(&self) -> bool {
        self.theirs > self.mine.saturating_mul(2) && self.theirs - self.mine > FEW
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
        let Some(map) = row.doc.as_ref().filter(|_| !row.id.starts_with("_design/")) else { return Ok(None) };
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
        match self.get::<Info>(base, &format!("/_node/_local/{}", encoded(shard))).await {
            Ok(Info { doc_count, doc_del_count }) => Ok(doc_count + doc_del_count),
            Err(CouchError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn maps_after(
        &self,
        base: &str,
        after: Option<&str>,
        skip: u64,
        limit: usize,
    ) -> Result<Page, CouchError> {
        let from = after.map_or_else(String::new, |after| {
            // The name that follows: nothing stands between a name and itself with a NUL.
            format!("&startkey={}", encoded(&json!(format!("{after}\0")).to_string()))
        });
        let path = format!(
            "/_node/_local/_dbs/_all_docs?include_docs=true&conflicts=true&limit={limit}&skip={skip}{from}"
        );
        self.get(base, &path).await
    }

    /// Asks all holders of a database to bring their copies in step. Without it a copy that was added to a map stays
    /// empty until the next write.
    pub async fn sync_shards(&self, base: &str, database: &str) -> Result<(), CouchError> {
        let path = format!("/{}/_sync_shards", encoded(database));
        self.send(base, Method::POST, &path, WRITE, |request| request.json(&json!({}))).await.map(drop)
    }

    /// Adds `node` to every range of the database's map, in the node's own `_dbs`. A map that was changed meanwhile is
    /// left as it is (409), and one that has the node already too.
    pub async fn add_copy(&self, base: &str, node: &str, database: SystemDatabase) -> Result<(), CouchError> {
        let path = format!("/_node/_local/_dbs/{}", database.name());
        let map: Map<String, Value> = self.get(base, &path).await?;
        let Some(map) = with_copy(map, node) else { return Ok(()) };
        self.send(base, Method::PUT, &path, READ, |request| request.json(&map)).await?;
        self.sync_shards(base, database.name()).await
    }
}

/// The map with `node` as a holder of every range; nothing where it is one already. Pure.
fn with_copy(mut map: Map<String, Value>, node: &str) -> Option<Map<String, Value>> {
    let mut added = vec![];
    for (range, holders) in map.get_mut("by_range")?.as_object_mut()? {
        let holders = holders.as_array_mut()?;
        if !holders.iter().any(|holder| holder == node) {
            holders.push(node.into());
            added.push(range.clone());
        }
    }
    if added.is_empty() {
        return None;
    }
    let ranges = map.get_mut("by_node")?.as_object_mut()?.entry(node).or_insert_with(|| json!([]));
    ranges.as_array_mut()?.extend(added.iter().map(|range| json!(range)));
    let changes = added.iter().map(|range| json!(["add", range, node]));
    map.get_mut("changelog")?.as_array_mut()?.extend(changes);
    Some(map)
}

#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) total_rows: u64,
    pub(super) rows: Vec<MapRow>,
}

#[derive(Deserialize)]
pub(super) struct MapRow {
    pub(super) id: String,
    pub(super) doc: Option<ShardMap>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ShardMap {
    pub(super) by_range: BTreeMap<String, Vec<String>>,
    #[serde(rename = "_conflicts")]
    pub(super) conflicts: Vec<String>,
    shard_suffix: Vec<u8>,
}

impl ShardMap {
    /// The name of a shard's file: `shards/00000000-7fffffff/orders.1795221185`.
    fn shard(&self, database: &str, range: &str) -> String {
        format!("shards/{range}/{database}{}", String::from_utf8_lossy(&self.shard_suffix))
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// In documents; CouchDB was seen to bring some 3,500 a second to an empty copy.
const FEW: u64 = 200;
/// So many databases are compared, and up to twice as many: of 10,000 that is 3,000 questions and not 60,000.
const SAMPLE: u64 = 500;
/// Maps in one answer: each has some 500 bytes for each range and copy.
const PAGE: usize = 50;
/// The shards of one database that are asked for at the same time.
const AT_ONCE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_copy_is_added_to_each_range_on_both_sides_of_the_map_and_nothing_else_changes() {
        let before = r#"{"_id":"_users","_rev":"1-a","shard_suffix":[46,49],"changelog":[["add","0-7","a"],["add","8-f","a"]],"by_node":{"a":["0-7","8-f"]},"by_range":{"0-7":["a"],"8-f":["a"]},"props":{"x":1}}"#;
        let after = r#"{"_id":"_users","_rev":"1-a","shard_suffix":[46,49],"changelog":[["add","0-7","a"],["add","8-f","a"],["add","0-7","b"],["add","8-f","b"]],"by_node":{"a":["0-7","8-f"],"b":["0-7","8-f"]},"by_range":{"0-7":["a","b"],"8-f":["a","b"]},"props":{"x":1}}"#;
        assert_eq!(with_copy(map(before), "b"), Some(map(after)));
        assert_eq!(with_copy(map(after), "b"), None, "has it already");
        assert_eq!(with_copy(map(r#"{"by_range":{"0-7":"?"}}"#), "b"), None, "not a map that we know");
    }

    #[test]
    fn who_has_less_than_half_came_empty() {
        let came_empty = |mine, theirs| Survey { mine, theirs, ..Survey::default() }.came_empty();
        assert!(came_empty(0, 60_000) && came_empty(20_000, 60_000));
        assert!(!came_empty(31_000, 60_000), "was away for a while");
        assert!(!came_empty(0, 100), "brought in a moment");
        assert!(!came_empty(0, 0));
    }

    #[test]
    fn a_shard_is_called_as_its_file() {
        let text = r#"{"by_range":{"00000000-7fffffff":["a"]},"shard_suffix":[46,49,55]}"#;
        let map: ShardMap = serde_json::from_str(text).unwrap();
        assert_eq!(map.shard("a/b", "00000000-7fffffff"), "shards/00000000-7fffffff/a/b.17");
    }
}
