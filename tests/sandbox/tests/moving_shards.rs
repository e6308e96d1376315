//! Moves of shards in the pure core: internal replication outside of the maps, and its traps.

#![expect(clippy::unwrap_used, reason = "the panic message of a failed test is enough")]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sandbox::couchdb::{Answer, Host, NodeSettings, Request, Timings, Version, World};
use serde_json::{Value, json};

const RANGE: &str = "00000000-ffffffff";
/// The file of database `db` with one range, as a path below `/_node/{node}/`.
const FILE: &str = "shards%2F00000000-ffffffff%2Fdb.1795221925";
/// A name that is no node.
const PLACEHOLDER: &str = "couchdb@fill-1.invalid";

/// Nodes of one cluster, and their time, which only passes when a test lets it.
struct Nodes {
    world: World,
    now: Duration,
    count: usize,
}

fn host(node: usize) -> Host {
    Host::from(format!("couchdb-{node}.couchdb.default.svc.cluster.local"))
}

fn name(node: usize) -> String {
    format!("couchdb@{}", host(node))
}

/// A map of database `db`, which has one range.
fn map(holders: &[&str], rev: Option<&Value>) -> Value {
    let by_node: serde_json::Map<String, Value> =
        holders.iter().map(|holder| ((*holder).to_owned(), json!([RANGE]))).collect();
    let mut map = json!({
        "_id": "db",
        "shard_suffix": b".1795221925",
        "changelog": [],
        "by_node": by_node,
        "by_range": {RANGE: holders},
        "props": {"partitioned": true},
    });
    if let Some(rev) = rev {
        map["_rev"] = rev.clone();
    }
    map
}

impl Nodes {
    /// A formed cluster, with database `db` on node 0 only.
    fn new(count: usize) -> Self {
        Self::of(count, Version::RECORDED)
    }

    fn of(count: usize, version: Version) -> Self {
        let mut nodes = Self { world: World::new(7), now: Duration::from_secs(1_795_221_000), count };
        for node in 0..count {
            let settings = NodeSettings::new(host(node))
                .admin("admin", "s3cret")
                .secret("s")
                .cookie("c")
                .version(version);
            nodes.world.start_node(settings, nodes.now).unwrap();
        }
        for node in 1..count {
            nodes.ok("PUT", 0, &format!("/_node/_local/_nodes/{}", name(node)), json!({}));
        }
        nodes.pass(1);
        nodes.put_map(&[&name(0)]);
        nodes
    }

    /// Lets time pass, in steps of 100 ms.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.now += Duration::from_millis(100);
            self.world.tick(self.now);
        }
    }

    fn call(&mut self, method: &str, node: usize, path: &str, body: Value) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            authorization: Some(format!("Basic {}", STANDARD.encode("admin:s3cret"))),
            content_type: Some("application/json".to_owned()),
            persist: Some("false".to_owned()),
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
            source: "test".to_owned(),
            local: true,
            received: self.now,
            ..Request::default()
        };
        match self.world.handle(&host(node), &request, self.now) {
            Answer::Ready { response, .. } => {
                (response.status, serde_json::from_str(&response.body).unwrap())
            }
            Answer::Later(_) | Answer::Dropped => panic!("{method} {path}: no answer"),
        }
    }

    fn ok(&mut self, method: &str, node: usize, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, node, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    fn get(&mut self, node: usize, path: &str) -> (u16, Value) {
        self.call("GET", node, path, Value::Null)
    }

    /// Replaces the map of `db` on node 0, and waits until all nodes have it.
    fn put_map(&mut self, holders: &[&str]) {
        let (_, old) = self.get(0, "/_node/_local/_dbs/db");
        self.ok("PUT", 0, "/_node/_local/_dbs/db", map(holders, old.get("_rev")));
        self.pass(1);
    }

    /// The documents in one node's file of `db`; `None` without a file.
    fn docs(&mut self, node: usize) -> Option<u64> {
        let (status, info) = self.get(node, &format!("/_node/_local/{FILE}"));
        (status == 200).then(|| info["doc_count"].as_u64().unwrap())
    }

    fn sync(&mut self, node: usize) {
        self.ok("POST", node, "/db/_sync_shards", json!({}));
        self.pass(1);
    }

    fn redirect(&mut self, holder: usize, to: usize) {
        let path = format!("/_node/{}/_config/mem3.redirects/{PLACEHOLDER}", name(holder));
        self.ok("PUT", 0, &path, json!(name(to)));
    }

    fn restart(&mut self, node: usize) {
        self.world.kill(&host(node));
        self.world.start(&host(node), self.now).unwrap();
        self.pass(1);
    }
}

