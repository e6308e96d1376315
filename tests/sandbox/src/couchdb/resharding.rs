//! `/_reshard`: jobs that split a shard of one node. The copies on the other nodes stay as they are.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::http::{Request, Response, Time};
use super::node::Node;
use super::revs::Edit;
use super::settings::{Host, Version};
use super::shard_file::ShardFile;
use super::shards::{Shard, ShardMap, contains_doc, halves};
use super::world::World;

/// The resharding of one node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Resharding {
    /// The reason for which resharding is stopped, as the caller gave it.
    stopped: Option<String>,
    jobs: Vec<Job>,
}

/// A job on the node that holds the source.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Job {
    id: String,
    node: String,
    source: Shard,
    targets: [Shard; 2],
    state: State,
    /// `true` once the job ran.
    begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Running {
        until: Time,
    },
    /// Stopped with all of resharding, or created meanwhile. It begins again with it.
    Stopped,
    Completed,
}

const STOPPED_BY_USER: &str = "Cluster-wide resharding stopped by the user";

impl Resharding {
    /// `true` while a job is under way.
    pub(crate) fn is_running(&self) -> bool {
        self.jobs.iter().any(|job| matches!(job.state, State::Running { .. }))
    }

    /// Stops the jobs that run; a second reason does not replace the first.
    fn stop(&mut self, reason: &str) {
        self.stopped.get_or_insert_with(|| reason.to_owned());
        for job in &mut self.jobs {
            if job.state != State::Completed {
                job.state = State::Stopped;
            }
        }
    }

    fn start(&mut self, until: Time) {
        self.stopped = None;
        for job in &mut self.jobs {
            if job.state == State::Stopped {
                job.state = State::Running { until };
                job.begun = true;
            }
        }
    }
}

impl Job {
    fn state(&self) -> &'static str {
        match self.state {
            State::Running { .. } => "running",
            State::Stopped => "stopped",
            State::Completed => "completed",
        }
    }

    /// The part of the split that was reached.
    fn split_state(&self) -> &'static str {
        match self.state {
            State::Completed => "completed",
            State::Running { .. } | State::Stopped if self.begun => "initial_copy",
            State::Running { .. } | State::Stopped => "new",
        }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "type": "split",
            "source": self.source.to_string(),
            "target": self.targets.iter().map(Shard::to_string).collect::<Vec<_>>(),
            "node": self.node,
            "job_state": self.state(),
            "split_state": self.split_state(),
        })
    }
}

impl World {
    /// Answers a call for `/_reshard` and below.
    pub(crate) fn reshard(&mut self, host: &Host, rest: &[&str], request: &Request, now: Time) -> Response {
        if self.nodes[host].settings.version < Version::new(3, 0, 0) {
            return Response::no_db();
        }
        match (request.method.as_str(), rest) {
            ("PUT", ["state"]) => self.put_resharding_state(host, request, now),
            ("POST", ["jobs"]) => self.create_jobs(host, request, now),
            ("GET", []) => {
                let (state, reason) = self.resharding_state(host);
                let jobs = self.jobs(host);
                let count = |state| jobs.iter().filter(|job| job.state() == state).count();
                Response::json(
                    200,
                    &json!({"state": state, "state_reason": reason, "completed": count("completed"), "failed": 0,
                            "running": count("running"), "stopped": count("stopped"), "total": jobs.len()}),
                )
            }
            ("GET", ["state"]) => {
                let (state, reason) = self.resharding_state(host);
                Response::json(200, &json!({"state": state, "reason": reason}))
            }
            ("GET", ["jobs"]) => {
                let jobs: Vec<Value> = self.jobs(host).iter().map(Job::json).collect();
                Response::json(200, &json!({"total_rows": jobs.len(), "offset": 0, "jobs": jobs}))
            }
            _ => Response::missing(),
        }
    }

