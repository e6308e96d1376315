//! The program as Kubernetes runs it: settings from the environment, the log, and SIGTERM.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod support;

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use support::{DEADLINE, NAME, connect, review};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// Returns the next line of the log with this message.
async fn logged(log: &mut Lines<BufReader<ChildStderr>>, message: &str) -> Value {
    let find = async {
        loop {
            let line = log.next_line().await.unwrap().expect("a line of the log");
            let line: Value = serde_json::from_str(&line).expect("one JSON object a line");
            if line["message"] == message {
                return line;
            }
        }
    };
    timeout(DEADLINE, find).await.unwrap()
}

/// Starts the program with a certificate from files, and only its settings in the environment.
fn start(directory: &Path, log_format: &str) -> (Child, String) {
    let now = time::OffsetDateTime::now_utc();
    let authority = certs::Authority::new("test", now).unwrap();
    let leaf = authority.leaf(&[NAME.to_owned()], now).unwrap();
    std::fs::write(directory.join("tls.crt"), leaf.certificate_pem()).unwrap();
    std::fs::write(directory.join("tls.key"), leaf.key_pem()).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_couchdiscover-webhook"))
        .arg("serve")
        .current_dir(directory)
        .env_clear()
        .env("COUCHDISCOVER_LISTEN", "127.0.0.1:0")
        .env("COUCHDISCOVER_PROBE_LISTEN", "127.0.0.1:0")
        .env("COUCHDISCOVER_CERT_MODE", "files")
        .env("COUCHDISCOVER_TLS_CERT", "tls.crt")
        .env("COUCHDISCOVER_TLS_KEY", "tls.key")
        .env("COUCHDISCOVER_DRAIN_DELAY", "100ms")
        .env("LOG_FORMAT", log_format)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (child, authority.certificate_pem().to_owned())
}

async fn end(child: &mut Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let ended = timeout(DEADLINE, child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn each_review_is_logged_as_one_json_object_and_sigterm_ends_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, authority) = start(directory.path(), "json");
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let serving = logged(&mut log, "serving").await;
    let https = serving["https"].as_str().unwrap().parse().unwrap();
    let mut connection = connect(https, &authority).await.unwrap();
    assert_eq!(connection.review(&review("CREATE")).await.unwrap().status, 200);
    let mut line = logged(&mut log, "review").await;
    let fields = line.as_object_mut().unwrap();
    assert!(
        fields.remove("timestamp").is_some() && fields.remove("duration_us").is_some_and(|it| it.is_u64())
    );
    insta::assert_snapshot!(line, @r#"{"warnings":3,"level":"INFO","message":"review","uid":"b2bf5899-926a-4313-93ac-7e07956682cc","namespace":"t1","name":"web","operation":"create","dry_run":false,"outcome":"injected","reason":"created"}"#);
    end(&mut child).await;
    logged(&mut log, "stopping").await;
}

#[tokio::test]
async fn the_text_format_logs_one_line_per_review() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, authority) = start(directory.path(), "text");
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = async |part: &str| {
        let find = async {
            loop {
                let line = log.next_line().await.unwrap().expect("a line of the log");
                if line.contains(part) {
                    return line;
                }
            }
        };
        timeout(DEADLINE, find).await.unwrap()
    };
    let serving = next("serving").await;
    let https = serving.split_once("https=").unwrap().1.split_whitespace().next().unwrap();
    let mut connection = connect(https.parse().unwrap(), &authority).await.unwrap();
    assert_eq!(connection.review(&review("CREATE")).await.unwrap().status, 200);
    let line = next("review").await;
    let (_time, event) = line.split_once(' ').unwrap();
    let (event, _duration) = event.split_once(" duration_us=").unwrap();
    insta::assert_snapshot!(event, @r#" INFO review uid="b2bf5899-926a-4313-93ac-7e07956682cc" namespace="t1" name="web" operation="create" dry_run=false outcome="injected" reason="created" warnings=3"#);
    assert!(!line.contains('\u{1b}'), "no colours outside a terminal: {line}");
    end(&mut child).await;
}

/// Callers need no certificate, so a review can come from any pod.
#[tokio::test]
async fn a_caller_can_neither_forge_a_log_line_nor_flood_the_log() {
    for format in ["text", "json"] {
        let directory = tempfile::tempdir().unwrap();
        let (mut child, authority) = start(directory.path(), format);
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let serving = log.next_line().await.unwrap().unwrap();
        let https = serving.split_once("127.0.0.1:").unwrap().1;
        let port: u16 = https.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
        let mut connection = connect(([127, 0, 0, 1], port).into(), &authority).await.unwrap();

        let forged = "\u{1b}[31m\n2026-01-01T00:00:00Z ERROR forged";
        let body = serde_json::json!({ "apiVersion": forged.repeat(10_000), "kind": "AdmissionReview" });
        let refused = connection.review(body.to_string().as_bytes()).await.unwrap();
        assert_eq!(refused.status, 400);
        assert!(refused.body.len() < 2_000, "{} bytes are sent back", refused.body.len());

        let mut huge: Value = serde_json::from_slice(&review("CREATE")).unwrap();
        huge["request"]["uid"] = forged.repeat(100).into();
        for field in ["name", "namespace"] {
            huge["request"][field] = forged.repeat(30_000).into();
        }
        huge["request"]["object"]["metadata"]["annotations"] =
            serde_json::json!({ "couchdiscover.io/cluster-size": forged.repeat(30_000) });
        let mut connection = connect(([127, 0, 0, 1], port).into(), &authority).await.unwrap();
        assert_eq!(connection.review(huge.to_string().as_bytes()).await.unwrap().status, 200);

        end(&mut child).await;
        let mut events = vec![];
        while let Some(line) = log.next_line().await.unwrap() {
            assert!(line.len() < 8_000, "a line of {} bytes", line.len());
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
            events.push(line);
        }
        assert!(!events.iter().any(|line| line.starts_with("2026-01-01T00:00:00Z ERROR")), "{events:#?}");
        for event in ["malformed review", "outcome"] {
            assert_eq!(events.iter().filter(|line| line.contains(event)).count(), 1, "{format}: {events:#?}");
        }
    }
}