#[test]
fn a_redirect_fills_a_file_that_no_reader_reaches() {
    let mut nodes = Nodes::new(3);
    nodes.ok("PUT", 1, "/db/a", json!({}));
    nodes.put_map(&[&name(0), PLACEHOLDER]);
    assert_eq!(nodes.call("PUT", 1, "/db/b", json!({})).0, 202, "one of two copies has it");
    nodes.redirect(0, 2);
    // An update is pushed to connected nodes only, which the name is not.
    nodes.pass(10);
    assert_eq!(nodes.docs(2), None);
    nodes.sync(1);
    assert_eq!(nodes.docs(2), Some(2));
    let (_, info) = nodes.get(2, &format!("/_node/_local/{FILE}"));
    assert_eq!(info["props"], json!({"partitioned": true}));
    let (_, local) = nodes.get(0, &format!("/_node/_local/{FILE}/_local_docs?include_docs=true"));
    let proof = &local["rows"][0]["doc"];
    assert_eq!((&proof["target_uuid"], &proof["seq"]), (&info["uuid"], &json!(2)));
    // A later document reaches the file only with the next call.
    nodes.ok("PUT", 2, "/db/c", json!({}));
    nodes.pass(10);
    assert_eq!(nodes.docs(2), Some(2));
    assert_eq!(nodes.get(2, "/db").1["doc_count"], 3, "readers get the copy of the map");
    nodes.sync(2);
    assert_eq!(nodes.docs(2), Some(3));
    assert_eq!(nodes.world.failed_pushes(PLACEHOLDER), 0);
}

#[test]
fn a_push_without_a_redirect_is_tried_again_until_the_holder_restarts() {
    let mut nodes = Nodes::new(2);
    nodes.ok("PUT", 0, "/db/a", json!({}));
    nodes.put_map(&[&name(0), PLACEHOLDER]);
    nodes.sync(0);
    assert_eq!(nodes.world.failed_pushes(PLACEHOLDER), 1);
    // The name leaves the map, and the retries go on.
    nodes.put_map(&[&name(0)]);
    nodes.pass(60);
    assert!(nodes.world.failed_pushes(PLACEHOLDER) >= 12);
    nodes.redirect(0, 1);
    nodes.pass(6);
    assert_eq!(nodes.docs(1), Some(1), "the retry goes to the other node");
    let failed = nodes.world.failed_pushes(PLACEHOLDER);
    nodes.pass(30);
    assert_eq!(nodes.world.failed_pushes(PLACEHOLDER), failed);
    // A restart forgets redirects and retries.
    nodes.restart(0);
    nodes.put_map(&[&name(0), PLACEHOLDER]);
    nodes.sync(0);
    assert_eq!(nodes.world.failed_pushes(PLACEHOLDER), failed + 1);
    nodes.restart(0);
    nodes.pass(30);
    assert_eq!(nodes.world.failed_pushes(PLACEHOLDER), failed + 1);
}

#[test]
fn a_holder_that_left_the_map_pushes_its_updates_and_is_not_covered_by_sync_shards() {
    let mut nodes = Nodes::new(2);
    nodes.put_map(&[&name(0), &name(1)]);
    nodes.put_map(&[&name(1)]);
    nodes.ok("PUT", 0, &format!("/_node/_local/{FILE}/late"), json!({}));
    nodes.sync(0);
    nodes.sync(1);
    assert_eq!(nodes.docs(1), Some(0));
    nodes.pass(5);
    assert_eq!(nodes.docs(1), Some(1));
}

#[test]
fn an_update_is_pushed_by_the_map_of_the_moment_of_the_push() {
    let mut nodes = Nodes::new(3);
    nodes.put_map(&[&name(0), &name(1)]);
    nodes.ok("PUT", 0, &format!("/_node/_local/{FILE}/a"), json!({}));
    nodes.put_map(&[&name(0), &name(2)]);
    nodes.pass(6);
    assert_eq!((nodes.docs(1), nodes.docs(2)), (Some(0), Some(1)));
}

