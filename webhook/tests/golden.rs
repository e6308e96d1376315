//! Each folder of `golden/` is a manifest (`in.yaml`), and what is made of it: `out.yaml` and `report.txt`, or
//! `error.txt` when it is refused. Every one goes through the file path and through the server's, is applied as a
//! JSON Patch, goes in a second time, and is taken out again.
//!
//! `BLESS=1 cargo test -p couchdiscover-webhook --test golden` writes what it finds; look at the difference.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Value, json};
use webhook::admit::admit;
use webhook::files::{self, Format, Output, Verb};
use webhook::inject::Settings;
use webhook::review::Request;

fn settings() -> Settings {
    Settings {
        agent_image: "couchdiscover-agent:test".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        version: "0.0.0-test".to_owned(),
    }
}

/// The folder, and the manifest in it; the example is the one that users read.
fn cases() -> Vec<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
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

fn inject(input: &str) -> Result<Output, files::Error> {
    files::run(Verb::Inject, input, None, &settings(), None)
}

#[expect(clippy::disallowed_methods, reason = "the one switch of this test")]
fn blessed() -> bool {
    std::env::var("BLESS").is_ok()
}

fn assert_golden(path: &Path, found: Option<&str>) {
    if blessed() {
        match found {
            Some(found) => fs::write(path, found).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }
    let golden = fs::read_to_string(path).ok();
    assert_same(golden.as_deref().unwrap_or(""), found.unwrap_or(""), &path.display().to_string());
}

/// Shows the first line that differs, not two manifests.
fn assert_same(one: &str, other: &str, what: &str) {
    let different = one.lines().zip(other.lines()).enumerate().find(|(_, (one, other))| one != other);
    assert_eq!(different, None, "{what}: BLESS=1 writes the golden files anew");
    assert_eq!(one.len(), other.len(), "{what}: BLESS=1 writes the golden files anew");
}

#[test]
fn files_come_out_as_recorded() {
    for (case, input) in cases() {
        let (text, report, error) = match inject(&fs::read_to_string(input).unwrap()) {
            Ok(Output { text, report }) => (Some(text), Some(report.join("\n") + "\n"), None),
            Err(error) => (None, None, Some(format!("{error}\n"))),
        };
        assert_golden(&case.join("out.yaml"), text.as_deref());
        assert_golden(&case.join("report.txt"), report.as_deref());
        assert_golden(&case.join("error.txt"), error.as_deref());
    }
}

#[test]
fn the_server_says_the_same_as_the_file() {
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
                        // Longer ones may be cut by an API server, and a line break splits them in two.
                        let text = warning.as_str().unwrap();
                        assert!(text.len() <= 256 && !text.contains('\n'), "{} {text}", text.len());
                    }
                    let patched = patched(&object, response);
                    assert_eq!(patched, out[index], "{}", case.display());
                    let again = review(&patched);
                    assert_eq!(again["response"]["patch"], Value::Null, "{} a second time", case.display());
                }
                None if object["kind"] == "StatefulSet" => {
                    assert_eq!(response["status"]["code"], 422);
                    let said = fs::read_to_string(case.join("error.txt")).unwrap();
                    let message = response["status"]["message"].as_str().unwrap();
                    assert!(said.contains(message), "{said}\n{message}");
                }
                None => {}
            }
        }
    }
}

#[test]
fn a_second_time_nothing_changes_and_taking_out_gives_the_original() {
    for (case, input) in cases() {
        let Ok(out) = fs::read_to_string(case.join("out.yaml")) else { continue };
        assert_same(&inject(&out).unwrap().text, &out, &format!("{} a second time", case.display()));
        let back = files::run(Verb::Uninject, &out, None, &settings(), None).unwrap().text;
        let input = fs::read_to_string(input).unwrap();
        assert_eq!(objects(&back), objects(&input), "{}", case.display());
        let canonical = !input.lines().skip(1).any(|line| line.trim_start().starts_with('#'));
        if canonical {
            assert_same(&back, &input, &format!("{}: un-injected", case.display()));
        }
    }
}

#[test]
fn objects_as_large_as_an_api_server_takes_go_the_same_way() {
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
        let out = files::run(Verb::Uninject, &injected.to_string(), None, &settings(), None).unwrap().text;
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), large);
    }
}

/// The objects of a stream, as the product itself reads them.
fn objects(text: &str) -> Vec<Value> {
    let json = files::run(Verb::Uninject, text, Some(Format::Json), &settings(), None);
    // Un-injecting what has no record changes nothing; of what has one, the record must stay here.
    let json = match text.contains("couchdiscover.io/injected") {
        true => injected_objects(text),
        false => json.unwrap().text,
    };
    serde_json::Deserializer::from_str(&json).into_iter::<Value>().map(Result::unwrap).collect()
}

fn injected_objects(text: &str) -> String {
    files::run(Verb::Inject, text, Some(Format::Json), &settings(), None).unwrap().text
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
