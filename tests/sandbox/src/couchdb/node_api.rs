//! `/_node/{node}/..`: node-local databases, restart, and what it tells of itself.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::distribution::pair;
use super::fabric::put_auth_design_doc;
use super::http::{Answer, Request, Response, Time};
use super::local_db::{self, Local};
use super::revs::Docs;
use super::settings::{Host, Version};
use super::setup::POLL;
use super::shards::{self, Shard};
use super::world::World;

/// `net_setuptime`: how long a new connection may take. A node that can't be reached is called down after it.
const SETUP: Duration = Duration::from_secs(7);

impl World {
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
        let modern = self.nodes[host].settings.version >= Version::new(3, 0, 0);
        match rest {
            [] if modern && node == "_local" => {
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
            path if modern => self.backend(&target, path, request, now),
            _ => Response::missing().into(),
        }
    }

    /// The node that is meant, if a call to it arrives. Asking is enough to connect the two.
    fn called_node(&mut self, host: &Host, node: &str, request: &Request, now: Time) -> Result<Host, Answer> {
        if node == "_local" || self.nodes[host].name() == Some(node) {
            return Ok(host.clone());
        }
        if !self.has_heard_of(host, node) {
            return Err(Response::error(404, "not_found", &format!("no such node: {node}")).into());
        }
        let arrives = self.dial(host, node, now);
        let down = Response::error(412, "nodedown", &format!("{node} is down"));
        match self.host_of(node) {
            Some(target) if arrives => Ok(target),
            // The call is lost, and nobody knows before the connection counts as broken.
            Some(target) if self.is_connected(host, &target) => Err(Answer::Later(now + POLL)),
            Some(target) if self.is_silent(host, &target) => {
                let broken = self.broken.get(&pair(host, &target));
                let has_waited = broken.is_some_and(|broken| *broken >= request.received);
                Err(down.after(if has_waited { Duration::ZERO } else { SETUP }))
            }
            Some(_) | None => Err(down.into()),
        }
    }

    /// CouchDB takes only names that its Erlang knows: of nodes that it met since its start, and in documents.
    fn has_heard_of(&self, host: &Host, name: &str) -> bool {
        let node = &self.nodes[host];
        let holds_shards =
            |map: &Map<String, Value>| map.get("by_node").is_some_and(|n| n.get(name).is_some());
        node.process.as_ref().is_some_and(|p| p.heard.contains(name))
            || node.members().contains(&name)
            || self.connected(host).iter().any(|n| n == name)
            || node.volume.dbs.live().any(|(_, _, map)| holds_shards(map))
    }

    fn restart_soon(&mut self, target: &Host, request: &Request, now: Time) -> Response {
        if request.method != "POST" {
            return Response::not_allowed("POST");
        }
        let away = self.timings.restart;
        if let Some(node) = self.nodes.get_mut(target) {
            // The answer gets out before the node goes.
            node.restart = Some((now + Duration::from_millis(100), now + away));
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
                "internal_replication_jobs": self.unfilled.len(),
                "distribution": sockets,
            }),
        )
    }

    /// What isn't answered at once goes to the older HTTP stack, which serves the files of one node.
    fn backend(&mut self, target: &Host, path: &[&str], request: &Request, now: Time) -> Answer {
        let busy = match self.make_auth_file(target, now) {
            Ok(busy) => busy,
            Err(response) => return response.into(),
        };
        if self.is_overwritten(target) && self.random.below(4) == 0 {
            return Response::conflict().into();
        }
        match path {
            [] => self.backend_welcome(target).after(busy),
            [db, rest @ ..] => self.local_db(target, db, rest, request, now).after(busy),
        }
    }

    /// The older stack has a `_users` file of its own, which it makes at the first password it sees. That takes a
    /// moment, and whoever asks in it finds the file or its design document half made.
    fn make_auth_file(&mut self, target: &Host, now: Time) -> Result<Duration, Response> {
        let busy = self.timings.auth_file;
        let Some(node) = self.nodes.get_mut(target) else { return Ok(Duration::ZERO) };
        let Some(process) = node.process.as_mut() else { return Ok(Duration::ZERO) };
        if node.volume.users.is_none() {
            let mut file = Docs::default();
            put_auth_design_doc(&mut file);
            node.volume.users = Some(file);
            process.auth_file_made = now + busy;
            return Ok(busy);
        }
        if process.auth_file_made <= now {
            return Ok(Duration::ZERO);
        }
        Err(match self.random.below(2) {
            0 => Response::error(500, "badmatch", "file_exists"),
            _ => Response::conflict(),
        })
    }

    /// The design document in that file is another one before 3.4, in 3.4 and since 3.5. Nodes send each other the file,
    /// and each puts its own back in at each such call, so while there are two of them some calls meet a conflict.
    fn is_overwritten(&self, target: &Host) -> bool {
        let kind = |host: &Host| self.nodes[host].settings.version.minor.clamp(3, 5);
        self.peers(target).any(|peer| kind(peer) != kind(target))
    }

    fn backend_welcome(&self, target: &Host) -> Response {
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

    /// `_nodes`, `_dbs` and shard files, as files of one node.
    fn local_db(&mut self, host: &Host, db: &str, rest: &[&str], request: &Request, now: Time) -> Response {
        let Some(which) = Local::parse(db) else { return no_file() };
        if let Some(refused) = refused_write(&which, rest, request) {
            return refused;
        }
        if let (Local::Shard(shard), [], "DELETE") = (&which, rest, request.method.as_str()) {
            return self.delete_shard_file(host, shard);
        }
        let Some(docs) = self.nodes.get_mut(host).and_then(|n| local_db::open(&mut n.volume, &which)) else {
            return no_file();
        };
        let before = docs.seq;
        let response = local_db::answer(docs, db, rest, request);
        if docs.seq != before {
            self.local_db_changed(host, &which, rest, now);
        }
        response
    }

    fn local_db_changed(&mut self, host: &Host, which: &Local, rest: &[&str], now: Time) {
        match which {
            Local::Nodes => self.members_changed(host, now),
            Local::Users => {}
            Local::Dbs => {
                if let [db, ..] = rest {
                    self.make_shard_files_of(host, db);
                }
                self.replicate_soon(now);
            }
            Local::Shard(shard) => {
                if !rest.is_empty() {
                    self.fill_soon(&shard.db.clone(), now);
                }
            }
        }
    }

    fn delete_shard_file(&mut self, host: &Host, shard: &Shard) -> Response {
        match self.nodes.get_mut(host).and_then(|n| n.volume.shards.remove(shard)) {
            Some(_) => Response::ok(200),
            None => no_file(),
        }
    }
}

fn no_file() -> Response {
    Response::error(404, "not_found", "no_db_file")
}

/// Since 3.2.1 a shard map must be consistent in itself. Whether its nodes exist, and whether it still has all
/// ranges, is not looked at.
fn refused_write(which: &Local, rest: &[&str], request: &Request) -> Option<Response> {
    let (Local::Dbs, [_], "PUT", Some(Value::Object(map))) =
        (which, rest, request.method.as_str(), request.json())
    else {
        return None;
    };
    (!shards::is_consistent(&map))
        .then(|| Response::error(403, "forbidden", "by_node and by_range do not match"))
}
