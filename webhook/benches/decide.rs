//! What a review costs, without the network: `cargo bench -p couchdiscover-webhook --bench decide`.
//!
//! The budget is 30 us for a CREATE of 8 kB; `tests/allocations.rs` holds the one for allocations.

#![allow(missing_docs, reason = "criterion's macros make functions")]
#![allow(clippy::unwrap_used, reason = "a bench that panics has said what it has to say")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use webhook::admission::Request;
use webhook::admission::admit_body;
use webhook::inject::{Question, Settings, decide};

fn settings() -> Settings {
    Settings {
        agent_image: "couchdiscover-agent:test".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        version: "0.0.0-test".to_owned(),
    }
}

fn reviews(criterion: &mut Criterion) {
    let settings = settings();
    let create = support::create_of_eight_kilobytes();
    let object = Request::parse(&create).unwrap().object.unwrap().get();
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
        ("decide an UPDATE that lacks the injection", &object.to_owned(), &stored),
    ] {
        let question = Question { object: new, old: Some(old), namespace: Some("shop") };
        criterion.bench_function(what, |bench| bench.iter(|| decide(&settings, black_box(&question))));
    }

    let mut whole = criterion.benchmark_group("parse, decide, patch and answer");
    for (what, body) in [
        ("8 kB", create.clone()),
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
