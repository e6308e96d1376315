//! The documents under `docs/` name every reason, alert, key, variable, metric and Event, and nothing that does not exist.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const RULES: &str = include_str!("../../../manifests/observability/rules.yml");

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The code of a source file, without its unit tests.
fn code(path: &str) -> String {
    read(path).split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// The string literals of `code` that are reasons: CamelCase, without a blank.
fn camel_case(code: &str) -> BTreeSet<String> {
    let is_reason = |text: &&str| {
        text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.chars().all(|letter| letter.is_ascii_alphabetic())
    };
    code.split('"').filter(is_reason).map(str::to_owned).collect()
}

/// The words of `text` that begin with `prefix` and go on with these characters.
fn words(text: &str, prefix: &str, goes_on: fn(char) -> bool) -> BTreeSet<String> {
    let starts = text.match_indices(prefix).map(|(start, _)| &text[start..]);
    let word = |rest: &str| rest.split(|letter| !goes_on(letter)).next().unwrap_or_default().to_owned();
    starts.map(|rest| format!("{prefix}{}", word(&rest[prefix.len()..]))).collect()
}

fn is_of_key(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter == '-'
}

fn is_of_variable(letter: char) -> bool {
    letter.is_ascii_uppercase() || letter == '_'
}

/// The reasons of all states and conditions.
fn reasons() -> BTreeSet<String> {
    let folder = repository().join("agent/core/src/explain");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // The reasons of Events are announced there.
    let explained = files.filter(|file| file != "announce.rs");
    let explained = explained.map(|file| code(&format!("agent/core/src/explain/{file}")));
    explained.chain([code("agent/src/run/login.rs")]).flat_map(|code| camel_case(&code)).collect()
}

fn alerts() -> BTreeSet<String> {
    let rules: Value = serde_saphyr::from_str(RULES).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let alerts = groups.flat_map(|group| group["rules"].as_array().unwrap());
    alerts.map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
}

/// Every Markdown file below `docs/`, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let (mut folders, mut documents) = (vec![repository().join("docs")], vec![]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).unwrap();
                documents.push((path, text));
            }
        }
    }
    documents
}

#[test]
fn every_reason_and_every_alert_has_a_page_in_the_runbook() {
    let folder = repository().join("docs/runbook");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let pages: BTreeSet<String> = files
        .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|page| page != "README")
        .collect();
    let mut expected = reasons();
    assert!(expected.len() > 50 && alerts().len() > 15, "{expected:?}");
    expected.extend(alerts());
    assert_eq!(pages, expected);
    let index = read("docs/runbook/README.md");
    for page in pages {
        let text = read(&format!("docs/runbook/{page}.md"));
        assert!(text.starts_with(&format!("# {page}\n")), "{page}");
        for heading in ["Meaning", "Impact", "How to look", "Fix", "Prevention"] {
            let section = text.split_once(&format!("\n## {heading}\n")).map(|(_, rest)| rest.trim());
            assert!(
                section.is_some_and(|text| !text.is_empty() && !text.starts_with('#')),
                "{page}: {heading}"
            );
        }
        assert!(index.contains(&format!("]({page}.md)")), "{page} is not in the index of the runbook");
    }
}

#[test]
fn every_document_is_in_the_summary_and_every_link_leads_to_a_file_and_its_heading() {
    let summary = read("docs/SUMMARY.md");
    let root = repository();
    for (path, text) in documents() {
        let name = path.strip_prefix(root.join("docs")).unwrap().to_str().unwrap().to_owned();
        assert!(
            name == "SUMMARY.md" || summary.contains(&format!("]({name})")),
            "{name} is not in the summary"
        );
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if target.starts_with("http") {
                continue;
            }
            let linked = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(linked.exists(), "{name} links to {target}");
            if let Some((_, anchor)) = target.split_once('#') {
                let headings = headings(&fs::read_to_string(linked).unwrap());
                assert!(headings.contains(anchor), "{name} links to {target}, which has {headings:?}");
            }
        }
    }
}

/// The anchors of a document's headings, as mdBook and code hosts derive them.
fn headings(text: &str) -> BTreeSet<String> {
    let titles =
        text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#'));
    let anchor = |title: &str| -> String {
        let kept = title.trim().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect()
    };
    titles.map(anchor).collect()
}

#[test]
fn every_fault_of_moves_names_a_test_that_exists() {
    let table = read("docs/design/moves-faults.md");
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault "));
    let mut count = 0;
    for row in rows {
        count += 1;
        let shown = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let tests: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test}"));
            let code = read(file);
            let (before, _) = code.split_once(&format!("fn {name}()")).unwrap_or_else(|| panic!("{test}"));
            let attributes = before.rsplit("\n\n").next().unwrap_or_default();
            assert!(attributes.contains("#[test]") || attributes.contains("#[tokio::test]"), "{test}");
        }
    }
    assert!(count > 25, "{count} rows");
}

