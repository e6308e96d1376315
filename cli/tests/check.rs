//! `check` where there is no cluster to look at.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;

#[test]
fn without_a_kubeconfig_it_says_so() {
    let home = tempfile::tempdir().unwrap();
    let (code, said) = check(home.path(), &home.path().join("none"), &[]);
    assert_eq!(code, 69);
    assert!(said.starts_with("error: no cluster is known: set KUBECONFIG, or run this in a pod: "), "{said}");
}

#[test]
fn where_nobody_answers_it_names_the_address() {
    let home = tempfile::tempdir().unwrap();
    // Nobody listens on a port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = home.path().join("config");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "a", "cluster": { "server": format!("http://127.0.0.1:{port}") } }],
        "users": [{ "name": "a", "user": { "token": "not-to-be-shown" } }],
        "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "a" } }],
        "current-context": "a",
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let (code, said) = check(home.path(), &file, &["-o", "json"]);
    assert_eq!(code, 69);
    let expected = format!(
        "error: no API server answers at 'http://127.0.0.1:{port}/': is this the right context of the kubeconfig?: "
    );
    assert!(said.starts_with(&expected), "{said}");
    assert!(!said.contains("not-to-be-shown"), "{said}");

    let (code, said) = check(home.path(), &file, &["--context", "b"]);
    assert_eq!(code, 69);
    assert!(said.starts_with("error: the kubeconfig can't be used: "), "{said}");
}

#[test]
fn what_it_does_not_know_is_a_wrong_use() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(check(home.path(), &home.path().join("none"), &["-o", "yaml"]).0, 64);
}

/// The exit code, and what is said on stderr; nothing is on stdout then.
fn check(home: &Path, kubeconfig: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_couchdiscover-webhook"))
        .arg("check")
        .args(args)
        .env_clear()
        .env("HOME", home)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}
