//! The maps of databases that are moved, and the redirects of internal replication.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::moves::Document;
use agent_core::shards::is_placeholder;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Couch;
use super::error::CouchError;
use super::maps::{MAPS, encoded};

/// A map with its conflicts.
#[derive(Clone, Debug)]
pub(crate) struct FoundMap {
    pub(crate) document: Document,
    /// `true` if it has conflicting revisions.
    pub(crate) conflicts: bool,
}

#[derive(Deserialize)]
struct Rows {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    // A key that is missing has no id.
    #[serde(default)]
    key: String,
    value: Option<Value>,
    doc: Option<Map<String, Value>>,
}

impl Couch {
    /// The maps of all databases in the node's own `_dbs`.
    pub(crate) async fn for_each_movable(
        &self,
        base: &str,
        mut each: impl FnMut(&Document),
    ) -> Result<(), CouchError> {
        self.for_each_document(base, |database, document| {
            if let Some(document) = Document::parse(database, document) {
                each(&document);
            }
        })
        .await
    }

    /// The maps of these databases in the node's own `_dbs`. One that was deleted is missing.
    pub(crate) async fn documents(
        &self,
        base: &str,
        databases: &[&str],
    ) -> Result<Vec<FoundMap>, CouchError> {
        let mut maps = vec![];
        for some in databases.chunks(MAPS_AT_ONCE) {
            let path = "/_node/_local/_dbs/_all_docs?include_docs=true&conflicts=true";
            let Rows { rows } = self.transport.post_for(MAPS, base, path, &json!({ "keys": some })).await?;
            maps.extend(rows.into_iter().filter_map(found));
        }
        Ok(maps)
    }

    /// The revisions of the maps of these databases on one node.
    pub(crate) async fn map_revisions(
        &self,
        base: &str,
        databases: &[&str],
    ) -> Result<BTreeMap<String, String>, CouchError> {
        let mut revisions = BTreeMap::new();
        for some in databases.chunks(MAPS_AT_ONCE) {
            let path = "/_node/_local/_dbs/_all_docs";
            let Rows { rows } = self.transport.post_for(MAPS, base, path, &json!({ "keys": some })).await?;
            revisions.extend(rows.into_iter().filter_map(|row| {
                let rev = row.value?.get("rev")?.as_str()?.to_owned();
                Some((row.key, rev))
            }));
        }
        Ok(revisions)
    }

    /// Changes a map in the node's own `_dbs`. Returns `false` if it was changed in between.
    pub(crate) async fn change_map(
        &self,
        base: &str,
        database: &str,
        map: &Map<String, Value>,
    ) -> Result<bool, CouchError> {
        match self.put_map(base, database, map).await {
            Ok(()) => Ok(true),
            Err(CouchError::Refused { status: StatusCode::CONFLICT, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The bytes of one copy of all ranges of a database.
    pub(crate) async fn database_size(&self, base: &str, database: &str) -> Result<u64, CouchError> {
        #[derive(Deserialize)]
        struct Info {
            sizes: Sizes,
        }
        #[derive(Deserialize)]
        struct Sizes {
            file: u64,
        }
        Ok(self.transport.get::<Info>(base, &format!("/{}", encoded(database))).await?.sizes.file)
    }

    /// The placeholders for which the node has redirects, with the names of the nodes that they lead to.
    pub(crate) async fn redirects(&self, base: &str) -> Result<BTreeMap<String, String>, CouchError> {
        let section = self.section(base, REDIRECTS).await?;
        let own = section.into_iter().filter(|(name, _)| is_placeholder(name));
        Ok(own.filter_map(|(name, to)| Some((name, to.as_str()?.to_owned()))).collect())
    }

    /// `true` if the node redirects replication for other reasons than moves.
    pub(crate) async fn has_foreign_redirects(&self, base: &str) -> Result<bool, CouchError> {
        Ok(self.section(base, REDIRECTS).await?.keys().any(|name| !is_placeholder(name)))
    }

    /// Makes exactly these redirects those of the node, in memory only: a restart of CouchDB forgets them.
    pub(crate) async fn set_redirects(
        &self,
        base: &str,
        wanted: &BTreeMap<String, String>,
    ) -> Result<(), CouchError> {
        let present = self.redirects(base).await?;
        for (name, to) in wanted {
            if present.get(name) != Some(to) {
                self.set_option(base, REDIRECTS, name, &json!(to)).await?;
            }
        }
        let obsolete: BTreeSet<&String> = present.keys().filter(|name| !wanted.contains_key(*name)).collect();
        for name in obsolete {
            self.remove_option(base, REDIRECTS, name).await?;
        }
        Ok(())
    }
}

fn found(row: Row) -> Option<FoundMap> {
    let doc = row.doc.filter(|_| !row.key.starts_with("_design/"))?;
    let conflicts = doc.contains_key("_conflicts");
    Some(FoundMap { document: Document::parse(&row.key, doc)?, conflicts })
}

const REDIRECTS: &str = "mem3.redirects";
/// Maps in one request: about 50 kB with two ranges of three copies.
const MAPS_AT_ONCE: usize = 50;
