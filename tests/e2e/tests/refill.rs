//! A node that lost its volume is filled by the others, and kept out of reads until it is complete.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use e2e::cluster::TestCluster;
use e2e::until::until;
use sandbox::couchdb::Timings;
use serde_json::{Value, json};

#[tokio::test]
async fn reads_stay_complete_while_an_emptied_node_is_filled() {
    let cluster = with_an_emptied_node().await;
    let mut reads = 0;
    until("a filled node", DEADLINE, async || {
        let read = cluster.get(0, "/orders/_all_docs?limit=0").await;
        assert_eq!(read["total_rows"], DOCUMENTS, "after {reads} reads");
        reads += 1;
        is_ready(&cluster, 1).await
    })
    .await;
    assert!(reads > 1, "the node was already filled at the first read");
    cluster.until_formed().await;
    assert_eq!(cluster.maintenance_mode(1), "false");
    assert_eq!(cluster.get(1, NOTE).await["state"], "whole");
}

#[tokio::test]
async fn a_node_is_filled_while_clients_write_continuously() {
    let cluster = with_an_emptied_node().await;
    let mut written = 0;
    until("a filled node", DEADLINE, async || {
        written += 1;
        cluster.put(0, &format!("/orders/late-{written}"), &json!({})).await;
        is_ready(&cluster, 1).await
    })
    .await;
    assert_eq!(cluster.maintenance_mode(1), "false");
}

#[tokio::test]
async fn a_volume_restored_from_a_snapshot_is_filled_although_its_note_reports_it_complete() {
    let mut cluster = formed().await;
    let snapshot = cluster.node(1).volume();
    add_documents(&cluster).await;
    cluster.kill_agent(1).await;
    cluster.net.world(|world| {
        world.set_timings(Timings { pass: Duration::from_secs(20), ..world.timings() });
    });
    cluster.node(1).mount(snapshot);
    cluster.node(1).start().unwrap();
    cluster.start_agent(1).await;
    until_closed(&cluster, 1).await;
    cluster.until_formed().await;
    assert_eq!(cluster.maintenance_mode(1), "false");
}

#[tokio::test]
async fn a_node_that_restarts_while_it_is_filled_is_kept_out_of_reads_until_it_is_complete() {
    let mut cluster = with_an_emptied_node().await;
    // The mode is only in CouchDB's memory; the note is on the volume.
    cluster.node(1).kill();
    cluster.kill_agent(1).await;
    cluster.node(1).start().unwrap();
    assert_eq!(cluster.maintenance_mode(1), "");
    cluster.start_agent(1).await;
    until_closed(&cluster, 1).await;
    cluster.until_formed().await;
    assert_eq!(cluster.maintenance_mode(1), "false");
}

