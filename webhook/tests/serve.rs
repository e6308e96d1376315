//! The server over real sockets: responses, limits, certificates and shutdown.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod support;

use serde_json::Value;
use support::{DEADLINE, NAME, Server, connect, head, review};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn reviews_are_answered_on_one_connection() {
    let server = Server::start(&[]).await;
    server.until_ready(true).await;
    let mut connection = server.call().await;
    for _ in 0..3 {
        let reply = connection.review(&review("CREATE")).await.unwrap();
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
        let response = &json(&reply.body)["response"];
        assert_eq!(response["allowed"], true);
        assert_eq!(response["patchType"], "JSONPatch");
        assert_eq!(response["auditAnnotations"]["outcome"], "injected");
        assert!(!reply.closes());
    }
    server.stop().await;
}

#[tokio::test]
async fn requests_without_a_review_are_refused_with_a_reason() {
    let server = Server::start(&[]).await;
    let mut answers = String::new();
    let bodies: [&str; 9] = [
        "",
        "hello",
        "[]",
        "{}",
        r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#,
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}"#,
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"PAINT","kind":{}}}"#,
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":7}}"#,
    ];
    for body in bodies {
        let reply = server.call().await.review(body.as_bytes()).await.unwrap();
        assert!(reply.closes(), "only a review earns an open connection");
        answers += &format!("{} {}", reply.status, reply.text());
    }
    for head in [
        "GET /mutate HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /elsewhere HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
    ] {
        let reply = server.call().await.exchange(head.as_bytes(), &[]).await.unwrap();
        assert!(reply.closes(), "only a review earns an open connection");
        answers += &format!("{} {}\n", reply.status, reply.text().trim_end());
    }
    insta::assert_snapshot!(answers, @"
    400 failed to parse the body as an AdmissionReview: EOF while parsing a value at line 1 column 0
    400 failed to parse the body as an AdmissionReview: expected a JSON object
    400 failed to parse the body as an AdmissionReview: expected a JSON object
    400 the review is '' of '', expected 'AdmissionReview' of 'admission.k8s.io/v1'. Fix: list only 'v1' in admissionReviewVersions
    400 the review is 'AdmissionReview' of 'admission.k8s.io/v1beta1', expected 'AdmissionReview' of 'admission.k8s.io/v1'. Fix: list only 'v1' in admissionReviewVersions
    400 the AdmissionReview has no 'request'. Only an API server's requests are answered
    400 failed to parse the body as an AdmissionReview: request: 'uid' is missing at line 1 column 73
    400 failed to parse the body as an AdmissionReview: request.operation: unknown variant `PAINT`, expected one of `CREATE`, `UPDATE`, `DELETE`, `CONNECT` at line 1 column 101
    400 failed to parse the body as an AdmissionReview: request.uid: found integer '7', expected a string at line 1 column 79
    405 only 'POST /mutate' and 'POST /scale' are served here
    404 only 'POST /mutate' and 'POST /scale' are served here
    415 expected a body of 'application/json'
    ");
    server.stop().await;
}

#[tokio::test]
async fn a_body_of_7_mib_is_read_and_a_longer_one_is_refused() {
    let server = Server::start(&[]).await;
    let limit = 7 << 20;
    let mut body = review("CREATE");
    body.resize(limit, b' ');
    assert_eq!(server.call().await.review(&body).await.unwrap().status, 200);
    let reply = server.call().await.exchange(head(limit + 1).as_bytes(), &[]).await.unwrap();
    assert_eq!(reply.status, 413, "by the announced length");
    let mut chunked = server.call().await;
    let head = "POST /mutate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    chunked.send(head.as_bytes()).await.unwrap();
    let chunk = [format!("{:x}\r\n", limit + 1).into_bytes(), vec![b' '; limit + 1]].concat();
    chunked.send(&chunk).await.unwrap();
    assert_eq!(chunked.receive().await.unwrap().status, 413, "by the received length");
    let metrics = server.probe("/metrics").await;
    assert!(metrics.text().contains("requests_refused_total{why=\"too-large\"} 2"), "{}", metrics.text());
    server.stop().await;
}

#[tokio::test]
async fn silent_and_slow_peers_do_not_hold_up_others() {
    let server = Server::start(&[]).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(server.https).await.unwrap());
    }
    let mut slow = TcpStream::connect(server.https).await.unwrap();
    slow.write_all(&[0x16, 0x03]).await.unwrap();
    let mut slow_head = server.call().await;
    slow_head.send(b"POST /mutate HT").await.unwrap();
    let answered = timeout(DEADLINE, server.call().await.review(&review("CREATE"))).await.unwrap();
    assert_eq!(answered.unwrap().status, 200);
    drop((silent, slow, slow_head));
    server.stop().await;
}

