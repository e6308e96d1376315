//! The routes of CouchDB's API: each request to the module that answers it. Paths below `/_node/{node}/` are routed in
//! `node_api`.

use serde_json::json;

use super::auth::{self, Caller};
use super::databases::{READ_TIMEOUT, is_node_local};
use super::http::{Answer, POLL, Request, Response, Time};
use super::node::Persist;
use super::settings::Host;
use super::world::{Cut, World};

impl World {
    /// A node's answer to a call.
    pub fn handle(&mut self, host: &Host, request: &Request, now: Time) -> Answer {
        let Some(node) = self.nodes.get(host).filter(|n| n.is_running()) else { return Answer::Dropped };
        // A stopped process keeps the call: it is answered when the process continues.
        if node.paused {
            return Answer::Later(now + POLL);
        }
        if let Some(cut) = self.http_cuts.get(&(request.source.clone(), host.clone())) {
            return match cut {
                Cut::Silent => Answer::Later(now + POLL),
                Cut::Reset => Answer::Dropped,
            };
        }
        if !request.local && !node.listens_on_all() {
            return Answer::Dropped;
        }
        let delay = node.delay;
        match answer(self, host, request, now) {
            Answer::Ready { response, after } => Answer::Ready { response, after: after + delay },
            Answer::Later(at) => Answer::Later(at),
            Answer::Dropped => Answer::Dropped,
        }
    }
}

/// The answer of a running node.
fn answer(world: &mut World, host: &Host, request: &Request, now: Time) -> Answer {
    let Some(user) = auth::claimed_user(request) else { return serve(world, host, request, now) };
    // Each call with a user name reads `_users`, an admin's as well: it waits for copies that do not answer.
    if now < request.received + READ_TIMEOUT && world.is_user_unreachable(host, &user) {
        return Answer::Later(now + POLL);
    }
    let answer = serve(world, host, request, now);
    // The read connects to the holders of `_users`, but the answer to this call does not contain them yet.
    world.dial_holders_of_users(host, now);
    answer
}

fn serve(world: &mut World, host: &Host, request: &Request, now: Time) -> Answer {
    let segments = request.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let extended = world.extended_session(host, request, now);
    let answer = serve_path(world, host, request, &path, now);
    match (answer, extended) {
        (Answer::Ready { mut response, after }, Some(cookie)) if request.path != "/_session" => {
            response.headers.push(("set-cookie", cookie));
            Answer::Ready { response, after }
        }
        (answer, _) => answer,
    }
}

fn serve_path(world: &mut World, host: &Host, request: &Request, path: &[&str], now: Time) -> Answer {
    let caller = match world.caller(host, request, now) {
        Ok(caller) => caller,
        Err(response) => return response.into(),
    };
    if caller == Caller::Anonymous && requires_user(world, host, path) {
        let mut response = Response::error(401, "unauthorized", "Authentication required.");
        response.headers.push(("www-authenticate", "Basic realm=\"server\"".to_owned()));
        return response.into();
    }
    match path {
        // Open to every caller, for probes and logins.
        [] => read_only(request, || world.welcome(host)),
        ["_up"] => read_only(request, || world.up(host)),
        ["_session"] => world.session(host, request, &caller, now).into(),
        ["_uuids"] => read_only(request, || Response::json(200, &json!({"uuids": [world.random.hex32()]}))),
        ["_utils", ..] | ["favicon.ico"] => Response::missing().into(),
        [db, ..] if is_db_name(world, host, db) => world.database(host, request, &caller, path, now),
        // All endpoints from here on are for admins.
        _ if !caller.is_admin() && !is_public(world, host, path) => Response::not_admin().into(),
        ["_membership"] => world.membership(host, request).into(),
        ["_all_dbs"] => world.all_dbs(host, request).into(),
        ["_cluster_setup"] => world.cluster_setup(host, request, now),
        ["_node", node, rest @ ..] => world.node_api(host, node, rest, request, now),
        ["_node"] => Response::error(400, "bad_request", "Incomplete path to _node request").into(),
        ["_reshard", rest @ ..] => world.reshard(host, rest, request, now).into(),
        ["_active_tasks"] => world.active_tasks(host, now).into(),
        ["_scheduler", "jobs"] => {
            Response::json(200, &json!({"total_rows": 0, "offset": 0, "jobs": []})).into()
        }
        _ => Response::no_db().into(),
    }
}

/// `true` if `require_valid_user`, or its variant with an exception for probes, refuses an anonymous call.
fn requires_user(world: &World, host: &Host, path: &[&str]) -> bool {
    let except_for_up = is_auth_option_set(world, host, "require_valid_user_except_for_up");
    match path {
        // The login itself is always open.
        ["_session"] => false,
        ["_up"] if except_for_up => false,
        _ => except_for_up || is_auth_option_set(world, host, "require_valid_user"),
    }
}

/// `true` if an option is set in either of the sections that CouchDB reads it from.
fn is_auth_option_set(world: &World, host: &Host, key: &str) -> bool {
    let node = &world.nodes[host];
    ["chttpd", "chttpd_auth"].iter().any(|section| node.config(section, key) == Some("true"))
}

/// `true` for endpoints that require an admin only since 3.0, on an older node.
fn is_public(world: &World, host: &Host, path: &[&str]) -> bool {
    world.nodes[host].settings.version.major < 3 && matches!(path, ["_membership"] | ["_all_dbs"])
}

/// `true` if the first segment of a path is a database. Names that start with an underscore are endpoints, except for
/// the system databases and databases that were created under such a name.
fn is_db_name(world: &World, host: &Host, name: &str) -> bool {
    const SYSTEM: [&str; 3] = ["_users", "_replicator", "_global_changes"];
    !name.starts_with('_')
        || SYSTEM.contains(&name)
        || is_node_local(name)
        || world.nodes[host].volume.dbs.get(name).is_some()
}

/// The answer of an endpoint that only accepts reads.
fn read_only(request: &Request, answer: impl FnOnce() -> Response) -> Answer {
    if request.is_read() { answer().into() } else { Response::not_allowed("GET,HEAD").into() }
}

impl World {
    fn welcome(&mut self, host: &Host) -> Response {
        let new_uuid = self.random.hex32();
        let Some(node) = self.nodes.get_mut(host) else { return Response::no_db() };
        // The first `GET /` generates the uuid and stores it.
        if node.config("couchdb", "uuid").is_none() {
            node.set_config("couchdb", "uuid", &new_uuid, Persist::OnDisk);
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
        // The answer of 2.x does not contain the uuid.
        if version.major < 3
            && let Some(object) = body.as_object_mut()
        {
            object.shift_remove("uuid");
        }
        Response::json(200, &body)
    }

    fn up(&self, host: &Host) -> Response {
        let Some(process) = self.nodes[host].process.as_ref() else { return Response::missing() };
        // `nolb` takes the node out of load balancers only; its shards are still used.
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
}
