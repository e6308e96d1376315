//! The fuzz targets, for cargo-fuzz and for `tests/fuzz_smoke.rs`.

use inject::{Question, Settings, apply, decide, uninject};
use serde_json::{Value, json};
use webhook::admission::{Request, admit, admit_body};

fn settings() -> Settings {
    Settings {
        agent_image: "agent:1".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        version: "1".to_owned(),
        defaults: inject::Defaults::default(),
    }
}

/// Treats the bytes as a body. It must not panic, and the response must be JSON.
pub(crate) fn review(body: &[u8]) {
    let together = admit_body(&settings(), body).map(|(_, answer)| answer.response.to_json());
    let apart = Request::parse(body).map(|request| admit(&settings(), &request).response.to_json());
    match (together, apart) {
        (Ok(together), Ok(apart)) => {
            assert!(serde_json::from_slice::<Value>(&together).is_ok());
            assert_eq!(together, apart, "parsed in one pass and in two");
        }
        (Err(together), Err(apart)) => assert_eq!(together.to_string(), apart.to_string()),
        (together, apart) => panic!("{together:?} {apart:?}"),
    }
}

/// Treats the bytes as a StatefulSet, new and old. Every patch must apply, and a second review must have none.
pub(crate) fn object(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (new, old) = text.split_once('\0').map_or((text, None), |(new, old)| (new, Some(old)));
    let settings = settings();
    let decided = |object: &str, old| decide(&settings, &Question { object, old, namespace: None });
    let decision = decided(new, old);
    let Ok(mut object) = serde_json::from_str::<Value>(new) else { return };
    if !decision.patch.is_empty() {
        assert!(apply(&mut object, &decision.patch), "{}", decision.patch);
    }
    let object = object.to_string();
    // Of a duplicate name in an object, a streaming parser and a tree keep different values.
    let canonical = serde_json::from_str::<Value>(new).map(|tree| tree.to_string()).ok();
    if decision.problems.is_empty() && canonical.as_deref() == Some(new) {
        assert_eq!(decided(&object, old).patch, "", "reviewed again");
    }
    uninject(&object, None);
}

/// Treats the bytes as the values of annotations and variables, one per line.
pub(crate) fn annotations(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut values = text.split('\n');
    let mut next = || values.next().unwrap_or_default();
    let keys = [
        "container",
        "cluster-size",
        "erlang-cookie-secret",
        "agent-image",
        "agent-cpu-request",
        "agent-cpu-limit",
        "agent-memory-request",
        "agent-memory-limit",
        "agent-log-level",
        "sidecar",
        "readiness",
        "keep",
        "other",
    ];
    let annotations: serde_json::Map<_, _> =
        keys.iter().map(|key| (format!("couchdiscover.io/{key}"), next().into())).collect();
    let env = json!([
        {"name": "ERL_FLAGS", "value": next()},
        {"name": "COUCHDB_USER", "value": next()},
        {"name": "COUCHDB_CLUSTER_SIZE", "value": next()},
        {"name": next(), "value": next()},
    ]);
    let labels = json!({"couchdiscover.io/inject": "enabled"});
    let pods = json!({"couchdiscover.io/injected": next()});
    let containers = json!([{"name": next(), "image": next(), "env": env}, {"name": "couchdb"}]);
    let mut set = json!({
        "metadata": {"name": next(), "labels": labels, "annotations": annotations},
        "spec": {"serviceName": next(), "template": {"metadata": {"annotations": pods}, "spec": {"containers": containers}}},
    });
    object(set.to_string().as_bytes());
    set["metadata"]["name"] = "db".into();
    set["spec"]["serviceName"] = "db".into();
    object(set.to_string().as_bytes());
}

/// Treats the bytes as the record of an injection, which a user writes. Whatever it names, entries that couchdiscover never adds
/// stay.
pub(crate) fn record(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let named = |name: &str| json!({"name": name, "image": "couchdb:3.5", "env": [{"name": "HTTPS_PROXY", "value": "x"}]});
    let spec = json!({
        "containers": [named("couchdb"), named("policy-sidecar"), named("couchdiscover-agent")],
        "initContainers": [named("policy-init")],
        "volumes": [{"name": "policy-ca"}, {"name": "couchdiscover-token"}],
    });
    for label in ["enabled", "disabled"] {
        let mut set = json!({
            "metadata": {"name": "db", "labels": {"couchdiscover.io/inject": label}, "annotations": {"couchdiscover.io/on-removal": "everything"}},
            "spec": {"serviceName": "db", "template": {"metadata": {"annotations": {"couchdiscover.io/injected": text}}, "spec": spec}},
        });
        let object = set.to_string();
        for old in [None, Some(object.as_str())] {
            let decision = decide(&settings(), &Question { object: &object, old, namespace: None });
            let mut set = set.clone();
            assert!(decision.patch.is_empty() || apply(&mut set, &decision.patch), "{}", decision.patch);
            keeps_policies(&set);
        }
        let patch = uninject(&object, None).patch;
        assert!(patch.is_empty() || apply(&mut set, &patch), "{patch}");
        keeps_policies(&set);
    }
}

fn keeps_policies(set: &Value) {
    let spec = set["spec"]["template"]["spec"].to_string();
    for name in ["policy-sidecar", "policy-init", "policy-ca"] {
        assert!(spec.contains(name), "lost {name}: {spec}");
    }
    // In CouchDB's container and the two policies'; the agent's own container is rendered again.
    assert!(spec.matches("HTTPS_PROXY").count() >= 3, "{spec}");
}
