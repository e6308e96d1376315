//! Each folder of `golden/` contains a manifest, `in.yaml`, and the result: `out.yaml` and `report.txt`, or `error.txt` if
//! it is denied. Each manifest is injected, injected a second time, and its injection removed; `uninject.txt` contains
//! the report and the patch for the removal of the agent alone. The webhook's tests send the same manifests through the
//! server.
//!
//! `BLESS=1 cargo test -p couchdiscover-inject --test golden as_recorded` updates the files; check the difference before a
//! commit. Without the filter, the other test reads files that are being written, and fails.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::fs;
use std::path::{Path, PathBuf};

use inject::files::{self, Format, Output, Verb};
use inject::{OnRemoval, Settings};
use serde_json::Value;

fn settings() -> Settings {
    Settings {
        agent_image: "couchdiscover-agent:test".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        version: "0.0.0-test".to_owned(),
        defaults: inject::Defaults::default(),
    }
}

/// Each folder, and the manifest in it. The folder `example` uses the manifest that users read.
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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/examples/couchdb.yaml")
}

fn inject(input: &str) -> Result<Output, files::Error> {
    files::run(Verb::Inject, input, None, &settings(), None)
}

#[expect(clippy::disallowed_methods, reason = "the only setting of this test")]
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

/// Compares texts, and shows the first line that differs instead of two manifests.
fn assert_same(one: &str, other: &str, what: &str) {
    let different = one.lines().zip(other.lines()).enumerate().find(|(_, (one, other))| one != other);
    assert_eq!(different, None, "{what}: BLESS=1 updates the golden files");
    assert_eq!(one.len(), other.len(), "{what}: BLESS=1 updates the golden files");
}

#[test]
fn manifests_are_injected_as_recorded() {
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
fn injecting_again_changes_nothing_and_removal_gives_the_original() {
    for (case, input) in cases() {
        let Ok(out) = fs::read_to_string(case.join("out.yaml")) else { continue };
        assert_same(&inject(&out).unwrap().text, &out, &format!("{}: injected again", case.display()));
        let back = files::run(Verb::Uninject(Some(OnRemoval::Everything)), &out, None, &settings(), None)
            .unwrap()
            .text;
        let input = fs::read_to_string(input).unwrap();
        assert_eq!(objects(&back), objects(&input), "{}", case.display());
        let canonical = !input.lines().skip(1).any(|line| line.trim_start().starts_with('#'));
        if canonical {
            assert_same(&back, &input, &format!("{}: un-injected", case.display()));
        }
    }
}

#[test]
fn removal_of_the_agent_alone_is_as_recorded_and_injecting_again_gives_the_first_injection() {
    for (case, _) in cases() {
        let Ok(out) = fs::read_to_string(case.join("out.yaml")) else { continue };
        let uninject = |text: &str, format| files::run(Verb::Uninject(None), text, format, &settings(), None);
        let Output { text, report } = uninject(&out, Some(Format::Patch)).unwrap();
        assert_golden(&case.join("uninject.txt"), Some(&format!("{}\n{text}", report.join("\n"))));
        let kept = uninject(&out, None).unwrap().text;
        assert_same(&inject(&kept).unwrap().text, &out, &format!("{}: injected again", case.display()));
        assert_same(
            &uninject(&kept, None).unwrap().text,
            &kept,
            &format!("{}: a second time", case.display()),
        );
    }
}

/// The objects of a stream, read by the code under test.
fn objects(text: &str) -> Vec<Value> {
    let json =
        files::run(Verb::Uninject(Some(OnRemoval::Everything)), text, Some(Format::Json), &settings(), None);
    // Removal changes nothing without a record. With one, the injection must stay, and a second one changes nothing.
    let json = match text.contains("couchdiscover.io/injected") {
        true => injected_objects(text),
        false => json.unwrap().text,
    };
    serde_json::Deserializer::from_str(&json).into_iter::<Value>().map(Result::unwrap).collect()
}

fn injected_objects(text: &str) -> String {
    files::run(Verb::Inject, text, Some(Format::Json), &settings(), None).unwrap().text
}