/// The clock is paused and jumps when all tasks wait, so that the timeouts take no time.
#[tokio::test(start_paused = true)]
async fn peers_that_never_finish_are_dropped() {
    let server = Server::start(&[]).await;
    let mut silent = TcpStream::connect(server.https).await.unwrap();
    assert_eq!(timeout(DEADLINE, silent.read(&mut [0])).await.unwrap().unwrap(), 0, "no handshake");
    let begun = tokio::time::Instant::now();
    let mut slow = server.call().await;
    slow.send(b"POST /mutate HT").await.unwrap();
    assert!(slow.is_closed().await, "no header");
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    let mut idle = server.call().await;
    assert_eq!(idle.review(&review("CREATE")).await.unwrap().status, 200);
    let begun = tokio::time::Instant::now();
    while !idle.is_closed().await {}
    assert!(
        begun.elapsed() > std::time::Duration::from_secs(90),
        "the caller must close first: {:?}",
        begun.elapsed()
    );
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_held_back_takes_no_slot() {
    let server = Server::start(&["--max-inflight", "1"]).await;
    let body = review("CREATE");
    let mut first = server.call().await;
    let (begun, rest) = body.split_at(10);
    first.send(&[head(body.len()).as_bytes(), begun].concat()).await.unwrap();
    let in_flight = async { while !server.probe("/metrics").await.text().contains("reviews_in_flight 1") {} };
    timeout(DEADLINE, in_flight).await.unwrap();
    assert_eq!(server.call().await.review(&body).await.unwrap().status, 200);
    first.send(rest).await.unwrap();
    assert_eq!(first.receive().await.unwrap().status, 200);
    assert!(server.probe("/metrics").await.text().contains("reviews_in_flight 0"));
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_would_fill_the_memory_is_refused() {
    let server = Server::start(&[]).await;
    let mut review: Value = json(&review("CREATE"));
    review["request"]["uid"] = "u".repeat(1 << 20).into();
    let reply = server.call().await.review(review.to_string().as_bytes()).await.unwrap();
    assert_eq!((reply.status, reply.closes()), (413, true), "the answer would repeat it");
    server.stop().await;
}

#[tokio::test]
async fn a_stopping_server_is_unready_keeps_serving_and_finishes_requests_in_flight() {
    let server = Server::start(&["--drain-delay", "2s"]).await;
    server.until_ready(true).await;
    let body = review("CREATE");
    let mut begun = server.call().await;
    begun.send(&[head(body.len()).as_bytes(), &body[..10]].concat()).await.unwrap();
    let mut kept = server.call().await;
    server.shutdown.cancel();
    server.until_ready(false).await;
    let reply = kept.review(&body).await.unwrap();
    assert_eq!((reply.status, reply.closes()), (200, true), "asked to reconnect");
    assert_eq!(server.call().await.review(&body).await.unwrap().status, 200, "also on a new connection");
    let refused = async { while connect(server.https, &server.ca).await.is_ok() {} };
    timeout(DEADLINE, refused).await.unwrap();
    begun.send(&body[10..]).await.unwrap();
    let reply = begun.receive().await.unwrap();
    assert_eq!((reply.status, reply.closes()), (200, true), "the request in flight");
    timeout(DEADLINE, server.done).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn metrics_have_the_documented_series() {
    let server = Server::start(&[]).await;
    server.until_ready(true).await;
    let mut connection = server.call().await;
    connection.review(&review("CREATE")).await.unwrap();
    connection.review(&review("UPDATE")).await.unwrap();
    connection.review(b"no review").await.unwrap();
    let reply = server.probe("/metrics").await;
    assert_eq!(
        reply.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let stable =
        |line: &&str| !["_bucket", "_sum", "_expiry_", "# HELP"].iter().any(|part| line.contains(part));
    let mut text: Vec<&str> = reply.text().lines().filter(stable).collect();
    text.sort_unstable();
    insta::assert_snapshot!(text.join("\n"), @r#"
    # EOF
    # TYPE couchdiscover_webhook_build info
    # TYPE couchdiscover_webhook_ca_bundle_heals counter
    # TYPE couchdiscover_webhook_certificate_renewals counter
    # TYPE couchdiscover_webhook_connections_evicted counter
    # TYPE couchdiscover_webhook_connections_refused counter
    # TYPE couchdiscover_webhook_labelled_statefulsets gauge
    # TYPE couchdiscover_webhook_panics counter
    # TYPE couchdiscover_webhook_ready gauge
    # TYPE couchdiscover_webhook_requests_refused counter
    # TYPE couchdiscover_webhook_review_body_bytes histogram
    # TYPE couchdiscover_webhook_review_duration_seconds histogram
    # TYPE couchdiscover_webhook_reviews counter
    # TYPE couchdiscover_webhook_reviews_in_flight gauge
    # TYPE couchdiscover_webhook_reviews_shed counter
    # TYPE couchdiscover_webhook_uninjected_statefulsets gauge
    # TYPE couchdiscover_webhook_unprovided_statefulsets gauge
    couchdiscover_webhook_build_info{version="0.1.0"} 1
    couchdiscover_webhook_ca_bundle_heals_total 0
    couchdiscover_webhook_certificate_renewals_total 0
    couchdiscover_webhook_connections_evicted_total{port="admission"} 0
    couchdiscover_webhook_connections_evicted_total{port="probes"} 0
    couchdiscover_webhook_connections_refused_total{port="admission",why="per-address"} 0
    couchdiscover_webhook_connections_refused_total{port="admission",why="total"} 0
    couchdiscover_webhook_connections_refused_total{port="probes",why="per-address"} 0
    couchdiscover_webhook_connections_refused_total{port="probes",why="total"} 0
    couchdiscover_webhook_labelled_statefulsets 0
    couchdiscover_webhook_panics_total 0
    couchdiscover_webhook_ready 1
    couchdiscover_webhook_requests_refused_total{why="malformed"} 1
    couchdiscover_webhook_review_body_bytes_count 3
    couchdiscover_webhook_review_duration_seconds_count 2
    couchdiscover_webhook_reviews_in_flight 0
    couchdiscover_webhook_reviews_shed_total 0
    couchdiscover_webhook_reviews_total{operation="create",outcome="injected",reason="created"} 1
    couchdiscover_webhook_reviews_total{operation="update",outcome="skipped",reason="not-injected-yet"} 1
    couchdiscover_webhook_uninjected_statefulsets 0
    couchdiscover_webhook_unprovided_statefulsets 0
    "#);
    assert!(reply.text().contains("review_duration_seconds_bucket{le=\"0.00001\"}"), "{}", reply.text());
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_from_files_is_served_and_a_mismatched_key_prevents_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("tls.crt"), file("tls.key"));
    let now = time::OffsetDateTime::now_utc();
    let authority = certs::Authority::new("test", now).unwrap();
    let leaf = authority.leaf(&[NAME.to_owned()], now).unwrap();
    std::fs::write(&certificate, leaf.certificate_pem()).unwrap();
    std::fs::write(&key, leaf.key_pem()).unwrap();
    let flags = ["--cert-mode", "files", "--tls-cert", &certificate, "--tls-key", &key];
    let server = Server::start(&flags).await;
    assert_eq!(server.ca, "");
    let mut connection = connect(server.https, authority.certificate_pem()).await.unwrap();
    assert_eq!(connection.review(&review("CREATE")).await.unwrap().status, 200);
    server.until_ready(true).await;
    server.stop().await;

    let other = authority.leaf(&[NAME.to_owned()], now).unwrap();
    std::fs::write(&key, other.key_pem()).unwrap();
    let args = [&["serve", "--listen", "127.0.0.1:0"], &flags[..]].concat();
    let args = <webhook::serve::Args as clap::Parser>::try_parse_from(args).unwrap();
    let error = webhook::serve::bind(args, webhook::serve::Kubernetes::Off).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("belong together"), "{cause}");
}

/// A Secret's volume. The kubelet writes a new directory and swaps a symlink, so the files themselves never change.
struct Volume {
    directory: tempfile::TempDir,
    generation: usize,
}

impl Volume {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), generation: 0 }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&mut self, certificate: &str, key: &str) {
        let old = self.path(&format!("..{}", self.generation));
        self.generation += 1;
        let new = self.path(&format!("..{}", self.generation));
        std::fs::create_dir(&new).unwrap();
        std::fs::write(format!("{new}/tls.crt"), certificate).unwrap();
        std::fs::write(format!("{new}/tls.key"), key).unwrap();
        std::os::unix::fs::symlink(&new, self.path("..data_tmp")).unwrap();
        std::fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            drop(std::os::unix::fs::symlink(format!("..data/{name}"), self.path(name)));
        }
        drop(std::fs::remove_dir_all(old));
    }
}

