//! The program as a kubelet or a user starts it: its output and its exit codes.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use insta::assert_snapshot;

/// The program with this environment and no other.
fn program(vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_couchdiscover-agent"));
    command.env_clear().envs(vars.iter().copied()).stdin(Stdio::null());
    command
}

fn ends(vars: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = program(vars).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

const ADMIN: [(&str, &str); 4] = [
    ("COUCHDB_USER", "admin"),
    ("COUCHDB_PASSWORD", "s3cret"),
    ("COUCHDISCOVER_KUBERNETES", "off"),
    ("COUCHDB_CLUSTER_SIZE", "1"),
];

#[test]
fn without_settings_the_missing_ones_are_reported_and_the_exit_code_is_64() {
    let (code, stderr) = ends(&[("COUCHDISCOVER_KUBERNETES", "off")]);
    assert_eq!(code, Some(64));
    assert_snapshot!(stderr, @"
    couchdiscover-agent: no admin credentials. Fix: set COUCHDB_ADMIN_USER and COUCHDB_ADMIN_PASS, or COUCHDB_USER and COUCHDB_PASSWORD, on the CouchDB container (the webhook copies them), best from a Secret
    COUCHDB_CLUSTER_SIZE is not set and COUCHDISCOVER_KUBERNETES is 'off', so the number of nodes is unknown. Fix: set COUCHDB_CLUSTER_SIZE
    ");
}

#[test]
fn outside_of_a_statefulset_pod_the_exit_code_is_64() {
    let pod = [&ADMIN[..], &[("POD_NAME", "web-7d4b9c-x2x1z")]].concat();
    let (code, stderr) = ends(&pod);
    assert_eq!(code, Some(64));
    assert_snapshot!(stderr, @"couchdiscover-agent: failed to derive the DNS name of this pod: POD_NAME is not that of a StatefulSet's pod, and the agent must run in one: 'web-7d4b9c-x2x1z' is not the name of a StatefulSet's pod: it does not end in '-<ordinal>', such as 'couchdb-0'");
}

#[test]
fn a_taken_port_is_named_and_the_exit_code_is_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stderr) = ends(&[&in_a_pod()[..], &[("COUCHDISCOVER_LISTEN", &address)]].concat());
    assert_eq!(code, Some(1));
    assert!(
        stderr.starts_with(&format!("couchdiscover-agent: failed to listen on '{address}': ")),
        "{stderr}"
    );
}

#[test]
fn a_missing_ca_file_is_named_and_the_exit_code_is_64() {
    let https = [
        ("COUCHDISCOVER_COUCHDB_URL", "https://127.0.0.1:6984"),
        ("COUCHDISCOVER_CA_FILE", "/no/such/ca.crt"),
    ];
    let (code, stderr) = ends(&[&in_a_pod()[..], &https].concat());
    assert_eq!(code, Some(64));
    assert!(stderr.contains("the CA file '/no/such/ca.crt'"), "{stderr}");
}

#[test]
fn an_unknown_verb_prints_the_usage() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_couchdiscover-agent")).env_clear().arg("walk").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8(output.stderr).unwrap().contains("usage: couchdiscover-agent"));
}

#[test]
fn an_unreachable_couchdb_is_logged_once_and_sigterm_ends_the_program_at_once() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free.local_addr().unwrap().to_string();
    drop(free);
    let vars =
        [&in_a_pod()[..], &[("COUCHDISCOVER_COUCHDB_URL", &url), ("COUCHDISCOVER_LISTEN", &listen)]].concat();
    let mut child = Running(program(&vars).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let waiting = lines.find(|line| line.contains("WaitingForCouchDb")).unwrap();
    assert!(waiting.contains(&format!("CouchDB at {url} cannot be reached")), "{waiting}");
    let status = Command::new(env!("CARGO_BIN_EXE_couchdiscover-agent"))
        .env_clear()
        .env("COUCHDISCOVER_LISTEN", &listen)
        .arg("status")
        .output()
        .unwrap();
    assert_eq!(status.status.code(), Some(1), "not ready");
    let shown = String::from_utf8(status.stdout).unwrap();
    assert!(
        shown.starts_with("db-0.db.shop.svc.cluster.local is not ready\n\nWaitingForCouchDb, since "),
        "{shown}"
    );
    let asked = Instant::now();
    assert_eq!(child.terminate(), Some(0));
    // The kubelet kills after 30 s; anything near a second would be felt in a rolling restart.
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_eq!(lines.count(), 0, "one line per change, none per round");
}

