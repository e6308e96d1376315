//! Clusters in other environments than the example's: addresses, domains, ordinals, settings and releases.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use e2e::cluster::{PASSWORD, TestCluster};
use e2e::manifest;
use sandbox::couchdb::{Clock, Network, Version};
use serde_json::json;

#[tokio::test]
async fn a_cluster_is_formed_on_ipv6_only() {
    let pods = manifest::example_pods(3, |_| {}).unwrap();
    let mut cluster = TestCluster::on(Network::on_ipv6(clock()), pods, None, |settings| settings);
    cluster.set("POD_IP", "fd00::10");
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    assert!(cluster.node(0).url().starts_with("http://[::1]:"));
}

#[tokio::test]
async fn a_cluster_is_formed_where_anonymous_requests_are_refused() {
    let mut cluster =
        TestCluster::with_settings(3, |settings| settings.ini("chttpd", "require_valid_user", "true"));
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    // `/_up` is asked without a login, as a probe asks it.
    let refused = cluster.net.calls().into_iter().filter(|call| call.status == Some(401));
    assert!(refused.into_iter().all(|call| call.path == "/_up"));
}

#[tokio::test]
async fn a_cluster_is_formed_in_another_dns_domain() {
    let pods = manifest::example_pods_in("corp.example", 3, |_| {}).unwrap();
    let mut cluster = TestCluster::of(pods, clock(), None, |settings| settings);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    assert_eq!(cluster.fqdn(2), "couchdb-2.couchdb.default.svc.corp.example");
}

#[tokio::test]
async fn a_cluster_is_formed_from_other_ordinals_without_kubernetes() {
    let pods = manifest::example_pods(3, |object| {
        if object["kind"] == "StatefulSet" {
            object["spec"]["ordinals"] = json!({ "start": 7 });
        }
    });
    let mut cluster = TestCluster::of(pods.unwrap(), clock(), None, |settings| settings);
    assert_eq!(cluster.name(0), "couchdb-7");
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
}

#[tokio::test]
async fn a_line_break_at_the_end_of_a_password_is_ignored() {
    for end in ["\n", "\r\n"] {
        let pods = manifest::example_pods(2, |object| {
            if object["kind"] == "Secret" {
                object["stringData"]["password"] = json!(format!("{PASSWORD}{end}"));
            }
        });
        let mut cluster = TestCluster::of(pods.unwrap(), clock(), None, |settings| settings);
        cluster.start_agents(0..2).await;
        cluster.until_formed().await;
        assert!(cluster.net.calls().iter().all(|call| call.status != Some(401)));
    }
}

#[tokio::test]
async fn users_and_passwords_may_contain_any_characters() {
    for password in ["pass:word", "100%", "%41", "\"'`$(x)\\", "\u{5bc6}\u{7801}\u{1F511}", "a b", "?#&=+/@"]
    {
        let pods = manifest::example_pods(1, |object| {
            if object["kind"] == "Secret" {
                object["stringData"]["user"] = json!("j\u{fc}rgen@corp");
                object["stringData"]["password"] = json!(password);
            }
        });
        let mut cluster = TestCluster::of(pods.unwrap(), clock(), None, |settings| settings);
        cluster.start_agent(0).await;
        cluster.until_formed().await;
        let output =
            format!("{}{:?}{}", cluster.status(0).await, cluster.readyz(0).await, cluster.metrics(0).await);
        assert!(!output.contains(password), "{output}");
    }
}

#[tokio::test]
async fn a_single_node_that_binds_to_loopback_is_configured_for_all_addresses() {
    let mut cluster =
        TestCluster::with_settings(1, |settings| settings.ini("chttpd", "bind_address", "127.0.0.1"));
    cluster.start_agent(0).await;
    cluster.until_formed().await;
    let address = cluster.get(0, "/_node/_local/_config/chttpd/bind_address").await;
    let n = cluster.get(0, "/_node/_local/_config/cluster/n").await;
    assert_eq!((address, n), (json!("0.0.0.0"), json!("1")));
}

#[tokio::test]
async fn ten_thousand_databases_are_read_in_pages() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    for i in 0..3 {
        cluster.kill_agent(i).await;
    }
    cluster.add_databases(10_000);
    cluster.net.forget_calls();
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    assert_eq!(cluster.status(0).await["nodes"]["couchdb-1"]["databases"], 10_002);
    let lists = cluster.net.calls().into_iter().filter(|call| call.path == "/_node/_local/_dbs/_all_docs");
    let (pages, others): (Vec<_>, Vec<_>) = lists.partition(|call| call.query.contains("limit=500"));
    assert_eq!(pages.len(), 3 * 21, "each agent reads all maps once, in pages");
    let (samples, rounds): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|call| call.query.contains("limit=50&"));
    assert!(
        samples.len() < 3 * 20,
        "each agent compares a sample of the shards after the restart of CouchDB"
    );
    for (calls, limit) in [(pages, 500), (samples, 50), (rounds, 8)] {
        for call in calls {
            let answer = cluster.get(0, &format!("{}?{}", call.path, call.query)).await;
            assert_eq!(answer["total_rows"], 10_002);
            assert!(answer["rows"].as_array().unwrap().len() <= limit, "{}", call.query);
        }
    }
    assert!(cluster.net.calls().iter().all(|call| call.path != "/_all_dbs"));
}

#[tokio::test]
async fn a_cluster_is_formed_by_other_releases_of_couchdb() {
    for version in ["3.0.0", "3.1.2", "3.2.0", "3.2.3", "3.3.3", "3.4.2"] {
        let version: Version = version.parse().unwrap();
        let mut cluster = TestCluster::with_settings(3, |settings| settings.version(version));
        cluster.start_agents(0..3).await;
        cluster.until_formed().await;
    }
}

#[tokio::test]
async fn couchdb_2_is_refused_and_left_unchanged() {
    let mut cluster = TestCluster::with_settings(1, |settings| settings.version(Version::new(2, 3, 1)));
    cluster.start_agent(0).await;
    let message = cluster.until_step(0, "CouchDbUnclear").await;
    assert!(message.contains("3.0 or later"), "{message}");
    assert!(!cluster.net.calls().iter().any(|call| call.method != "GET"), "no call changes the node");
}

fn clock() -> Clock {
    Clock::faster(20.0)
}
