//! `/_node/{node}/..`: node-local databases, restart, and what it tells of itself.

use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Answer, Request, Response, Time};
use super::local_db::{self, Local};
use super::settings::{Host, Version};
use super::shards::{self, Shard};
use super::world::World;

/// Calling a node that was cut off takes as long as a lost packet is waited for.
const LOST: Duration = Duration::from_millis(3100);

impl World {
    pub(crate) fn node_api(
        &mut self,
        host: &Host,
        node: &str,
        rest: &[&str],
        request: &Request,
        now: Time,
    ) -> Answer {
        let target = match self.called_node(host, node, now) {
            Ok(target) => target,
            Err(answer) => return answer,
        };
        let modern = self.nodes[host].settings.version >= Version::new(3, 0, 0);
        match rest {
            [] if modern => {
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
            [db, rest @ ..] if modern => self.local_db(&target, db, rest, request, now).into(),
            _ => Response::missing().into(),
        }
    }

    /// The node that is meant, if a call to it arrives.
    fn called_node(&mut self, host: &Host, node: &str, now: Time) -> Result<Host, Answer> {
        if node == "_local" || self.nodes[host].name() == Some(node) {
            return Ok(host.clone());
        }
        let known =
            self.nodes[host].members().contains(&node) || self.connected(host).iter().any(|n| n == node);
        if !known {
            return Err(Response::error(404, "not_found", &format!("no such node: {node}")).into());
        }
        let arrives = self.dial(host, node, now);
        let target = self.host_of(node);
        match target {
            Some(target) if arrives => Ok(target),
            target => {
                let down = Response::error(412, "nodedown", &format!("{node} is down"));
                let lost = target.is_some_and(|t| self.is_connected(host, &t));
                Err(down.after(if lost { LOST } else { Duration::ZERO }))
            }
        }
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
        let sockets: serde_json::Map<String, Value> =
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

    /// `_nodes`, `_dbs` and shard files, as files of one node.
    fn local_db(&mut self, host: &Host, db: &str, rest: &[&str], request: &Request, now: Time) -> Response {
        let Some(which) = Local::parse(db) else { return Response::no_db() };
        if let Some(refused) = refused_write(&which, rest, request) {
            return refused;
        }
        if let (Local::Shard(shard), [], "DELETE") = (&which, rest, request.method.as_str()) {
            return self.delete_shard_file(host, shard);
        }
        let Some(docs) = self.nodes.get_mut(host).and_then(|n| local_db::open(&mut n.volume, &which)) else {
            return Response::no_db();
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
            None => Response::no_db(),
        }
    }
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
