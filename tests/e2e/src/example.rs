//! The example manifest as a cluster with agents that use the control plane.

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
