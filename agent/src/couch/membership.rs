//! Membership: the members that a node lists, and those it is connected to.

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::client::Couch;
use super::error::CouchError;
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
        let path = format!("/_node/_local/_nodes/{peer}");
        let done = self.transport.put(base, &path, &json!({})).await;
        accept(done, StatusCode::CONFLICT, "")
    }
}

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
