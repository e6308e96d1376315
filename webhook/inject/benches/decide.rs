//! The time of a decision and its patch: `cargo bench -p couchdiscover-inject --bench decide`.
//!
//! The limit is 30 us for a CREATE of 8 kB; `tests/allocations.rs` has the limit for allocations.

#![allow(missing_docs, reason = "criterion's macros generate functions")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use inject::{Question, decide};

fn reviews(criterion: &mut Criterion) {
    let settings = support::settings();
    let object = &support::stateful_set().to_string();
    let question = Question { object, old: None, namespace: Some("shop") };
    criterion.bench_function("decide and patch a CREATE of 8 kB", |bench| {
        bench.iter(|| decide(&settings, black_box(&question)));
    });

    let stored = support::injected(&settings, object);
    let scaled = stored.replacen("\"replicas\":3", "\"replicas\":5", 1);
    let restarted = stored.replacen("couchdb:3.5", "couchdb:3.6", 1);
    for (what, new, old) in [
        ("decide an UPDATE that scales", &scaled, &stored),
        ("decide an UPDATE of the image", &restarted, &stored),
        ("decide an UPDATE without the injection", object, &stored),
    ] {
        let question = Question { object: new, old: Some(old), namespace: Some("shop") };
        criterion.bench_function(what, |bench| bench.iter(|| decide(&settings, black_box(&question))));
    }
}

criterion_group!(benches, reviews);
criterion_main!(benches);
