//! `/_cluster_setup`: the wizard, with its traps.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::fabric::{Reach, Size};
use super::http::{Answer, Request, Response, Time};
use super::settings::Host;
use super::world::{Cut, World};

/// What a call with waiting for a password hash takes.
const HASHING: Duration = Duration::from_millis(1000);
/// No route to the host, or its ARP is not answered.
const NO_ROUTE: Duration = Duration::from_millis(3100);
/// How often a call that waits looks again.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// What `GET /_cluster_setup` answers: computed from config and databases at each call, stored nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bound to 127.0.0.1, or without an admin.
    ClusterDisabled,
    /// May be a member or alone; the system databases can't be opened.
    ClusterEnabled,
    /// The system databases can be opened.
    ClusterFinished,
    /// n is 1, and the databases lack or there is no admin.
    SingleNodeDisabled,
    /// n is 1, or `single_node=true`.
    SingleNodeEnabled,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::ClusterDisabled => "cluster_disabled",
            Self::ClusterEnabled => "cluster_enabled",
            Self::ClusterFinished => "cluster_finished",
            Self::SingleNodeDisabled => "single_node_disabled",
            Self::SingleNodeEnabled => "single_node_enabled",
        }
    }
}

impl World {
    pub(crate) fn cluster_setup(&mut self, host: &Host, request: &Request, now: Time) -> Answer {
        match request.method.as_str() {
            "GET" | "HEAD" => {
                let dbs = self.wanted_dbs(host, request.param_json("ensure_dbs_exist").as_ref());
                let state = self.state(host, &dbs, now);
                return Response::json(200, &json!({"state": state.word()})).into();
            }
            "POST" => {}
            _ => return Response::not_allowed("GET,POST").into(),
        }
        if !request.is_json() {
            let reason = "Content-Type must be application/json";
            return Response::error(415, "bad_content_type", reason).into();
        }
        let Some(Value::Object(body)) = request.json() else {
            return Response::error(400, "bad_request", "Missing JSON body'").into();
        };
        match body.get("action").and_then(Value::as_str) {
            Some("enable_cluster") => self.enable_cluster(host, &body, now),
            Some("add_node") => self.add_node(host, &body, now),
            Some("receive_cookie") => self.receive_cookie(host, &body),
            Some("finish_cluster") => self.finish_cluster(host, &body, request.received, now),
            Some("enable_single_node") => self.enable_single_node(host, &body, now),
            Some("remove_node") => Response::ok(201).into(),
            Some(_) | None => Response::error(400, "bad_request", "Invalid Action'").into(),
        }
    }

