//! The time of a review without the network: `cargo bench -p couchdiscover-webhook --bench review`.
//!
//! The budget is 30 us for a CREATE of 8 kB. `tests/allocations.rs` limits the allocations.

#![allow(missing_docs, reason = "criterion's macros generate functions")]
#![allow(clippy::unwrap_used, reason = "a panic is the failure of a bench")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use webhook::admission::admit_body;

fn reviews(criterion: &mut Criterion) {
    let settings = support::stateful_set::settings();
    let create = support::create_of_eight_kilobytes();
    let object = &support::stateful_set::stateful_set().to_string();
    let mut whole = criterion.benchmark_group("parse, decide, patch and answer");
    for (what, body) in [
        ("8 kB", create),
        ("1.5 MB", support::with_variables(object, 20_000)),
        ("recorded", support::review("CREATE")),
    ] {
        whole.throughput(Throughput::Bytes(body.len() as u64));
        whole.bench_function(what, |bench| {
            bench.iter(|| admit_body(&settings, black_box(&body)).unwrap().1.response.to_json());
        });
    }
    whole.finish();
}

criterion_group!(benches, reviews);
criterion_main!(benches);
