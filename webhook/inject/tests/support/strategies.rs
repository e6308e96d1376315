//! Generated StatefulSets for the property tests of this crate and of the webhook.

#![allow(dead_code, reason = "each test program uses a part of it")]

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
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
        ("agent-image-pull-secrets", "one, two"),
        ("erlang-cookie", "flag"),
        ("kubernetes", "off"),
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

/// StatefulSets with unknown fields in any of their objects.
pub(crate) fn with_unknown_fields() -> impl Strategy<Value = Value> {
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

pub(crate) fn count_objects(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(count_objects).sum::<usize>(),
        Value::Array(items) => items.iter().map(count_objects).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

pub(crate) fn put(value: &mut Value, place: &mut usize, name: &str, alien: &Value) {
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
