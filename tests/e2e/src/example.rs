//! The example manifest as a cluster with agents that use the control plane.

use contract::keys;
use sandbox::couchdb::Clock;
use serde_json::{Value, json};

use crate::cluster::TestCluster;
use crate::control_plane::ControlPlane;
use crate::manifest::{EXAMPLE, companion_secret, objects, pods, statefulset};

/// Applies the example with this many nodes, and starts its nodes. No agent runs yet.
///
/// # Panics
///
/// If the control plane refuses an object.
pub async fn example_cluster(control_plane: &ControlPlane, nodes: usize) -> TestCluster {
    for mut object in objects(EXAMPLE).expect("the example is valid") {
        if object["kind"] == "StatefulSet" {
            object["spec"]["replicas"] = json!(nodes);
        }
        control_plane.create(&object).await.expect("the object is created");
    }
    let set = stored_statefulset(control_plane);
    // `ControlPlane::start` runs the webhook without its controller, which creates this Secret in a real cluster.
    control_plane.api.seed(companion_secret(&set, "ck", "sec"));
    let pods = pods(&set, control_plane.api.list("v1", "secrets")).expect("all Secrets exist");
    TestCluster::of(pods, Clock::faster(20.0), Some(control_plane.client_config()), |settings| settings)
}

/// The example's StatefulSet as it is stored.
///
/// # Panics
///
/// If the example has not been applied.
pub fn stored_statefulset(control_plane: &ControlPlane) -> Value {
    let set = control_plane.api.get("apps/v1", "statefulsets", Some("default"), "couchdb");
    set.expect("the StatefulSet is stored")
}

/// Scales the example's StatefulSet as `kubectl scale` does: without the webhook, and with an unchanged template.
///
/// # Panics
///
/// If the example has not been applied.
pub fn scale(control_plane: &ControlPlane, replicas: usize) {
    let mut set = stored_statefulset(control_plane);
    set["spec"]["replicas"] = json!(replicas);
    control_plane.api.seed(set);
}

/// Sets or removes an annotation of the example's StatefulSet, without the webhook.
///
/// # Panics
///
/// If the example has not been applied.
pub fn annotate(control_plane: &ControlPlane, key: &str, value: Option<&str>) {
    let mut set = stored_statefulset(control_plane);
    let annotations = &mut set["metadata"]["annotations"];
    match (value, annotations.as_object_mut()) {
        (Some(value), _) => annotations[key] = json!(value),
        (None, Some(present)) => drop(present.remove(key)),
        (None, None) => {}
    }
    control_plane.api.seed(set);
}

/// The example's Lease; null if it does not exist.
pub fn lease(control_plane: &ControlPlane) -> Value {
    let lease =
        control_plane.api.get("coordination.k8s.io/v1", "leases", Some("default"), "couchdb-couchdiscover");
    lease.unwrap_or_default()
}

/// The record of copies on the example's Lease; null if there is none.
pub fn recorded_copies(control_plane: &ControlPlane) -> Value {
    let record = &lease(control_plane)["metadata"]["annotations"][keys::COPIES_RECORD];
    serde_json::from_str(record.as_str().unwrap_or("null")).unwrap_or_default()
}

/// The state of pod `i` in the record of copies; null if it has none.
pub fn recorded_state(control_plane: &ControlPlane, i: usize) -> Value {
    recorded_copies(control_plane)["nodes"][format!("couchdb-{i}")]["state"].clone()
}

/// The `AdmissionReview` of the creation of the example's StatefulSet.
///
/// # Panics
///
/// If the example is not a valid manifest.
pub fn creation_review() -> Value {
    let objects = objects(EXAMPLE).expect("the example is valid");
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": { "group": "apps", "version": "v1", "kind": "StatefulSet" },
            "resource": { "group": "apps", "version": "v1", "resource": "statefulsets" },
            "operation": "CREATE",
            "namespace": "default",
            "name": "couchdb",
            "object": statefulset(&objects).expect("the example contains a StatefulSet"),
            "userInfo": {},
        },
    })
}
