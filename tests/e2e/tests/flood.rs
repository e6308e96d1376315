//! Any pod can connect to the webhook's ports. None may use up its memory or keep other callers out.
//!
//! Each attack is held while a caller from another address sends reviews and the kubelet's probes. The webhook and the
//! attack are processes of their own, so that the webhook's memory can be read and each has its own file descriptors.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::example::creation_review;
use e2e::hostile_user;
use e2e::process::peak_memory;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

const NAME: &str = "couchdiscover-webhook.couchdiscover.svc";
/// Longer than any step takes, on any machine. An attack is held until the test ends it.
const DEADLINE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// A program with all the file descriptors that the system permits: some systems give 1024 by default.
fn with_descriptors(program: &str) -> tokio::process::Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\"", program]);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    command
}

/// The webhook's program, as in a container.
struct Webhook {
    process: Child,
    https: SocketAddr,
    probes: SocketAddr,
    folder: TempDir,
    ca: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Webhook {
    async fn start() -> Self {
        // An error if another test of this process has done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let now = time::OffsetDateTime::now_utc();
        let authority = certs::Authority::new("test", now).unwrap();
        let leaf = authority.leaf(&[NAME.to_owned()], now).unwrap();
        let ca = authority.certificate_pem().to_owned();
        for (file, text) in [("ca.crt", ca.as_str()), ("tls.crt", leaf.certificate_pem())] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        std::fs::write(folder.path().join("tls.key"), leaf.key_pem()).unwrap();
        let mut command = with_descriptors(env!("CARGO_BIN_EXE_webhook-process"));
        let settings = ["--listen=127.0.0.1:0", "--probe-listen=127.0.0.1:0", "--provide=off"];
        let certificate = ["--cert-mode=files", "--tls-cert=tls.crt", "--tls-key=tls.key"];
        command.arg("serve").args(settings).args(certificate).args(["--log-format=json"]);
        let mut process = command.current_dir(folder.path()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let [https, probes] = timeout(DEADLINE, async {
            loop {
                let line: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
                if line["message"] == "serving" {
                    return ["https", "probes"].map(|port| line[port].as_str().unwrap().parse().unwrap());
                }
            }
        })
        .await
        .unwrap();
        let log = Arc::new(Mutex::new(vec![]));
        let written = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                written.lock().unwrap().push(line);
            }
        });
        Self { process, https, probes, folder, ca, log }
    }

    /// Starts an attack on a port, and returns once its connections are open.
    async fn attacked(&self, port: SocketAddr, kind: &str, count: usize, more: &[&str]) -> Held {
        let mut command = with_descriptors(env!("CARGO_BIN_EXE_hostile-pod"));
        command.args([kind, &port.to_string(), "--count", &count.to_string()]).args(more);
        if port == self.https {
            command.arg("--ca").arg(self.folder.path().join("ca.crt"));
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().expect("the attack began");
        let opened = line.split(' ').next().unwrap().parse().unwrap();
        Held { _process: process, opened }
    }

    /// Checks that reviews on new connections and the kubelet's probes are answered. None is repeated: a call that is
    /// reset or refused is a workload that cannot be deployed.
    async fn serves_others(&self) {
        let review = creation_review();
        for _ in 0..10 {
            let answer = self.client().post(self.url()).json(&review).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            let answer: Value = answer.json().await.unwrap();
            assert_eq!(answer["response"]["allowed"], true);
            for path in ["livez", "readyz"] {
                let url = format!("http://{}/{path}", self.probes);
                let answer = self.client().get(url).send().await.expect("an answer");
                assert_eq!(answer.status(), 200, "/{path}");
            }
        }
    }

    /// A caller that has no connection yet, at another address than attacks come from.
    fn client(&self) -> reqwest::Client {
        let authority = reqwest::Certificate::from_pem(self.ca.as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]);
        let client = client.local_address(Some([127, 0, 0, 3].into())).resolve(NAME, self.https);
        client.timeout(DEADLINE).build().unwrap()
    }

    fn url(&self) -> String {
        format!("https://{NAME}:{}/mutate", self.https.port())
    }

    async fn until_ready(&self) {
        let url = format!("http://{}/readyz", self.probes);
        e2e::until::until("readiness", DEADLINE, async || match reqwest::get(&url).await {
            Ok(answer) if answer.status() == 200 => Ok(()),
            other => Err(other.map(|answer| answer.status())),
        })
        .await;
    }

    async fn metric(&self, sample: &str) -> u64 {
        let text =
            reqwest::get(format!("http://{}/metrics", self.probes)).await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// The most memory that the process has had.
    fn peak_memory(&self) -> u64 {
        peak_memory(&self.process.id().unwrap().to_string())
    }

    fn lines_with(&self, part: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }
}

/// An attack, until it is dropped.
struct Held {
    _process: Child,
    opened: usize,
}

#[tokio::test]
async fn connections_with_a_refused_request_shut_no_caller_out() {
    let webhook = Webhook::start().await;
    webhook.until_ready().await;
    let attack = webhook.attacked(webhook.https, "refused", 1_100, &[]).await;
    assert!(attack.opened > 1_000, "{} were opened", attack.opened);
    webhook.serves_others().await;
}

