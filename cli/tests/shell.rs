//! Completion scripts and man pages, as the program writes them.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The subcommands that the help lists.
const VERBS: [&str; 12] = [
    "inject",
    "uninject",
    "check",
    "status",
    "plan",
    "scale",
    "page",
    "open",
    "readmit",
    "forget",
    "explain",
    "completion",
];

/// Runs the program, and returns its exit code and stdout.
fn run(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_couchdiscover")).args(args).env_clear().output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_tests_know_every_verb_of_the_help() {
    let (code, help) = run(&["--help"]);
    let listed = help.split_once("Commands:").unwrap().1.split_once("Options:").unwrap().0;
    let listed: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(code, 0);
    assert_eq!(listed, [VERBS.as_slice(), &["help"]].concat());
}

#[test]
fn each_shell_gets_a_script_that_completes_every_verb() {
    for shell in ["bash", "fish", "powershell", "zsh"] {
        let (code, script) = run(&["completion", shell]);
        assert_eq!(code, 0, "{shell}");
        // clap completes no values of positional arguments in PowerShell.
        let page = if shell == "powershell" { "explain" } else { "ShardMapsBroken" };
        for word in VERBS.iter().chain(&[page, "replicas"]) {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
    assert_eq!(run(&["completion", "tcsh"]).0, 64);
}

#[test]
fn bash_completes_verbs_options_and_values_with_the_script() {
    let completed = |line: &str| {
        // Bash calls the function with the words of the line, the one to complete last.
        let script = format!(
            "set -e; source <({} completion bash); COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _couchdiscover couchdiscover \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\"",
            env!("CARGO_BIN_EXE_couchdiscover")
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed("couchdiscover sta"), "status");
    assert_eq!(completed("couchdiscover scale --rep"), "--replicas");
    assert_eq!(completed("couchdiscover status --output j"), "json");
    assert_eq!(completed("couchdiscover explain ShardM"), "ShardMapsBroken");
}

#[test]
fn every_verb_has_a_man_page_with_its_examples_and_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("man1");
    assert_eq!(run(&["man", folder.to_str().unwrap()]).0, 0);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let program = read("couchdiscover.1");
    for verb in VERBS {
        assert!(program.contains(&format!("couchdiscover\\-{verb}(1)")), "{verb}: {program}");
        let page = read(&format!("couchdiscover-{verb}.1"));
        assert!(page.contains("Examples:") && page.contains("Exit codes:"), "{verb}: {page}");
        assert!(page.contains(concat!("couchdiscover ", env!("CARGO_PKG_VERSION"))), "{verb}: {page}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), VERBS.len() + 1);
    // A file stands where the folder must be.
    assert_eq!(run(&["man", folder.join("couchdiscover.1").to_str().unwrap()]).0, 1);
    assert!(!Path::new("couchdiscover.1").exists());
}

#[test]
fn kubectl_gets_candidates_with_descriptions_and_a_directive() {
    let complete = |words: &[&str]| run(&[&["__complete"], words].concat()).1;
    assert!(complete(&[""]).starts_with("inject\tInject the agent into"), "{}", complete(&[""]));
    assert!(!complete(&[""]).contains("__complete"));
    assert_eq!(complete(&["explain", "ShardM"]), "ShardMapsBroken\t\n:4\n");
    assert_eq!(complete(&["scale", "couchdb", "--rep"]), "--replicas\tNumber of nodes\n:4\n");
    assert_eq!(complete(&["status", "-n", "shop", "-o", "j"]), "json\tOne JSON object\n:4\n");
    // File names.
    assert_eq!(complete(&["inject", "-f", "couch"]), ":0\n");
    assert_eq!(complete(&["status", "--wat"]), "--watch\tLook again every 2 s until interrupted\n:4\n");
    // An option is no file name.
    assert_eq!(complete(&["status", "--xyz"]), ":4\n");
}

#[test]
fn pages_of_the_runbook_are_printed_as_json() {
    let (code, page) = run(&["explain", "filling", "-o", "json"]);
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!((code, page["name"].as_str()), (0, Some("Filling")));
    assert!(page["page"].as_str().unwrap().starts_with("# Filling\n"));
    let names: Vec<String> = serde_json::from_str(&run(&["explain", "-o", "json"]).1).unwrap();
    assert!(names.contains(&"ShardsLost".to_owned()) && names.len() > 70, "{names:?}");
}

#[test]
fn every_verb_shows_an_example_and_its_exit_codes() {
    for verb in VERBS {
        let (code, help) = run(&[verb, "--help"]);
        assert_eq!(code, 0, "{verb}");
        assert!(help.contains("\nExamples:\n  "), "{verb}: {help}");
        assert!(help.contains("\nExit codes:\n   0  "), "{verb}: {help}");
    }
}