#[test]
fn sigterm_ends_the_program_while_couchdb_hangs() {
    let hangs = listening();
    let url = format!("http://{}", hangs.local_addr().unwrap());
    let vars = [&in_a_pod()[..], &[("COUCHDISCOVER_COUCHDB_URL", &url), LISTEN]].concat();
    ends_while_it_waits(&vars, &hangs);
}

#[test]
fn sigterm_ends_the_program_while_kubernetes_hangs() {
    let hangs = listening();
    let kubeconfig = kubeconfig(&hangs);
    let vars = [
        ("COUCHDB_USER", "admin"),
        ("COUCHDB_PASSWORD", "s3cret"),
        ("HOSTNAME", "db-0.db.shop.svc.cluster.local"),
        ("KUBECONFIG", kubeconfig.path().to_str().unwrap()),
        LISTEN,
    ];
    ends_while_it_waits(&vars, &hangs);
}

#[test]
fn sigterm_ends_the_program_while_it_reads_credentials() {
    let hangs = listening();
    let kubeconfig = kubeconfig(&hangs);
    let vars = [
        ("HOSTNAME", "db-0.db.shop.svc.cluster.local"),
        ("KUBECONFIG", kubeconfig.path().to_str().unwrap()),
        LISTEN,
    ];
    ends_while_it_waits(&vars, &hangs);
}

/// kube's client logs each failed attempt; the agent must not.
#[test]
fn an_unreachable_kubernetes_api_is_logged_once() {
    let cuts = listening();
    let kubeconfig = kubeconfig(&cuts);
    let vars = [
        ("COUCHDB_USER", "admin"),
        ("COUCHDB_PASSWORD", "s3cret"),
        ("HOSTNAME", "db-0.db.shop.svc.cluster.local"),
        ("KUBECONFIG", kubeconfig.path().to_str().unwrap()),
        ("COUCHDISCOVER_COUCHDB_URL", "http://127.0.0.1:1"),
        LISTEN,
    ];
    let mut child = Running(program(&vars).stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Three watches connect, each at least twice.
    for _ in 0..8 {
        drop(cuts.accept().unwrap());
    }
    assert_eq!(child.terminate(), Some(0));
    // The lines of rounds depend on the time that the eight attempts took: the first round waits 3 s for Kubernetes.
    let lines: Vec<_> = lines.filter(|line| !line.contains(" reason=")).collect();
    let kubernetes = lines.iter().filter(|line| line.contains("the Kubernetes API does not answer"));
    assert_eq!((kubernetes.count(), lines.len()), (1, 2), "a line at the start and one warning: {lines:#?}");
}

/// A server that never answers; the kernel accepts its connections.
fn listening() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

fn kubeconfig(api: &std::net::TcpListener) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let server = format!("http://{}", api.local_addr().unwrap());
    write!(
        file,
        "{{apiVersion: v1, kind: Config, current-context: x, \
         contexts: [{{name: x, context: {{cluster: x, user: x}}}}], \
         clusters: [{{name: x, cluster: {{server: '{server}'}}}}], users: [{{name: x, user: {{token: t}}}}]}}"
    )
    .unwrap();
    file
}

/// Sends SIGTERM while the program waits for an answer of `hangs`. The shortest time limit of a call is 5 s, so the program
/// must end before.
fn ends_while_it_waits(vars: &[(&str, &str)], hangs: &std::net::TcpListener) {
    let mut child = Running(program(vars).stdout(Stdio::null()).spawn().unwrap());
    let (asked, _) = hangs.accept().unwrap();
    asked.peek(&mut [0]).unwrap();
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.terminate()));
    let code = ended.recv_timeout(Duration::from_secs(4)).expect("an end before any call's time limit");
    assert_eq!(code, Some(0));
}

const LISTEN: (&str, &str) = ("COUCHDISCOVER_LISTEN", "127.0.0.1:0");

fn in_a_pod() -> Vec<(&'static str, &'static str)> {
    [&ADMIN[..], &[("HOSTNAME", "db-0.db.shop.svc.cluster.local")]].concat()
}

/// A program that ends with its test.
struct Running(Child);

impl Running {
    /// Sends SIGTERM and returns the exit code.
    fn terminate(&mut self) -> Option<i32> {
        let killed = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the program has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
