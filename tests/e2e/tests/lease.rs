//! Steps that only one agent may take at a time, and pods that must not act any more.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use e2e::control_plane::ControlPlane;
use e2e::example::{example_cluster, lease, scale};
use e2e::until::until;
use sandbox::couchdb::CallFilter;
use serde_json::json;

#[tokio::test]
async fn a_cluster_is_formed_and_grows_under_the_lease_which_is_then_released() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    scale(&control_plane, 1);
    cluster.start_agents([0]).await;
    cluster.until_step(0, "Settled").await;
    scale(&control_plane, 3);
    cluster.start_agents([1, 2]).await;
    cluster.until_formed().await;
    until("a released Lease", DEADLINE, async || {
        let lease = lease(&control_plane);
        if lease["spec"]["holderIdentity"].is_null() { Ok(()) } else { Err(lease) }
    })
    .await;
    let founder = cluster.metrics(0).await;
    assert!(founder.contains("steps_total{step=\"TakingLease\",outcome=\"done\"} 1"), "{founder}");
    for i in [1, 2] {
        let joined = cluster.metrics(i).await;
        assert!(joined.contains("steps_total{step=\"TakingLease\",outcome=\"done\"}"), "{joined}");
        assert!(joined.contains("steps_total{step=\"AddingCopies\",outcome=\"done\"} 1"), "{joined}");
    }
}

#[tokio::test]
async fn agents_wait_for_a_held_lease_until_its_holder_misses_the_renewal_deadline() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 2).await;
    let held = |seconds: u32, renewed: &str| {
        control_plane.api.seed(json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "namespace": "default", "name": "couchdb-couchdiscover" },
            "spec": {
                "holderIdentity": "couchdb-0_another_1", "leaseDurationSeconds": seconds, "renewTime": renewed
            },
        }));
    };
    held(3600, "2001-01-01T00:00:00.000000Z");
    cluster.start_agents(0..2).await;
    let message = cluster.until_step(0, "WaitingForLease").await;
    assert!(message.contains("couchdb-0"), "{message}");
    assert!(cluster.net.calls_of(&CallFilter::all().writes().below("/_cluster_setup")).is_empty());
    held(1, "2001-01-01T00:00:01.000000Z");
    cluster.until_formed().await;
}

#[tokio::test]
async fn the_agent_of_a_replaced_pod_stops_acting_and_its_peers_stay_ready() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    pod(&control_plane, "couchdb-1", Some("10.9.9.9"));
    let other = control_plane.api.get("v1", "pods", Some("default"), "couchdb-1").unwrap();
    let message = cluster.until_step(1, "Displaced").await;
    assert!(message.contains(other["metadata"]["uid"].as_str().unwrap()), "{message}");
    assert_eq!(cluster.readyz(1).await.0, 503);
    assert_eq!(cluster.readyz(0).await.0, 200);
    // The agent takes no step, not even the repair of the identity that otherwise takes a second.
    cluster.node(1).restart_container().unwrap();
    cluster.until_step(1, "Displaced").await;
    pod(&control_plane, "couchdb-1", None);
    cluster.until_formed().await;
    assert_eq!(cluster.readyz(1).await.0, 200);
}

fn pod(control_plane: &ControlPlane, name: &str, ip: Option<&str>) {
    control_plane.api.seed(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": "default", "name": name },
        "spec": { "containers": [] },
        "status": ip.map_or(json!({}), |ip| json!({ "podIP": ip })),
    }));
}

const DEADLINE: Duration = Duration::from_secs(40);