#[test]
fn maps_in_one_call_are_written_or_refused_each_for_itself() {
    let mut nodes = Nodes::new(2);
    let mut other = map(&[&name(1)], None);
    other["_id"] = json!("other");
    let docs = json!({"docs": [map(&[&name(1)], None), other]});
    let rows = nodes.ok("POST", 1, &format!("/_node/{}/_dbs/_bulk_docs", name(0)), docs);
    assert_eq!((&rows[0]["id"], &rows[0]["error"]), (&json!("db"), &json!("conflict")));
    assert!(rows[1]["rev"].is_string(), "{rows}");
    nodes.pass(1);
    for node in 0..nodes.count {
        assert_eq!(nodes.get(node, "/other/_shards").1["shards"][RANGE], json!([name(1)]));
    }
    let (_, files) = nodes.get(0, &format!("/_node/{}/_all_dbs", name(1)));
    assert!(files.as_array().unwrap().contains(&json!(format!("shards/{RANGE}/other.1795221925"))));
}

impl Nodes {
    /// A cluster in which a build of views takes `index` seconds, after a wait of `wait` seconds.
    fn indexing(count: usize, wait: u64, index: u64) -> Self {
        let mut nodes = Self::new(count);
        let (index_wait, index) = (Duration::from_secs(wait), Duration::from_secs(index));
        nodes.world.set_timings(Timings { index_wait, index, ..Timings::default() });
        let design = json!({"views": {"v": {"map": "function(doc) { emit(doc._id) }"}}});
        nodes.ok("PUT", 0, "/db/_design/d", design);
        nodes.ok("PUT", 0, "/db/a", json!({}));
        nodes
    }

    /// The files that `indexer` tasks are for, with their nodes.
    fn indexed_files(&mut self) -> Vec<(String, String)> {
        let (_, tasks) = self.get(0, "/_active_tasks");
        let text = |task: &Value, key: &str| task[key].as_str().unwrap().to_owned();
        let tasks = tasks.as_array().unwrap().iter();
        tasks
            .inspect(|task| assert_eq!(task["type"], "indexer"))
            .map(|task| (text(task, "node"), text(task, "database")))
            .collect()
    }

    fn rows(&mut self, query: &str) -> u64 {
        self.get(0, &format!("/db/_design/d/_view/v?{query}")).1["total_rows"].as_u64().unwrap()
    }
}

#[test]
fn the_views_of_a_filled_file_are_built_before_a_map_lists_it() {
    let mut nodes = Nodes::indexing(2, 0, 30);
    nodes.pass(40);
    assert_eq!((nodes.rows("update=false"), nodes.indexed_files()), (1, Vec::new()));
    nodes.put_map(&[&name(0), PLACEHOLDER]);
    nodes.redirect(0, 1);
    nodes.sync(0);
    let file = format!("shards/{RANGE}/db.1795221925");
    assert_eq!(nodes.indexed_files(), [(name(1), file)]);
    let info = format!("/_node/_local/{FILE}/_design/d/_info");
    assert_eq!(nodes.get(1, &info).1["view_index"]["update_seq"], 0);
    nodes.pass(30);
    assert_eq!(nodes.indexed_files(), []);
    assert_eq!(nodes.get(1, &info).1["view_index"]["update_seq"], 2);
    nodes.put_map(&[&name(0), &name(1)]);
    assert_eq!(nodes.rows("update=false"), 1);
}

#[test]
fn a_copy_without_its_index_answers_a_reader_that_does_not_wait() {
    let mut nodes = Nodes::indexing(2, 5, 10);
    nodes.pass(20);
    nodes.put_map(&[&name(0), &name(1)]);
    nodes.sync(0);
    assert_eq!(nodes.indexed_files(), [], "the build waits, and no task shows it");
    assert_eq!(nodes.rows("update=false"), 0);
    nodes.pass(5);
    assert_eq!(nodes.indexed_files().len(), 1);
    // A node that restarts has forgotten its builds. A reader that waits has the index built.
    nodes.restart(1);
    nodes.pass(20);
    assert_eq!(nodes.rows("update=false"), 0);
    nodes.sync(0);
    assert_eq!(nodes.rows(""), 1);
}

#[test]
fn a_change_during_a_build_begins_another() {
    let mut nodes = Nodes::indexing(1, 0, 10);
    nodes.pass(5);
    nodes.ok("PUT", 0, "/db/b", json!({}));
    nodes.pass(6);
    assert_eq!((nodes.rows("update=false"), nodes.indexed_files().len()), (1, 1));
    nodes.pass(10);
    assert_eq!((nodes.rows("update=false"), nodes.indexed_files().len()), (2, 0));
}

