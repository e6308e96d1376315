//! The example manifest on a stage whose agents ask the control plane.

use sandbox::couchdb::Clock;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::manifest::{EXAMPLE, companion_secret, objects, pods, statefulset};
use crate::stage::Stage;

/// The example with so many nodes, through the webhook; no agent runs yet.
///
/// # Panics
///
/// When the control plane doesn't take it.
pub async fn played(control_plane: &ControlPlane, nodes: usize) -> Stage {
    for mut object in objects(EXAMPLE).expect("the example") {
        if object["kind"] == "StatefulSet" {
            object["spec"]["replicas"] = json!(nodes);
        }
        control_plane.create(&object).await.expect("an object that is taken");
    }
    let set = stored(control_plane);
    control_plane.api.seed(companion_secret(&set, "ck", "sec"));
    let pods = pods(&set, control_plane.api.list("v1", "secrets")).expect("pods of the example");
    Stage::of(pods, Clock::faster(20.0), Some(control_plane.client_config()), |settings| settings)
}

/// The example's StatefulSet as it is stored.
///
/// # Panics
///
/// When there is none.
pub fn stored(control_plane: &ControlPlane) -> Value {
    control_plane.api.get("apps/v1", "statefulsets", Some("default"), "couchdb").expect("the StatefulSet")
}

/// The review of its StatefulSet's creation, as an API server asks.
///
/// # Panics
///
/// When the example is none.
pub fn creation() -> Value {
    let objects = objects(EXAMPLE).expect("the example");
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
            "object": statefulset(&objects).expect("the example's StatefulSet"),
            "userInfo": {},
        },
    })
}