#[tokio::test]
async fn a_full_volume_is_reported_while_it_is_filled_with_its_fix_and_filled_when_there_is_space() {
    let cluster = with_an_emptied_node().await;
    cluster.node(1).fill_disk(true);
    until("a comparison that has begun", DEADLINE, async || {
        let status = cluster.status(1).await;
        if status["progress"].is_string() { Ok(()) } else { Err(status) }
    })
    .await;
    for _ in 0..5 {
        minute_passes(&cluster, 1).await;
    }
    let condition = until("a standstill", DEADLINE, async || {
        let status = cluster.status(1).await;
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut stalled = conditions.filter(|condition| condition["reason"] == "FillingStalled");
        stalled
            .next()
            .filter(|stalled| stalled["evidence"][0].to_string().contains("507"))
            .cloned()
            .ok_or(status)
    })
    .await;
    let message = condition["message"].as_str().unwrap();
    for part in ["for some minutes", "is full", "kubectl -n default patch pvc CLAIM"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(condition["evidence"][0].to_string().contains("insufficient_storage"), "{condition:#}");
    assert_eq!(cluster.readyz(1).await.0, 503);
    assert!(cluster.metrics(1).await.contains(r#"condition{reason="FillingStalled"} 1"#));
    cluster.node(1).fill_disk(false);
    cluster.until_formed().await;
    assert_eq!(cluster.maintenance_mode(1), "false");
    assert_eq!(cluster.status(1).await["conditions"], Value::Null);
}

/// A minute passes on the clock of the agents, by which nothing for 3 minutes is a standstill. Calls that are under way end with
/// it, so some rounds follow.
async fn minute_passes(cluster: &TestCluster, i: usize) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    let before = cluster.page(i).await.rounds;
    until("some rounds", DEADLINE, async || match cluster.page(i).await.rounds {
        rounds if rounds > before + 2 => Ok(()),
        rounds => Err(rounds),
    })
    .await;
}

#[tokio::test]
async fn a_restarted_agent_ends_the_maintenance_mode_that_it_had_set() {
    let mut cluster = formed_with_documents().await;
    cluster.kill_agent(1).await;
    cluster.put(1, NOTE, &json!({"state": "filling"})).await;
    cluster.put(1, MODE, &json!("true")).await;
    cluster.start_agent(1).await;
    cluster.until_formed().await;
    assert_eq!(cluster.maintenance_mode(1), "false");
}

#[tokio::test]
async fn a_manually_set_maintenance_mode_is_kept() {
    let mut cluster = formed_with_documents().await;
    cluster.kill_agent(1).await;
    cluster.put(1, MODE, &json!("true")).await;
    cluster.start_agent(1).await;
    let message = cluster.until_step(1, "ClosedByHand").await;
    assert!(message.contains("'true', set manually"), "{message}");
    let (code, page) = cluster.readyz(1).await;
    assert_eq!((code, page.split(':').next()), (503, Some("ClosedByHand")), "{page}");
    assert_eq!(cluster.maintenance_mode(1), "true");
    cluster.put(1, MODE, &json!("false")).await;
    cluster.until_ready(1).await;
}

#[tokio::test]
async fn a_settled_pod_whose_node_is_closed_manually_is_not_ready() {
    let cluster = formed().await;
    for value in ["nolb", "true"] {
        cluster.put(1, MODE, &json!(value)).await;
        until("a pod that is not ready", DEADLINE, async || match cluster.readyz(1).await {
            (503, page) if page.contains(&format!("'{value}', set manually")) => Ok(()),
            ready => Err(ready),
        })
        .await;
        assert_eq!(cluster.maintenance_mode(1), value, "never undone");
    }
}

/// A cluster whose node 1 lost its volume and is kept out of reads. To fill it takes 20 s of the stand-ins' time.
async fn with_an_emptied_node() -> TestCluster {
    let mut cluster = formed_with_documents().await;
    cluster.net.world(|world| {
        world.set_timings(Timings { pass: Duration::from_secs(20), ..world.timings() });
    });
    cluster.kill_agent(1).await;
    cluster.node(1).wipe();
    cluster.node(1).start().unwrap();
    cluster.start_agent(1).await;
    until_closed(&cluster, 1).await;
    cluster
}

/// A formed cluster of three nodes, which all hold a database with documents.
async fn formed_with_documents() -> TestCluster {
    let cluster = formed().await;
    add_documents(&cluster).await;
    cluster
}

async fn formed() -> TestCluster {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    cluster.put(0, "/orders", &Value::Null).await;
    cluster
}

async fn add_documents(cluster: &TestCluster) {
    for i in 0..DOCUMENTS {
        cluster.put(0, &format!("/orders/{i}"), &json!({})).await;
    }
}

/// Waits until node `i` is in maintenance mode.
async fn until_closed(cluster: &TestCluster, i: usize) {
    until("maintenance mode", DEADLINE, async || match cluster.maintenance_mode(i).as_str() {
        "true" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
}

/// `Ok` if pod `i` is ready, else the reason.
async fn is_ready(cluster: &TestCluster, i: usize) -> Result<(), String> {
    match cluster.readyz(i).await {
        (200, _) => Ok(()),
        (_, reason) => Err(reason),
    }
}

/// More than the difference that the agent attributes to pending replication.
const DOCUMENTS: usize = 300;
const NOTE: &str = "/_node/_local/_dbs/_local/couchdiscover";
const MODE: &str = "/_node/_local/_config/couchdb/maintenance_mode";
/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
