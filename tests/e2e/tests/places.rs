//! Clusters in other places than the example's: other addresses, domains, ordinals, settings and releases.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use e2e::manifest;
use e2e::stage::{PASSWORD, Stage};
use sandbox::couchdb::{Clock, Network, NodeSettings, Version};
use serde_json::json;

#[tokio::test]
async fn where_there_is_only_ipv6() {
    let pods = manifest::example_pods(3, |_| {}).unwrap();
    let mut stage = Stage::on(Network::on_ipv6(clock()), pods, None, |settings| settings);
    stage.set("POD_IP", "fd00::10");
    stage.start_agents(0..3).await;
    stage.formed().await;
    assert!(stage.node(0).url().starts_with("http://[::1]:"));
}

#[tokio::test]
async fn where_nobody_is_let_in_without_a_name() {
    let closed = |settings: NodeSettings| settings.ini("chttpd", "require_valid_user", "true");
    let mut stage = Stage::with(3, closed);
    stage.start_agents(0..3).await;
    stage.formed().await;
    assert!(stage.net.calls().iter().all(|call| call.status != Some(401)));
}

#[tokio::test]
async fn where_the_cluster_has_a_domain_of_its_own() {
    let pods = manifest::pods_of(3, "corp.example", |_| {}).unwrap();
    let mut stage = Stage::of(pods, clock(), None, |settings| settings);
    stage.start_agents(0..3).await;
    stage.formed().await;
    assert_eq!(stage.fqdn(2), "couchdb-2.couchdb.default.svc.corp.example");
}

#[tokio::test]
async fn where_the_first_pod_is_not_0_and_nobody_can_be_asked() {
    let pods = manifest::example_pods(3, |object| {
        if object["kind"] == "StatefulSet" {
            object["spec"]["ordinals"] = json!({ "start": 7 });
        }
    });
    let mut stage = Stage::of(pods.unwrap(), clock(), None, |settings| settings);
    assert_eq!(stage.name(0), "couchdb-7");
    stage.start_agents(0..3).await;
    stage.formed().await;
}

#[tokio::test]
async fn where_the_secret_was_made_of_a_file_with_a_line_break() {
    for end in ["\n", "\r\n"] {
        let pods = manifest::example_pods(2, |object| {
            if object["kind"] == "Secret" {
                object["stringData"]["password"] = json!(format!("{PASSWORD}{end}"));
            }
        });
        let mut stage = Stage::of(pods.unwrap(), clock(), None, |settings| settings);
        stage.start_agents(0..2).await;
        stage.formed().await;
        assert!(stage.net.calls().iter().all(|call| call.status != Some(401)));
    }
}

#[tokio::test]
async fn where_names_and_passwords_are_of_any_letters() {
    for password in ["pass:word", "100%", "%41", "\"'`$(x)\\", "\u{5bc6}\u{7801}\u{1F511}", "a b", "?#&=+/@"]
    {
        let pods = manifest::example_pods(1, |object| {
            if object["kind"] == "Secret" {
                object["stringData"]["user"] = json!("j\u{fc}rgen@corp");
                object["stringData"]["password"] = json!(password);
            }
        });
        let mut stage = Stage::of(pods.unwrap(), clock(), None, |settings| settings);
        stage.start_agent(0).await;
        stage.formed().await;
        let shown = format!("{}{:?}{}", stage.status(0).await, stage.readyz(0).await, stage.metrics(0).await);
        assert!(!shown.contains(password), "{shown}");
    }
}

#[tokio::test]
async fn where_couchdb_listens_to_itself_only() {
    let deaf = |settings: NodeSettings| settings.ini("chttpd", "bind_address", "127.0.0.1");
    let mut stage = Stage::with(1, deaf);
    stage.start_agent(0).await;
    stage.formed().await;
    let address = stage.ask_node(0, "/_node/_local/_config/chttpd/bind_address").await;
    let n = stage.ask_node(0, "/_node/_local/_config/cluster/n").await;
    assert_eq!((address, n), (json!("0.0.0.0"), json!("1")));
}

#[tokio::test]
async fn where_there_are_ten_thousand_databases() {
    let mut stage = Stage::with_nodes(3);
    stage.start_agents(0..3).await;
    stage.formed().await;
    for i in 0..3 {
        stage.kill_agent(i).await;
    }
    add_databases(&stage, 10_000);
    stage.net.forget_calls();
    stage.start_agents(0..3).await;
    stage.formed().await;
    assert_eq!(stage.status(0).await["nodes"]["couchdb-1"]["databases"], 10_002);
    let lists = stage.net.calls().into_iter().filter(|call| call.path == "/_node/_local/_dbs/_all_docs");
    let (looks, rounds): (Vec<_>, Vec<_>) = lists.partition(|call| call.query.contains("limit=500"));
    assert_eq!(looks.len(), 3 * 21, "each agent looks at all maps once, in pages");
    let (samples, rounds): (Vec<_>, Vec<_>) =
        rounds.into_iter().partition(|call| call.query.contains("limit=50&"));
    assert!(samples.len() < 3 * 20, "each agent compares some shards, since CouchDB was started anew");
    for (calls, most) in [(looks, 500), (samples, 50), (rounds, 8)] {
        for call in calls {
            let answer = stage.ask_node(0, &format!("{}?{}", call.path, call.query)).await;
            assert_eq!(answer["total_rows"], 10_002);
            assert!(answer["rows"].as_array().unwrap().len() <= most, "{}", call.query);
        }
    }
    assert!(stage.net.calls().iter().all(|call| call.path != "/_all_dbs"));
}

#[tokio::test]
async fn where_couchdb_is_of_another_release() {
    for version in ["3.0.0", "3.1.2", "3.2.0", "3.2.3", "3.3.3", "3.4.2"] {
        let version: Version = version.parse().unwrap();
        let mut stage = Stage::with(3, |settings| settings.version(version));
        stage.start_agents(0..3).await;
        stage.formed().await;
    }
}

#[tokio::test]
async fn where_couchdb_is_too_old_to_be_asked() {
    let mut stage = Stage::with(1, |settings| settings.version(Version::new(2, 3, 1)));
    stage.start_agent(0).await;
    let says = stage.says(0, "CouchDbUnclear").await;
    assert!(says.contains("3.0 or later"), "{says}");
    assert!(!stage.net.calls().iter().any(|call| call.method != "GET"), "nothing is changed there");
}

/// As if users had made so many databases.
fn add_databases(stage: &Stage, count: usize) {
    for i in stage.ordinals() {
        let node = stage.node(i);
        let mut volume = node.volume();
        for number in 0..count {
            volume.dbs.copy("_users", &format!("tenant-{number:05}"));
        }
        node.mount(volume);
        node.start().unwrap();
    }
}

fn clock() -> Clock {
    Clock::faster(20.0)
}
