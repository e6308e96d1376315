//! Every manifest that the webhook's own tests know, through the validation of a real API server.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::manifest;
use serde_json::Value;

use crate::scene::{Scene, agent};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn what_the_webhook_makes_of_a_manifest_is_valid() {
    let scene = Scene::open("manifests").await;
    let mut wrong = vec![];
    for case in cases() {
        if let Err(what) = judge(&scene, &case).await {
            wrong.push(format!("{}: {what}", case.file_name().unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Whether the API server takes each StatefulSet of a case, or hands on the denial that was recorded.
async fn judge(scene: &Scene, case: &Path) -> Result<(), String> {
    let objects = manifest::objects(&fs::read_to_string(case.join("in.yaml")).unwrap());
    let objects = objects.map_err(|error| format!("{error:?}"))?;
    for set in objects.iter().filter(|object| object["kind"] == "StatefulSet") {
        judge_one(scene, case, set).await?;
    }
    Ok(())
}

/// Whether the API server takes it, and says the same as the file's report, or as its denial.
async fn judge_one(scene: &Scene, case: &Path, set: &Value) -> Result<(), String> {
    let answer = scene.admin.try_create(&scene.here(set.clone())).await;
    let said = answer.message().to_owned();
    if let Ok(denial) = fs::read_to_string(case.join("error.txt")) {
        let expected = denial.split_once(": ").unwrap().1.trim_end().to_owned();
        return same(&said, &format!("{DENIED}{expected}"));
    }
    if answer.code != 201 {
        return Err(said);
    }
    if agent(&answer.body).is_null() {
        return Err("not injected".to_owned());
    }
    let report = fs::read_to_string(case.join("report.txt")).unwrap();
    same(&answer.warnings.join("\n"), &warnings_of(&report, set).join("\n"))?;
    goes_in_again(scene, &answer.body).await
}

/// What a report says below a StatefulSet's own line.
fn warnings_of<'r>(report: &'r str, set: &Value) -> Vec<&'r str> {
    let name = set["metadata"]["name"].as_str().unwrap();
    let is_its_own = |line: &&str| {
        let rest = line.strip_prefix("statefulset/").and_then(|line| line.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with([' ', ':']))
    };
    let below = report.lines().skip_while(|line| !is_its_own(line)).skip(1);
    let own = below.take_while(|line| line.starts_with(' '));
    own.filter_map(|line| line.strip_prefix("  warning: ")).collect()
}

/// Its own output in, nothing added.
async fn goes_in_again(scene: &Scene, injected: &Value) -> Result<(), String> {
    let mut again = injected.clone();
    for own in ["uid", "creationTimestamp", "generation", "managedFields"] {
        again["metadata"].as_object_mut().unwrap().shift_remove(own);
    }
    let answer = scene.admin.try_create(&again).await;
    same(&answer.body["spec"].to_string(), &injected["spec"].to_string())
}

fn same(found: &str, expected: &str) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("said:\n{found}\ninstead of:\n{expected}")),
    }
}

/// Each is a folder with the manifest, and what is made of it or why it is denied.
fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../webhook/inject/tests/golden");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.join("in.yaml").exists());
    cases.sort();
    cases
}

const DENIED: &str = "admission webhook \"inject.couchdiscover.io\" denied the request: ";
