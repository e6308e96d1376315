//! `page`, `open`, `readmit` and `forget` against the stand-in of the API server, with agents that answer a fixed page, and a
//! kubectl that notes its arguments.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use sandbox::apiserver::{ADMIN_TOKEN, ApiServer};
use serde_json::{Value, json};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn open_shows_the_proposal_and_carries_it_out_with_consent() {
    let stage = Stage::new(&[("Settled", true), ("Filling", false)]);
    stage.kubectl("State: db-1 is closed\nChange: it opens\nLoss: documents of lost copies", 0);
    let refused = stage.run(&["open", "db-1", "-n", "shop"]);
    assert_eq!(refused.code, 64, "no terminal: {}", refused.err);
    assert!(refused.out.contains("May be lost: documents of lost copies"), "{}", refused.out);
    assert_eq!(stage.asked(), ["-n shop exec db-1 -c couchdiscover-agent -- /couchdiscover-agent open"]);

    let done = stage.run(&["open", "db-1", "-n", "shop", "--yes", "-o", "json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let result: Value = serde_json::from_str(&done.out).unwrap();
    let expected = json!({
        "verb": "open", "namespace": "shop", "pod": "db-1", "node": null, "state": "db-1 is closed",
        "change": "it opens", "loss": "documents of lost copies", "done": true,
    });
    assert_eq!(result, expected);
    let call = "-n shop exec db-1 -c couchdiscover-agent -- /couchdiscover-agent open";
    assert_eq!(stage.asked(), [call, &format!("{call} --yes")]);

    stage.kubectl("State: db-1 is open\nChange: nothing has to be changed", 0);
    let nothing = stage.run(&["open", "db-1", "-n", "shop"]);
    assert_eq!(nothing.code, 0, "nothing to ask for: {}", nothing.err);
    assert_eq!(stage.asked(), [call]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_refuses_is_reported_without_control_characters() {
    let stage = Stage::new(&[("ShardsLost", false)]);
    stage.kubectl_failing(r"couchdiscover-agent: db-0 is ShardsLost\033[2J: in words. Fix: annotate", 1);
    let refused = stage.run(&["open", "db-0", "-n", "shop", "--yes"]);
    assert_eq!(refused.code, 1);
    assert_eq!(refused.err, "error: db-0 is ShardsLost\\u{1b}[2J: in words. Fix: annotate\n");
    stage.kubectl_failing("couchdiscover-agent: 'open' is not understood", 64);
    let old = stage.run(&["open", "db-0", "-n", "shop", "--yes"]);
    assert!(old.err.contains("is of a release without this repair"), "{}", old.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn readmit_runs_at_a_member_with_the_nodes_exact_name_unless_it_was_drained() {
    let stage = Stage::new(&[("NotListed", false), ("Settled", true)]);
    stage.kubectl("State: not listed\nChange: it is added\nLoss: nothing", 0);
    let done = stage.run(&["readmit", "db-0", "-n", "shop", "--yes"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let call = "-n shop exec db-1 -c couchdiscover-agent -- /couchdiscover-agent readmit couchdb@db-0.db";
    assert_eq!(stage.asked(), [call, &format!("{call} --yes")]);
    let listed = stage.run(&["readmit", "db-1", "-n", "shop", "--yes"]);
    assert!(listed.err.contains("'db-1' is not NotListed, but Settled"), "{}", listed.err);

    stage.record("db-0", "removed");
    let drained = stage.run(&["readmit", "db-0", "-n", "shop", "--yes"]);
    assert_eq!(drained.code, 1);
    assert!(drained.err.contains("'db-0' was drained"), "{}", drained.err);
    assert!(stage.asked().is_empty(), "nothing was run");
}

#[tokio::test(flavor = "multi_thread")]
async fn forget_finds_the_pod_that_lists_the_name_and_passes_it_in_a_safe_form() {
    let stage = Stage::new(&[("Settled", true)]);
    stage.kubectl("State: listed\nChange: it is removed\nLoss: nothing", 0);
    let done = stage.run(&["forget", "it's odd@h", "-n", "shop", "--yes"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let call = "-n shop exec db-0 -c couchdiscover-agent -- /couchdiscover-agent forget it%27s%20odd@h";
    assert_eq!(stage.asked(), [call, &format!("{call} --yes")]);
    // As the agent's message contains it.
    let encoded = stage.run(&["forget", "it%27s%20odd@h", "-n", "shop", "--yes"]);
    assert_eq!(encoded.code, 0, "{}", encoded.err);
    assert_eq!(stage.asked().len(), 2);
    let unknown = stage.run(&["forget", "other@h", "-n", "shop", "--yes"]);
    assert!(unknown.err.contains("no agent reports 'other@h'"), "{}", unknown.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kubectl_the_command_is_printed() {
    let stage = Stage::new(&[("Filling", false)]);
    let printed = stage.run(&["open", "db-0", "-n", "shop", "--yes"]);
    assert_eq!(printed.code, 1);
    let command = "kubectl -n shop exec db-0 -c couchdiscover-agent -- /couchdiscover-agent open";
    assert!(printed.err.contains(command), "{}", printed.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_served_on_a_loopback_address_and_runs_no_script_of_a_pod() {
    let stage = Stage::new(&[("Settled", true)]);
    let mut child =
        Running(stage.program(&["page", "db-0", "-n", "shop"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    let get = |path: &str, host: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let home = get("/", &address);
    assert!(home.starts_with("HTTP/1.1 200") && home.ends_with("<p>the page of db-0</p>"), "{home}");
    assert!(home.contains("content-type: text/html; charset=utf-8\r\n"), "{home}");
    assert!(home.contains("content-security-policy: default-src 'none';"), "{home}");
    assert!(get("/status", &address).contains("\"reason\":\"Settled\""));
    // Neither another path of the API server nor another name of this address.
    assert!(get("/plan?replicas=3", &address).starts_with("HTTP/1.1 404"));
    assert!(get("/../../../../../api/v1/secrets", &address).starts_with("HTTP/1.1 404"));
    assert!(get("/", "evil.example").starts_with("HTTP/1.1 403"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_pod_that_does_not_answer_is_an_error() {
    let stage = Stage::new(&[("Settled", true)]);
    let missing = stage.run(&["page", "db-7", "-n", "shop"]);
    assert_eq!(missing.code, 2, "{}", missing.err);
    assert!(
        missing.err.contains("the agent of 'db-7' in namespace 'shop' does not answer with a page: "),
        "{}",
        missing.err
    );
}

/// An API server with the StatefulSet `db`, whose agents answer with these reasons, and a folder for kubectl.
struct Stage {
    api: ApiServer,
    folder: TempDir,
    kubeconfig: PathBuf,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Stage {
    fn new(pods: &[(&str, bool)]) -> Self {
        let api = ApiServer::start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = api.write_kubeconfig(folder.path(), ADMIN_TOKEN).unwrap();
        api.seed(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }));
        api.seed(json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": { "name": "db", "namespace": "shop", "labels": { "couchdiscover.io/inject": "enabled" } },
            "spec": { "replicas": pods.len(), "selector": { "matchLabels": { "app": "db" } } },
        }));
        for (index, (reason, ready)) in pods.iter().enumerate() {
            let ip = Ipv4Addr::new(10, 0, 0, u8::try_from(index).unwrap() + 1);
            api.seed(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": format!("db-{index}"), "namespace": "shop", "labels": { "app": "db" },
                    "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1" }],
                },
                "spec": { "containers": [{ "name": "couchdb" }, { "name": "couchdiscover-agent" }] },
                "status": {
                    "podIPs": [{ "ip": ip.to_string() }],
                    "conditions": [{ "type": "Ready", "status": if *ready { "True" } else { "False" } }],
                },
            }));
            api.route_pod(IpAddr::from(ip), 8484, agent(index, reason));
        }
        Self { api, folder, kubeconfig }
    }

    /// Writes a kubectl that notes its arguments and prints this.
    fn kubectl(&self, output: &str, code: i32) {
        self.write_kubectl(&format!("printf '%b\\n' '{output}'"), code);
    }

    fn kubectl_failing(&self, message: &str, code: i32) {
        self.write_kubectl(
            &format!("printf '%b\\n' \"{message}\" >&2; echo 'command terminated with exit code 1' >&2"),
            code,
        );
    }

    fn write_kubectl(&self, print: &str, code: i32) {
        let bin = self.folder.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let log = self.log();
        let script =
            format!("#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{}'\n{print}\nexit {code}\n", log.display());
        let path = bin.join("kubectl");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("calls")
    }

    /// The arguments of kubectl since the last time.
    fn asked(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.log()).unwrap_or_default();
        let _ = fs::remove_file(self.log());
        calls.lines().map(str::to_owned).collect()
    }

    /// Records the state of a node on the Lease.
    fn record(&self, pod: &str, state: &str) {
        let copies = json!({ "asOf": "2026-11-30T12:00:00Z", "nodes": { pod: { "state": state } } });
        self.api.seed(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "db-couchdiscover", "namespace": "shop",
                "annotations": { "couchdiscover.io/copies-record": copies.to_string() },
            },
        }));
    }

    fn program(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_couchdiscover"));
        command
            .args(args)
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", self.folder.path().join("bin"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let output = self.program(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Serves the pages of an agent in a thread that ends with the test process.
fn agent(index: usize, reason: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let name = format!("db-{index}");
    let state = json!({ "reason": reason, "message": "in words" });
    let status = json!({
        "pod": format!("{name}.db.shop.svc.cluster.local"), "node": format!("couchdb@{name}.db"), "ready": true,
        "step": state, "readiness": state, "since": "2026-11-30T11:55:00Z",
        "nodes": { &name: { "members": ["db-0", "db-1"], "strangers": ["it's odd@h"] } },
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap();
            let is_home = head[..length].starts_with(b"GET / ");
            let (kind, body) = match is_home {
                true => ("text/plain", format!("<p>the page of {name}</p>")),
                false => ("application/json", status.to_string()),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
