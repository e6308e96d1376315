//! `/_node/{node}/..`: node-local databases, configuration, restart and statistics.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::distribution::pair;
use super::fabric::put_auth_design_doc;
use super::http::{Answer, POLL, Request, Response, Time};
use super::local_db::{self, LocalDb};
use super::node::{Persist, Restart};
use super::revs::Docs;
use super::settings::{Host, Version};
use super::shards;
use super::world::World;

/// `net_setuptime`: the time that a new connection may take. After it, a node that can't be reached is reported as
/// down.
const SETUP: Duration = Duration::from_secs(7);

/// The delay of a restart: the answer must be sent before the node goes down.
const BEFORE_RESTART: Duration = Duration::from_millis(100);

impl World {
    /// Answers a call about a node, which may be another one than the node that received the call.
    pub(crate) fn node_api(
        &mut self,
        host: &Host,
        node: &str,
        rest: &[&str],
        request: &Request,
        now: Time,
    ) -> Answer {
        let target = match self.called_node(host, node, request, now) {
            Ok(target) => target,
            Err(answer) => return answer,
        };
        let is_3x = self.nodes[host].settings.version >= Version::new(3, 0, 0);
        match rest {
            [] if is_3x && node == "_local" => {
                let name = self.nodes[&target].name().unwrap_or("nonode@nohost");
                Response::json(200, &json!({"name": name})).into()
            }
            ["_config", rest @ ..] => self.config_api(&target, rest, request).into(),
            ["_restart"] => self.restart_soon(&target, request, now).into(),
            ["_system"] => self.system(&target, now).into(),
            ["_versions"] => Response::json(
                200,
                &json!({"javascript_engine": {"name": "quickjs"}, "erlang": {"version": "25.2.3"}}),
            )
            .into(),
            ["_stats", ..] => Response::json(200, &json!({})).into(),
            // All other paths go to the older HTTP stack, which serves the files of one node.
            path if is_3x => self.backend(&target, path, request, now),
            _ => Response::missing().into(),
        }
    }

    /// The node that a call is about, if the call arrives there. The attempt connects the two nodes.
    fn called_node(&mut self, host: &Host, node: &str, request: &Request, now: Time) -> Result<Host, Answer> {
        if node == "_local" || self.nodes[host].name() == Some(node) {
            return Ok(host.clone());
        }
        if !self.knows_name(host, node) {
            return Err(Response::error(404, "not_found", &format!("no such node: {node}")).into());
        }
        let arrives = self.dial(host, node, now);
        let down = Response::error(412, "nodedown", &format!("{node} is down"));
        let Some(target) = self.host_of(node) else { return Err(down.into()) };
        if arrives {
            return Ok(target);
        }
        // The call is lost, which is noticed only when the connection counts as broken.
        if self.is_connected(host, &target) {
            return Err(Answer::Later(now + POLL));
        }
        if !self.is_silent(host, &target) {
            return Err(down.into());
        }
        // A call that has waited for the broken connection is not tried again; a later one tries a new connection.
        let broken = self.broken.get(&pair(host, &target));
        let has_waited = broken.is_some_and(|broken| *broken >= request.received);
        Err(down.after(if has_waited { Duration::ZERO } else { SETUP }))
    }

    /// `true` if the node's Erlang knows the name: from a connection since its start, or from a document. CouchDB
    /// refuses other names, since it creates no atoms from requests.
    fn knows_name(&self, host: &Host, name: &str) -> bool {
        let node = &self.nodes[host];
        node.process.as_ref().is_some_and(|p| p.known_names.contains(name))
            || node.members().contains(&name)
            || self.connected(host).iter().any(|n| n == name)
            || node
                .volume
                .dbs
                .live()
                .any(|(_, _, map)| map.get("by_node").is_some_and(|holders| holders.get(name).is_some()))
    }

    fn restart_soon(&mut self, target: &Host, request: &Request, now: Time) -> Response {
        if request.method != "POST" {
            return Response::not_allowed("POST");
        }
        let up_at = now + self.timings.restart;
        if let Some(node) = self.nodes.get_mut(target) {
            node.restart = Some(Restart { down_at: now + BEFORE_RESTART, up_at });
        }
        Response::ok(200)
    }

    fn system(&self, target: &Host, now: Time) -> Response {
        let started = self.nodes[target].process.as_ref().map_or(now, |p| p.started);
        let sockets: Map<String, Value> =
            self.connected(target).into_iter().map(|node| (node, json!({"send_pend": 0}))).collect();
        Response::json(
            200,
            &json!({
                "uptime": (now - started).as_secs(),
                "memory": {},
                // Only jobs that were put back are counted, and no running one.
                "internal_replication_jobs": 0,
                "distribution": sockets,
            }),
        )
    }

    /// Answers a call to the older HTTP stack.
    fn backend(&mut self, target: &Host, path: &[&str], request: &Request, now: Time) -> Answer {
        let busy = match self.create_auth_file(target, now) {
            Ok(busy) => busy,
            Err(response) => return response.into(),
        };
        // One call in four meets the conflict, at random.
        if self.is_auth_doc_contended(target) && self.random.below(4) == 0 {
            return Response::conflict().into();
        }
        match path {
            [] => self.backend_welcome(target).after(busy),
            ["_all_dbs"] if request.is_read() => self.all_files(target).after(busy),
            [db, rest @ ..] => self.local_db(target, db, rest, request, now).after(busy),
        }
    }

