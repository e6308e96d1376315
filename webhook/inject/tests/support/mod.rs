//! A StatefulSet of a usual size for the measurements of this crate and of the webhook.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use inject::{Question, Settings, apply, decide};
use serde_json::{Value, json};

pub(crate) fn settings() -> Settings {
    Settings {
        agent_image: "couchdiscover-agent:test".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        version: "0.0.0-test".to_owned(),
        defaults: inject::Defaults::default(),
    }
}

/// A StatefulSet of a usual size, as an API server sends it. Its review has 8 kB.
pub(crate) fn stateful_set() -> Value {
    let recorded = include_str!("../../../tests/reviews/create-statefulsets-main.json");
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    let mut object = recorded["review"]["request"]["object"].clone();
    object["metadata"]["labels"]["couchdiscover.io/inject"] = "enabled".into();
    object["spec"]["template"]["spec"]["serviceAccountName"] = "couchdb".into();
    let couchdb = &mut object["spec"]["template"]["spec"]["containers"][0];
    couchdb["name"] = "couchdb".into();
    couchdb["image"] = "couchdb:3.5".into();
    let reference = |name: &str| {
        let secret = json!({"secretKeyRef": {"name": "couchdb-admin", "key": name.to_lowercase()}});
        json!({"name": name, "valueFrom": secret})
    };
    let mut env = vec![reference("COUCHDB_USER"), reference("COUCHDB_PASSWORD")];
    env.extend(
        (0..20).map(|index| json!({"name": format!("SETTING_{index}"), "value": "some value or other"})),
    );
    couchdb["env"] = env.into();
    object["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {}}]);
    // The rest is the annotation of `kubectl apply`: the object again, with its quotes escaped.
    let applied = &mut object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    let text = applied.as_str().unwrap().repeat(8);
    *applied = text.into();
    object
}

/// The object as it is stored after injection.
pub(crate) fn injected(settings: &Settings, object: &str) -> String {
    let question = Question { object, old: None, namespace: Some("shop") };
    let mut stored = serde_json::from_str(object).unwrap();
    assert!(apply(&mut stored, &decide(settings, &question).patch));
    stored.to_string()
}