/// The clock is paused and jumps when all tasks wait, so that minutes take no time.
#[tokio::test(start_paused = true)]
async fn certificates_are_read_again_when_their_volume_is_swapped() {
    let now = time::OffsetDateTime::now_utc();
    let authorities = [0, 1, 2].map(|_| certs::Authority::new("test", now).unwrap());
    let leaves = authorities.each_ref().map(|authority| authority.leaf(&[NAME.to_owned()], now).unwrap());
    let mut volume = Volume::new();
    volume.write(leaves[0].certificate_pem(), &leaves[0].key_pem());
    let (certificate, key) = (volume.path("tls.crt"), volume.path("tls.key"));
    let server =
        Server::start(&["--cert-mode", "files", "--tls-cert", &certificate, "--tls-key", &key]).await;
    let accepted = async |by: usize| connect(server.https, authorities[by].certificate_pem()).await.is_ok();
    assert!(accepted(0).await);
    for swapped in [1, 2] {
        // The key of another certificate: read, found not to match, and not served.
        volume.write(leaves[swapped].certificate_pem(), &leaves[0].key_pem());
        tokio::time::advance(DEADLINE * 2).await;
        assert!(accepted(swapped - 1).await, "the old pair stays in use");
        volume.write(leaves[swapped].certificate_pem(), &leaves[swapped].key_pem());
        let mut minutes = 0;
        while !accepted(swapped).await {
            minutes += 1;
            assert!(minutes < 10, "not read again");
            tokio::time::advance(DEADLINE).await;
        }
        assert!(!accepted(swapped - 1).await);
    }
    let metrics = server.probe("/metrics").await;
    assert!(metrics.text().contains("certificate_renewals_total 2"), "{}", metrics.text());
    server.stop().await;
}

