//! Another implementation must accept what we issue.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::path::Path;
use std::process::{Command, Output};

fn make(directory: &Path, names: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_couchdiscover-certs"))
        .arg("--out")
        .arg(directory)
        .args(names)
        .output()
        .unwrap()
}

fn openssl(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("openssl").current_dir(directory).args(args).output().unwrap();
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs openssl"]
fn openssl_verifies_the_chain_the_names_and_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let made = make(directory.path(), &["webhook.shop.svc", "127.0.0.1"]);
    assert!(made.status.success(), "{made:?}");
    let verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.crt"];
    openssl(directory.path(), &[&verify[..], &["-verify_hostname", "webhook.shop.svc", "tls.crt"]].concat());
    openssl(directory.path(), &[&verify[..], &["-verify_ip", "127.0.0.1", "tls.crt"]].concat());
    let of_certificate = openssl(directory.path(), &["x509", "-in", "tls.crt", "-noout", "-pubkey"]);
    assert_eq!(of_certificate, openssl(directory.path(), &["pkey", "-in", "tls.key", "-pubout"]));
}

#[test]
fn the_key_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    assert!(make(directory.path(), &["localhost"]).status.success());
    let mode = directory.path().join("tls.key").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_bad_name_or_directory_is_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let bad = make(directory.path(), &["bücher.example"]);
    assert_eq!(bad.status.code(), Some(1));
    let said = String::from_utf8(bad.stderr).unwrap();
    assert!(said.starts_with("error: 'bücher.example' can't be a name in a certificate"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let nowhere = make(&directory.path().join("missing"), &["localhost"]);
    let said = String::from_utf8(nowhere.stderr).unwrap();
    assert!(said.starts_with("error: failed to write '") && said.contains("No such file"), "{said}");
}