#[test]
fn the_reference_contains_every_label_and_annotation_and_no_document_another_one() {
    let prefix = "couchdiscover.io/";
    let keys = words(&code("contract/src/keys.rs"), prefix, is_of_key);
    assert!(keys.len() > 20, "{keys:?}");
    let reference = read("docs/reference/annotations.md");
    for key in &keys {
        assert!(reference.contains(&format!("`{key}`")), "{key}");
    }
    for (path, text) in documents() {
        // `kubectl annotate` removes the key before a trailing dash.
        let named =
            words(&text, prefix, is_of_key).iter().map(|key| key.trim_end_matches('-').to_owned()).collect();
        let unknown: Vec<_> = BTreeSet::difference(&named, &keys).cloned().collect();
        // The domain alone is mentioned, too.
        assert!(unknown.iter().all(|key| key == prefix), "{} names {unknown:?}", path.display());
    }
}

#[test]
fn the_reference_contains_every_variable_and_no_document_another_one() {
    let prefix = "COUCHDISCOVER_";
    let contract = code("contract/src/env.rs");
    let literals = contract.split('"');
    let mut variables: BTreeSet<String> = literals
        .filter(|text| !text.is_empty() && text.chars().all(is_of_variable))
        .map(str::to_owned)
        .collect();
    assert!(variables.len() > 20, "{variables:?}");
    for file in
        ["webhook/src/settings.rs", "cli/src/manifest.rs", "cli/src/defaults.rs", "cli/src/check/run.rs"]
    {
        let source = code(file);
        let options = source.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next());
        variables.extend(options.map(str::to_owned));
    }
    // Hidden options for tests.
    variables.retain(|variable| !variable.ends_with("_LIFE"));
    let reference = read("docs/reference/environment.md");
    for variable in &variables {
        assert!(reference.contains(&format!("`{variable}`")), "{variable}");
    }
    for (path, text) in documents() {
        let unknown: Vec<_> = words(&text, prefix, is_of_variable).difference(&variables).cloned().collect();
        assert!(unknown.is_empty(), "{} names {unknown:?}", path.display());
    }
}

#[test]
fn the_reference_contains_exactly_the_existing_metrics() {
    let agent = ["encode_descriptor", "counter", "counters", "gauge", "gauges"];
    let mut existing = families(&code("agent/src/publish/exposition.rs"), &agent, "couchdiscover_agent_");
    existing.extend(families(&code("webhook/src/metrics.rs"), &["register"], "couchdiscover_webhook_"));
    assert!(existing.len() > 25, "{existing:?}");
    assert_eq!(first_column("docs/reference/metrics.md"), existing);
}

#[test]
fn the_reference_contains_every_reason_of_an_event() {
    let mut reasons = camel_case(&code("agent/core/src/explain/announce.rs"));
    let provided = code("webhook/src/provide/writer.rs");
    reasons.extend(
        provided.split("reason: \"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned),
    );
    assert!(reasons.contains("NotProvidedFor") && reasons.len() > 7, "{reasons:?}");
    assert_eq!(first_column("docs/reference/events.md"), reasons);
}

#[test]
fn the_table_of_dependencies_contains_exactly_the_direct_ones() {
    let workspace = read("Cargo.toml");
    let dependencies = |manifest: &str, section: &str| -> BTreeSet<String> {
        let after = manifest.split_once(&format!("\n[{section}]\n")).map_or("", |(_, rest)| rest);
        let lines = after.lines().take_while(|line| !line.starts_with('['));
        let names = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
        names.filter_map(|line| line.split(['.', ' ', '=']).next()).map(str::to_owned).collect()
    };
    let shipped =
        ["contract", "certs", "cli", "cli/program", "webhook", "webhook/inject", "agent", "agent/core"];
    let mut direct = BTreeSet::new();
    for crate_name in shipped {
        direct.extend(dependencies(&read(&format!("{crate_name}/Cargo.toml")), "dependencies"));
    }
    let is_ours = |name: &String| workspace.contains(&format!("\n{name} = {{ path = "));
    direct.retain(|name| !is_ours(name));
    assert!(direct.len() > 30, "{direct:?}");
    assert_eq!(first_column("docs/design/dependencies.md"), direct);
}

/// The names of the metrics that are registered by a call of one of these functions.
fn families(code: &str, calls: &[&str], prefix: &str) -> BTreeSet<String> {
    let arguments = code.split('(').zip(code.split('(').skip(1));
    let registered = arguments.filter_map(|(before, arguments)| {
        let call = before.rsplit(|letter: char| !letter.is_alphanumeric() && letter != '_').next()?;
        let name = arguments.trim_start().strip_prefix('"')?.split('"').next()?;
        calls.contains(&call).then(|| format!("{prefix}{name}"))
    });
    registered.collect()
}

/// The first code span of each row of a document's tables.
fn first_column(path: &str) -> BTreeSet<String> {
    let text = read(path);
    let spans = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    spans.map(str::to_owned).collect()
}
