//! A user who may write StatefulSets and pods in one namespace, and nothing else: what such a user submits to reach the webhook,
//! its log, other webhooks, or the terminals of those who read its answers.

use serde_json::{Value, json};

use crate::manifest::{EXAMPLE, objects, statefulset};

/// Text that a terminal obeys and that forges a line.
pub const FORGED: &str = "\u{1b}]0;pwned\u{7}\u{1b}[2J\u{9b}H\r\n  ok       everything\u{202e}";

/// Containers, init containers and volumes that another webhook's policy has added to every StatefulSet.
pub const POLICIES: [(&str, &str); 3] =
    [("containers", "policy-sidecar"), ("initContainers", "policy-init"), ("volumes", "policy-ca")];

/// The StatefulSets, each with the words for its attack.
///
/// # Panics
///
/// If the example is not a valid manifest.
pub fn stateful_sets() -> Vec<(String, Value)> {
    let mut sets = vec![];
    for label in ["enabled", "disabled"] {
        sets.push((format!("a forged record, {label}"), forged_record(label)));
    }
    for key in contract::keys::STATEFULSET_ANNOTATIONS {
        for (kind, value) in [("escape sequences", FORGED.to_owned()), ("a megabyte", "x".repeat(1 << 20))] {
            let mut set = example();
            set["metadata"]["annotations"][key] = value.into();
            sets.push((format!("{kind} in {key}"), set));
        }
    }
    for path in [
        "/metadata/name",
        "/metadata/labels/couchdiscover.io~1inject",
        "/spec/serviceName",
        "/spec/template/spec/serviceAccountName",
        "/spec/template/spec/containers/0/name",
        "/spec/template/spec/containers/0/image",
        "/spec/template/spec/containers/0/env/0/name",
        "/spec/template/spec/containers/0/ports/0/name",
    ] {
        for (kind, value) in [("escape sequences", FORGED.to_owned()), ("a megabyte", "/~0".repeat(1 << 18))]
        {
            let mut set = example();
            *set.pointer_mut(path).expect("the example has the field") = value.into();
            sets.push((format!("{kind} in {path}"), set));
        }
    }
    let mut set = example();
    let variables = (0..20_000).map(|index| json!({ "name": format!("V{index}"), "value": "$(V0)$(V1)" }));
    set["spec"]["template"]["spec"]["containers"][0]["env"] = variables.collect();
    sets.push(("20,000 variables".to_owned(), set));
    let mut set = example();
    let containers =
        (0..5_000).map(|index| json!({ "name": format!("couchdb-{index}"), "image": "couchdb:3.5" }));
    set["spec"]["template"]["spec"]["containers"] = containers.collect();
    sets.push(("5,000 containers that may be CouchDB".to_owned(), set));
    sets
}

/// A record that names everything of other webhooks, so that it would be removed.
fn forged_record(label: &str) -> Value {
    let mut set = example();
    set["metadata"]["labels"]["couchdiscover.io/inject"] = label.into();
    set["metadata"]["annotations"]["couchdiscover.io/on-removal"] = "everything".into();
    let mut record = json!({ "schema": 1, "version": "0.1.0" });
    for (list, name) in POLICIES {
        record[list] = json!({ name: "00000000" });
    }
    set["spec"]["template"]["metadata"]["annotations"]["couchdiscover.io/injected"] =
        record.to_string().into();
    set
}

/// The example, with what another webhook added.
fn example() -> Value {
    let mut set = statefulset(&objects(EXAMPLE).expect("the example is valid"))
        .expect("the example contains a StatefulSet")
        .clone();
    let spec = &mut set["spec"]["template"]["spec"];
    for (list, name) in POLICIES {
        if spec[list].is_null() {
            spec[list] = json!([]);
        }
        if let Some(entries) = spec[list].as_array_mut() {
            entries.push(json!({ "name": name, "image": "policy:1" }));
        }
    }
    set
}

/// A page at the address of an agent, which is read with the rights of the cluster admin who runs `check`.
pub fn status_page(padding: usize) -> Value {
    let state = json!({ "reason": "Settled", "message": FORGED, "evidence": [FORGED] });
    json!({ "ready": false, "readiness": state, "step": state, "padding": "x".repeat(padding) })
}