#[tokio::test]
async fn connections_without_a_byte_shut_no_caller_out() {
    let webhook = Webhook::start().await;
    webhook.until_ready().await;
    let attack = webhook.attacked(webhook.https, "silent", 1_100, &[]).await;
    assert!(attack.opened > 1_000, "{} were opened", attack.opened);
    webhook.serves_others().await;
    assert!(
        webhook.metric("couchdiscover_webhook_connections_evicted_total{port=\"admission\"}").await > 800
    );
    assert_eq!(webhook.lines_with("too many connections"), 1, "not one line each");
}

#[tokio::test]
async fn idle_connections_to_the_probes_shut_neither_kubelet_nor_scraper_out() {
    let webhook = Webhook::start().await;
    webhook.until_ready().await;
    for kind in ["silent", "half-head"] {
        let attack = webhook.attacked(webhook.probes, kind, 1_100, &[]).await;
        assert!(attack.opened > 1_000, "{} were opened", attack.opened);
        webhook.serves_others().await;
    }
}

#[tokio::test]
async fn bodies_that_are_held_back_take_no_slot() {
    let webhook = Webhook::start().await;
    webhook.until_ready().await;
    let attack = webhook.attacked(webhook.https, "one-byte", 300, &[]).await;
    // One address may hold 256.
    assert!(attack.opened >= 256, "{} were opened", attack.opened);
    webhook.serves_others().await;
    assert_eq!(webhook.metric("couchdiscover_webhook_reviews_shed_total").await, 0);
}

#[tokio::test]
async fn callers_that_sent_a_review_and_wait_shut_no_caller_out() {
    let webhook = Webhook::start().await;
    webhook.until_ready().await;
    let request = webhook.folder.path().join("review.json");
    std::fs::write(&request, creation_review().to_string()).unwrap();
    let request = request.to_str().unwrap();
    let mut attacks = vec![];
    for from in ["127.0.0.66", "127.0.0.67", "127.0.0.68"] {
        attacks.push(
            webhook.attacked(webhook.https, "review", 400, &["--request", request, "--from", from]).await,
        );
    }
    webhook.serves_others().await;
}

#[tokio::test]
async fn long_bodies_leave_room_for_reviews_and_take_no_more_than_their_share_of_memory() {
    let webhook = Webhook::start().await;
    webhook.until_ready().await;
    let attack = webhook.attacked(webhook.https, "large-body", 100, &[]).await;
    assert!(attack.opened > 0);
    webhook.serves_others().await;
    let peak = webhook.peak_memory();
    assert!(peak < 200 * MIB, "{} MiB, and the manifests permit 256", peak / MIB);
    assert!(webhook.metric("couchdiscover_webhook_reviews_shed_total").await > 0);
}

#[tokio::test]
async fn large_heads_take_no_memory() {
    let webhook = Webhook::start().await;
    webhook.until_ready().await;
    for port in [webhook.https, webhook.probes] {
        let _attack = webhook.attacked(port, "large-head", 300, &[]).await;
        webhook.serves_others().await;
    }
    let peak = webhook.peak_memory();
    assert!(peak < 64 * MIB, "{} MiB", peak / MIB);
}

/// The attacks of a user who may write StatefulSets in one namespace, through an API server.
#[tokio::test]
async fn a_hostile_user_reaches_neither_other_webhooks_nor_terminals_nor_memory() {
    let webhook = Webhook::start().await;
    webhook.until_ready().await;
    let client = webhook.client();
    for (attack, set) in hostile_user::stateful_sets() {
        let mut review = creation_review();
        review["request"]["object"] = set.clone();
        let answer = client.post(webhook.url()).json(&review).send().await.expect("an answer");
        // Too long an answer is refused, which denies the object.
        assert!([200, 413].contains(&answer.status().as_u16()), "{attack}: {}", answer.status());
        let body = answer.bytes().await.unwrap();
        assert!(body.len() <= 128 << 10, "{attack}: {} bytes", body.len());
        let Ok(answer) = serde_json::from_slice::<Value>(&body) else { continue };
        let response = &answer["response"];
        let denial = response["status"]["message"].as_str().unwrap_or_default();
        let warnings = response["warnings"].as_array().into_iter().flatten();
        for line in warnings.map(|warning| warning.as_str().unwrap()).chain(denial.lines()) {
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{attack}: {line:?}");
            assert!(!line.starts_with("  ok"), "{attack}: {line:?}");
        }
        let Some(patch) = response["patch"].as_str() else { continue };
        let patch = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, patch).unwrap();
        let mut stored = set;
        json_patch::patch(&mut stored, &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap())
            .unwrap();
        for (list, name) in hostile_user::POLICIES {
            let left = stored["spec"]["template"]["spec"][list].as_array().unwrap();
            // The attack with 5,000 containers replaces them itself.
            assert!(
                left.len() > 100 || left.iter().any(|entry| entry["name"] == name),
                "{attack}: no {name}"
            );
        }
    }
    webhook.serves_others().await;
    assert_eq!(webhook.metric("couchdiscover_webhook_panics_total").await, 0);
    let peak = webhook.peak_memory();
    assert!(peak < 128 * MIB, "{} MiB", peak / MIB);
    let log = webhook.log.lock().unwrap().clone();
    assert!(log.iter().all(|line| line.len() < 8_000 && !line.contains(char::is_control)), "{log:#?}");
}
