//! Every manifest of the webhook's golden tests, validated by a real API server.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::manifest;
use serde_json::Value;

use crate::namespace::{TestNamespace, agent};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn every_injected_manifest_is_valid() {
    let ns = TestNamespace::open("manifests").await;
    let mut failures = vec![];
    for case in cases() {
        if let Err(failure) = check_case(&ns, &case).await {
            failures.push(format!("{}: {failure}", case.file_name().unwrap().display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Checks that each StatefulSet of a case is accepted, or denied with the recorded message.
async fn check_case(ns: &TestNamespace, case: &Path) -> Result<(), String> {
    let objects = manifest::objects(&fs::read_to_string(case.join("in.yaml")).unwrap());
    let objects = objects.map_err(|error| format!("{error:?}"))?;
    for set in objects.iter().filter(|object| object["kind"] == "StatefulSet") {
        check_statefulset(ns, case, set).await?;
    }
    Ok(())
}

/// Checks that the API server injects the StatefulSet with the recorded warnings, or denies it with the recorded message.
async fn check_statefulset(ns: &TestNamespace, case: &Path, set: &Value) -> Result<(), String> {
    let answer = ns.admin.try_create(&ns.here(set.clone())).await;
    let message = answer.message().to_owned();
    if let Ok(denial) = fs::read_to_string(case.join("error.txt")) {
        let expected = denial.split_once(": ").unwrap().1.trim_end().to_owned();
        return same(&message, &format!("{DENIED}{expected}"));
    }
    if answer.code != 201 {
        return Err(message);
    }
    if agent(&answer.body).is_null() {
        return Err("not injected".to_owned());
    }
    let report = fs::read_to_string(case.join("report.txt")).unwrap();
    same(&answer.warnings.join("\n"), &warnings_of(&report, set).join("\n"))?;
    is_stable(ns, &answer.body).await
}

/// The warnings below the StatefulSet's line of a report.
fn warnings_of<'r>(report: &'r str, set: &Value) -> Vec<&'r str> {
    let name = set["metadata"]["name"].as_str().unwrap();
    let below = report.lines().skip_while(|line| !is_heading(line, name)).skip(1);
    let own = below.take_while(|line| line.starts_with(' '));
    own.filter_map(|line| line.strip_prefix("  warning: ")).collect()
}

/// `true` for `statefulset/NAME: ..` and `statefulset/NAME (..)`.
fn is_heading(line: &str, name: &str) -> bool {
    let rest = line.strip_prefix("statefulset/").and_then(|line| line.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with([' ', ':']))
}

/// Checks that an injected StatefulSet is not changed when it is created again.
async fn is_stable(ns: &TestNamespace, injected: &Value) -> Result<(), String> {
    let mut again = injected.clone();
    for own in ["uid", "creationTimestamp", "generation", "managedFields"] {
        again["metadata"].as_object_mut().unwrap().shift_remove(own);
    }
    let answer = ns.admin.try_create(&again).await;
    same(&answer.body["spec"].to_string(), &injected["spec"].to_string())
}

fn same(found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("found:\n{found}\nexpected:\n{expected}")) }
}

/// The folders of the golden tests: each contains a manifest, and the recorded result or denial.
fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../webhook/inject/tests/golden");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.join("in.yaml").exists());
    cases.sort();
    cases
}

const DENIED: &str = "admission webhook \"inject.couchdiscover.io\" denied the request: ";