    /// The running nodes that a call for all of resharding reaches.
    fn reached(&self, host: &Host) -> Vec<Host> {
        let is_reached = |(other, node): &(&Host, &Node)| node.is_running() && self.reaches(host, other);
        self.nodes.iter().filter(is_reached).map(|(other, _)| other.clone()).collect()
    }

    /// The state of all nodes that are reached: resharding runs if it runs on one of them.
    fn resharding_state(&self, host: &Host) -> (&'static str, Option<&str>) {
        let mut reasons: Vec<&str> = Vec::new();
        for other in self.reached(host) {
            match &self.nodes[&other].volume.resharding.stopped {
                None => return ("running", None),
                Some(reason) => reasons.push(reason),
            }
        }
        ("stopped", reasons.into_iter().min())
    }

    /// The jobs of all nodes that are reached.
    fn jobs(&self, host: &Host) -> Vec<Job> {
        let nodes = self.reached(host).into_iter();
        nodes.flat_map(|other| self.nodes[&other].volume.resharding.jobs.clone()).collect()
    }

    fn put_resharding_state(&mut self, host: &Host, request: &Request, now: Time) -> Response {
        let body = request.json().unwrap_or_default();
        if body["state"].is_null() {
            return Response::error(400, "bad_request", "Expected a `state` field");
        }
        let Some(state @ ("running" | "stopped")) = body["state"].as_str() else {
            return Response::error(400, "bad_request", "State field not `running` or `stopped`");
        };
        let is_stop = state == "stopped";
        let reason = body["reason"].as_str().unwrap_or(STOPPED_BY_USER);
        let until = now + self.timings.split;
        for other in self.reached(host) {
            let Some(node) = self.nodes.get_mut(&other) else { continue };
            if is_stop {
                node.volume.resharding.stop(reason);
            } else {
                node.volume.resharding.start(until);
            }
        }
        Response::ok(200)
    }

    /// Creates a job for each shard of the database, or for those on one node or of one range.
    fn create_jobs(&mut self, host: &Host, request: &Request, now: Time) -> Response {
        let body = request.json().unwrap_or_default();
        let field = |name: &str| body[name].as_str().map(str::to_owned);
        let named = field("shard").and_then(|shard| Shard::parse(&shard));
        let db = named.as_ref().map(|shard| shard.db.clone()).or_else(|| field("db")).unwrap_or_default();
        let range = named.map(|shard| shard.range).or_else(|| field("range"));
        let Some(map) = self.map_of(host, &db) else {
            return Response::error(400, "bad_request", "Database does not exist.");
        };
        let mut answers = Vec::new();
        for (part, holders) in
            map.by_range.iter().filter(|(part, _)| range.as_ref().is_none_or(|range| range == *part))
        {
            for holder in holders.iter().filter(|holder| field("node").is_none_or(|node| node == **holder)) {
                answers.extend(self.create_job(&map, part, holder, now));
            }
        }
        Response::json(201, &Value::Array(answers))
    }

    fn create_job(&mut self, map: &ShardMap, range: &str, holder: &str, now: Time) -> Option<Value> {
        let targets = halves(range)?.map(|half| map.shard(&half));
        let until = now + self.timings.split;
        let id = format!("001-{}{}", self.file_uuids.hex32(), self.file_uuids.hex32());
        let host = self.host_of(holder)?;
        let source = map.shard(range);
        let answer = json!({"ok": true, "id": id, "node": holder, "shard": source.to_string()});
        let resharding = &mut self.nodes.get_mut(&host)?.volume.resharding;
        let state = if resharding.stopped.is_some() { State::Stopped } else { State::Running { until } };
        let begun = state != State::Stopped;
        resharding.jobs.push(Job { id, node: holder.to_owned(), source, targets, state, begun });
        Some(answer)
    }

    /// Ends the jobs that are due.
    pub(crate) fn tick_resharding(&mut self, now: Time) {
        let mut done = Vec::new();
        for (host, node) in &mut self.nodes {
            if !node.is_running() {
                continue;
            }
            for job in &mut node.volume.resharding.jobs {
                if matches!(job.state, State::Running { until } if until <= now) {
                    job.state = State::Completed;
                    done.push((host.clone(), job.clone()));
                }
            }
        }
        for (host, job) in done {
            self.split(&host, &job, now);
        }
    }