#[test]
fn a_split_that_is_created_while_resharding_is_stopped_begins_when_it_runs_again() {
    let mut nodes = Nodes::new(2);
    nodes.ok("PUT", 1, "/_reshard/state", json!({"state": "stopped", "reason": "moves"}));
    let job = json!({"type": "split", "db": "db"});
    nodes.ok("POST", 1, "/_reshard/jobs", job);
    nodes.pass(30);
    nodes.restart(0);
    let (_, summary) = nodes.get(0, "/_reshard");
    assert_eq!((&summary["state"], &summary["state_reason"]), (&json!("stopped"), &json!("moves")));
    assert_eq!((&summary["running"], &summary["stopped"]), (&json!(0), &json!(1)));
    assert!(nodes.docs(0).is_some(), "the file is not split");
    nodes.ok("PUT", 0, "/_reshard/state", json!({"state": "running"}));
    nodes.pass(2);
    let (_, summary) = nodes.get(1, "/_reshard");
    assert_eq!((&summary["state"], &summary["completed"]), (&json!("running"), &json!(1)));
    assert_eq!(nodes.docs(0), None);
}

#[test]
fn a_coordinator_with_the_old_map_creates_a_deleted_file_again() {
    let mut nodes = Nodes::new(4);
    nodes.put_map(&[&name(0), &name(1)]);
    nodes.ok("PUT", 0, "/db/a", json!({}));
    let timings = Timings { ring_hop: Duration::from_secs(10), ..Timings::default() };
    nodes.world.set_timings(timings);
    // The map goes from node 0 to 1, 2 and 3. Node 0 is not a holder any more, and its file is deleted too early.
    nodes.put_map(&[&name(1)]);
    let holders = |nodes: &mut Nodes, node| nodes.get(node, "/db/_shards").1["shards"][RANGE].clone();
    assert_eq!(holders(&mut nodes, 1), json!([name(1)]));
    assert_eq!(holders(&mut nodes, 3), json!([name(1), name(0)]));
    nodes.ok("DELETE", 0, &format!("/_node/_local/{FILE}"), Value::Null);
    nodes.ok("GET", 1, "/db", Value::Null);
    assert_eq!(nodes.docs(0), None);
    assert_eq!(nodes.ok("GET", 3, "/db", Value::Null)["doc_count"], 0, "it reads the empty file");
    assert_eq!(nodes.docs(0), Some(0));
    nodes.pass(10);
    assert_eq!(holders(&mut nodes, 2), json!([name(1)]));
    assert_eq!(holders(&mut nodes, 3), json!([name(1), name(0)]));
    nodes.pass(10);
    assert_eq!(holders(&mut nodes, 3), json!([name(1)]));
    nodes.ok("DELETE", 0, &format!("/_node/_local/{FILE}"), Value::Null);
    nodes.ok("PUT", 3, "/db/b", json!({}));
    nodes.pass(20);
    assert_eq!((nodes.docs(0), nodes.docs(1)), (None, Some(2)));
}

#[test]
fn a_change_of_members_reaches_all_of_them_in_one_hop() {
    let mut nodes = Nodes::new(4);
    let timings = Timings { ring_hop: Duration::from_secs(100), ..Timings::default() };
    nodes.world.set_timings(timings);
    let path = format!("/_node/_local/_nodes/{}", name(3));
    let (_, doc) = nodes.get(0, &path);
    nodes.ok("DELETE", 0, &format!("{path}?rev={}", doc["_rev"].as_str().unwrap()), Value::Null);
    nodes.pass(1);
    for (node, members) in [(0, 3), (1, 3), (2, 3), (3, 4)] {
        assert_eq!(nodes.world.node(host(node).as_str()).unwrap().members().len(), members);
    }
}

/// Database `db` on nodes 0 and 1, of which node 1 leaves with its file. Ten documents are purged meanwhile.
fn purged_without_node_1(purged_infos_limit: u64) -> Nodes {
    let mut nodes = Nodes::new(3);
    nodes.put_map(&[&name(0), &name(1)]);
    nodes.ok("PUT", 0, "/db/_purged_infos_limit", json!(purged_infos_limit));
    let mut purges = Vec::new();
    for id in 0..10 {
        let rev = nodes.ok("PUT", 0, &format!("/db/{id}"), json!({}))["rev"].clone();
        purges.push(json!({id.to_string(): [rev]}));
    }
    nodes.pass(10);
    nodes.put_map(&[&name(0)]);
    for purge in purges {
        nodes.ok("POST", 0, "/db/_purge", purge);
    }
    nodes.ok("POST", 0, "/db/_compact", json!({}));
    assert_eq!((nodes.docs(0), nodes.docs(1)), (Some(0), Some(10)));
    nodes
}

