//! Shard maps: the documents of a node's `_dbs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use agent_core::facts::{BrokenMaps, LostRanges, NamedDatabases, SystemDatabase};
use agent_core::moves::{Demands, Document};
use agent_core::shards::{PageRequest, ShardMap};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value, json};

use super::client::{Couch, PAGE};
use super::error::CouchError;
use super::transport::{READ_TIMEOUT, WRITE_TIMEOUT};

impl Couch {
    /// The node's own list of databases, in one call: `total_rows` counts all of them, and only system databases have
    /// names that begin with an underscore. Uses and extends the session at the node, if there is one.
    pub async fn databases(&self, base: &str) -> Result<Databases, CouchError> {
        let path = "/_node/_local/_dbs/_all_docs?startkey=%22_%22&endkey=%22_z%22&include_docs=true";
        let maps = match self.transport.get_by_session(SYSTEM_MAPS, base, path).await {
            Some(answered) => answered,
            None => self.transport.get_up_to::<SystemMaps>(SYSTEM_MAPS, base, path).await,
        };
        maps.map(Databases::from)
    }

    /// The maps of all databases that have a problem or a single copy; `members` are the names of all nodes that may hold a
    /// copy. Counts the same maps in `demands`, where the caller needs them.
    pub async fn check_maps(
        &self,
        base: &str,
        members: &BTreeSet<String>,
        demands: Option<&mut Demands<'_>>,
    ) -> Result<MapFindings, CouchError> {
        let mut found = MapFindings::default();
        let Some(demands) = demands else {
            self.for_each_map(base, |database, map| found.add(database, map, members)).await?;
            return Ok(found);
        };
        // Whole documents take several times as much memory, so only the agent that leads moves reads them.
        self.for_each_document(base, |database, WholeMap { map, document }| {
            found.add(database, &map, members);
            if let Some(document) = Document::parse(database, document) {
                demands.add(&document);
            }
        })
        .await?;
        Ok(found)
    }

    /// The ranges of which the node called `me` is the only holder.
    pub async fn ranges_held_only_by(&self, base: &str, me: &str) -> Result<LostRanges, CouchError> {
        let mut only = LostRanges::default();
        self.for_each_map(base, |database, map| {
            let ranges = map.held_only_by(me);
            if !ranges.is_empty() {
                only.add(database, ranges);
            }
        })
        .await?;
        Ok(only)
    }

    /// The number of databases of which the node called `name` holds a copy, by the shard maps.
    pub async fn databases_on(&self, base: &str, name: &str) -> Result<u64, CouchError> {
        let mut count = 0;
        self.for_each_map(base, |_, map| {
            let is_holder = map.by_range.values().flatten().any(|holder| holder == name);
            count += u64::from(is_holder);
        })
        .await?;
        Ok(count)
    }

    async fn for_each_map(
        &self,
        base: &str,
        mut each: impl FnMut(&str, &ShardMap),
    ) -> Result<(), CouchError> {
        self.for_each_document(base, |database, map| each(database, &map)).await
    }

    /// Reads `_dbs` in pages, without its design documents: 10,000 databases take about 20 calls.
    pub(super) async fn for_each_document<D: DeserializeOwned>(
        &self,
        base: &str,
        mut each: impl FnMut(&str, D),
    ) -> Result<(), CouchError> {
        let mut after: Option<String> = None;
        loop {
            let page = PageRequest { after: after.as_deref(), skip: 0, limit: PAGE };
            let MapPage { rows, limit, .. } = self.page::<D>(base, page).await?;
            let last = rows.last().filter(|_| rows.len() == limit).map(|row| row.id.clone());
            for MapRow { id, doc } in rows.into_iter().filter(MapRow::is_of_a_database) {
                if let Some(doc) = doc {
                    each(&id, doc);
                }
            }
            if last.is_none() {
                return Ok(());
            }
            after = last;
        }
    }

    /// The shard map of one database, by the node's own `_dbs`.
    pub(crate) async fn map(&self, base: &str, database: &str) -> Result<Map<String, Value>, CouchError> {
        self.transport.get_up_to(SYSTEM_MAPS, base, &map_path(database)).await
    }

    /// One page of the node's shard maps. A page that is too long is halved until it fits: a map of 256 ranges has about
    /// 200 kB.
    pub(crate) async fn maps_page(&self, base: &str, page: PageRequest<'_>) -> Result<MapPage, CouchError> {
        self.page(base, page).await
    }