#[tokio::test]
async fn with_a_client_ca_a_caller_needs_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.crt");
    let authority = certs::Authority::new("callers", time::OffsetDateTime::now_utc()).unwrap();
    std::fs::write(&path, authority.certificate_pem()).unwrap();
    let server = Server::start(&["--client-ca", path.to_str().unwrap()]).await;
    let answered = async { connect(server.https, &server.ca).await?.review(&review("CREATE")).await };
    assert!(answered.await.is_err(), "the caller has no certificate");
    server.until_ready(true).await;
    server.stop().await;
}

/// The callers behave like API servers with two replicas behind a Service: they connect to a ready endpoint, keep the
/// connection, and panic if a call is not answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_no_call() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    let servers =
        [Server::start(&["--drain-delay", "500ms"]).await, Server::start(&["--drain-delay", "500ms"]).await];
    for server in &servers {
        server.until_ready(true).await;
    }
    let endpoints = Arc::new(servers.each_ref().map(|server| (server.https, support::connector(&server.ca))));
    let ready = Arc::new([AtomicBool::new(true), AtomicBool::new(true)]);
    let (answered, finished) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let body = Arc::new(review("CREATE"));
    let caller = |first: usize| {
        let (endpoints, ready, answered) = (endpoints.clone(), ready.clone(), answered.clone());
        let (finished, body) = (finished.clone(), body.clone());
        async move {
            let mut kept = None;
            while !finished.load(Ordering::Relaxed) {
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => {
                        let choice = if ready[first].load(Ordering::Relaxed) { first } else { 1 - first };
                        let (address, connector) = &endpoints[choice];
                        support::connect_with(connector, *address).await.expect("a ready endpoint")
                    }
                };
                let reply = connection.review(&body).await.expect("an answer");
                assert_eq!(reply.status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
                kept = (!reply.closes()).then_some(connection);
            }
        }
    };
    let callers: Vec<_> = (0..16).map(|index| tokio::spawn(caller(index % 2))).collect();
    let until = async |count: usize| {
        while answered.load(Ordering::Relaxed) < count {
            tokio::task::yield_now().await
        }
    };
    timeout(DEADLINE, until(2_000)).await.unwrap();
    let [leaving, staying] = servers;
    leaving.shutdown.cancel();
    // In a real cluster the kubelet notices the readiness, and kube-proxy sends no new connection there.
    leaving.until_ready(false).await;
    ready[0].store(false, Ordering::Relaxed);
    timeout(DEADLINE, leaving.done).await.unwrap().unwrap().unwrap();
    let before = answered.load(Ordering::Relaxed);
    timeout(DEADLINE, until(before + 2_000)).await.unwrap();
    finished.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no call lost");
    }
    staying.stop().await;
}
