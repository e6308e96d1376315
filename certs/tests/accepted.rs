//! The files of `couchdiscover-certs`: another implementation of TLS must accept them.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure message")]

use std::path::Path;
use std::process::{Command, Output};

fn generate(directory: &Path, names: &[&str]) -> Output {
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
    let generated = generate(directory.path(), &["webhook.shop.svc", "127.0.0.1"]);
    assert!(generated.status.success(), "{generated:?}");
    let verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.crt"];
    openssl(directory.path(), &[&verify[..], &["-verify_hostname", "webhook.shop.svc", "tls.crt"]].concat());
    openssl(directory.path(), &[&verify[..], &["-verify_ip", "127.0.0.1", "tls.crt"]].concat());
    let of_certificate = openssl(directory.path(), &["x509", "-in", "tls.crt", "-noout", "-pubkey"]);
    assert_eq!(of_certificate, openssl(directory.path(), &["pkey", "-in", "tls.key", "-pubout"]));
}

#[test]
fn only_the_owner_can_read_the_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    assert!(generate(directory.path(), &["localhost"]).status.success());
    let mode = directory.path().join("tls.key").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_error_is_one_line_with_its_cause() {
    let directory = tempfile::tempdir().unwrap();
    let bad = generate(directory.path(), &["bücher.example"]);
    assert_eq!(bad.status.code(), Some(1));
    let message = String::from_utf8(bad.stderr).unwrap();
    assert!(message.starts_with("error: 'bücher.example' can't be a name in a certificate"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    let nowhere = generate(&directory.path().join("missing"), &["localhost"]);
    let message = String::from_utf8(nowhere.stderr).unwrap();
    assert!(message.starts_with("error: failed to write '") && message.contains("No such file"), "{message}");
}
