//! `check` without a cluster.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;

#[test]
fn without_a_kubeconfig_no_cluster_is_configured() {
    let home = tempfile::tempdir().unwrap();
    let (code, error) = check(home.path(), &home.path().join("none"), &[]);
    assert_eq!(code, 69);
    let expected = "error: no cluster is configured: set KUBECONFIG, or run this in a pod: ";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn an_api_server_that_does_not_answer_is_reported_with_its_address() {
    let home = tempfile::tempdir().unwrap();
    // A port that was free a moment ago: nothing listens on it.
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
    let (code, error) = check(home.path(), &file, &["-o", "json"]);
    assert_eq!(code, 69);
    let expected = format!(
        "error: no API server answers at 'http://127.0.0.1:{port}/': is this the right context of the kubeconfig?: "
    );
    assert!(error.starts_with(&expected), "{error}");
    assert!(!error.contains("not-to-be-shown"), "{error}");

    let (code, error) = check(home.path(), &file, &["--context", "b"]);
    assert_eq!(code, 69);
    assert!(error.starts_with("error: the kubeconfig cannot be used: "), "{error}");
}

#[test]
fn an_unknown_format_is_a_usage_error() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(check(home.path(), &home.path().join("none"), &["-o", "yaml"]).0, 64);
}

/// Runs `check` without a result on stdout; returns the exit code and stderr.
fn check(home: &Path, kubeconfig: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_couchdiscover"))
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
