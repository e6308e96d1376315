//! The limit for the allocations of a decision and its patch. The time is measured by
//! `cargo bench -p couchdiscover-inject`.
//!
//! The only test of its program, since the allocator counts for all threads.

mod support;

use std::alloc::System;
use std::hint::black_box;

use inject::{Question, decide};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

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
fn a_create_of_eight_kilobytes_stays_below_the_limit() {
    let settings = support::settings();
    let object = support::stateful_set().to_string();
    let question = Question { object: &object, old: None, namespace: Some("shop") };
    let decided = count(|| decide(&settings, &question));
    println!("decide and patch: {decided} allocations");
    assert!(decided <= 60, "decide and patch: {decided} allocations");
}
