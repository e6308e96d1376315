//! Membership: the members that a node lists, and those it is connected to.

use std::collections::BTreeMap;

use contract::text::in_url;
use futures::future::try_join_all;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Couch;
use super::error::{CouchError, unless_missing};
use super::transport::accept;

impl Couch {
    /// The node's members and connections.
    pub async fn membership(&self, base: &str) -> Result<Membership, CouchError> {
        self.transport.get(base, "/_membership").await
    }

    /// The members that a node lists, from its own `_nodes`.
    pub async fn listed(&self, base: &str) -> Result<Vec<String>, CouchError> {
        self.transport.get::<Listed>(base, "/_node/_local/_nodes/_all_docs").await.map(Listed::names)
    }

    /// Writes `peer` into the node's own `_nodes`. The empty document has the same revision on every node, so concurrent
    /// writers don't conflict; a repeat is a 409.
    pub async fn join(&self, base: &str, peer: &str) -> Result<(), CouchError> {
        let done = self.transport.put(base, &entry_of(peer), &json!({})).await;
        accept(done, StatusCode::CONFLICT, "")
    }
}

impl Couch {
    /// `true` if the node at `base` lists `member` as one that gets no new copies.
    pub(crate) async fn is_leaving(&self, base: &str, member: &str) -> Result<bool, CouchError> {
        let entry = unless_missing(self.transport.get::<Map<String, Value>>(base, &entry_of(member)).await)?;
        Ok(entry.is_some_and(|entry| is_marked(&entry)))
    }

    /// Sets whether `member` gets new copies, in the `_nodes` of the node at `base`. An entry that is missing, or that says so
    /// already, is not written.
    pub(crate) async fn set_leaving(
        &self,
        base: &str,
        member: &str,
        leaving: bool,
    ) -> Result<(), CouchError> {
        let path = entry_of(member);
        let Some(mut entry) = unless_missing(self.transport.get::<Map<String, Value>>(base, &path).await)?
        else {
            return Ok(());
        };
        if is_marked(&entry) == leaving {
            return Ok(());
        }
        if leaving {
            entry.insert(DECOM.to_owned(), Value::Bool(true));
        } else {
            entry.shift_remove(DECOM);
        }
        self.transport.put(base, &path, &Value::Object(entry)).await
    }

    /// Removes `member` from the `_nodes` of the node at `base`, which must be another one: a node that deletes entries of its
    /// own pushes the deletions to members.
    pub(crate) async fn remove_member(&self, base: &str, member: &str) -> Result<(), CouchError> {
        #[derive(Deserialize)]
        struct Entry {
            #[serde(rename = "_rev")]
            rev: String,
        }
        let path = entry_of(member);
        let Some(Entry { rev }) = unless_missing(self.transport.get(base, &path).await)? else {
            return Ok(());
        };
        unless_missing(self.transport.delete(base, &format!("{path}?rev={rev}")).await).map(drop)
    }

    /// Sets the zone in the `_nodes` entry of `member`. An entry that is missing is not created.
    pub(crate) async fn set_zone(&self, base: &str, member: &str, zone: &str) -> Result<(), CouchError> {
        let path = entry_of(member);
        let entry = unless_missing(self.transport.get::<Map<String, Value>>(base, &path).await)?;
        let Some(mut entry) = entry else { return Ok(()) };
        entry.insert("zone".to_owned(), Value::String(zone.to_owned()));
        self.transport.put(base, &path, &Value::Object(entry)).await
    }

    /// The zone in the `_nodes` entry of `member`, if it has one.
    pub(crate) async fn zone(&self, base: &str, member: &str) -> Result<Option<String>, CouchError> {
        #[derive(Deserialize)]
        struct Entry {
            zone: Option<String>,
        }
        Ok(unless_missing(self.transport.get::<Entry>(base, &entry_of(member)).await)?
            .and_then(|entry| entry.zone))
    }

    /// The zones in the entries of these nodes, by name. A node without an entry or a zone is missing.
    pub(crate) async fn zones<'n>(
        &self,
        base: &str,
        members: impl IntoIterator<Item = &'n str>,
    ) -> Result<BTreeMap<String, String>, CouchError> {
        let zones = members.into_iter().map(|name| async move {
            let zone = self.zone(base, name).await?;
            Ok::<_, CouchError>(zone.map(|zone| (name.to_owned(), zone)))
        });
        Ok(try_join_all(zones).await?.into_iter().flatten().collect())
    }
}

fn is_marked(entry: &Map<String, Value>) -> bool {
    entry.get(DECOM) == Some(&Value::Bool(true))
}

/// The path of a member's document.
fn entry_of(member: &str) -> String {
    format!("/_node/_local/_nodes/{}", in_url(member))
}

/// The field by which mem3 leaves a member out of new databases.
const DECOM: &str = "decom";

/// The answer to `GET /_membership`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Membership {
    /// Nodes that are connected now, the node itself included.
    pub all_nodes: Vec<String>,
    /// Nodes listed in `_nodes`.
    pub cluster_nodes: Vec<String>,
}

/// The documents of `_nodes`.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    id: String,
}

impl Listed {
    /// The names of the members. A design document is none.
    pub(crate) fn names(self) -> Vec<String> {
        self.rows.into_iter().map(|row| row.id).filter(|id| !id.starts_with('_')).collect()
    }
}
