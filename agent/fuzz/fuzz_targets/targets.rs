//! The fuzz target, for cargo-fuzz and for `tests/fuzz_smoke.rs`.

use agent::run::understand::{Answers, understand};
use serde_json::to_string;

/// Treats the bytes as the answers of a peer, separated by NULs. The status page that follows must stay small.
pub(crate) fn peer(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let answers = Answers {
        name: next(),
        welcome: next(),
        membership: next(),
        listed: next(),
        databases: next(),
        system: next(),
        config: [next(), next(), next()],
        maps: next(),
    };
    let Some(page) = understand(&answers) else { return };
    let text = to_string(&page).unwrap_or_default();
    assert!(text.len() < 200_000, "{} bytes from {}", text.len(), bytes.len());
    assert!(!text.contains("s3cret"));
}
