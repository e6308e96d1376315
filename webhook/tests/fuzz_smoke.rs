//! The fuzz targets, with a few thousand mutations of the recorded reviews.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

#[path = "../fuzz/fuzz_targets/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

fn run(seeds: &[Vec<u8>], rounds: usize, target: fn(&[u8])) {
    // A fixed seed: a failure must be reproducible.
    let mut random = StdRng::seed_from_u64(7);
    for seed in seeds {
        target(seed);
    }
    for _ in 0..rounds {
        let mut bytes = seeds[random.random_range(0..seeds.len())].clone();
        for _ in 0..random.random_range(1..6) {
            mutate(&mut bytes, &mut random, seeds);
        }
        target(&bytes);
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng, seeds: &[Vec<u8>]) {
    if bytes.is_empty() {
        return;
    }
    let at = random.random_range(0..bytes.len());
    let end = (at + random.random_range(1..40)).min(bytes.len());
    match random.random_range(0..6) {
        0 => bytes[at] = random.random(),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.truncate(at),
        3 => {
            let words: [&[u8]; 8] = [b"null", b"{}", b"[]", b"\"\"", b"-1", b"\0", b"1e999", b"\\u0000"];
            bytes.splice(at..end, words[random.random_range(0..words.len())].iter().copied());
        }
        4 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => {
            let other = &seeds[random.random_range(0..seeds.len())];
            let from = random.random_range(0..other.len().max(1));
            let until = (from + 60).min(other.len());
            bytes.splice(at..end, other[from.min(until)..until].iter().copied());
        }
    }
}

fn reviews() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reviews");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let file: serde_json::Value =
            serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        file["review"]
            .to_string()
            .replace("\"labels\":{", "\"labels\":{\"couchdiscover.io/inject\":\"enabled\",")
    };
    fs::read_dir(folder).unwrap().map(|entry| read(entry).into_bytes()).collect()
}

fn objects() -> Vec<Vec<u8>> {
    let object = |review: Vec<u8>| {
        let review: serde_json::Value = serde_json::from_slice(&review).unwrap();
        let (new, old) = (&review["request"]["object"], &review["request"]["oldObject"]);
        format!("{new}\0{old}").into_bytes()
    };
    reviews().into_iter().map(object).collect()
}

#[test]
fn mutated_reviews_pass() {
    run(&reviews(), 3_000, targets::review);
}

#[test]
fn mutated_objects_pass() {
    run(&objects(), 3_000, targets::object);
}

#[test]
fn mutated_annotations_pass() {
    let values = "couchdb\n3\nmine/cookie\nimage:1\n5m\n1\n16Mi\n64Mi\ninfo\nnative\noff\nERL_FLAGS, NODENAME\nx\n+S 2\n$(A)$$(B)\n3\nA\n$(A)\n{\"schema\":1,\"version\":\"1\",\"env\":{\"couchdb\":{\"A\":\"00000000\"}},\"made\":[\"annotations\"]}\ncouchdb\ncouchdb:3\ndb\ndb";
    run(&[values.as_bytes().to_vec()], 3_000, targets::annotations);
}

#[test]
fn mutated_records_remove_nothing_of_others() {
    let seeds = [
        r#"{"schema":1,"version":"1","containers":{"policy-sidecar":"00000000","couchdiscover-agent":"00000000"},"initContainers":{"policy-init":"00000000"},"volumes":{"policy-ca":"00000000","couchdiscover-token":"00000000"},"env":{"policy-sidecar":{"HTTPS_PROXY":"00000000"}},"made":["volumes","initContainers","env:couchdb","metadata","annotations"]}"#,
        r#"{"schema":1,"version":"1","env":{"couchdb":{"HTTPS_PROXY":"00000000","NODENAME":"00000000"}},"made":["env:couchdb"]}"#,
    ];
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    run(&seeds, 3_000, targets::record);
}
