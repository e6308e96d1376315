//! The budget of a review, in allocations: parse, decide, patch and answer. The time is measured by
//! `cargo bench -p couchdiscover-webhook`.
//!
//! Alone in its program, since the allocator counts for all threads.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

mod support;

use std::alloc::System;
use std::hint::black_box;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use webhook::admission::admit_body;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn count<T>(mut work: impl FnMut() -> T) -> usize {
    black_box(work());
    let region = Region::new(ALLOCATOR);
    black_box(work());
    let stats = region.change();
    stats.allocations + stats.reallocations
}

#[test]
fn a_create_of_eight_kilobytes_stays_within_its_budget() {
    let settings = support::stateful_set::settings();
    let body = support::create_of_eight_kilobytes();
    assert!((7_500..8_500).contains(&body.len()), "{}", body.len());
    let whole = count(|| admit_body(&settings, &body).unwrap().1.response.to_json());
    println!("parse, decide, patch and answer: {whole} allocations");
    assert!(whole <= 80, "parse, decide, patch and answer: {whole} allocations");
}
