//! Complete responses, to recorded and to constructed reviews.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::fmt::Write as _;
use std::path::Path;

use inject::Settings;
use serde_json::{Value, json};
use webhook::admission::Request;
use webhook::admission::admit;

fn answer(review: &Value) -> Value {
    let settings = Settings {
        agent_image: "couchdiscover-agent:test".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        version: "0.0.0-test".to_owned(),
        defaults: inject::Defaults::default(),
    };
    let body = review.to_string();
    let answer = admit(&settings, &Request::parse(body.as_bytes()).unwrap());
    serde_json::from_slice(&answer.response.to_json()).unwrap()
}

fn recorded(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reviews").join(name);
    serde_json::from_str::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap()["review"].clone()
}

fn label(review: &mut Value) {
    for object in ["object", "oldObject"] {
        if let Some(metadata) = review["request"][object].get_mut("metadata") {
            metadata["labels"]["couchdiscover.io/inject"] = "enabled".into();
        }
    }
}

#[test]
fn recorded_reviews_are_answered_by_operation_resource_and_label() {
    let mut answers = String::new();
    for name in [
        "create-statefulsets-main.json",
        "create-statefulsets-main-dryrun.json",
        "update-statefulsets-main.json",
        "update-statefulsets-scale.json",
        "update-statefulsets-status.json",
        "delete-statefulsets-main.json",
    ] {
        for labelled in [false, true] {
            let mut review = recorded(name);
            if labelled {
                label(&mut review);
            }
            let response = &answer(&review)["response"];
            assert_eq!(response["uid"], review["request"]["uid"]);
            let audit = &response["auditAnnotations"];
            let (outcome, reason) = (audit["outcome"].as_str().unwrap(), audit["reason"].as_str().unwrap());
            let patched = if response.get("patch").is_some() { ", patched" } else { "" };
            let labelled = if labelled { ", labelled" } else { "" };
            let _ = writeln!(answers, "{name}{labelled}: {outcome} ({reason}){patched}");
        }
    }
    insta::assert_snapshot!(answers, @"
    create-statefulsets-main.json: skipped (not-labelled)
    create-statefulsets-main.json, labelled: injected (created), patched
    create-statefulsets-main-dryrun.json: skipped (not-labelled)
    create-statefulsets-main-dryrun.json, labelled: injected (created), patched
    update-statefulsets-main.json: skipped (not-labelled)
    update-statefulsets-main.json, labelled: skipped (not-injected-yet)
    update-statefulsets-scale.json: skipped (other-resource)
    update-statefulsets-scale.json, labelled: skipped (other-resource)
    update-statefulsets-status.json: skipped (other-resource)
    update-statefulsets-status.json, labelled: skipped (other-resource)
    delete-statefulsets-main.json: skipped (other-operation)
    delete-statefulsets-main.json, labelled: skipped (other-operation)
    ");
}

#[test]
fn an_allowed_review_has_patch_warnings_and_audit_annotations() {
    let mut review = recorded("create-statefulsets-main.json");
    label(&mut review);
    let mut answer = answer(&review);
    answer["response"]["patch"] = "(in base64)".into();
    insta::assert_snapshot!(format!("{answer:#}"), @r#"
    {
      "apiVersion": "admission.k8s.io/v1",
      "kind": "AdmissionReview",
      "response": {
        "uid": "b2bf5899-926a-4313-93ac-7e07956682cc",
        "allowed": true,
        "patchType": "JSONPatch",
        "patch": "(in base64)",
        "warnings": [
          "container 'c' has no complete admin credentials, so the agent can only wait. Fix: set COUCHDB_USER and COUCHDB_PASSWORD, or COUCHDB_ADMIN_USER and COUCHDB_ADMIN_PASS",
          "spec.volumeClaimTemplates: missing, so a pod that is moved or deleted loses its databases unless another volume holds them. Fix: add a claim template for CouchDB's data",
          "spec.template.spec.serviceAccountName: missing, so the agents' role is given to 'default', and to every pod of the namespace that names no account. Fix: create a ServiceAccount for these pods and name it"
        ],
        "auditAnnotations": {
          "outcome": "injected",
          "reason": "created",
          "version": "0.0.0-test"
        }
      }
    }
    "#);
}

#[test]
fn a_denied_review_lists_all_problems() {
    let mut review = recorded("create-statefulsets-main.json");
    label(&mut review);
    review["request"]["object"]["metadata"]["annotations"]["couchdiscover.io/cluster-size"] = "many".into();
    review["request"]["object"]["spec"].as_object_mut().unwrap().remove("serviceName");
    insta::assert_snapshot!(format!("{:#}", answer(&review)), @r#"
    {
      "apiVersion": "admission.k8s.io/v1",
      "kind": "AdmissionReview",
      "response": {
        "uid": "b2bf5899-926a-4313-93ac-7e07956682cc",
        "allowed": false,
        "status": {
          "code": 422,
          "reason": "Invalid",
          "message": "2 problems:\n- metadata.annotations[couchdiscover.io/cluster-size]: 'many' is not a cluster size. Fix: use a whole number from 1\n- spec.serviceName: missing, so the pods have no DNS names. Fix: set it to a headless Service that has publishNotReadyAddresses: true"
        },
        "auditAnnotations": {
          "outcome": "denied",
          "reason": "invalid",
          "version": "0.0.0-test"
        }
      }
    }
    "#);
}

#[test]
fn a_review_of_another_kind_is_allowed_unchanged() {
    for (group, kind) in [("apps", "Deployment"), ("", "Pod"), ("other", "StatefulSet")] {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "with \"quotes\"",
                "kind": {"group": group, "version": "v1", "kind": kind},
                "operation": "CREATE",
                "object": {"anything": ["at", "all"]},
            },
        });
        let response = &answer(&review)["response"];
        assert_eq!((&response["uid"], &response["allowed"]), (&json!("with \"quotes\""), &json!(true)));
        assert_eq!(response["auditAnnotations"]["reason"], "other-resource");
    }
}
