//! Views: the builds that `ken` begins for every shard file that is written to, `/_active_tasks`, and the number of rows.
//!
//! Each document that is no design document has one row in each view. Where [`Timings::index`](super::Timings) is zero, all
//! views are always built.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fabric::Copy;
use super::http::{Request, Response, Time};
use super::revs::Docs;
use super::settings::Host;
use super::shard_file::ShardFile;
use super::shards::{Shard, ShardMap, cheapest_ring};
use super::world::World;

/// The index of the views of one design document over one shard file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// Revision of the design document. Another one is another index.
    rev: String,
    /// The file's last change in the index.
    seq: u64,
    rows: usize,
}

/// One index of one file that is being built.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    host: Host,
    shard: Shard,
    /// Id of the design document.
    design: String,
}

#[derive(Debug)]
struct Build {
    begins: Time,
    ends: Time,
    /// The index as it is when the build ends; `None` before its begin.
    index: Option<Index>,
}

/// The builds of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Builds(BTreeMap<Target, Build>);

impl Builds {
    /// Forgets the builds of a node whose process has ended. Nothing begins them again before the next change.
    pub(crate) fn forget(&mut self, host: &Host) {
        self.0.retain(|target, _| target.host != *host);
    }
}

impl Index {
    fn of(file: &ShardFile, rev: String) -> Self {
        Self { rev, seq: file.docs.last_change(), rows: rows(&file.docs) }
    }
}

/// The rows of a view over all documents.
fn rows(docs: &Docs) -> usize {
    docs.live().filter(|(id, _, _)| !is_design(id)).count()
}

pub(crate) fn is_design(id: &str) -> bool {
    id.starts_with("_design/")
}

/// `true` for a design document whose views are built without a reader.
fn is_built(design: &Map<String, Value>) -> bool {
    let has_views = design.get("views").and_then(Value::as_object).is_some_and(|views| !views.is_empty());
    has_views && design.get("autoupdate") != Some(&Value::Bool(false))
}

impl World {
    /// Builds the views of a file that has changed. The design documents are those of the database, wherever they lie.
    pub(crate) fn index_soon(&mut self, host: &Host, shard: &Shard, now: Time) {
        if self.timings.index.is_zero() {
            return;
        }
        let designs = self.map_of(host, &shard.db).and_then(|map| self.gather_all(host, &map));
        let designs = designs.unwrap_or_default();
        for (design, _, body) in designs.live() {
            if is_design(design) && is_built(body) {
                self.begin_build(host, shard, design, now);
            }
        }
    }

    /// Builds the views of all files of a database, after a change of a design document.
    pub(crate) fn index_all_soon(&mut self, host: &Host, map: &ShardMap, now: Time) {
        for copy in self.live_copies(host, map) {
            self.index_soon(&copy.host, &copy.shard, now);
        }
    }

    fn begin_build(&mut self, host: &Host, shard: &Shard, design: &str, now: Time) {
        let target = Target { host: host.clone(), shard: shard.clone(), design: design.to_owned() };
        let begins = now + self.timings.index_wait;
        let build = Build { begins, ends: begins + self.timings.index, index: None };
        self.builds.0.entry(target).or_insert(build);
    }

    /// Begins and ends the builds that are due.
    pub(crate) fn tick_builds(&mut self, now: Time) {
        let due: Vec<Target> = self
            .builds
            .0
            .iter()
            .filter(|(_, build)| build.ends <= now || build.index.is_none() && build.begins <= now)
            .map(|(target, _)| target.clone())
            .collect();
        for target in due {
            let Some(mut build) = self.builds.0.remove(&target) else { continue };
            let rev = self.design_rev(&target);
            let Some((file, rev)) = self.file(&target.host, &target.shard).zip(rev) else { continue };
            // A build contains the documents that were there at its begin.
            let index = build.index.take().unwrap_or_else(|| Index::of(file, rev));
            let last = file.docs.last_change();
            if build.ends > now {
                build.index = Some(index);
                self.builds.0.insert(target, build);
                continue;
            }
            if index.seq < last {
                self.begin_build(&target.host, &target.shard, &target.design, now);
            }
            if let Some(file) = self.shard_file_mut(&target.host, &target.shard) {
                file.indexes.insert(target.design, index);
            }
        }
    }

    fn design_rev(&self, target: &Target) -> Option<String> {
        let map = self.map_of(&target.host, &target.shard.db)?;
        self.design(&target.host, &map, &target.design).map(|(rev, _)| rev)
    }

    /// The revision and the body of a design document, as a reader gets it.
    fn design(&self, host: &Host, map: &ShardMap, id: &str) -> Option<(String, Map<String, Value>)> {
        let copies = self.copies(host, map, id);
        let doc = self.read_with_quorum(&copies, id, copies.quorum);
        doc.live().map(|(rev, body)| (rev.to_string(), body.clone()))
    }

    /// The part of a file that an index covers: its sequence and its rows.
    fn indexed(&self, file: &ShardFile, design: &str, rev: &str) -> (u64, usize) {
        if self.timings.index.is_zero() {
            return (file.docs.last_change(), rows(&file.docs));
        }
        let index = file.indexes.get(design).filter(|index| index.rev == rev);
        index.map_or((0, 0), |index| (index.seq, index.rows))
    }

