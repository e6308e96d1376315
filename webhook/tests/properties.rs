//! No body makes the webhook panic.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

#[path = "../inject/tests/support/strategies.rs"]
mod strategies;

use inject::{Settings, uninject};
use proptest::prelude::*;
use serde_json::{Value, json};
use strategies::{any_json, count_objects, put, with_unknown_fields};
use webhook::admission::{Request, admit};

fn settings(version: &str) -> Settings {
    Settings {
        agent_image: format!("agent:{version}"),
        cluster_domain: "cluster.local".to_owned(),
        version: version.to_owned(),
        defaults: inject::Defaults::default(),
    }
}

/// Applies the patch with another implementation than the product's.
fn applied(object: &Value, patch: &str) -> Value {
    let mut object = object.clone();
    if !patch.is_empty() {
        json_patch::patch(&mut object, &serde_json::from_str::<json_patch::Patch>(patch).unwrap()).unwrap();
    }
    object
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_object_makes_a_review_panic(object in with_unknown_fields(), old in with_unknown_fields(), at in any::<prop::sample::Index>(), junk in any_json()) {
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
        uninject(&broken.to_string(), None);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a-z0-9 ]{0,80}") {
        drop(Request::parse(&bytes));
        drop(Request::parse(text.as_bytes()));
    }
}
