//! Zones: the agents write the zone of each Kubernetes node into `_nodes`, by which CouchDB places copies.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use e2e::control_plane::ControlPlane;
use e2e::example::{example_cluster, stored_statefulset};
use e2e::until::until;
use serde_json::{Value, json};

#[tokio::test]
async fn each_node_has_the_zone_of_its_pod_before_the_cluster_is_formed() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 2).await;
    ask_for_zone(&control_plane, Some("topology"));
    for (i, zone) in ["eu-1a", "eu-1b"].into_iter().enumerate() {
        control_plane.api.seed(pod(cluster.name(i), Some(zone)));
    }
    cluster.start_agents(0..2).await;
    cluster.until_formed().await;
    let placed = cluster.get(0, "/_node/_local/_dbs/_users").await;
    assert!(placed["by_node"].is_object(), "{placed}");
    for (i, zone) in ["eu-1a", "eu-1b"].into_iter().enumerate() {
        for asked in 0..2 {
            let path = format!("/_node/_local/_nodes/couchdb@{}", cluster.fqdn(i));
            assert_eq!(
                cluster.get(asked, &path).await["zone"],
                zone,
                "couchdb-{i} as couchdb-{asked} sees it"
            );
        }
    }
    // The founding comes after the zones.
    let calls = cluster.net.calls();
    let finished = calls
        .iter()
        .find(|call| call.is_write() && call.path == "/_cluster_setup" && call.status == Some(201));
    let zoned =
        calls.iter().filter(|call| call.is_write() && call.path.contains("/_nodes/couchdb@couchdb-0"));
    assert!(zoned.map(|call| call.number).min() < finished.map(|call| call.number), "{calls:#?}");
    // A person's zone stays once the annotation is gone.
    ask_for_zone(&control_plane, None);
}

#[tokio::test]
async fn a_pod_without_the_label_reports_it_and_keeps_its_zone() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 1).await;
    ask_for_zone(&control_plane, Some("topology"));
    control_plane.api.seed(pod(cluster.name(0), None));
    cluster.start_agent(0).await;
    cluster.until_formed().await;
    until("the condition", DEADLINE, async || {
        let status = cluster.status(0).await;
        let found =
            status["conditions"].as_array().into_iter().flatten().any(|c| c["reason"] == "ZoneUnknown");
        if found { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(cluster.readyz(0).await.0, 200);
    let path = format!("/_node/_local/_nodes/couchdb@{}", cluster.fqdn(0));
    assert_eq!(cluster.get(0, &path).await["zone"], Value::Null);
    // A literal ends it.
    ask_for_zone(&control_plane, Some("dc2"));
    until("the zone", DEADLINE, async || {
        let entry = cluster.get(0, &path).await;
        if entry["zone"] == "dc2" { Ok(()) } else { Err(entry) }
    })
    .await;
}

fn ask_for_zone(control_plane: &ControlPlane, zone: Option<&str>) {
    let mut statefulset = stored_statefulset(control_plane);
    match zone {
        Some(zone) => statefulset["metadata"]["annotations"]["couchdiscover.io/zone"] = json!(zone),
        None => {
            statefulset["metadata"]["annotations"]
                .as_object_mut()
                .unwrap()
                .shift_remove("couchdiscover.io/zone");
        }
    }
    control_plane.api.seed(statefulset);
}

/// The pod as Kubernetes stores it.
fn pod(name: &str, zone: Option<&str>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "namespace": "default", "name": name, "labels": {} },
        "spec": { "containers": [] }, "status": {},
    });
    if let Some(zone) = zone {
        pod["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(zone);
    }
    pod
}

/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
