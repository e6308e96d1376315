//! The allocations of a review: parse, decide, patch and answer. `cargo bench -p couchdiscover-webhook` measures the time.
//!
//! The only test of its program, because the allocator counts those of all threads.

#![allow(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod support;

use std::alloc::System;
use std::hint::black_box;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use webhook::admission::admit_body;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn count<T>(mut work: impl FnMut() -> T) -> usize {
    // The first run fills caches that live as long as the program.
    black_box(work());
    let region = Region::new(ALLOCATOR);
    black_box(work());
    let stats = region.change();
    stats.allocations + stats.reallocations
}

#[test]
fn a_create_of_eight_kilobytes_takes_at_most_80_allocations() {
    let settings = support::stateful_set::settings();
    let body = support::create_of_eight_kilobytes();
    assert!((7_500..8_500).contains(&body.len()), "{}", body.len());
    let whole = count(|| admit_body(&settings, &body).unwrap().1.response.to_json());
    println!("parse, decide, patch and answer: {whole} allocations");
    assert!(whole <= 80, "parse, decide, patch and answer: {whole} allocations");
}
