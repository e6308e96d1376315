//! What only one agent may do at a time, and what a pod may no longer do at all.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::time::Duration;

use e2e::control_plane::ControlPlane;
use e2e::example::{played, stored};
use e2e::until::until;
use sandbox::couchdb::CallFilter;
use serde_json::{Value, json};

#[tokio::test]
async fn a_cluster_is_founded_and_grows_under_the_lease_which_is_then_given_back() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 3).await;
    scale(&control_plane, 1);
    stage.start_agents([0]).await;
    stage.says(0, "Settled").await;
    scale(&control_plane, 3);
    stage.start_agents([1, 2]).await;
    stage.formed().await;
    until("nobody's Lease", DEADLINE, async || {
        let lease = lease(&control_plane);
        if lease["spec"]["holderIdentity"].is_null() { Ok(()) } else { Err(lease) }
    })
    .await;
    let founder = stage.metrics(0).await;
    assert!(founder.contains("steps_total{step=\"TakingLease\",outcome=\"done\"} 1"), "{founder}");
    for i in [1, 2] {
        let grown = stage.metrics(i).await;
        assert!(grown.contains("steps_total{step=\"TakingLease\",outcome=\"done\"}"), "{grown}");
        assert!(grown.contains("steps_total{step=\"AddingCopies\",outcome=\"done\"} 1"), "{grown}");
    }
}

#[tokio::test]
async fn a_lease_that_somebody_holds_is_waited_for_until_he_has_been_silent_for_as_long_as_he_promised() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 2).await;
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
    stage.start_agents(0..2).await;
    let message = stage.says(0, "WaitingForLease").await;
    assert!(message.contains("couchdb-0"), "{message}");
    assert!(stage.net.calls_of(&CallFilter::all().writes().below("/_cluster_setup")).is_empty());
    held(1, "2001-01-01T00:00:01.000000Z");
    stage.formed().await;
}

#[tokio::test]
async fn a_pod_that_was_replaced_stands_still_and_one_that_was_not_goes_on() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 3).await;
    stage.start_agents(0..3).await;
    stage.formed().await;
    pod(&control_plane, "couchdb-1", Some("10.9.9.9"));
    let other = control_plane.api.get("v1", "pods", Some("default"), "couchdb-1").unwrap();
    let message = stage.says(1, "Displaced").await;
    assert!(message.contains(other["metadata"]["uid"].as_str().unwrap()), "{message}");
    assert_eq!(stage.readyz(1).await.0, 503);
    assert_eq!(stage.readyz(0).await.0, 200);
    // It does nothing: not even what would be healed within a second.
    stage.node(1).restart_container().unwrap();
    stage.says(1, "Displaced").await;
    pod(&control_plane, "couchdb-1", None);
    stage.formed().await;
    assert_eq!(stage.readyz(1).await.0, 200);
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

fn scale(control_plane: &ControlPlane, replicas: u32) {
    let mut set = stored(control_plane);
    set["spec"]["replicas"] = json!(replicas);
    control_plane.api.seed(set);
}

fn lease(control_plane: &ControlPlane) -> Value {
    let lease =
        control_plane.api.get("coordination.k8s.io/v1", "leases", Some("default"), "couchdb-couchdiscover");
    lease.unwrap_or_default()
}

const DEADLINE: Duration = Duration::from_secs(40);