    pub(crate) fn wanted_dbs(&self, host: &Host, given: Option<&Value>) -> Vec<String> {
        let listed = given
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<String>>());
        let system = self.nodes[host].settings.version.system_dbs();
        listed.unwrap_or_else(|| system.iter().map(|db| (*db).to_owned()).collect())
    }

    fn state(&mut self, host: &Host, dbs: &[String], now: Time) -> State {
        let all_open = dbs.iter().all(|db| self.is_openable(host, db, now));
        let node = &self.nodes[host];
        let admins = node.has_admins();
        if node.config("couchdb", "single_node") == Some("true") {
            State::SingleNodeEnabled
        } else if node.config("cluster", "n") == Some("1") {
            if admins && all_open { State::SingleNodeEnabled } else { State::SingleNodeDisabled }
        } else if !self.is_enabled(host) {
            State::ClusterDisabled
        } else if all_open {
            State::ClusterFinished
        } else {
            State::ClusterEnabled
        }
    }

    /// `::1` and `localhost` don't count as local, in reality neither.
    fn is_enabled(&self, host: &Host) -> bool {
        let node = &self.nodes[host];
        node.has_admins() && node.config("chttpd", "bind_address") != Some("127.0.0.1")
    }

    fn enable_cluster(&mut self, host: &Host, body: &Map<String, Value>, now: Time) -> Answer {
        // Whatever the remote node says, the caller hears of success.
        if body.contains_key("remote_node") {
            return Response::ok(201).into();
        }
        if self.is_enabled(host) {
            return Response::error(400, "bad_request", "Cluster is already enabled").into();
        }
        let user = text(body, "username");
        let password = text(body, "password").or_else(|| text(body, "password_hash"));
        if !self.nodes[host].has_admins() && (user.is_none() || password.is_none()) {
            return Response::error(500, "error", "Cluster setup requires admin account to be configured")
                .into();
        }
        let bind = match text(body, "bind_address") {
            None | Some("127.0.0.1" | "::1") => {
                let reason = "Cluster setup requires a remote bind_address (not 127.0.0.1 nor ::1)";
                return Response::error(500, "error", reason).into();
            }
            Some(address) if address.parse::<std::net::IpAddr>().is_err() => {
                return Response::error(500, "error", "ok").into();
            }
            Some(address) => address,
        };
        let n = match body.get("node_count") {
            None | Some(Value::Null) => {
                return Response::error(500, "error", "Cluster setup requires node_count to be configured")
                    .into();
            }
            Some(Value::Number(n)) => n.as_u64().unwrap_or(3).min(3),
            // In Erlang any number is less than any string: min(<<"1">>, 3) is 3.
            Some(Value::String(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => 3,
        };
        if let (Some(user), Some(password)) = (user, password) {
            self.configure(host, "admins", user, password, true);
        }
        self.configure(host, "chttpd", "bind_address", bind, true);
        self.configure(host, "cluster", "n", &n.to_string(), true);
        if let Some(port) = number_or_text(body, "port") {
            self.configure(host, "chttpd", "port", &port, true);
        }
        self.dial_members(host, now);
        Response::ok(201).after(HASHING)
    }

    fn enable_single_node(&mut self, host: &Host, body: &Map<String, Value>, now: Time) -> Answer {
        let Some(bind) = text(body, "bind_address") else {
            return Response::crash("unknown_error", "badarg", 3_622_002_884).into();
        };
        if let (Some(user), Some(password)) = (text(body, "username"), text(body, "password")) {
            self.configure(host, "admins", user, password, true);
        }
        self.configure(host, "chttpd", "bind_address", bind, true);
        self.configure(host, "cluster", "n", "1", true);
        if let Some(port) = number_or_text(body, "port") {
            self.configure(host, "chttpd", "port", &port, true);
        }
        for db in self.wanted_dbs(host, body.get("ensure_dbs_exist")) {
            self.create_db(host, &db, Size::default(), Reach::Members, now);
        }
        Response::ok(201).after(HASHING)
    }

    /// In memory only: gone at the next start.
    fn receive_cookie(&mut self, host: &Host, body: &Map<String, Value>) -> Answer {
        let Some(cookie) = text(body, "cookie") else {
            return Response::crash("unknown_error", "badarg", 3_977_963_852).into();
        };
        if let Some(process) = self.nodes.get_mut(host).and_then(|n| n.process.as_mut()) {
            cookie.clone_into(&mut process.cookie);
        }
        Response::ok(201).into()
    }

    /// Hands its cookie to the other node over plain HTTP, and writes the name it was given into its own `_nodes`.
    /// Whatever the other node answers but 201 is swallowed.
    fn add_node(&mut self, host: &Host, body: &Map<String, Value>, now: Time) -> Answer {
        if !self.is_enabled(host) {
            return Response::error(400, "bad_request", "Cluster is not enabled.").into();
        }
        let fields = (text(body, "host"), text(body, "username"), text(body, "password"));
        let (Some(given), Some(user), Some(password)) = fields else {
            return Response::crash("unknown_error", "badarg", 2_916_051_254).into();
        };
        let target = match self.call_target(host, given, number_or_text(body, "port").as_deref()) {
            Call::Reached(target) => target,
            Call::Unanswered => return Answer::Later(now + POLL),
            Call::NoName => return conn_failed("nxdomain").after(Duration::ZERO),
            Call::NoRoute => return conn_failed("ehostunreach").after(NO_ROUTE),
            Call::Refused => {
                return Response::error(400, "bad_request", "Add node failed. Invalid Host and/or Port.")
                    .into();
            }
        };
        let proven = self.by_password(&target, user, password, host.as_str(), now);
        if !proven.is_ok_and(|caller| caller.is_admin()) {
            return Response::ok(201).into();
        }
        let cookie = self.nodes[host].process.as_ref().map(|p| p.cookie.clone()).unwrap_or_default();
        if let Some(process) = self.nodes.get_mut(&target).and_then(|n| n.process.as_mut()) {
            process.cookie = cookie;
        }
        let name = format!("{}@{given}", text(body, "name").unwrap_or("couchdb"));
        if self.put_member(host, &name, now) { Response::ok(201).into() } else { Response::conflict().into() }
    }

    /// Where an HTTP call from one node to another ends.
    fn call_target(&self, from: &Host, given: &str, port: Option<&str>) -> Call {
        let target = self.nodes.iter().find(|(host, node)| {
            host.as_str() == given
                || host.as_str().starts_with(&format!("{given}."))
                || node.settings.ip.as_deref() == Some(given)
        });
        let Some((target, node)) = target else {
            return if given.parse::<std::net::IpAddr>().is_ok() { Call::NoRoute } else { Call::NoName };
        };
        if self.unpublished.contains(target) {
            return Call::NoName;
        }
        match self.http_cuts.get(&(from.as_str().to_owned(), target.clone())) {
            Some(Cut::Silent) => return Call::NoRoute,
            Some(Cut::Reset) => return Call::Refused,
            None => {}
        }
        let right_port = port.is_none_or(|p| p == node.settings.port.to_string());
        if !node.is_running() || !right_port || !node.listens_on_all() {
            return Call::Refused;
        }
        if node.paused { Call::Unanswered } else { Call::Reached(target.clone()) }
    }
}

/// How an HTTP call between nodes ends.
#[derive(Debug)]
enum Call {
    /// At a node that will answer.
    Reached(Host),
    /// At a node that is stopped: no answer ever.
    Unanswered,
    /// The name doesn't resolve.
    NoName,
    /// Packets get lost.
    NoRoute,
    /// Nobody listens there.
    Refused,
}

fn conn_failed(why: &str) -> Response {
    Response::crash("invalid_ejson", &format!("{{conn_failed,{{error,{why}}}}}"), 1_851_508_952)
}

fn text<'a>(body: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    body.get(key).and_then(Value::as_str)
}

fn number_or_text(body: &Map<String, Value>, key: &str) -> Option<String> {
    match body.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
