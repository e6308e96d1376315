//! What holds for every StatefulSet, those with fields included that nobody here has heard of.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

#[path = "support/strategies.rs"]
mod strategies;

use inject::{Decision, Outcome, Question, Settings, decide, uninject};
use proptest::prelude::*;
use serde_json::Value;
use strategies::{any_json, sprinkled};

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
    fn no_text_makes_it_panic(text in "[{}\\[\\]\":,a-z0-9 ]{0,80}") {
        decide(&settings("1"), &Question { object: &text, old: Some(&text), namespace: None });
    }
}
