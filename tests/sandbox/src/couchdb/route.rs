//! From a request to the part that answers it.

use serde_json::json;

use super::auth::{self, Caller};
use super::databases::READ_TIMEOUT;
use super::http::{Answer, Request, Response, Time};
use super::settings::{Host, Version};
use super::setup::POLL;
use super::world::World;

/// The answer of a running node. Each call with a name reads `_users`, an admin's too: it waits for copies that are
/// silent, and connects to the others, though not before it is answered.
pub(crate) fn answer(world: &mut World, host: &Host, request: &Request, now: Time) -> Answer {
    let Some(user) = auth::claimed_user(request) else { return serve(world, host, request, now) };
    if now < request.received + READ_TIMEOUT && world.is_user_out_of_reach(host, &user) {
        return Answer::Later(now + POLL);
    }
    let answer = serve(world, host, request, now);
    world.rouse_users(host, now);
    answer
}

fn serve(world: &mut World, host: &Host, request: &Request, now: Time) -> Answer {
    let segments = request.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let caller = match world.caller(host, request, now) {
        Ok(caller) => caller,
        Err(response) => return response.into(),
    };
    if caller == Caller::Nobody && wants_a_user(world, host, &path) {
        let mut response = Response::error(401, "unauthorized", "Authentication required.");
        response.headers.push(("www-authenticate", "Basic realm=\"server\"".to_owned()));
        return response.into();
    }
    match path.as_slice() {
        [] => only_reads(request, || world.welcome(host)),
        ["_up"] => only_reads(request, || world.up(host)),
        ["_session"] => world.session(host, request, &caller, now).into(),
        ["_uuids"] => only_reads(request, || Response::json(200, &json!({"uuids": [world.random.hex32()]}))),
        ["_utils", ..] | ["favicon.ico"] => Response::missing().into(),
        [db, ..] if is_db_name(world, host, db) => world.database(host, request, &caller, &path, now),
        _ if !caller.is_admin() && !is_open_to_all(world, host, &path) => Response::not_admin().into(),
        ["_membership"] => world.membership(host, request).into(),
        ["_all_dbs"] => world.all_dbs(host, request).into(),
        ["_cluster_setup"] => world.cluster_setup(host, request, now),
        ["_node", node, rest @ ..] => world.node_api(host, node, rest, request, now),
        ["_node"] => Response::error(400, "bad_request", "Incomplete path to _node request").into(),
        ["_reshard", rest @ ..] => world.reshard(host, rest, request).into(),
        ["_active_tasks"] => Response::text(200, "[]\n").into(),
        ["_scheduler", "jobs"] => {
            Response::json(200, &json!({"total_rows": 0, "offset": 0, "jobs": []})).into()
        }
        _ => Response::no_db().into(),
    }
}

/// `require_valid_user`, with its exception for probes.
fn wants_a_user(world: &World, host: &Host, path: &[&str]) -> bool {
    let node = &world.nodes[host];
    let on =
        |key: &str| ["chttpd", "chttpd_auth"].iter().any(|section| node.config(section, key) == Some("true"));
    match path {
        ["_session"] => false,
        ["_up"] if on("require_valid_user_except_for_up") => false,
        _ => on("require_valid_user") || on("require_valid_user_except_for_up"),
    }
}

/// `_membership` asks for an admin since 3.0 only.
fn is_open_to_all(world: &World, host: &Host, path: &[&str]) -> bool {
    world.nodes[host].settings.version.major < 3 && matches!(path, ["_membership"] | ["_all_dbs"])
}

/// Names that start with an underscore are endpoints, but for the system databases and what someone made by hand.
fn is_db_name(world: &World, host: &Host, name: &str) -> bool {
    const SYSTEM: [&str; 3] = ["_users", "_replicator", "_global_changes"];
    let shadowed = matches!(name, "_dbs" | "_nodes");
    let exists = || world.nodes[host].volume.dbs.get(name).is_some();
    !name.starts_with('_') || SYSTEM.contains(&name) || shadowed || exists()
}

fn only_reads(request: &Request, answer: impl FnOnce() -> Response) -> Answer {
    if request.is_read() { answer().into() } else { Response::not_allowed("GET,HEAD").into() }
}

impl World {
    fn welcome(&mut self, host: &Host) -> Response {
        let made = self.random.hex32();
        let Some(node) = self.nodes.get_mut(host) else { return Response::no_db() };
        if node.config("couchdb", "uuid").is_none() {
            node.set_config("couchdb", "uuid", &made, true);
        }
        let version = node.settings.version;
        let mut body = json!({
            "couchdb": "Welcome",
            "version": version.to_string(),
            "git_sha": "11f0d36",
            "uuid": node.config("couchdb", "uuid"),
            "features": version.features(),
            "vendor": {"name": "The Apache Software Foundation"},
        });
        if version.major < 3
            && let Some(object) = body.as_object_mut()
        {
            object.shift_remove("uuid");
        }
        Response::json(200, &body)
    }

    fn up(&self, host: &Host) -> Response {
        let Some(process) = self.nodes[host].process.as_ref() else { return Response::missing() };
        match process.config.get("couchdb", "maintenance_mode") {
            Some("true") => return Response::json(404, &json!({"status": "maintenance_mode"})),
            Some("nolb") => return Response::json(404, &json!({"status": "nolb"})),
            Some(_) | None => {}
        }
        let seeds = process.seeds.json();
        if process.seeds.are_reached() {
            Response::json(200, &json!({"status": "ok", "seeds": seeds}))
        } else {
            Response::json(404, &json!({"status": "seeding", "seeds": seeds}))
        }
    }

    fn membership(&self, host: &Host, request: &Request) -> Response {
        if !request.is_read() {
            return Response::not_allowed("GET");
        }
        let all = self.connected(host);
        Response::json(200, &json!({"all_nodes": all, "cluster_nodes": self.nodes[host].members()}))
    }

    fn reshard(&mut self, host: &Host, rest: &[&str], request: &Request) -> Response {
        if self.nodes[host].settings.version < Version::new(3, 0, 0) {
            return Response::no_db();
        }
        let Some(process) = self.nodes.get_mut(host).and_then(|n| n.process.as_mut()) else {
            return Response::missing();
        };
        let stopped = process.reshard_stopped;
        let state = if stopped { "stopped" } else { "running" };
        let reason = stopped.then_some("Cluster-wide resharding stopped by the user");
        match (request.method.as_str(), rest) {
            ("GET", []) => Response::json(
                200,
                &json!({"state": state, "state_reason": reason, "completed": 0, "failed": 0, "running": 0,
                        "stopped": 0, "total": 0}),
            ),
            ("GET", ["state"]) => Response::json(200, &json!({"state": state, "reason": reason})),
            ("GET", ["jobs"]) => Response::json(200, &json!({"total_rows": 0, "offset": 0, "jobs": []})),
            ("PUT", ["state"]) => {
                process.reshard_stopped = request.json().is_some_and(|b| b["state"] == "stopped");
                Response::ok(200)
            }
            _ => Response::missing(),
        }
    }
}
