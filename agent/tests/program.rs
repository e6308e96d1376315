//! The program as a kubelet or a user starts it: its output and its exit codes.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::io::{BufRead, BufReader, Read, Write};
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
    let (url, listen) = (format!("http://{}", free_address()), free_address());
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

/// Any pod of the Kubernetes cluster reaches the port, and a probe without an answer ends the container.
#[test]
fn two_thousand_half_requests_leave_probes_answered_and_memory_bounded() {
    let (agent, address) = serving();
    let mut flood = Flood::default();
    // Short heads cost connections, long ones buffers; neither is ever complete.
    for (count, length) in [(2_000, 10), (200, 390_000)] {
        for number in 0..count {
            flood.send_half_a_request(&address, length);
            if number % 100 == 99 {
                assert_eq!(get(&address, "/livez").unwrap(), "ok\n");
                flood.forget_closed();
                assert!(flood.open.len() <= 64 + 1, "{} connections are open", flood.open.len());
            }
        }
    }
    // Nothing else ends them: the half requests wait, and no further connection comes.
    flood.until_all_are_closed();
    assert_eq!(get(&address, "/livez").unwrap(), "ok\n");
    let peak = agent.peak_memory();
    assert!(peak < 32 * 1024, "{peak} kB");
}

#[test]
fn a_connection_may_be_used_again_after_a_pause_and_a_long_head_is_refused() {
    let (_agent, address) = serving();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 200 OK\r\n");
        while line != "\r\n" {
            line.clear();
            answer.read_line(&mut line).unwrap();
        }
        answer.read_exact(&mut [0; 3]).unwrap();
    }
    let mut long = std::net::TcpStream::connect(&address).unwrap();
    // The agent may close the connection before everything is written.
    let head = format!("GET /livez HTTP/1.1\r\nconnection: close\r\nx: {}\r\n\r\n", "a".repeat(20_000));
    let _ = long.write_all(head.as_bytes());
    let mut answer = vec![];
    let _ = long.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}

/// The program without a CouchDB, once its port answers, and the address of that port.
fn serving() -> (Running, String) {
    let (url, listen) = (format!("http://{}", free_address()), free_address());
    let vars =
        [&in_a_pod()[..], &[("COUCHDISCOVER_COUCHDB_URL", &url), ("COUCHDISCOVER_LISTEN", &listen)]].concat();
    let mut child = Running(program(&vars).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("WaitingForCouchDb")).unwrap();
    (child, listen)
}

/// A loopback address at which nothing listens.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The body of an answer of the agent.
fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").unwrap_or_default().1.to_owned())
}

/// Connections that a hostile pod holds open.
#[derive(Default)]
struct Flood {
    open: Vec<std::net::TcpStream>,
}

impl Flood {
    /// Opens a connection and sends the head of a request, `length` bytes long and without its end.
    fn send_half_a_request(&mut self, address: &str, length: usize) {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let head = format!("GET /status HTTP/1.1\r\nhost: x\r\nx: {}", "a".repeat(length));
        // What does not fit into the socket's buffers is left out.
        let _ = stream.write_all(head.as_bytes());
        self.open.push(stream);
    }

    fn forget_closed(&mut self) {
        self.open.retain_mut(|stream| {
            let mut answer = [0; 1024];
            loop {
                match stream.read(&mut answer) {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
                }
            }
        });
    }

    fn until_all_are_closed(self) {
        for mut stream in self.open {
            stream.set_nonblocking(false).unwrap();
            // Much longer than the agent waits for a head.
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let ended = stream.read_to_end(&mut vec![]);
            let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
            assert!(ended.as_ref().map_or_else(reset, |_| true), "a half request is still open: {ended:?}");
        }
    }
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

    /// The largest resident set so far, in kB.
    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the program has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
