//! The server as a program: exit codes, and the subcommands that moved to `couchdiscover`.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::process::{Command, Output};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/examples/couchdb.yaml");

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_couchdiscover-webhook")).args(args).env_clear().output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn a_usage_error_exits_with_64_and_help_with_0() {
    for wrong in [
        &["serve", "--listen", "nowhere"][..],
        &["serve", "--cert-mode", "files"],
        &["paint"],
        &["inject"],
        &[],
    ] {
        assert_eq!(code(&run(wrong)), 64, "{wrong:?}");
    }
    for help in [&["--help"][..], &["--version"], &["serve", "--help"], &["inject", "--help"]] {
        let output = run(help);
        assert_eq!((code(&output), output.stderr.len()), (0, 0), "{help:?}");
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn a_server_that_cannot_start_exits_with_1_and_the_reason() {
    let output = run(&["serve", "--cert-mode", "files", "--tls-cert", "/no/crt", "--tls-key", "/no/key"]);
    assert_eq!(code(&output), 1);
    let error = String::from_utf8(output.stderr).unwrap();
    insta::assert_snapshot!(error, @"error: no certificate to serve: failed to read '/no/crt': No such file or directory (os error 2)");
}

#[test]
fn the_subcommands_of_couchdiscover_are_hidden_aliases() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("serve") && !help.contains("uninject") && !help.contains("check"), "{help}");

    let injected = run(&["inject", "-f", EXAMPLE]);
    assert_eq!(code(&injected), 0);
    assert!(String::from_utf8(injected.stdout).unwrap().contains("name: couchdiscover-agent"));
    let unchanged = run(&["uninject", "-f", EXAMPLE]);
    assert_eq!(String::from_utf8(unchanged.stdout).unwrap(), std::fs::read_to_string(EXAMPLE).unwrap());
    // Neither a kubeconfig nor a service account.
    assert_eq!(code(&run(&["check"])), 69);
}
