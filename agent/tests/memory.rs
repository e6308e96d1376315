//! The memory of the program while a CouchDB sends more than the agent may keep.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use sandbox::couchdb::{Clock, Network, NodeSettings};
use sandbox::hostile::{HostilePeer, Mode};
use serde_json::json;

const HOST: &str = "db-0.db.shop.svc.cluster.local";

#[test]
fn a_couchdb_that_sends_without_an_end_takes_no_memory_of_the_agent() {
    for mode in [Mode::Deep, Mode::Endless, Mode::EndlessError, Mode::EndlessHead, Mode::Noise] {
        let hostile = HostilePeer::start(mode, &format!("couchdb@{HOST}")).unwrap();
        let mut agent = Agent::start(&format!("http://{}", hostile.address()));
        agent.until_logged(&["reason=\"CouchDbUnclear\"", "reason=\"WaitingForCouchDb\""]);
        let peak = agent.peak_memory();
        assert!(peak < 40 * 1024, "{mode}: {peak} kB");
    }
}

/// A page of 500 of these maps has more than 60 MB.
#[tokio::test(flavor = "multi_thread")]
async fn maps_of_256_ranges_are_read_in_pages_that_fit_into_memory() {
    let net = Network::start(Clock::faster(20.0));
    let settings = NodeSettings::new(HOST).admin("admin", "s3cret").secret("topsecret").cookie("shared");
    let node = net.start_node(settings).unwrap();
    let mut agent = Agent::start(&node.url());
    agent.until_logged(&["reason=\"Settled\""]);
    drop(agent);
    // The request is plain HTTP, but the client needs a TLS provider.
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let created = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .put(format!("{}/large?q=256", node.url()))
        .basic_auth("admin", Some("s3cret"))
        .json(&json!({}))
        .send();
    assert_eq!(created.await.unwrap().status(), 201);
    let mut volume = node.volume();
    for number in 0..600 {
        volume.dbs.copy("large", &format!("tenant-{number:05}"));
    }
    node.mount(volume);
    node.start().unwrap();
    net.forget_calls();
    let mut agent = Agent::start(&node.url());
    agent.until_logged(&["reason=\"Settled\""]);
    let peak = agent.peak_memory();
    assert!(peak < 48 * 1024, "{peak} kB");
    let pages = net.calls().into_iter().filter(|call| call.query.contains("&conflicts=true"));
    let limits = Vec::from_iter(pages.map(|call| call.query));
    assert!(limits.len() > 5 && limits[0].contains("limit=500"), "{limits:#?}");
}

/// The program as the agent of a pod that is the whole cluster.
struct Agent {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Agent {
    fn start(couchdb: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_couchdiscover-agent"))
            .env_clear()
            .envs([
                ("COUCHDB_USER", "admin"),
                ("COUCHDB_PASSWORD", "s3cret"),
                ("COUCHDISCOVER_KUBERNETES", "off"),
                ("COUCHDB_CLUSTER_SIZE", "1"),
                ("HOSTNAME", HOST),
                ("COUCHDISCOVER_COUCHDB_URL", couchdb),
                ("COUCHDISCOVER_LISTEN", "127.0.0.1:0"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads the log up to a line that contains one of `words`.
    fn until_logged(&mut self, words: &[&str]) {
        let found = self.lines.find(|line| {
            let line = line.as_ref().unwrap();
            words.iter().any(|word| line.contains(word))
        });
        assert!(found.is_some(), "the agent ended");
    }

    /// The largest resident set so far, in kB.
    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Fails if the program has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
