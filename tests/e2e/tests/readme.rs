//! The README lists all annotations, variables and paths, and no others.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use contract::{env, keys, ports};

const README: &str = include_str!("../../../README.md");

/// The code spans in the first column of the table below `heading`.
fn spans_below(heading: &str) -> Vec<&'static str> {
    let (_, section) = README.split_once(heading).expect("the README contains the heading");
    let section = section.split("\n#").next().expect("the heading has a section");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.trim_start_matches('|').split('|').next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_readme_lists_exactly_the_existing_annotations() {
    let mut listed = spans_below("### Annotations on the StatefulSet");
    listed.sort_unstable();
    let mut existing: Vec<&str> = keys::STATEFULSET_ANNOTATIONS
        .iter()
        .filter_map(|key| key.strip_prefix(keys::DOMAIN)?.strip_prefix('/'))
        .collect();
    existing.sort_unstable();
    assert_eq!(listed, existing);
}

#[test]
fn the_readme_lists_every_variable_of_the_agent() {
    let listed = spans_below("### The agent's environment");
    for variable in [
        env::COUCHDB_ADMIN_USER,
        env::COUCHDB_ADMIN_PASS,
        env::COUCHDB_USER,
        env::COUCHDB_PASSWORD,
        env::COUCHDB_CLUSTER_SIZE,
        env::COUCHDISCOVER_CA_FILE,
        env::COUCHDISCOVER_CONTAINER,
        env::COUCHDISCOVER_COUCHDB_URL,
        env::COUCHDISCOVER_KUBERNETES,
        env::COUCHDISCOVER_LISTEN,
        env::COUCHDISCOVER_ORDINALS_START,
        env::COUCHDISCOVER_POD_MANAGEMENT_POLICY,
        env::COUCHDISCOVER_SERVICE,
        env::COUCHDISCOVER_SIZE_PINNED,
        env::LOG_FORMAT,
        env::LOG_LEVEL,
        env::POD_IP,
        env::POD_NAME,
        env::POD_NAMESPACE,
    ] {
        assert!(listed.contains(&variable), "{variable}");
    }
}

#[test]
fn the_readme_names_label_port_and_paths_of_the_contract() {
    assert!(README.contains(&format!("{}: {}", keys::INJECT, keys::INJECT_ENABLED)));
    for path in [ports::READYZ, ports::STATUS, ports::LIVEZ, ports::METRICS] {
        assert!(README.contains(&format!("`{path}`")), "{path}");
    }
    assert!(README.contains(&format!("on port {}", ports::AGENT)));
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let security = include_str!("../../../SECURITY.md");
    let (_, table) = security.split_once("## Threat model").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 15, "{}", rows.len());
    let mut sources = String::new();
    read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &mut sources);
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "a row without a test: {row}");
        for name in names {
            assert!(sources.contains(&format!("fn {name}(")), "{name} does not exist");
        }
    }
}

/// Appends all Rust files below a folder, without build artifacts.
fn read_sources(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                read_sources(&path, sources);
            }
        } else if name.ends_with(".rs") {
            *sources += &std::fs::read_to_string(&path).unwrap();
        }
    }
}