#[test]
fn an_old_file_is_taken_as_it_is_and_purges_that_are_forgotten_do_not_reach_it() {
    for (limit, left) in [(1000, 0), (1, 9)] {
        let mut nodes = purged_without_node_1(limit);
        nodes.put_map(&[&name(0), &name(1)]);
        assert_eq!(nodes.docs(1), Some(10), "as it was");
        nodes.sync(0);
        nodes.pass(20);
        assert_eq!(nodes.docs(1), Some(left), "{limit}");
        let (found, _) = nodes.get(2, "/db/0");
        assert_eq!(found, if left == 0 { 404 } else { 200 });
    }
    // Without the old file, nothing comes back.
    let mut nodes = purged_without_node_1(1);
    nodes.ok("DELETE", 1, &format!("/_node/_local/{FILE}"), Value::Null);
    nodes.put_map(&[&name(0), &name(1)]);
    nodes.sync(0);
    nodes.pass(20);
    assert_eq!(nodes.docs(1), Some(0));
}

#[test]
fn edits_are_missing_in_an_old_file_with_equal_counts() {
    let mut nodes = Nodes::new(2);
    nodes.put_map(&[&name(0), &name(1)]);
    let rev = nodes.ok("PUT", 0, "/db/a", json!({}))["rev"].as_str().unwrap().to_owned();
    nodes.pass(10);
    nodes.put_map(&[&name(0)]);
    nodes.ok("PUT", 0, &format!("/db/a?rev={rev}"), json!({"edited": true}));
    nodes.pass(10);
    nodes.put_map(&[&name(0), &name(1)]);
    assert_eq!((nodes.docs(0), nodes.docs(1)), (Some(1), Some(1)));
    assert_eq!(nodes.get(1, &format!("/_node/_local/{FILE}/a")).1["_rev"], json!(rev));
    assert_eq!(nodes.get(1, "/db/a?r=1").1["_rev"], json!(rev));
    nodes.sync(0);
    assert_eq!(nodes.get(1, "/db/a?r=1").1["edited"], json!(true));
}

