//! The fuzz target, with a few thousand mutations of a member's answers.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

#[path = "../fuzz/fuzz_targets/targets.rs"]
mod targets;

use agent::run::understand::{Answers, MemberAnswers, understand};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

#[test]
fn answers_of_a_member_are_those_of_a_settled_cluster() {
    let page = understand(&MemberAnswers::of(1).answers()).unwrap();
    assert_eq!(page.step.reason, "RecordingFounding", "{page:#?}");
}

#[test]
fn mutated_answers_of_a_peer_pass() {
    // A fixed seed: a failure must be reproducible.
    let mut random = StdRng::seed_from_u64(7);
    let seed = seed();
    targets::peer(&seed);
    for _ in 0..20_000 {
        let mut bytes = seed.clone();
        for _ in 0..random.random_range(1..4) {
            mutate(&mut bytes, &mut random, &seed);
        }
        targets::peer(&bytes);
    }
}

/// The answers of a member, separated by NULs.
fn seed() -> Vec<u8> {
    let member = MemberAnswers::of(1);
    let Answers { name, welcome, membership, listed, databases, system, config, maps } = member.answers();
    let [admins, auth, couchdb] = config;
    [name, welcome, membership, listed, databases, system, admins, auth, couchdb, maps].join(&0)
}

fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng, seed: &[u8]) {
    let at = random.random_range(0..bytes.len().max(1)).min(bytes.len());
    let end = (at + random.random_range(1..20)).min(bytes.len());
    let words: [&[u8]; 12] = [
        b"18446744073709551615",
        b"-1",
        b"\"",
        b"\\u0000",
        b"\\u001b[2J",
        b"null",
        b"[]",
        b"couchdb@evil",
        b"\xf0\x9f\x92\xa9",
        b"nonode@nohost",
        b"_design/x",
        b"99999999999999999999999",
    ];
    match random.random_range(0..4) {
        0 => bytes[at..end].iter_mut().for_each(|byte| *byte = random.random()),
        1 => drop(bytes.drain(at..end)),
        2 => drop(bytes.splice(at..end, words[random.random_range(0..words.len())].iter().copied())),
        _ => {
            let from = random.random_range(0..seed.len());
            let until = (from + 60).min(seed.len());
            bytes.splice(at..at, seed[from..until].iter().copied());
        }
    }
}
