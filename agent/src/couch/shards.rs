//! Single shard files, which CouchDB serves below `/_node/<node>/` like databases of their own, and the properties that
//! only the clustered database has.

use agent_core::shards::{FileState, Properties, Property};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Couch;
use super::error::{CouchError, unless_missing};
use super::maps::encoded;

/// A shard file on one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileAt<'a> {
    /// The base URL of the node that is asked.
    pub(crate) base: &'a str,
    /// The Erlang name of the node that has the file, or `_local`.
    pub(crate) node: &'a str,
    /// The name of the file: `shards/00000000-7fffffff/orders.1795221185`.
    pub(crate) file: &'a str,
}

impl FileAt<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/_node/{}/{}{rest}", self.node, encoded(self.file))
    }
}

impl Couch {
    /// The info of a file, without its properties. A missing file is empty.
    pub(crate) async fn file_state(&self, at: FileAt<'_>) -> Result<FileState, CouchError> {
        #[derive(Deserialize)]
        struct Info {
            uuid: Option<String>,
            doc_count: u64,
            doc_del_count: u64,
            update_seq: u64,
            purge_seq: u64,
        }
        let info = self.transport.get::<Info>(at.base, &at.path("")).await;
        let Some(info) = unless_missing(info)? else { return Ok(FileState::default()) };
        Ok(FileState {
            uuid: info.uuid,
            documents: info.doc_count.saturating_add(info.doc_del_count),
            update_seq: info.update_seq,
            purge_seq: info.purge_seq,
            properties: None,
        })
    }

    /// The properties of a file that internal replication does not copy.
    pub(crate) async fn properties(&self, at: FileAt<'_>) -> Result<Option<Properties>, CouchError> {
        let security = self.transport.get::<Value>(at.base, &at.path("/_security")).await;
        let Some(security) = unless_missing(security)? else { return Ok(None) };
        let revs_limit = self.transport.get::<u64>(at.base, &at.path("/_revs_limit")).await;
        Ok(unless_missing(revs_limit)?.map(|revs_limit| Properties { security, revs_limit }))
    }

    /// Sets a property of a file.
    pub(crate) async fn set_property(&self, at: FileAt<'_>, property: &Property) -> Result<(), CouchError> {
        let (name, value) = match property {
            Property::RevsLimit(limit) => ("/_revs_limit", json!(limit)),
            Property::Security(security) => ("/_security", security.clone()),
        };
        self.transport.put(at.base, &at.path(name), &value).await
    }

    /// The sequence of the last change of a document; 0 without any. Not `update_seq`, which properties and purges raise
    /// too, and which internal replication therefore never reaches.
    pub(crate) async fn last_change(&self, at: FileAt<'_>) -> Result<u64, CouchError> {
        #[derive(Deserialize)]
        struct Changes {
            results: Vec<Change>,
        }
        #[derive(Deserialize)]
        struct Change {
            seq: u64,
        }
        let path = at.path("/_changes?descending=true&limit=1");
        let changes = unless_missing(self.transport.get::<Changes>(at.base, &path).await)?;
        Ok(changes.and_then(|changes| changes.results.first().map(|change| change.seq)).unwrap_or_default())
    }

    /// The sequence up to which internal replication has copied this file to the file with the uuid `target`; 0 if it has
    /// not.
    pub(crate) async fn checkpoint(&self, at: FileAt<'_>, target: &str) -> Result<u64, CouchError> {
        #[derive(Deserialize)]
        struct LocalDocuments {
            rows: Vec<Row>,
        }
        #[derive(Deserialize)]
        struct Row {
            doc: Option<Checkpoint>,
        }
        #[derive(Deserialize)]
        struct Checkpoint {
            seq: Option<u64>,
            target_uuid: Option<String>,
        }
        // Replications of clients keep their checkpoints in `_local` documents as well: there may be many.
        let path = at.path(
            "/_local_docs?include_docs=true&startkey=%22_local%2Fshard-sync-%22&endkey=%22_local%2Fshard-sync-~%22",
        );
        let found = self.transport.get_up_to::<LocalDocuments>(CHECKPOINTS, at.base, &path).await;
        let rows = unless_missing(found)?.map(|found| found.rows).unwrap_or_default();
        let mut checkpoints = rows.into_iter().filter_map(|row| row.doc);
        // Each pair of files has two: one for each direction.
        let to_target = checkpoints.find(|checkpoint| checkpoint.target_uuid.as_deref() == Some(target));
        Ok(to_target.and_then(|checkpoint| checkpoint.seq).unwrap_or_default())
    }

    /// The purge up to which internal replication has copied the purges of the file with the uuid `source` to the one with
    /// the uuid `target`; 0 if it has not.
    pub(crate) async fn purge_checkpoint(
        &self,
        at: FileAt<'_>,
        source: &str,
        target: &str,
    ) -> Result<u64, CouchError> {
        #[derive(Deserialize)]
        struct Checkpoint {
            purge_seq: u64,
        }
        let path = at.path(&format!("/_local/purge-mem3-{source}-{target}"));
        let found = self.transport.get::<Checkpoint>(at.base, &path).await;
        Ok(unless_missing(found)?.map(|found| found.purge_seq).unwrap_or_default())
    }

    /// Creates a file, unless it exists.
    pub(crate) async fn create_file(&self, at: FileAt<'_>) -> Result<(), CouchError> {
        match self.transport.put(at.base, &at.path(""), &Value::Null).await {
            Err(CouchError::Refused { status: StatusCode::PRECONDITION_FAILED, .. }) => Ok(()),
            created => created,
        }
    }

    /// `_purged_infos_limit` of a database, as the node's own copy has it.
    pub(crate) async fn purge_limit(&self, base: &str, database: &str) -> Result<Option<u64>, CouchError> {
        let path = format!("/{}/_purged_infos_limit", encoded(database));
        unless_missing(self.transport.get(base, &path).await)
    }

    /// Sets `_purged_infos_limit` on all copies of a database. Single files have no interface for it.
    pub(crate) async fn set_purge_limit(
        &self,
        base: &str,
        database: &str,
        limit: u64,
    ) -> Result<(), CouchError> {
        self.transport.put(base, &format!("/{}/_purged_infos_limit", encoded(database)), &json!(limit)).await
    }

    /// `true` if resharding jobs run in the cluster.
    pub(crate) async fn is_resharding(&self, base: &str) -> Result<bool, CouchError> {
        #[derive(Deserialize)]
        struct Summary {
            running: u64,
        }
        Ok(self.transport.get::<Summary>(base, "/_reshard").await?.running > 0)
    }
}

/// In bytes: some 200 checkpoints with their histories. Each lost volume leaves some behind.
const CHECKPOINTS: usize = 1024 * 1024;
