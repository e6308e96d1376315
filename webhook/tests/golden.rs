//! The golden manifests of the crate `inject`, as reviews. The response must agree with the file's output, and its patch
//! must apply with another implementation of JSON Patch.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use inject::files::{self, Format, Verb};
use inject::{OnRemoval, Settings};
use serde_json::{Value, json};
use webhook::admission::{Request, admit};

fn settings() -> Settings {
    Settings {
        agent_image: "couchdiscover-agent:test".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        version: "0.0.0-test".to_owned(),
        defaults: inject::Defaults::default(),
    }
}

/// Returns each case's folder and manifest. A case without a manifest uses the example that ships.
fn cases() -> Vec<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("inject/tests/golden");
    let mut cases: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let manifest = |case: PathBuf| {
        let own = case.join("in.yaml");
        let input = if own.exists() { own } else { example() };
        (case, input)
    };
    cases.into_iter().map(manifest).collect()
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples/couchdb.yaml")
}

#[test]
fn a_review_has_the_same_result_as_the_file() {
    for (case, input) in cases() {
        let input = fs::read_to_string(input).unwrap();
        let out = fs::read_to_string(case.join("out.yaml")).ok().map(|out| objects(&out));
        for (index, object) in objects(&input).into_iter().enumerate() {
            let answer = review(&object);
            let response = &answer["response"];
            assert_eq!(response["uid"], "the-uid", "{}", case.display());
            match &out {
                Some(out) => {
                    assert_eq!(response["allowed"], true, "{}", case.display());
                    for warning in response["warnings"].as_array().into_iter().flatten() {
                        // An API server may cut off longer ones, and a line break splits a warning in two.
                        let text = warning.as_str().unwrap();
                        assert!(text.len() <= 256 && !text.contains('\n'), "{} {text}", text.len());
                    }
                    let patched = patched(&object, response);
                    assert_eq!(patched, out[index], "{}", case.display());
                    let again = review(&patched);
                    assert_eq!(again["response"]["patch"], Value::Null, "{} reviewed again", case.display());
                }
                None if object["kind"] == "StatefulSet" => {
                    assert_eq!(response["status"]["code"], 422);
                    let expected = fs::read_to_string(case.join("error.txt")).unwrap();
                    let message = response["status"]["message"].as_str().unwrap();
                    assert!(expected.contains(message), "{expected}\n{message}");
                }
                None => {}
            }
        }
    }
}

#[test]
fn objects_of_the_largest_accepted_size_are_injected_and_uninjected() {
    let input = fs::read_to_string(example()).unwrap();
    let object = objects(&input).pop().unwrap();
    let variable =
        |index: usize, length: usize| json!({"name": format!("V{index}"), "value": "x".repeat(length)});
    for (count, length) in [(2_000, 10), (3, 1 << 20)] {
        let mut large = object.clone();
        let env = large["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap();
        env.extend((0..count).map(|index| variable(index, length)));
        let injected = patched(&large, &review(&large)["response"]);
        assert_ne!(injected, large);
        assert_eq!(review(&injected)["response"]["patch"], Value::Null);
        let out = files::run(
            Verb::Uninject(Some(OnRemoval::Everything)),
            &injected.to_string(),
            None,
            &settings(),
            None,
        )
        .unwrap()
        .text;
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), large);
    }
}

/// Parses the objects of a stream with the product's own reader.
fn objects(text: &str) -> Vec<Value> {
    // Neither verb changes the objects: without a record there is nothing to take out, and with one nothing to add.
    let verb = if text.contains("couchdiscover.io/injected") {
        Verb::Inject
    } else {
        Verb::Uninject(Some(OnRemoval::Everything))
    };
    let json = files::run(verb, text, Some(Format::Json), &settings(), None).unwrap().text;
    serde_json::Deserializer::from_str(&json).into_iter::<Value>().map(Result::unwrap).collect()
}

fn review(object: &Value) -> Value {
    let (group, version) = match object["apiVersion"].as_str().unwrap().split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", object["apiVersion"].as_str().unwrap()),
    };
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "the-uid",
            "kind": {"group": group, "version": version, "kind": object["kind"]},
            "operation": "CREATE",
            "name": object["metadata"]["name"],
            "object": object,
            "oldObject": null,
        },
    });
    let body = review.to_string();
    let answer = admit(&settings(), &Request::parse(body.as_bytes()).unwrap());
    serde_json::from_slice(&answer.response.to_json()).unwrap()
}

fn patched(object: &Value, response: &Value) -> Value {
    let Some(patch) = response["patch"].as_str() else { return object.clone() };
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
    let mut object = object.clone();
    json_patch::patch(&mut object, &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap()).unwrap();
    object
}
