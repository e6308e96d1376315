//! Opting out removes the agent and keeps what a formed cluster depends on; opting in again finds it unchanged.

use serde_json::{Value, json};

use crate::cluster::*;

/// A way for a user to opt out.
#[derive(Clone, Copy, Debug)]
enum Way {
    Disabled,
    LabelRemoved,
    /// The original manifest, with the label `disabled` and without injection, replaces the stored one.
    Replaced,
}

const WAYS: [Way; 3] = [Way::Disabled, Way::LabelRemoved, Way::Replaced];

const INJECTED_VARIABLES: [&str; 5] =
    ["COUCHDB_ERLANG_COOKIE", "ERLANG_COOKIE", "COUCHDB_SECRET", "COUCHDB_CLUSTER_SIZE", "ERL_FLAGS"];

fn opted_out(cluster: Cluster, way: Way, manifest: &Value) -> Cluster {
    match way {
        Way::Disabled => cluster.edit("disabled", |object| label(object, "disabled")),
        Way::LabelRemoved => cluster.edit("label removed", unlabel),
        Way::Replaced => {
            let mut manifest = manifest.clone();
            label(&mut manifest, "disabled");
            cluster.submit("replaced", &manifest)
        }
    }
}

/// Manifests without variables of the user's own, with some, without `env`, and with everything that can be created.
fn manifests() -> [(&'static str, Value); 4] {
    let own = changed(|object| {
        let env = couchdb(object)["env"].as_array_mut().unwrap();
        env.push(json!({"name": "ERLANG_COOKIE", "value": "own"}));
        env.push(json!({"name": "ERL_FLAGS", "value": "-kernel net_ticktime 10"}));
    });
    let bare = changed(|object| {
        couchdb(object).as_object_mut().unwrap().remove("env");
        object["spec"]["template"].as_object_mut().unwrap().remove("metadata");
    });
    let native = changed(|object| {
        annotate(object, "sidecar", "native");
        object["spec"]["template"]["spec"]["automountServiceAccountToken"] = false.into();
    });
    [("usual", manifest()), ("own variables", own), ("no env", bare), ("native, with a volume", native)]
}

fn env(cluster: &Cluster) -> Vec<Value> {
    cluster.container("couchdb")["env"].as_array().cloned().unwrap_or_default()
}

#[test]
fn opting_out_keeps_the_variables_and_opting_in_again_gives_the_first_injection() {
    for (name, manifest) in manifests() {
        let injected = Cluster::with(&manifest);
        let first = injected.stored["spec"].clone();
        let variables = env(&injected);
        for way in WAYS {
            let story = format!("{name}, {way:?}");
            let cluster = opted_out(injected.clone(), way, &manifest);
            assert_eq!(cluster.container("couchdiscover-agent"), Value::Null, "{story}");
            assert_eq!(env(&cluster), variables, "{story}");
            let spec = &cluster.stored["spec"]["template"]["spec"];
            assert_eq!((&spec["initContainers"], &spec["volumes"]), (&Value::Null, &Value::Null), "{story}");
            let kept = cluster.stored["spec"].clone();
            let cluster = cluster
                .edit("applied again", |_| {})
                .edit("another label", |object| object["metadata"]["labels"]["team"] = "a".into());
            assert_eq!(cluster.stored["spec"], kept, "{story}");
            let cluster = cluster.edit("opted in again", |object| label(object, "enabled"));
            assert_eq!(cluster.stored["spec"], first, "{story}");
            assert!(!cluster.log.contains("names of CouchDB's nodes"), "{story}: {}", cluster.log);
            assert_eq!(cluster.review(&cluster.stored, Some(&cluster.stored)).patch, "", "{story}");
        }
    }
}
