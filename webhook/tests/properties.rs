//! What holds for every StatefulSet, those with fields included that nobody here has heard of.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use webhook::admit::admit;
use webhook::inject::{Decision, Outcome, Question, Settings, decide, uninject};
use webhook::review::Request;

fn settings(version: &str) -> Settings {
    Settings {
        agent_image: format!("agent:{version}"),
        cluster_domain: "cluster.local".to_owned(),
        version: version.to_owned(),
    }
}

fn decided(version: &str, new: &Value, old: Option<&Value>) -> Decision {
    let (object, old) = (new.to_string(), old.map(Value::to_string));
    decide(&settings(version), &Question { object: &object, old: old.as_deref(), namespace: Some("shop") })
}

/// Applied by another implementation than the product's own.
fn applied(object: &Value, patch: &str) -> Value {
    let mut object = object.clone();
    if !patch.is_empty() {
        json_patch::patch(&mut object, &serde_json::from_str::<json_patch::Patch>(patch).unwrap()).unwrap();
    }
    object
}

fn injected(object: &Value) -> Value {
    let decision = decided("1", object, None);
    assert_ne!(decision.outcome, Outcome::Deny, "{:?}", decision.problems);
    applied(object, &decision.patch)
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[a-zA-Z/~]{1,6}", inner), 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_variable() -> impl Strategy<Value = Value> {
    let names = vec![
        "COUCHDB_USER",
        "COUCHDB_PASSWORD",
        "COUCHDB_ADMIN_USER",
        "COUCHDB_ADMIN_PASS",
        "COUCHDB_ERLANG_COOKIE",
        "ERLANG_COOKIE",
        "COUCHDB_SECRET",
        "ERL_FLAGS",
        "NODENAME",
        "POD_NAME",
        "OTHER",
        "POD_NAMESPACE",
    ];
    let source = prop_oneof![
        "[ -~]{0,12}".prop_map(|value| json!({"value": value})),
        Just(json!({"value": "-kernel x $(OTHER)"})),
        Just(json!({"valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}})),
        Just(json!({"valueFrom": null, "value": "x"})),
        Just(json!({})),
    ];
    (select(names), source).prop_map(|(name, mut variable)| {
        variable["name"] = name.into();
        variable
    })
}

fn any_container() -> impl Strategy<Value = Value> {
    let env = prop::option::of(prop::collection::vec(any_variable(), 0..6));
    let sources = prop::option::of(Just(json!([{"secretRef": {"name": "all"}, "prefix": "P_"}])));
    (env, sources, any::<bool>()).prop_map(|(env, sources, port)| {
        let mut container = json!({"image": "registry/couchdb:3.5"});
        if let Some(env) = env {
            container["env"] = env.into();
        }
        if let Some(sources) = sources {
            container["envFrom"] = sources;
        }
        if port {
            container["ports"] = json!([{"name": "http", "containerPort": 15984}]);
        }
        container
    })
}

fn any_annotations() -> impl Strategy<Value = Value> {
    let all = vec![
        ("cluster-size", "3"),
        ("erlang-cookie-secret", "mine/cookie"),
        ("couchdb-ca-secret", "mine"),
        ("sidecar", "native"),
        ("readiness", "off"),
        ("keep", "ERL_FLAGS, COUCHDB_SECRET"),
        ("agent-cpu-limit", "1"),
        ("agent-log-level", "TRACE"),
        ("agent-image", "an/image:1"),
    ];
    subsequence(all, 0..=8).prop_map(|chosen| {
        let entry = |(key, value): (&str, &str)| (format!("couchdiscover.io/{key}"), Value::from(value));
        chosen.into_iter().map(entry).collect::<Map<_, _>>().into()
    })
}

fn any_stateful_set() -> impl Strategy<Value = Value> {
    let plain = (
        prop::collection::vec(any_container(), 1..4),
        any_annotations(),
        prop::option::of(select(vec![
            json!({}),
            json!({"labels": {"app": "db"}, "annotations": {"a": "b"}}),
        ])),
        subsequence(vec!["initContainers", "volumes", "automountServiceAccountToken", "replicas"], 0..=4),
    );
    plain.prop_map(|(mut containers, annotations, metadata, extra)| {
        for (index, container) in containers.iter_mut().enumerate() {
            container["name"] = if index == 0 { "couchdb".into() } else { format!("other-{index}").into() };
        }
        containers.rotate_left(1);
        let mut template = json!({"spec": {"containers": containers}});
        if let Some(metadata) = metadata {
            template["metadata"] = metadata;
        }
        let mut spec = json!({"serviceName": "db"});
        for field in extra {
            match field {
                "initContainers" => template["spec"][field] = json!([{"name": "init"}]),
                "volumes" => template["spec"][field] = json!([{"name": "data"}]),
                "replicas" => spec[field] = json!(3),
                _ => template["spec"][field] = json!(false),
            }
        }
        spec["template"] = template;
        let labels = json!({"couchdiscover.io/inject": "enabled"});
        let metadata = json!({"name": "db", "labels": labels, "annotations": annotations});
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec})
    })
}

/// Puts fields that nobody knows into objects anywhere.
fn sprinkled() -> impl Strategy<Value = Value> {
    let alien = prop::collection::vec((any::<prop::sample::Index>(), "alien[A-Z]{1,3}", any_json()), 0..8);
    (any_stateful_set(), alien).prop_map(|(mut object, aliens)| {
        for (place, name, value) in aliens {
            let count = count_objects(&object);
            let mut place = place.index(count);
            put(&mut object, &mut place, &name, &value);
        }
        object
    })
}

fn count_objects(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(count_objects).sum::<usize>(),
        Value::Array(items) => items.iter().map(count_objects).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn put(value: &mut Value, place: &mut usize, name: &str, alien: &Value) {
    match value {
        Value::Object(fields) => {
            if *place == 0 {
                fields.insert(name.to_owned(), alien.clone());
            }
            *place = place.wrapping_sub(1);
            fields.values_mut().for_each(|value| put(value, place, name, alien));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| put(value, place, name, alien)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_additions_and_only_below_the_template(object in sprinkled()) {
        let decision = decided("1", &object, None);
        if !decision.patch.is_empty() {
            for operation in serde_json::from_str::<Vec<Value>>(&decision.patch).unwrap() {
                prop_assert_eq!(&operation["op"], "add");
                prop_assert!(operation["path"].as_str().unwrap().starts_with("/spec/template/"));
            }
        }
        prop_assert_eq!(decided("1", &object, None).patch, decision.patch, "the same bytes");
    }

    #[test]
    fn what_was_there_survives_and_taking_out_gives_it_back(object in sprinkled()) {
        let injected = injected(&object);
        let back = applied(&injected, &uninject(&injected.to_string()).patch);
        prop_assert_eq!(back, object);
    }

    #[test]
    fn a_second_time_there_is_nothing_to_do(object in sprinkled()) {
        let injected = injected(&object);
        prop_assert_eq!(decided("1", &injected, None).patch, "");
        prop_assert_eq!(decided("1", &injected, Some(&injected)).patch, "");
        prop_assert_eq!(decided("2", &injected, Some(&injected)).patch, "", "nor for a newer version");
    }

    #[test]
    fn replacing_with_the_manifest_changes_no_template(object in sprinkled(), alien in any_json()) {
        let stored = injected(&object);
        let mut new = object;
        new["alien"] = alien;
        let decision = decided("2", &new, Some(&stored));
        prop_assert_eq!(&applied(&new, &decision.patch)["spec"]["template"], &stored["spec"]["template"]);
    }

    #[test]
    fn a_newer_version_renders_as_if_it_were_the_first(object in sprinkled()) {
        let stored = injected(&object);
        let mut changed = stored.clone();
        let mut fresh = object;
        for object in [&mut changed, &mut fresh] {
            object["spec"]["template"]["spec"]["changed"] = true.into();
        }
        let anew = applied(&changed, &decided("2", &changed, Some(&stored)).patch);
        let first = applied(&fresh, &decided("2", &fresh, None).patch);
        let record = |object: &Value| object["spec"]["template"]["metadata"]["annotations"]["couchdiscover.io/injected"].clone();
        prop_assert_eq!(record(&anew), record(&first));
        let back = |object: &Value| applied(object, &uninject(&object.to_string()).patch);
        prop_assert_eq!(back(&anew), back(&first));
    }

    #[test]
    fn nothing_makes_it_panic(object in sprinkled(), old in sprinkled(), at in any::<prop::sample::Index>(), junk in any_json()) {
        let mut broken = object;
        let mut place = at.index(count_objects(&broken));
        for name in ["metadata", "spec", "containers", "env", "name", "annotations", "template"] {
            put(&mut broken, &mut place, name, &junk);
        }
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "1",
                "kind": {"group": "apps", "version": "v1", "kind": "StatefulSet"},
                "operation": "UPDATE",
                "object": broken,
                "oldObject": old,
            },
        });
        let body = review.to_string();
        let answer = admit(&settings("1"), &Request::parse(body.as_bytes()).unwrap());
        applied(&broken, &answer.response.patch);
        uninject(&broken.to_string());
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a-z0-9 ]{0,80}") {
        drop(Request::parse(&bytes));
        drop(Request::parse(text.as_bytes()));
        decide(&settings("1"), &Question { object: &text, old: Some(&text), namespace: None });
    }
}
