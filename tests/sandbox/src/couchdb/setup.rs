//! `/_cluster_setup`: the setup wizard, including its traps.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::fabric::{Size, Spread};
use super::http::{Answer, POLL, Request, Response, Time};
use super::node::Persist;
use super::settings::Host;
use super::world::{Cut, World};

/// The time of a call that waits for the hash of a password.
const HASHING: Duration = Duration::from_millis(1000);
/// The time until the kernel reports that a host does not answer its ARP requests.
const NO_ROUTE: Duration = Duration::from_millis(3100);

/// The state in the answer to `GET /_cluster_setup`. It is computed from configuration and databases at each call and
/// stored nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bound to 127.0.0.1, or without an admin.
    ClusterDisabled,
    /// The system databases can't be opened. The node may have joined others or not.
    ClusterEnabled,
    /// The system databases can be opened.
    ClusterFinished,
    /// `n` is 1, and the databases or an admin are missing.
    SingleNodeDisabled,
    /// `n` is 1, or `single_node=true`.
    SingleNodeEnabled,
}

impl State {
    fn as_str(self) -> &'static str {
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
    /// Answers `/_cluster_setup`.
    pub(crate) fn cluster_setup(&mut self, host: &Host, request: &Request, now: Time) -> Answer {
        match request.method.as_str() {
            "GET" | "HEAD" => {
                let dbs = self.wanted_dbs(host, request.param_json("ensure_dbs_exist").as_ref());
                let state = self.state(host, &dbs, now);
                return Response::json(200, &json!({"state": state.as_str()})).into();
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
            // CouchDB accepts it and does nothing.
            Some("remove_node") => Response::ok(201).into(),
            Some(_) | None => Response::error(400, "bad_request", "Invalid Action'").into(),
        }
    }

    /// The databases of a setup call: those that it lists, else the system databases of the release.
    pub(crate) fn wanted_dbs(&self, host: &Host, listed: Option<&Value>) -> Vec<String> {
        if let Some(list) = listed.and_then(Value::as_array) {
            return list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        let system_dbs = self.nodes[host].settings.version.system_dbs();
        system_dbs.iter().map(|db| (*db).to_owned()).collect()
    }

    fn state(&mut self, host: &Host, dbs: &[String], now: Time) -> State {
        let all_open = dbs.iter().all(|db| self.is_openable(host, db, now));
        let node = &self.nodes[host];
        let has_admins = node.has_admins();
        // The configuration decides first: a node with `n` of 1 is a single node even if it has joined others.
        if node.config("couchdb", "single_node") == Some("true") {
            State::SingleNodeEnabled
        } else if node.config("cluster", "n") == Some("1") {
            if has_admins && all_open { State::SingleNodeEnabled } else { State::SingleNodeDisabled }
        } else if !self.is_enabled(host) {
            State::ClusterDisabled
        } else if all_open {
            State::ClusterFinished
        } else {
            State::ClusterEnabled
        }
    }

    /// `true` if the node can become a member: it has an admin and is not bound to 127.0.0.1.
    fn is_enabled(&self, host: &Host) -> bool {
        let node = &self.nodes[host];
        // CouchDB compares the text: `::1` and `localhost` do not count as local.
        node.has_admins() && node.config("chttpd", "bind_address") != Some("127.0.0.1")
    }

    fn enable_cluster(&mut self, host: &Host, body: &Map<String, Value>, now: Time) -> Answer {
        // CouchDB forwards the call and answers 201, whatever the remote node answers.
        if body.contains_key("remote_node") {
            return Response::ok(201).into();
        }
        if self.is_enabled(host) {
            return Response::error(400, "bad_request", "Cluster is already enabled").into();
        }
        let password = text(body, "password").or_else(|| text(body, "password_hash"));
        let admin = text(body, "username").zip(password);
        if !self.nodes[host].has_admins() && admin.is_none() {
            return Response::error(500, "error", "Cluster setup requires admin account to be configured")
                .into();
        }
        let bind = match remote_bind_address(body) {
            Ok(address) => address,
            Err(reason) => return Response::error(500, "error", reason).into(),
        };
        let Some(n) = copies_for(body.get("node_count")) else {
            return Response::error(500, "error", "Cluster setup requires node_count to be configured")
                .into();
        };
        self.configure_setup(host, admin, bind, n, number_or_text(body, "port"));
        self.dial_members(host, now);
        Response::ok(201).after(HASHING)
    }

    fn enable_single_node(&mut self, host: &Host, body: &Map<String, Value>, now: Time) -> Answer {
        let Some(bind) = text(body, "bind_address") else {
            return Response::crash("unknown_error", "badarg", 3_622_002_884).into();
        };
        let admin = text(body, "username").zip(text(body, "password"));
        self.configure_setup(host, admin, bind, 1, number_or_text(body, "port"));
        for db in self.wanted_dbs(host, body.get("ensure_dbs_exist")) {
            self.create_db(host, &db, Size::default(), Spread::AllMembers, now);
        }
        Response::ok(201).after(HASHING)
    }

    /// Stores the values of `enable_cluster` and `enable_single_node`.
    fn configure_setup(
        &mut self,
        host: &Host,
        admin: Option<(&str, &str)>,
        bind: &str,
        n: u64,
        port: Option<String>,
    ) {
        if let Some((user, password)) = admin {
            self.configure(host, ("admins", user), password, Persist::OnDisk);
        }
        self.configure(host, ("chttpd", "bind_address"), bind, Persist::OnDisk);
        self.configure(host, ("cluster", "n"), &n.to_string(), Persist::OnDisk);
        if let Some(port) = port {
            self.configure(host, ("chttpd", "port"), &port, Persist::OnDisk);
        }
    }

    fn receive_cookie(&mut self, host: &Host, body: &Map<String, Value>) -> Answer {
        let Some(cookie) = text(body, "cookie") else {
            return Response::crash("unknown_error", "badarg", 3_977_963_852).into();
        };
        // In memory only: the next start reads the cookie file again.
        if let Some(process) = self.nodes.get_mut(host).and_then(|n| n.process.as_mut()) {
            cookie.clone_into(&mut process.cookie);
        }
        Response::ok(201).into()
    }

    /// Sends the node's cookie to another node over plain HTTP, and lists that node in the own `_nodes`.
    fn add_node(&mut self, host: &Host, body: &Map<String, Value>, now: Time) -> Answer {
        if !self.is_enabled(host) {
            return Response::error(400, "bad_request", "Cluster is not enabled.").into();
        }
        let login = text(body, "username").zip(text(body, "password"));
        let Some((given, login)) = text(body, "host").zip(login) else {
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
        // An error of the other node, for example a wrong password, is ignored: nothing is added, the answer is 201.
        let caller = self.caller_by_password(&target, login, host.as_str(), now);
        if !caller.is_ok_and(|caller| caller.is_admin()) {
            return Response::ok(201).into();
        }
        let cookie = self.nodes[host].process.as_ref().map(|p| p.cookie.clone()).unwrap_or_default();
        if let Some(process) = self.nodes.get_mut(&target).and_then(|n| n.process.as_mut()) {
            process.cookie = cookie;
        }
        // The member is named after the host in the call, not after the name that the other node has.
        let name = format!("{}@{given}", text(body, "name").unwrap_or("couchdb"));
        if self.put_member(host, &name, now) { Response::ok(201).into() } else { Response::conflict().into() }
    }

    /// The result of an HTTP call from one node to another.
    fn call_target(&self, from: &Host, given: &str, port: Option<&str>) -> Call {
        // The host of a call may be the full name, its beginning (resolved by the search path), or the IP address.
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
        let is_right_port = port.is_none_or(|p| p == node.settings.port.to_string());
        if !node.is_running() || !is_right_port || !node.listens_on_all() {
            return Call::Refused;
        }
        if node.paused { Call::Unanswered } else { Call::Reached(target.clone()) }
    }
}

/// The result of an HTTP call between nodes.
#[derive(Debug)]
enum Call {
    /// The call arrives at a node that answers.
    Reached(Host),
    /// The call arrives at a stopped node, which does not answer.
    Unanswered,
    /// The name does not resolve.
    NoName,
    /// Packets are lost.
    NoRoute,
    /// The port refuses the connection.
    Refused,
}

/// The address of `enable_cluster`. The error is the reason in the answer.
fn remote_bind_address(body: &Map<String, Value>) -> Result<&str, &'static str> {
    match text(body, "bind_address") {
        None | Some("127.0.0.1" | "::1") => {
            Err("Cluster setup requires a remote bind_address (not 127.0.0.1 nor ::1)")
        }
        // As recorded: the reason of this error is the word "ok".
        Some(address) if address.parse::<std::net::IpAddr>().is_err() => Err("ok"),
        Some(address) => Ok(address),
    }
}

/// The `n` that `enable_cluster` configures for a `node_count`: at most 3. `None` if the count is missing.
fn copies_for(node_count: Option<&Value>) -> Option<u64> {
    match node_count? {
        Value::Null => None,
        Value::Number(count) => Some(count.as_u64().unwrap_or(3).min(3)),
        // In Erlang any number is less than any string: min(<<"1">>, 3) is 3.
        Value::String(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Some(3),
    }
}

fn conn_failed(error: &str) -> Response {
    Response::crash("invalid_ejson", &format!("{{conn_failed,{{error,{error}}}}}"), 1_851_508_952)
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