    /// Creates the `_users` file of the older stack at the first call with a password, and returns the time that this
    /// takes. The error is the answer to another call in that time, which meets an incomplete file or design document.
    fn create_auth_file(&mut self, target: &Host, now: Time) -> Result<Duration, Response> {
        let busy = self.timings.auth_file;
        let Some(node) = self.nodes.get_mut(target) else { return Ok(Duration::ZERO) };
        let Some(process) = node.process.as_mut() else { return Ok(Duration::ZERO) };
        if node.volume.users.is_none() {
            let mut file = Docs::default();
            put_auth_design_doc(&mut file);
            node.volume.users = Some(file);
            process.auth_file_complete = now + busy;
            return Ok(busy);
        }
        if process.auth_file_complete <= now {
            return Ok(Duration::ZERO);
        }
        // Real nodes give either answer; here the choice is random.
        Err(match self.random.below(2) {
            0 => Response::error(500, "badmatch", "file_exists"),
            _ => Response::conflict(),
        })
    }

    /// `true` if a connected peer writes another design document into the `_users` file. It differs before 3.4, in 3.4
    /// and since 3.5. Nodes replicate the file to each other, and each restores its own document at each such call, so
    /// some calls meet a conflict.
    fn is_auth_doc_contended(&self, target: &Host) -> bool {
        let own = self.auth_doc_kind(target);
        self.peers(target).any(|peer| self.auth_doc_kind(peer) != own)
    }

    /// The minor version stands for the kind of the design document: 3 for all before 3.4, 5 for all since 3.5.
    fn auth_doc_kind(&self, host: &Host) -> u8 {
        self.nodes[host].settings.version.minor.clamp(3, 5)
    }

    fn backend_welcome(&mut self, target: &Host) -> Response {
        // As `GET /`, it generates the uuid (`couch_server:get_uuid`).
        let new_uuid = self.random.hex32();
        if let Some(node) = self.nodes.get_mut(target)
            && node.config("couchdb", "uuid").is_none()
        {
            node.set_config("couchdb", "uuid", &new_uuid, Persist::OnDisk);
        }
        let node = &self.nodes[target];
        Response::json(
            200,
            &json!({
                "couchdb": "Welcome",
                "uuid": node.config("couchdb", "uuid"),
                "version": node.settings.version.to_string(),
                "vendor": {"name": "The Apache Software Foundation"},
            }),
        )
    }

    /// Answers a call for `_nodes`, `_dbs`, `_users` or a shard, as a file of one node.
    fn local_db(&mut self, host: &Host, name: &str, rest: &[&str], request: &Request, now: Time) -> Response {
        let Some(db) = LocalDb::parse(name) else { return no_file() };
        if db == LocalDb::Dbs && is_inconsistent_map(rest, request) {
            return Response::error(403, "forbidden", "by_node and by_range do not match");
        }
        if let LocalDb::Shard(shard) = &db {
            return self.shard_api(host, shard, rest, request, now);
        }
        if !request.is_read() && rest != ["_all_docs"] && self.nodes[host].is_disk_full {
            return Response::disk_full();
        }
        let Some(docs) = self.nodes.get_mut(host).and_then(|n| db.open(&mut n.volume)) else {
            return no_file();
        };
        let seq_before = docs.seq;
        let response = local_db::answer(docs, name, rest, request);
        if docs.seq != seq_before {
            self.local_db_changed(host, &db, rest, now);
        }
        response
    }

    /// Starts the effects of a change: connections, shard files, replication.
    fn local_db_changed(&mut self, host: &Host, db: &LocalDb, rest: &[&str], now: Time) {
        match db {
            LocalDb::Nodes => self.members_changed(host, now),
            // Shard files are served by `shard_api`.
            LocalDb::Users | LocalDb::Shard(_) => {}
            LocalDb::Dbs => {
                match rest {
                    ["_bulk_docs"] => self.create_shard_files(host),
                    [db, ..] => self.create_shard_files_of(host, db),
                    [] => {}
                }
                self.replicate_soon(now);
            }
        }
    }
}

fn no_file() -> Response {
    Response::error(404, "not_found", "no_db_file")
}

/// `true` for a write of a shard map with different copies in `by_node` and `by_range`, which CouchDB refuses since
/// 3.2.1, with all other maps of the same call. It does not check that the nodes exist, or that the map still contains all
/// ranges.
fn is_inconsistent_map(rest: &[&str], request: &Request) -> bool {
    let Some(body) = request.json() else { return false };
    let maps = match (request.method.as_str(), rest) {
        ("POST", ["_bulk_docs"]) => body["docs"].as_array().cloned().unwrap_or_default(),
        ("PUT", [_]) => vec![body],
        _ => return false,
    };
    let is_deletion = |map: &Map<String, Value>| map.get("_deleted") == Some(&Value::Bool(true));
    maps.iter().filter_map(Value::as_object).any(|map| !is_deletion(map) && !shards::is_consistent(map))
}
