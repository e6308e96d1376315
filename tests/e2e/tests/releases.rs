//! Older releases of CouchDB, two releases at once, and rarely used options.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use e2e::cluster::{PASSWORD, TestCluster, USER, host};
use sandbox::couchdb::{CallFilter, Version};
use serde_json::json;

#[tokio::test]
async fn older_releases_of_couchdb_3_form_a_cluster() {
    for version in [
        Version::new(3, 0, 0),
        Version::new(3, 1, 2),
        Version::new(3, 2, 0),
        Version::new(3, 2, 1),
        Version::new(3, 3, 3),
    ] {
        let mut cluster = TestCluster::with_settings(3, |settings| settings.version(version));
        cluster.start_agents(0..3).await;
        cluster.until_formed().await;
    }
}

#[tokio::test]
async fn a_cluster_is_formed_only_once_all_nodes_have_one_release() {
    let mut cluster = TestCluster::with_settings(3, |settings| {
        let updated = settings.host().as_str() == host(2);
        settings.version(if updated { Version::new(3, 5, 0) } else { Version::new(3, 4, 3) })
    });
    cluster.start_agents(0..3).await;
    let message = cluster.until_step(0, "MixedReleases").await;
    assert!(message.contains("(3.4: couchdb-0, couchdb-1; 3.5: couchdb-2)"), "{message}");
    assert_eq!(cluster.status(1).await["nodes"]["couchdb-2"]["release"], "3.5");
    for i in 0..2 {
        cluster.node(i).reconfigure(|settings| settings.version(Version::new(3, 5, 0)));
        cluster.node(i).restart_container().unwrap();
    }
    cluster.until_formed().await;
}

#[tokio::test]
async fn a_release_is_known_where_the_server_header_does_not_contain_it() {
    let mut cluster = TestCluster::with_settings(2, |settings| {
        let updated = settings.host().as_str() == host(1);
        let version = if updated { Version::new(3, 5, 0) } else { Version::new(3, 3, 3) };
        settings.version(version).ini("chttpd", "server_header_versions", "false")
    });
    cluster.start_agents(0..2).await;
    let message = cluster.until_step(0, "MixedReleases").await;
    assert!(message.contains("(3.3: couchdb-0; 3.5: couchdb-1)"), "{message}");
}

#[tokio::test]
async fn a_wiped_node_is_filled_while_two_releases_are_running() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    cluster.put(0, "/orders", &json!(null)).await;
    cluster.kill_agent(2).await;
    cluster.node(2).wipe();
    cluster.node(2).lose_ini();
    cluster.node(2).reconfigure(|settings| settings.version(Version::new(3, 3, 3)));
    cluster.node(2).start().unwrap();
    cluster.start_agent(2).await;
    cluster.until_formed().await;
    cluster.until_ready(2).await;
}

#[tokio::test]
async fn a_transient_conflict_is_retried_within_the_round() {
    let mut cluster = TestCluster::with_nodes(2);
    cluster.start_agents(0..2).await;
    cluster.until_formed().await;
    for node in ["_local".to_owned(), format!("couchdb@{}", host(1))] {
        cluster.kill_agent(0).await;
        let calls = CallFilter::all().on(host(0)).below(&format!("/_node/{node}/_dbs"));
        cluster.net.fail_calls(calls, 3, 409);
        cluster.start_agent(0).await;
        cluster.until_formed().await;
        assert_eq!(cluster.status(0).await["rounds"], 1, "one round is sufficient");
    }
}

#[tokio::test]
async fn with_a_placement_by_zone_no_copies_are_added() {
    let mut cluster =
        TestCluster::with_settings(2, |settings| settings.ini("cluster", "placement", "west:1"));
    let entry = format!("/_node/_local/_nodes/couchdb@{}", host(0));
    let mut member = cluster.get(0, &entry).await;
    member["zone"] = json!("west");
    cluster.put(0, &entry, &member).await;
    let url = format!("{}/_cluster_setup", cluster.node(0).url());
    let finish = reqwest::Client::new().post(url).json(&json!({ "action": "finish_cluster" }));
    assert_eq!(finish.basic_auth(USER, Some(PASSWORD)).send().await.unwrap().status(), 201);
    cluster.start_agents(0..2).await;
    for i in 0..2 {
        cluster.until_step(i, "Settled").await;
    }
    let status = cluster.status(0).await;
    let copies = &status["nodes"]["couchdb-1"]["systemDatabaseCopies"];
    assert_eq!(*copies, json!({ "_replicator": 1, "_users": 1 }));
}
