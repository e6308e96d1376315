//! Properties of every StatefulSet, including those with fields that this version does not know.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

#[path = "support/strategies.rs"]
mod strategies;

use inject::{Decision, OnRemoval, Outcome, Question, Settings, decide, uninject};
use proptest::prelude::*;
use serde_json::Value;
use strategies::{any_json, with_unknown_fields};

fn settings(version: &str) -> Settings {
    Settings {
        agent_image: format!("agent:{version}"),
        cluster_domain: "cluster.local".to_owned(),
        version: version.to_owned(),
        defaults: inject::Defaults::default(),
    }
}

fn decided(version: &str, new: &Value, old: Option<&Value>) -> Decision {
    let (object, old) = (new.to_string(), old.map(Value::to_string));
    decide(&settings(version), &Question { object: &object, old: old.as_deref(), namespace: Some("shop") })
}

/// Applies a patch by another implementation than the one under test.
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

fn uninjected(object: &Value, removal: OnRemoval) -> Value {
    applied(object, &uninject(&object.to_string(), Some(removal)).patch)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_patch_only_adds_and_only_below_the_template(object in with_unknown_fields()) {
        let decision = decided("1", &object, None);
        if !decision.patch.is_empty() {
            for operation in serde_json::from_str::<Vec<Value>>(&decision.patch).unwrap() {
                prop_assert_eq!(&operation["op"], "add");
                prop_assert!(operation["path"].as_str().unwrap().starts_with("/spec/template/"));
            }
        }
        prop_assert_eq!(decided("1", &object, None).patch, decision.patch, "the same bytes for the same request");
    }

    #[test]
    fn removal_of_everything_gives_the_original_back(object in with_unknown_fields()) {
        let injected = injected(&object);
        prop_assert_eq!(&uninjected(&injected, OnRemoval::Everything), &object);
        let without_agent = uninjected(&injected, OnRemoval::Agent);
        prop_assert_eq!(uninjected(&without_agent, OnRemoval::Everything), object, "in two steps");
    }

    #[test]
    fn an_injection_after_the_removal_of_the_agent_equals_the_first_one(object in with_unknown_fields()) {
        let injected = injected(&object);
        let without_agent = uninjected(&injected, OnRemoval::Agent);
        let env = |object: &Value| -> Vec<Value> {
            let containers = object["spec"]["template"]["spec"]["containers"].as_array().unwrap();
            let users = containers.iter().filter(|container| container["name"] != "couchdiscover-agent");
            users.map(|container| container["env"].clone()).collect()
        };
        prop_assert_eq!(env(&without_agent), env(&injected), "the variables stay");
        let mut disabled = without_agent.clone();
        disabled["metadata"]["labels"]["couchdiscover.io/inject"] = "disabled".into();
        for old in [None, Some(&disabled)] {
            let decision = decided("1", &without_agent, old);
            prop_assert_eq!(&applied(&without_agent, &decision.patch), &injected);
        }
    }

    #[test]
    fn removal_of_the_agent_a_second_time_changes_nothing(object in with_unknown_fields()) {
        let without_agent = uninjected(&injected(&object), OnRemoval::Agent);
        let decision = uninject(&without_agent.to_string(), Some(OnRemoval::Agent));
        prop_assert_eq!(&decision.patch, "");
        prop_assert_eq!(decision.warnings, vec![]);
    }

    #[test]
    fn replacing_an_opted_out_statefulset_with_its_manifest_keeps_the_stored_template(object in with_unknown_fields()) {
        let mut stored = injected(&object);
        let mut new = object;
        for object in [&mut stored, &mut new] {
            object["metadata"]["labels"]["couchdiscover.io/inject"] = "disabled".into();
        }
        stored = uninjected(&stored, OnRemoval::Agent);
        let decision = decided("2", &new, Some(&stored));
        prop_assert_eq!(&applied(&new, &decision.patch)["spec"]["template"], &stored["spec"]["template"]);
    }

    #[test]
    fn injecting_again_changes_nothing(object in with_unknown_fields()) {
        let injected = injected(&object);
        prop_assert_eq!(decided("1", &injected, None).patch, "");
        prop_assert_eq!(decided("1", &injected, Some(&injected)).patch, "");
        prop_assert_eq!(decided("2", &injected, Some(&injected)).patch, "", "with a newer version");
    }

    #[test]
    fn replacing_with_the_manifest_keeps_the_stored_template(object in with_unknown_fields(), alien in any_json()) {
        let stored = injected(&object);
        let mut new = object;
        new["alien"] = alien;
        let decision = decided("2", &new, Some(&stored));
        prop_assert_eq!(&applied(&new, &decision.patch)["spec"]["template"], &stored["spec"]["template"]);
    }

    #[test]
    fn a_newer_version_renders_as_for_a_new_statefulset(object in with_unknown_fields()) {
        let stored = injected(&object);
        let mut changed = stored.clone();
        let mut fresh = object;
        for object in [&mut changed, &mut fresh] {
            object["spec"]["template"]["spec"]["changed"] = true.into();
        }
        let again = applied(&changed, &decided("2", &changed, Some(&stored)).patch);
        let first = applied(&fresh, &decided("2", &fresh, None).patch);
        let record = |object: &Value| object["spec"]["template"]["metadata"]["annotations"]["couchdiscover.io/injected"].clone();
        prop_assert_eq!(record(&again), record(&first));
        let back = |object: &Value| uninjected(object, OnRemoval::Everything);
        prop_assert_eq!(back(&again), back(&first));
    }

    #[test]
    fn a_record_removes_nothing_that_couchdiscover_never_adds(object in with_unknown_fields(), disabled in any::<bool>()) {
        // As another webhook's policy would add it.
        let mut object = object;
        let spec = &mut object["spec"]["template"]["spec"];
        for (list, name) in [("containers", "policy-sidecar"), ("initContainers", "policy-init"), ("volumes", "policy-ca")] {
            if spec[list].is_null() {
                spec[list] = serde_json::json!([]);
            }
            spec[list].as_array_mut().unwrap().push(serde_json::json!({ "name": name, "image": "policy:1" }));
        }
        // A record that names everything in the template but CouchDB's own container, which would leave nothing to inject into.
        let names = |list: &str| -> Value {
            let entries = object["spec"]["template"]["spec"][list].as_array().unwrap().iter();
            let names = entries.map(|entry| entry["name"].as_str().unwrap());
            names.filter(|name| *name != "couchdb").map(|name| (name.to_owned(), Value::from("00000000"))).collect()
        };
        let record = serde_json::json!({
            "schema": 1, "version": "0.1.0",
            "containers": names("containers"), "initContainers": names("initContainers"), "volumes": names("volumes"),
        });
        let kept: Vec<_> = ["containers", "initContainers", "volumes"].map(|list| (list, names(list))).into();
        object["spec"]["template"]["metadata"]["annotations"]["couchdiscover.io/injected"] = record.to_string().into();
        if disabled {
            object["metadata"]["labels"]["couchdiscover.io/inject"] = "disabled".into();
        }
        let decision = decided("1", &object, None);
        prop_assert_ne!(decision.outcome, Outcome::Deny, "{:?}", decision.problems);
        prop_assert!(decision.warnings.iter().any(|warning| warning.to_string().contains("which couchdiscover never adds")));
        for result in [
            applied(&object, &decision.patch),
            uninjected(&object, OnRemoval::Everything),
            uninjected(&object, OnRemoval::Agent),
        ] {
            for (list, names) in &kept {
                let left = result["spec"]["template"]["spec"][list].to_string();
                for name in names.as_object().unwrap().keys() {
                    prop_assert!(left.contains(&format!("\"name\":\"{name}\"")), "{} lost {}: {}", list, name, left);
                }
            }
        }
    }

    #[test]
    fn no_text_causes_a_panic(text in "[{}\\[\\]\":,a-z0-9 ]{0,80}") {
        decide(&settings("1"), &Question { object: &text, old: Some(&text), namespace: None });
    }
}
