//! Single shard files, which CouchDB serves below `/_node/<node>/` like databases of their own, and the properties that
//! only the clustered database has.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::moves::FileFacts;
use agent_core::shards::{FileState, Properties, Property};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

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
        Ok(self.checkpoints(at).await?.get(target).copied().unwrap_or_default())
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

    /// Everything about a file that a move follows from, with its properties if `properties` is set.
    pub(crate) async fn file_facts(&self, at: FileAt<'_>, properties: Read) -> Result<FileFacts, CouchError> {
        let state = self.file_state(at).await?;
        // A missing file has nothing, and a call for it might create it.
        if state.uuid.is_none() {
            return Ok(FileFacts::default());
        }
        let mut facts = FileFacts { uuid: state.uuid, purge_seq: state.purge_seq, ..FileFacts::default() };
        if state.update_seq > 0 {
            facts.last_change = self.last_change(at).await?;
        }
        if facts.last_change > 0 {
            facts.checkpoints = self.checkpoints(at).await?;
        }
        if facts.purge_seq > 0 {
            facts.purges = self.purge_checkpoints(at, facts.uuid.as_deref().unwrap_or_default()).await?;
        }
        if properties == Read::Properties {
            facts.properties = self.properties(at).await?;
        }
        Ok(facts)
    }

    /// The sequences up to which internal replication has copied this file, by the uuid of the other file.
    async fn checkpoints(&self, at: FileAt<'_>) -> Result<BTreeMap<String, u64>, CouchError> {
        #[derive(Deserialize)]
        struct Checkpoint {
            seq: Option<u64>,
            target_uuid: Option<String>,
        }
        // Each pair of files has two: one for each direction.
        let found = self.local_range::<Checkpoint>(at, "shard-sync-").await?;
        // Of several to one file the first counts.
        Ok(found.into_iter().rev().filter_map(|found| Some((found.target_uuid?, found.seq?))).collect())
    }

    /// The purges up to which internal replication has copied those of the file with the uuid `source`, by the uuid of the
    /// other file.
    async fn purge_checkpoints(
        &self,
        at: FileAt<'_>,
        source: &str,
    ) -> Result<BTreeMap<String, u64>, CouchError> {
        #[derive(Deserialize)]
        struct Checkpoint {
            #[serde(rename = "_id")]
            id: String,
            purge_seq: u64,
        }
        let prefix = format!("purge-mem3-{source}-");
        let found = self.local_range::<Checkpoint>(at, &prefix).await?;
        let targets = found.into_iter().filter_map(|Checkpoint { id, purge_seq }| {
            let target = id.strip_prefix("_local/")?.strip_prefix(&prefix)?;
            Some((target.to_owned(), purge_seq))
        });
        Ok(targets.collect())
    }

    /// The local documents of a file whose ids begin with `prefix`. Replications of clients keep their checkpoints there as
    /// well: there may be many.
    async fn local_range<T: DeserializeOwned>(
        &self,
        at: FileAt<'_>,
        prefix: &str,
    ) -> Result<Vec<T>, CouchError> {
        #[derive(Deserialize)]
        struct Rows<T> {
            rows: Vec<Row<T>>,
        }
        #[derive(Deserialize)]
        struct Row<T> {
            doc: Option<T>,
        }
        let path = at.path(&format!(
            "/_local_docs?include_docs=true&startkey=%22_local%2F{prefix}%22&endkey=%22_local%2F{prefix}~%22"
        ));
        let found = unless_missing(self.transport.get_up_to::<Rows<T>>(CHECKPOINTS, at.base, &path).await)?;
        Ok(found.into_iter().flat_map(|found| found.rows).filter_map(|row| row.doc).collect())
    }

    /// Copies the local documents of clients from one file to another, such as the checkpoints of their replications. Those of
    /// CouchDB itself belong to one file.
    pub(crate) async fn copy_local_documents(
        &self,
        from: FileAt<'_>,
        to: FileAt<'_>,
    ) -> Result<(), CouchError> {
        let present = self.local_range::<Map<String, Value>>(to, "").await?;
        for mut document in self.local_range::<Map<String, Value>>(from, "").await? {
            let Some(id) = document.get("_id").and_then(Value::as_str).map(str::to_owned) else { continue };
            let Some(name) = id.strip_prefix("_local/") else { continue };
            if OF_ONE_FILE.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            document.shift_remove("_rev");
            let mut same = present.iter().filter(|other| other.get("_id") == document.get("_id")).cloned();
            if let Some(mut other) = same.next() {
                let rev = other.shift_remove("_rev");
                if other == document {
                    continue;
                }
                document.extend(rev.map(|rev| ("_rev".to_owned(), rev)));
            }
            let path = to.path(&format!("/_local/{}", encoded(name)));
            self.transport.put(to.base, &path, &Value::Object(document)).await?;
        }
        Ok(())
    }

    /// Deletes a file; one that is missing stays so.
    pub(crate) async fn delete_file(&self, at: FileAt<'_>) -> Result<(), CouchError> {
        unless_missing(self.transport.delete(at.base, &at.path("")).await).map(drop)
    }

    /// The names of all shard files on the disk of the node at `base`.
    pub(crate) async fn files_on(&self, base: &str) -> Result<Vec<String>, CouchError> {
        let all = self.transport.get_up_to::<Vec<String>>(FILES, base, "/_node/_local/_all_dbs").await?;
        Ok(all.into_iter().filter(|name| name.starts_with("shards/")).collect())
    }

    /// The files of which views are being built, each with the name of its node.
    pub(crate) async fn indexed_files(&self, base: &str) -> Result<BTreeSet<(String, String)>, CouchError> {
        #[derive(Deserialize)]
        struct ActiveTask {
            #[serde(rename = "type", default)]
            kind: String,
            #[serde(default)]
            node: String,
            #[serde(default)]
            database: String,
        }
        let tasks = self.transport.get_up_to::<Vec<ActiveTask>>(CHECKPOINTS, base, "/_active_tasks").await?;
        let indexers = tasks.into_iter().filter(|task| task.kind == "indexer");
        Ok(indexers.map(|task| (task.node, task.database)).collect())
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

    /// The resharding of the whole cluster. A release without it has no jobs.
    pub(crate) async fn resharding(&self, base: &str) -> Result<Resharding, CouchError> {
        #[derive(Deserialize)]
        struct Summary {
            running: u64,
            stopped: u64,
            state: String,
            state_reason: Option<String>,
        }
        let summary = unless_missing(self.transport.get::<Summary>(base, "/_reshard").await)?;
        let Some(summary) = summary else { return Ok(Resharding::default()) };
        let is_stopped = summary.state == "stopped";
        Ok(Resharding {
            running: summary.running,
            stopped: summary.stopped,
            held: is_stopped && summary.state_reason.as_deref() == Some(HELD),
            may_start: !is_stopped,
        })
    }

    /// `true` if a resharding job has begun to split a shard and has not ended, whether it runs or is stopped. One that was
    /// created while resharding was stopped has not begun.
    pub(crate) async fn has_begun_jobs(&self, base: &str) -> Result<bool, CouchError> {
        // CouchDB keeps the jobs that have ended: most lists contain only such.
        let Resharding { running, stopped, .. } = self.resharding(base).await?;
        if running + stopped == 0 {
            return Ok(false);
        }
        #[derive(Deserialize)]
        struct Jobs {
            jobs: Vec<Job>,
        }
        #[derive(Deserialize)]
        struct Job {
            job_state: String,
            split_state: Option<String>,
        }
        let Jobs { jobs } = self.transport.get_up_to(JOBS, base, "/_reshard/jobs").await?;
        let mut open = jobs.iter().filter(|job| !matches!(job.job_state.as_str(), "completed" | "failed"));
        Ok(open.any(|job| job.split_state.as_deref() != Some("new")))
    }

    /// Stops resharding for moves of copies on all nodes, or starts it again. The state outlives CouchDB.
    pub(crate) async fn hold_resharding(&self, base: &str, held: bool) -> Result<(), CouchError> {
        let state =
            if held { json!({ "state": "stopped", "reason": HELD }) } else { json!({ "state": "running" }) };
        self.transport.put(base, "/_reshard/state", &state).await
    }
}

/// The resharding of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resharding {
    /// Jobs that run.
    pub(crate) running: u64,
    /// Jobs that are stopped.
    stopped: u64,
    /// `true` if agents have stopped it, and must start it again.
    pub(crate) held: bool,
    /// `true` if a job that is created begins.
    pub(crate) may_start: bool,
}

/// The facts to read about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Those that show what was replicated.
    Checkpoints,
    /// The properties as well: two calls more.
    Properties,
}

/// Local documents that CouchDB writes for itself: checkpoints between files, and of purges in views.
const OF_ONE_FILE: [&str; 3] = ["shard-sync-", "purge-mem3-", "purge-mrview-"];
/// The reason with which agents stop resharding, and by which they recognise that they did.
const HELD: &str = "couchdiscover moves copies";
/// In bytes: some 4,000 resharding jobs, of which CouchDB keeps those that have ended.
const JOBS: usize = 4 * 1024 * 1024;
/// In bytes: the names of 40,000 files.
const FILES: usize = 4 * 1024 * 1024;
/// In bytes: some 200 checkpoints with their histories. Each lost volume leaves some behind.
const CHECKPOINTS: usize = 1024 * 1024;
