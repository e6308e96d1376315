//! Changes of size: nodes are drained and filled without a lost write or a wrong read.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::cluster::{TestCluster, host};
use e2e::control_plane::ControlPlane;
use e2e::example::{example_cluster, stored_statefulset};
use e2e::until::until;
use serde_json::{Value, json};

#[tokio::test]
async fn a_drained_node_holds_no_copies_and_leaves_without_a_lost_document() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 4).await;
    cluster.set("COUCHDISCOVER_READERS_STAY", "0");
    cluster.start_agents(0..4).await;
    cluster.until_formed().await;
    cluster.put(0, "/orders?n=3&q=2", &Value::Null).await;
    cluster.put(0, "/single?n=1&q=4", &Value::Null).await;
    for i in 0..DOCUMENTS {
        for database in ["orders", "single"] {
            cluster.put(0, &format!("/{database}/{i}"), &json!({})).await;
        }
    }
    annotate(&control_plane, "couchdiscover.io/target-size", Some("3"));
    until_state(&cluster, &control_plane, 3, "drained").await;
    assert_eq!(holders(&cluster), (0..3).map(node).collect::<BTreeSet<_>>());
    for i in 0..4 {
        for database in ["orders", "single"] {
            assert_eq!(
                cluster.get(i, &format!("/{database}")).await["doc_count"],
                DOCUMENTS,
                "{database} on {i}"
            );
        }
    }
    for i in 0..3 {
        assert_eq!(cluster.get(i, "/_node/_local/_config/mem3.redirects").await, json!({}));
    }
}

/// Sets or removes an annotation of the StatefulSet.
fn annotate(control_plane: &ControlPlane, key: &str, value: Option<&str>) {
    let mut statefulset = stored_statefulset(control_plane);
    match value {
        Some(value) => statefulset["metadata"]["annotations"][key] = json!(value),
        None => drop(statefulset["metadata"]["annotations"].as_object_mut().unwrap().remove(key)),
    }
    control_plane.api.seed(statefulset);
}

/// Waits until the record on the Lease has this state for pod `i`.
async fn until_state(cluster: &TestCluster, control_plane: &ControlPlane, i: usize, state: &str) {
    until(state, DEADLINE, async || {
        let lease = control_plane.api.get("coordination.k8s.io/v1", "leases", Some("default"), LEASE);
        let record = lease.unwrap()["metadata"]["annotations"][RECORD].clone();
        let record: Value = serde_json::from_str(record.as_str().unwrap_or("{}")).unwrap();
        if record["nodes"][format!("couchdb-{i}")]["state"] == state {
            return Ok(());
        }
        let status = cluster.status(0).await;
        Err((
            record,
            status["step"].clone(),
            status["progress"].clone(),
            status["lastError"].clone(),
            status["moves"].clone(),
        ))
    })
    .await;
}

/// The names in the shard maps of node 0.
fn holders(cluster: &TestCluster) -> BTreeSet<String> {
    cluster.net.world(|world| {
        let dbs = &world.node(&host(0)).unwrap().volume.dbs;
        let maps = dbs.live().filter_map(|(_, _, map)| map.get("by_node")?.as_object());
        maps.flat_map(|map| map.keys().cloned()).collect()
    })
}

fn node(i: usize) -> String {
    format!("couchdb@{}", host(i))
}

const DOCUMENTS: u64 = 20;
const LEASE: &str = "couchdb-couchdiscover";
const RECORD: &str = "couchdiscover.io/copies-record";
/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