    async fn page<D: DeserializeOwned>(
        &self,
        base: &str,
        page: PageRequest<'_>,
    ) -> Result<MapPage<D>, CouchError> {
        let PageRequest { after, skip, limit } = page;
        let from = after.map_or_else(String::new, |after| {
            // The smallest key behind the name: no other name sorts between a name and itself with a NUL.
            format!("&startkey={}", encoded(&json!(format!("{after}\0")).to_string()))
        });
        // The length that fitted last is a good guess for the next page of the same list.
        let fitted = if after.is_none() { limit } else { self.fitting_page.load(Ordering::Relaxed) };
        let mut limit = limit.min(fitted).max(1);
        loop {
            let path = format!(
                "/_node/_local/_dbs/_all_docs?include_docs=true&conflicts=true&limit={limit}&skip={skip}{from}"
            );
            match self.transport.get_up_to(MAPS, base, &path).await {
                Err(CouchError::TooLong { .. }) if limit > 1 => limit /= 2,
                Ok(PageAnswer { total_rows, rows }) => {
                    self.fitting_page.store(limit, Ordering::Relaxed);
                    return Ok(MapPage { total_rows, rows, limit });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// `true` if the database contains nothing but design documents.
    pub async fn is_empty(&self, base: &str, database: SystemDatabase) -> Result<bool, CouchError> {
        #[derive(Deserialize)]
        struct Rows {
            rows: Vec<IgnoredAny>,
        }
        // The keys before and behind those of design documents.
        for keys in ["endkey=%22_design%2F%22&inclusive_end=false", "startkey=%22_design0%22"] {
            let path = format!("/{}/_all_docs?limit=1&{keys}", database.name());
            let Rows { rows } = self.transport.get(base, &path).await?;
            if !rows.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes a system database if it is empty and only the node `me` holds it, by a look right before.
    pub async fn remove_if_empty(
        &self,
        base: &str,
        me: &str,
        database: SystemDatabase,
    ) -> Result<(), CouchError> {
        let alone = self.listed(base).await? == [me];
        let held = self.databases(base).await?.system.remove(&database);
        if !alone || !held.is_some_and(|held| held.is_only_on(me)) || !self.is_empty(base, database).await? {
            return Ok(());
        }
        let path = format!("/{}", database.name());
        self.transport.send(base, Method::DELETE, &path, WRITE_TIMEOUT, |request| request).await.map(drop)
    }

    /// Makes all holders of a database replicate their shards to each other. Without it a copy that was added to a map stays
    /// empty until the next write.
    pub async fn sync_shards(&self, base: &str, database: &str) -> Result<(), CouchError> {
        self.transport.post(base, &format!("/{}/_sync_shards", encoded(database)), &json!({})).await
    }

    /// Replaces the shard map of a database in the node's own `_dbs`, unless it was changed in between (409).
    pub(crate) async fn put_map(
        &self,
        base: &str,
        database: &str,
        map: &Map<String, Value>,
    ) -> Result<(), CouchError> {
        let path = map_path(database);
        self.transport.send(base, Method::PUT, &path, READ_TIMEOUT, |request| request.json(map)).await?;
        Ok(())
    }
}

fn map_path(database: &str) -> String {
    format!("/_node/_local/_dbs/{}", encoded(database))
}

/// The findings in the shard maps of all databases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapFindings {
    /// Maps that need repair.
    pub broken: BrokenMaps,
    /// Databases with a single copy of some documents.
    pub single_copies: NamedDatabases,
}

/// A node's databases: their number, and the holders of the system databases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases {
    /// The number of databases, system databases included.
    pub count: u64,
    /// The holders of each system database that exists.
    pub system: BTreeMap<SystemDatabase, Held>,
}

impl Databases {
    /// Parses a node's list of system databases.
    pub(crate) fn parse(answer: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice::<SystemMaps>(answer).map(Self::from)
    }
}

/// The holders of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The number of copies of the range that has the fewest.
    pub copies: u32,
    /// The names of the nodes that hold every range.
    pub everywhere: BTreeSet<String>,
}

impl Held {
    /// `true` if the node `me` holds every range, and no other node any.
    pub fn is_only_on(&self, me: &str) -> bool {
        self.copies == 1 && self.everywhere.iter().eq([me])
    }
}

impl MapFindings {
    fn add(&mut self, database: &str, map: &ShardMap, members: &BTreeSet<String>) {
        if let Some(problem) = map.problem(members) {
            self.broken.add(database, problem);
        }
        if map.fewest_copies() == 1 {
            self.single_copies.add(database);
        }
    }
}

/// A shard map, and the document that it was read from.
#[derive(Deserialize)]
#[serde(try_from = "Map<String, Value>")]
struct WholeMap {
    map: ShardMap,
    document: Map<String, Value>,
}

impl TryFrom<Map<String, Value>> for WholeMap {
    type Error = serde_json::Error;

    fn try_from(document: Map<String, Value>) -> Result<Self, serde_json::Error> {
        Ok(Self { map: ShardMap::deserialize(&document)?, document })
    }
}

/// One page of `_dbs`.
pub(crate) struct MapPage<D = ShardMap> {
    pub(crate) total_rows: u64,
    pub(crate) rows: Vec<MapRow<D>>,
    /// The number of rows that were requested, which may be fewer than the caller wanted. A page with fewer is the last.
    limit: usize,
}

impl MapPage {
    /// Parses a page of `_dbs`.
    pub(crate) fn parse(answer: &[u8]) -> serde_json::Result<Self> {
        let PageAnswer { total_rows, rows } = serde_json::from_slice(answer)?;
        Ok(Self { total_rows, rows, limit: PAGE })
    }
}

#[derive(Deserialize)]
struct PageAnswer<D> {
    total_rows: u64,
    rows: Vec<MapRow<D>>,
}

#[derive(Deserialize)]
pub(crate) struct MapRow<D = ShardMap> {
    pub(crate) id: String,
    doc: Option<D>,
}

impl<D> MapRow<D> {
    /// The shard map in this row; `None` for the design documents of `_dbs`.
    pub(crate) fn map(&self) -> Option<&D> {
        self.doc.as_ref().filter(|_| self.is_of_a_database())
    }

    fn is_of_a_database(&self) -> bool {
        !self.id.starts_with("_design/")
    }
}

/// Percent-encodes a name or key for a URL's path or query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// `_dbs/_all_docs`, restricted to names that begin with an underscore.
#[derive(Deserialize)]
struct SystemMaps {
    total_rows: u64,
    rows: Vec<SystemRow>,
}

#[derive(Deserialize)]
struct SystemRow {
    id: String,
    doc: Option<ShardMap>,
}

impl From<&ShardMap> for Held {
    fn from(map: &ShardMap) -> Self {
        // A database is only as safe as its range with the fewest copies. A map without ranges has none.
        let copies = u32::try_from(map.fewest_copies()).unwrap_or(u32::MAX);
        Self { copies, everywhere: map.held_everywhere_by() }
    }
}

impl From<SystemMaps> for Databases {
    fn from(SystemMaps { total_rows, rows }: SystemMaps) -> Self {
        // A design document in `_dbs` is not a database.
        let designs = rows.iter().filter(|row| row.id.starts_with("_design/")).count();
        let system = SystemDatabase::ALL.into_iter().filter_map(|database| {
            let row = rows.iter().find(|row| row.id == database.name())?;
            Some((database, row.doc.as_ref().map(Held::from).unwrap_or_default()))
        });
        let designs = u64::try_from(designs).unwrap_or_default();
        Self { count: total_rows.saturating_sub(designs), system: system.collect() }
    }
}

/// The longest page, in bytes. Parsed, it takes several times as much of the agent's 64 MiB.
pub(super) const MAPS: usize = 4 * 1024 * 1024;
/// The longest answer with the maps of the system databases, in bytes.
const SYSTEM_MAPS: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn databases(text: &str) -> Databases {
        Databases::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn design_documents_are_not_counted_as_databases() {
        assert_eq!(databases(r#"{"total_rows":0,"offset":0,"rows":[]}"#), Databases::default());
        let design = r#"{"total_rows":1,"offset":0,"rows":[{"id":"_design/x","key":"_design/x","value":{},"doc":{}}]}"#;
        assert_eq!(databases(design).count, 0);
        assert_eq!(databases(r#"{"total_rows":7,"offset":2,"rows":[]}"#).count, 7);
    }

    #[test]
    fn the_range_with_the_fewest_copies_counts() {
        let text = r#"{"total_rows":2,"offset":0,"rows":[
            {"id":"_replicator","key":"_replicator","value":{},"doc":{"by_range":{"00000000-7fffffff":["a","b"],"80000000-ffffffff":["a"]}}},
            {"id":"_users","key":"_users","value":{},"doc":{"by_range":{}}}]}"#;
        let held = Held { copies: 1, everywhere: ["a".to_owned()].into() };
        let expected = [(SystemDatabase::Replicator, held), (SystemDatabase::Users, Held::default())];
        assert_eq!(databases(text).system, BTreeMap::from(expected));
    }
}
