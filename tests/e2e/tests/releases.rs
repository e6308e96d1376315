//! Releases of CouchDB: the older ones, two at a time, and options that only some use.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use e2e::stage::{PASSWORD, Stage, USER, host};
use sandbox::couchdb::{CallFilter, Version};
use serde_json::json;

#[tokio::test]
async fn older_versions_of_couchdb_3_form_too() {
    for version in [
        Version::new(3, 0, 0),
        Version::new(3, 1, 2),
        Version::new(3, 2, 0),
        Version::new(3, 2, 1),
        Version::new(3, 3, 3),
    ] {
        let mut stage = Stage::with(3, |settings| settings.version(version));
        stage.start_agents(0..3).await;
        stage.formed().await;
    }
}

#[tokio::test]
async fn a_founding_waits_until_all_nodes_are_of_one_release() {
    let mut stage = Stage::with(3, |settings| {
        let updated = settings.host().as_str() == host(2);
        settings.version(if updated { Version::new(3, 5, 0) } else { Version::new(3, 4, 3) })
    });
    stage.start_agents(0..3).await;
    let message = stage.says(0, "MixedReleases").await;
    assert!(message.contains("(3.4: couchdb-0, couchdb-1, 3.5: couchdb-2)"), "{message}");
    assert_eq!(stage.status(1).await["nodes"]["couchdb-2"]["release"], "3.5");
    for i in 0..2 {
        stage.node(i).reconfigure(|settings| settings.version(Version::new(3, 5, 0)));
        stage.node(i).restart_container().unwrap();
    }
    stage.formed().await;
}

#[tokio::test]
async fn a_node_that_lost_its_volume_is_filled_while_two_releases_are_there() {
    let mut stage = Stage::with_nodes(3);
    stage.start_agents(0..3).await;
    stage.formed().await;
    stage.tell_node(0, "/orders", &json!(null)).await;
    stage.kill_agent(2).await;
    stage.node(2).wipe();
    stage.node(2).lose_ini();
    stage.node(2).reconfigure(|settings| settings.version(Version::new(3, 3, 3)));
    stage.node(2).start().unwrap();
    stage.start_agent(2).await;
    stage.formed().await;
    stage.ready(2).await;
}

#[tokio::test]
async fn a_moments_conflict_is_not_taken_for_a_node_that_is_not_up() {
    let mut stage = Stage::with_nodes(2);
    stage.start_agents(0..2).await;
    stage.formed().await;
    for node in 0..2 {
        stage.kill_agent(0).await;
        let asked = CallFilter::all().on(host(node)).below("/_node/_local/_dbs");
        stage.net.fail_calls(asked, 3, 409);
        stage.start_agent(0).await;
        stage.formed().await;
        assert_eq!(stage.status(0).await["rounds"], 1, "the first look was enough");
    }
}

#[tokio::test]
async fn where_somebody_placed_copies_by_zone_none_are_added() {
    let mut stage = Stage::with(2, |settings| settings.ini("cluster", "placement", "west:1"));
    let url = format!("{}/_cluster_setup", stage.node(0).url());
    let finish = reqwest::Client::new().post(url).json(&json!({ "action": "finish_cluster" }));
    assert_eq!(finish.basic_auth(USER, Some(PASSWORD)).send().await.unwrap().status(), 201);
    stage.start_agents(0..2).await;
    for i in 0..2 {
        stage.says(i, "Settled").await;
    }
    let status = stage.status(0).await;
    let copies = &status["nodes"]["couchdb-1"]["systemDatabaseCopies"];
    assert_eq!(*copies, json!({ "_replicator": 1, "_users": 1 }));
}