#[test]
fn a_new_copy_of_a_database_with_one_has_no_local_documents_and_no_security() {
    let mut nodes = Nodes::new(2);
    let open = json!({"members": {"roles": []}, "admins": {"roles": []}});
    nodes.ok("PUT", 0, "/db/_security", open.clone());
    nodes.ok("PUT", 0, &format!("/_node/_local/{FILE}/_local/checkpoint"), json!({"seq": 3}));
    nodes.ok("PUT", 0, "/db/a", json!({}));
    nodes.put_map(&[&name(0), &name(1)]);
    nodes.sync(0);
    nodes.pass(30);
    assert_eq!(nodes.docs(1), Some(1));
    assert_eq!(nodes.get(1, &format!("/_node/_local/{FILE}/_local/checkpoint")).0, 404);
    // Two of two copies have different values: there is no majority.
    let default = json!({"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}});
    assert_eq!(nodes.get(0, &format!("/_node/_local/{FILE}/_security")).1, open);
    assert_eq!(nodes.get(1, &format!("/_node/_local/{FILE}/_security")).1, default);
}

#[test]
fn a_large_fill_is_seen_batch_by_batch_and_queues_again_after_five() {
    let mut nodes = Nodes::new(2);
    for id in 0..3000 {
        nodes.ok("PUT", 0, &format!("/_node/_local/{FILE}/{id}"), json!({}));
    }
    nodes.put_map(&[&name(0), PLACEHOLDER]);
    nodes.redirect(0, 1);
    let per_doc = Duration::from_millis(2);
    nodes.world.set_timings(Timings { pass_per_doc: per_doc, ..Timings::default() });
    nodes.ok("POST", 0, "/db/_sync_shards", json!({}));
    // Half a second for the pass, and one second for each batch.
    let mut seen = Vec::new();
    for _ in 0..8 {
        nodes.pass(1);
        seen.push(nodes.docs(1).unwrap());
    }
    assert_eq!(seen, [0, 500, 1000, 1500, 2000, 2500, 2500, 3000]);
}

#[test]
fn a_fill_stops_at_a_full_disk_and_goes_on_when_it_is_free() {
    let mut nodes = Nodes::new(2);
    nodes.ok("PUT", 0, "/db/a", json!({}));
    nodes.put_map(&[&name(0), PLACEHOLDER]);
    nodes.redirect(0, 1);
    nodes.world.fill_disk(&host(1), true);
    nodes.sync(0);
    nodes.pass(10);
    assert_eq!(nodes.docs(1), None);
    assert!(nodes.world.failed_pushes(PLACEHOLDER) >= 2);
    assert_eq!(nodes.call("PUT", 1, &format!("/_node/_local/{FILE}"), Value::Null).0, 507);
    nodes.world.fill_disk(&host(1), false);
    nodes.pass(6);
    assert_eq!(nodes.docs(1), Some(1));
    // Of two copies, the one with the full disk does not confirm a write.
    nodes.put_map(&[&name(0), &name(1)]);
    nodes.world.fill_disk(&host(1), true);
    assert_eq!(nodes.call("PUT", 0, "/db/b", json!({})).0, 202);
    nodes.world.fill_disk(&host(0), true);
    let (status, answer) = nodes.call("PUT", 0, "/db/c", json!({}));
    assert_eq!((status, &answer["error"]), (507, &json!("insufficient_storage")));
    assert_eq!(nodes.get(0, "/db/b").0, 200, "reads go on");
}

#[test]
fn a_copy_that_is_added_during_a_split_stays_undivided_and_is_read_while_it_is_empty() {
    let mut nodes = Nodes::new(3);
    nodes.put_map(&[&name(0), &name(1)]);
    for id in 0..10 {
        nodes.ok("PUT", 0, &format!("/db/{id}"), json!({}));
    }
    nodes.world.set_timings(Timings { split: Duration::from_secs(10), ..Timings::default() });
    nodes.ok("POST", 0, "/_reshard/jobs", json!({"type": "split", "db": "db"}));
    nodes.put_map(&[&name(0), &name(1), &name(2)]);
    nodes.pass(20);
    let (_, map) = nodes.get(2, "/_node/_local/_dbs/db");
    let halves = json!([name(0), name(1)]);
    let mixed = json!({"00000000-7fffffff": halves, RANGE: [name(2)], "80000000-ffffffff": halves});
    assert_eq!(map["by_range"], mixed);
    assert_eq!(nodes.get(1, "/_reshard").1["completed"], 2);
    // The halves are pushed to the copy that contains them.
    nodes.world.wipe(&host(2));
    nodes.world.start(&host(2), nodes.now).unwrap();
    nodes.pass(1);
    assert_eq!(nodes.get(0, "/db").1["doc_count"], 0);
    nodes.pass(10);
    assert_eq!(nodes.get(0, "/db").1["doc_count"], 10);
}

#[test]
fn a_later_release_forgets_a_failed_push_to_a_name_that_is_no_node() {
    let mut nodes = Nodes::of(2, Version::new(3, 5, 2));
    nodes.ok("PUT", 0, "/db/a", json!({}));
    nodes.put_map(&[&name(0), PLACEHOLDER]);
    nodes.sync(0);
    nodes.pass(30);
    assert_eq!(nodes.world.failed_pushes(PLACEHOLDER), 1);
    nodes.redirect(0, 1);
    nodes.pass(10);
    assert_eq!(nodes.docs(1), None);
    nodes.sync(0);
    assert_eq!(nodes.docs(1), Some(1));
}

#[test]
fn a_database_that_is_deleted_during_a_fill_leaves_the_filled_file() {
    let mut nodes = Nodes::new(2);
    nodes.ok("PUT", 0, "/db/a", json!({}));
    nodes.put_map(&[&name(0), PLACEHOLDER]);
    nodes.redirect(0, 1);
    nodes.sync(0);
    nodes.ok("PUT", 0, "/db/b", json!({}));
    nodes.ok("POST", 0, "/db/_sync_shards", json!({}));
    nodes.ok("DELETE", 1, "/db", Value::Null);
    nodes.pass(30);
    assert_eq!((nodes.docs(0), nodes.docs(1)), (None, Some(1)));
}
