//! Members of the cluster that are no pods of the StatefulSet, named by the annotation.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use e2e::cluster::{PASSWORD, TestCluster, USER, host};
use e2e::control_plane::ControlPlane;
use e2e::example::{example_cluster, stored_statefulset};
use e2e::until::until;
use sandbox::couchdb::{CallLogin, NodeHandle, NodeSettings, Timings};
use serde_json::{Value, json};

#[tokio::test]
async fn pods_wait_for_the_cluster_that_the_user_names_join_it_and_report_no_stranger() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 2).await;
    name_others(&control_plane, "couchdb@*.example.org");
    let machine = start_machine(&cluster).await;
    cluster.start_agents(0..2).await;
    for i in 0..2 {
        let message = cluster.until_step(i, "WaitingForOtherMembers").await;
        assert!(message.contains("/_node/_local/_nodes/NAME@HOST"), "{message}");
        assert_eq!(cluster.readyz(i).await.0, 503);
        assert_eq!(cluster.get(i, "/_all_dbs").await, json!([]), "no cluster is formed");
    }
    // The person does what the message contains, at one pod.
    cluster.put(0, &format!("/_node/_local/_nodes/{MACHINE}"), &json!({})).await;
    cluster.until_settled(0..2, DEADLINE).await;
    for i in 0..2 {
        assert_eq!(cluster.readyz(i).await.0, 200);
        assert_eq!(cluster.get(i, "/orders/1").await["paid"], true, "the data of the machine");
        let status = cluster.status(i).await;
        assert_eq!(status["nodes"][cluster.name(i)]["otherMembers"], json!([MACHINE]), "{status}");
        assert_eq!(status["nodes"][cluster.name(i)]["systemDatabaseCopies"]["_users"], 3, "all three nodes");
        assert_eq!(conditions(&status), ["SingleCopies"], "the machine's own database: {status}");
    }
    // It is asked over Erlang, and gets no password.
    let calls = cluster.net.calls();
    let mut from_agents =
        calls.iter().filter(|call| call.node.as_str() == HOST && call.source.starts_with("couchdb-"));
    assert!(from_agents.all(|call| call.login == CallLogin::Open && call.path != "/"), "{calls:#?}");
    // However long it is away, it is no stranger, and nothing turns unready.
    let mut rounds = vec![];
    for i in 0..2 {
        rounds.push(cluster.status(i).await["rounds"].as_u64().unwrap());
    }
    machine.kill();
    for (i, before) in rounds.into_iter().enumerate() {
        // The lost connection begins a round.
        let status = until("another round", DEADLINE, async || {
            let status = cluster.status(i).await;
            if status["rounds"].as_u64() > Some(before) { Ok(status) } else { Err(status) }
        })
        .await;
        assert_eq!(conditions(&status), ["SingleCopies"], "{status}");
        assert_eq!(status["ready"], true, "{status}");
    }
}

#[tokio::test]
async fn the_only_pod_is_refilled_from_a_member_outside_before_it_is_read() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 1).await;
    name_others(&control_plane, MACHINE);
    let machine = start_machine(&cluster).await;
    cluster.start_agent(0).await;
    cluster.put(0, &format!("/_node/_local/_nodes/{MACHINE}"), &json!({})).await;
    cluster.until_settled(0..1, DEADLINE).await;
    cluster.put(0, "/bills?n=2&q=1", &Value::Null).await;
    for i in 0..DOCUMENTS {
        cluster.put(0, &format!("/bills/{i}"), &json!({})).await;
    }
    cluster.net.world(|world| {
        world.set_timings(Timings { pass: Duration::from_secs(20), ..world.timings() });
    });
    cluster.kill_agent(0).await;
    cluster.node(0).wipe();
    cluster.node(0).start().unwrap();
    cluster.start_agent(0).await;
    // The machine lists the pod, and adopts its empty node.
    cluster.until_settled(0..1, DEADLINE).await;
    let modes = cluster.net.calls().into_iter().filter(|call| {
        call.node.as_str() == host(0) && call.is_write() && call.path.contains("/_config/couchdb/maintenance")
    });
    let modes: Vec<String> = modes.map(|call| call.line()).collect();
    assert!(modes.len() >= 2, "closed, and opened again: {modes:?}");
    let documents = cluster.net.world(|world| {
        let shards = &world.node(&host(0)).unwrap().volume.shards;
        let bills = shards.iter().filter(|(shard, _)| shard.db == "bills");
        bills.map(|(_, file)| file.docs.live().count()).sum::<usize>()
    });
    assert_eq!(documents, DOCUMENTS);
    drop(machine);
}

/// The reasons of the conditions on a status page.
fn conditions(status: &Value) -> Vec<&str> {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.filter_map(|condition| condition["reason"].as_str()).collect()
}

/// Names the members outside of the StatefulSet.
fn name_others(control_plane: &ControlPlane, names: &str) {
    let mut statefulset = stored_statefulset(control_plane);
    statefulset["metadata"]["annotations"]["couchdiscover.io/other-members"] = json!(names);
    control_plane.api.seed(statefulset);
}

/// Starts a machine outside of Kubernetes, with the cookie of the pods and a database of its own.
async fn start_machine(cluster: &TestCluster) -> NodeHandle {
    let cookie = cluster.pod(0).container("couchdb").unwrap().env["COUCHDB_ERLANG_COOKIE"].clone();
    let machine = NodeSettings::new(HOST).admin(USER, PASSWORD).cookie(&cookie);
    let machine = cluster.net.start_node(machine).unwrap();
    let http = reqwest::Client::new();
    for (path, body) in [
        ("/_users", Value::Null),
        ("/_replicator", Value::Null),
        ("/orders", Value::Null),
        ("/orders/1", json!({ "paid": true })),
    ] {
        let request = http.put(format!("{}{path}", machine.url())).basic_auth(USER, Some(PASSWORD));
        let request = if body.is_null() { request } else { request.json(&body) };
        assert!(request.send().await.unwrap().status().is_success(), "{path}");
    }
    machine
}

const HOST: &str = "db.example.org";
const MACHINE: &str = "couchdb@db.example.org";
/// More than the few that do not show a lost volume.
const DOCUMENTS: usize = 250;
/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
