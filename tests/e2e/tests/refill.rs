//! A node that lost its volume is filled again by the others; meanwhile nobody may be given its empty answers.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::time::Duration;

use e2e::stage::{Stage, host};
use e2e::until::until;
use sandbox::couchdb::Timings;
use serde_json::{Value, json};

#[tokio::test]
async fn reads_stay_complete_while_an_emptied_node_is_filled() {
    let stage = with_an_emptied_node().await;
    let mut reads = 0;
    until("a filled node", DEADLINE, async || {
        let read = stage.ask_node(0, "/orders/_all_docs?limit=0").await;
        assert_eq!(read["total_rows"], DOCUMENTS, "after {reads} reads");
        reads += 1;
        let (status, why) = stage.readyz(1).await;
        match status {
            200 => Ok(()),
            _ => Err(why),
        }
    })
    .await;
    assert!(reads > 1, "it was open again at the first read");
    stage.formed().await;
    assert_eq!(mode(&stage, 1), "false");
    assert_eq!(stage.ask_node(1, NOTE).await["state"], "whole");
}

#[tokio::test]
async fn a_node_is_filled_while_somebody_writes_all_the_time() {
    let stage = with_an_emptied_node().await;
    let mut written = 0;
    until("a filled node", DEADLINE, async || {
        written += 1;
        stage.tell_node(0, &format!("/orders/late-{written}"), &json!({})).await;
        let (status, why) = stage.readyz(1).await;
        match status {
            200 => Ok(()),
            _ => Err(why),
        }
    })
    .await;
    assert_eq!(mode(&stage, 1), "false");
}

#[tokio::test]
async fn a_volume_that_came_back_from_a_snapshot_is_found_behind_whatever_its_note_says() {
    let mut stage = formed().await;
    let snapshot = stage.node(1).volume();
    add_documents(&stage).await;
    stage.kill_agent(1).await;
    stage.net.world(|world| {
        world.set_timings(Timings { fill: Duration::from_secs(20), ..world.timings() });
    });
    stage.node(1).mount(snapshot);
    stage.node(1).start().unwrap();
    stage.start_agent(1).await;
    closed(&stage, 1).await;
    stage.formed().await;
    assert_eq!(mode(&stage, 1), "false");
}

#[tokio::test]
async fn who_dies_while_it_is_filled_is_closed_again_and_then_opened() {
    let mut stage = with_an_emptied_node().await;
    // The mode is in CouchDB's memory only; the note is on the volume.
    stage.node(1).kill();
    stage.kill_agent(1).await;
    stage.node(1).start().unwrap();
    assert_eq!(mode(&stage, 1), "");
    stage.start_agent(1).await;
    closed(&stage, 1).await;
    stage.formed().await;
    assert_eq!(mode(&stage, 1), "false");
}

#[tokio::test]
async fn an_agent_that_died_with_its_node_closed_opens_it_when_it_is_back() {
    let mut stage = formed_with_documents().await;
    stage.kill_agent(1).await;
    stage.tell_node(1, NOTE, &json!({"state": "filling"})).await;
    stage.tell_node(1, MODE, &json!("true")).await;
    stage.start_agent(1).await;
    stage.formed().await;
    assert_eq!(mode(&stage, 1), "false");
}

#[tokio::test]
async fn a_mode_that_a_person_set_stays() {
    let mut stage = formed_with_documents().await;
    stage.kill_agent(1).await;
    stage.tell_node(1, MODE, &json!("true")).await;
    stage.start_agent(1).await;
    let said = stage.says(1, "ClosedByHand").await;
    assert!(said.contains("'true' by somebody's hand"), "{said}");
    assert_eq!(stage.readyz(1).await.0, 200, "it is a member");
    assert_eq!(mode(&stage, 1), "true");
}

/// Node 1 has lost its volume and is kept out of reads; to fill it takes 20 s of the stand-in's time.
async fn with_an_emptied_node() -> Stage {
    let mut stage = formed_with_documents().await;
    stage.net.world(|world| {
        world.set_timings(Timings { fill: Duration::from_secs(20), ..world.timings() });
    });
    stage.kill_agent(1).await;
    stage.node(1).wipe();
    stage.node(1).start().unwrap();
    stage.start_agent(1).await;
    closed(&stage, 1).await;
    stage
}

/// Three nodes, and a database that all of them hold.
async fn formed_with_documents() -> Stage {
    let stage = formed().await;
    add_documents(&stage).await;
    stage
}

async fn formed() -> Stage {
    let mut stage = Stage::with_nodes(3);
    stage.start_agents(0..3).await;
    stage.formed().await;
    stage.tell_node(0, "/orders", &Value::Null).await;
    stage
}

async fn add_documents(stage: &Stage) {
    for i in 0..DOCUMENTS {
        stage.tell_node(0, &format!("/orders/{i}"), &json!({})).await;
    }
    // A sync that is under way would fill a node that is emptied now.
    until("copies in step", DEADLINE, async || {
        let jobs = stage.ask_node(0, "/_node/_local/_system").await["internal_replication_jobs"].clone();
        if jobs == 0 { Ok(()) } else { Err(jobs) }
    })
    .await;
}

async fn closed(stage: &Stage, i: usize) {
    until("maintenance", DEADLINE, async || match mode(stage, i).as_str() {
        "true" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
}

fn mode(stage: &Stage, i: usize) -> String {
    stage.net.world(|world| {
        let node = world.node(&host(i)).unwrap();
        node.config("couchdb", "maintenance_mode").unwrap_or_default().to_owned()
    })
}

/// More than the agent takes for documents that are merely on their way.
const DOCUMENTS: usize = 300;
const NOTE: &str = "/_node/_local/_dbs/_local/couchdiscover";
const MODE: &str = "/_node/_local/_config/couchdb/maintenance_mode";
/// Longer than anything takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