    fn split(&mut self, host: &Host, job: &Job, now: Time) {
        let Some(source) = self.nodes.get_mut(host).and_then(|node| node.volume.shards.remove(&job.source))
        else {
            return;
        };
        for target in &job.targets {
            let mut file = ShardFile {
                props: source.props.clone(),
                ..ShardFile::new(self.file_uuids.hex32(), source.security.clone())
            };
            (file.revs_limit, file.purged_infos_limit) = (source.revs_limit, source.purged_infos_limit);
            for (id, doc) in source.docs.all().filter(|(id, _)| contains_doc(&target.range, id)) {
                file.docs.merge_doc(id, doc);
            }
            if let Some(node) = self.nodes.get_mut(host) {
                node.volume.shards.insert(target.clone(), file);
            }
        }
        self.edit_split_map(host, job, now);
        for target in &job.targets {
            self.push_soon(host, target, now);
        }
    }

    /// Edits the map on the first of the live members, after it has the maps of all, and gives all of them the result
    /// (`mem3_reshard_dbdoc`). So jobs that end at the same time do not conflict.
    fn edit_split_map(&mut self, host: &Host, job: &Job, now: Time) {
        let members = self.nodes[host].members();
        let live: Vec<Host> = members
            .into_iter()
            .filter_map(|name| self.host_of(name))
            .filter(|member| self.reaches(host, member))
            .collect();
        let Some(first) = live.first().cloned() else { return };
        self.merge_maps(&live, std::slice::from_ref(&first));
        let db = &job.source.db;
        let Some(node) = self.nodes.get_mut(&first) else { return };
        let Some((rev, map)) = node.volume.dbs.get(db).and_then(|doc| doc.live()) else { return };
        let (rev, mut map) = (rev.clone(), map.clone());
        replace_range(&mut map, job);
        // The revision was read just before, so the edit does not conflict.
        let _ = node.volume.dbs.edit(db, Edit { rev: Some(rev), deleted: false, body: map });
        self.merge_maps(&[first], &live);
        self.replicate_soon(now);
    }

    fn merge_maps(&mut self, from: &[Host], to: &[Host]) {
        for source in from {
            let dbs = self.nodes[source].volume.dbs.clone();
            for target in to.iter().filter(|target| *target != source) {
                if self.nodes.get_mut(target).is_some_and(|node| node.volume.dbs.merge(&dbs)) {
                    self.create_shard_files(target);
                }
            }
        }
    }
}

/// Replaces the source by the targets, for the node of the job only. All other copies stay as the map lists them.
fn replace_range(map: &mut Map<String, Value>, job: &Job) {
    let source = &job.source.range;
    let targets = job.targets.iter().map(|target| target.range.clone());
    if let Some(by_range) = map.get_mut("by_range").and_then(Value::as_object_mut) {
        if let Some(holders) = by_range.get_mut(source).and_then(Value::as_array_mut) {
            holders.retain(|holder| holder != &job.node);
            if holders.is_empty() {
                by_range.remove(source);
            }
        }
        for range in targets.clone() {
            let holders = by_range.entry(range).or_insert_with(|| json!([]));
            holders.as_array_mut().into_iter().for_each(|holders| holders.push(json!(job.node)));
        }
    }
    let ranges =
        map.get_mut("by_node").and_then(|by_node| by_node.get_mut(&job.node)).and_then(Value::as_array_mut);
    if let Some(ranges) = ranges {
        ranges.retain(|range| range != source);
        ranges.extend(targets.map(Value::from));
    }
    if let Some(changelog) = map.get_mut("changelog").and_then(Value::as_array_mut) {
        changelog.push(json!(["split", source, 2, job.node]));
    }
}