    /// Answers `GET /_active_tasks`: the builds on all nodes that the node reaches.
    pub(crate) fn active_tasks(&self, host: &Host, now: Time) -> Response {
        let is_listed = |target: &Target, build: &Build| {
            build.begins <= now && build.ends > now && self.reaches(host, &target.host)
        };
        let tasks: Vec<Value> = self
            .builds
            .0
            .iter()
            .filter(|(target, build)| is_listed(target, build))
            .map(|(target, build)| self.task(target, build))
            .collect();
        Response::json(200, &json!(tasks))
    }

    fn task(&self, target: &Target, build: &Build) -> Value {
        json!({
            "node": self.nodes[&target.host].name(),
            "pid": "<0.1000.0>",
            "type": "indexer",
            "database": target.shard.to_string(),
            "design_document": target.design,
            "indexer_pid": "<0.1001.0>",
            "progress": 0,
            "changes_done": 0,
            "total_changes": self.file(&target.host, &target.shard).map(|file| file.docs.last_change()),
            "started_on": build.begins.as_secs(),
            "updated_on": build.begins.as_secs(),
            "process_status": "waiting",
        })
    }

    /// Answers `GET {file}/_design/{name}/_info`: only the file whose range contains the design document has one.
    pub(crate) fn file_index_info(&self, host: &Host, shard: &Shard, name: &str) -> Response {
        let id = format!("_design/{name}");
        let file = self.file(host, shard);
        let Some((file, (rev, _))) = file.and_then(|file| Some((file, file.docs.get(&id)?.live()?))) else {
            return Response::missing();
        };
        let (seq, rows) = self.indexed(file, &id, &rev.to_string());
        let target = Target { host: host.clone(), shard: shard.clone(), design: id };
        let is_running = self.builds.0.get(&target).is_some_and(|build| build.index.is_some());
        let mut info = index_info(rows, is_running);
        info["update_seq"] = json!(seq);
        info["purge_seq"] = json!(file.purge_seq());
        info["pending_updates"] = json!(file.docs.last_change().saturating_sub(seq));
        Response::json(200, &json!({"name": name, "view_index": info}))
    }

    /// Answers `GET /{db}/_design/{name}/_info`.
    pub(crate) fn index_info(&self, host: &Host, map: &ShardMap, name: &str) -> Response {
        let id = format!("_design/{name}");
        let Some((rev, _)) = self.design(host, map, &id) else { return Response::missing() };
        let copies = self.live_copies(host, map);
        let files = copies.iter().filter_map(|copy| self.file(&copy.host, &copy.shard));
        let rows = files.map(|file| self.indexed(file, &id, &rev).1).sum();
        let is_running =
            self.builds.0.iter().any(|(target, build)| {
                target.shard.db == map.db && target.design == id && build.index.is_some()
            });
        Response::json(200, &json!({"name": name, "view_index": index_info(rows, is_running)}))
    }

    /// Answers `GET /{db}/_design/{name}/_view/{view}`, with the number of rows and without rows. With `update=false` it is
    /// the number in the indexes as they are, of the ring of copies with the fewest.
    pub(crate) fn view(
        &mut self,
        host: &Host,
        map: &ShardMap,
        (name, view): (&str, &str),
        request: &Request,
    ) -> Response {
        let id = format!("_design/{name}");
        let Some((rev, body)) = self.design(host, map, &id) else { return Response::missing() };
        if body.get("views").and_then(|views| views.get(view)).is_none() {
            return Response::error(404, "not_found", "missing_named_view");
        }
        let copies = self.live_copies(host, map);
        let updates = request.param("update").as_deref() != Some("false");
        let count = |copy: &Copy| {
            let file = self.file(&copy.host, &copy.shard)?;
            Some(if updates { rows(&file.docs) } else { self.indexed(file, &id, &rev).1 })
        };
        let counts: Vec<(&str, usize)> =
            copies.iter().map(|copy| (copy.shard.range.as_str(), count(copy).unwrap_or_default())).collect();
        let Some(ring) = cheapest_ring(&counts) else {
            return Response::error(500, "nodedown", "progress not possible");
        };
        let total: usize = ring.iter().map(|index| counts[*index].1).sum();
        // The reader waits for the indexes of the copies that answer, and leaves them built.
        for copy in ring.into_iter().filter(|_| updates).map(|index| copies[index].clone()) {
            if let Some(file) = self.shard_file_mut(&copy.host, &copy.shard) {
                let index = Index::of(file, rev.clone());
                file.indexes.insert(id.clone(), index);
            }
        }
        Response::json(200, &json!({"total_rows": total, "offset": 0, "rows": []}))
    }
}

/// The part of an index' info that files and databases have. The sizes are not those of CouchDB; they only grow with the
/// number of rows.
fn index_info(rows: usize, is_running: bool) -> Value {
    json!({
        "signature": "4b3a8e2a1c",
        "language": "javascript",
        "sizes": {"file": 4096 + 256 * rows, "active": 128 * rows, "external": 64 * rows},
        "updater_running": is_running,
        "compact_running": false,
        "waiting_commit": false,
        "waiting_clients": 0,
    })
}
