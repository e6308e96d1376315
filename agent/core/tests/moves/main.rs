//! Moves of copies in a simulated cluster: with a writer and readers, killed nodes, and leaders that end between any two
//! calls.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod calls;
mod plans;
mod world;

use std::time::Duration;

use agent_core::moves::Phase;

use world::{Fault, World};

/// A drain with a writer and a reader: each copy that a reader meets has every document that was written some seconds ago.
#[test]
fn no_reader_meets_an_incomplete_copy() {
    for copies in 1..=3 {
        for seed in 0..40 {
            let mut world = World::new(seed, 4, copies);
            world.drain(3, |world| {
                world.write();
                world.read();
                None
            });
            world.assert_drained(3);
        }
    }
}

/// The leader is replaced by one without memory after each call in turn.
#[test]
fn a_leader_may_end_after_any_call() {
    for copies in 1..=3 {
        let mut calls = 0;
        for cut in 0..400 {
            let mut world = World::new(7 + cut % 2, 4, copies);
            world.drain(3, |world| {
                world.write();
                world.read();
                (world.calls == cut).then_some(Fault::LeaderEnds)
            });
            world.assert_drained(3);
            calls = world.calls;
            if cut > calls {
                break;
            }
        }
        assert!((6..400).contains(&calls), "every call was the last one once, of {calls}");
    }
}

/// Nodes are killed at random, and with them what they were about to replicate.
#[test]
fn no_acknowledged_document_is_lost_when_nodes_are_killed() {
    for copies in 1..=3 {
        for seed in 0..60 {
            let mut world = World::new(seed, 4, copies);
            world.drain(3, |world| {
                world.write();
                match world.random(40) {
                    0 => Some(Fault::Kill),
                    1 => Some(Fault::LeaderEnds),
                    _ => None,
                }
            });
            world.assert_drained(3);
        }
    }
}

/// A source that is killed in the moment in which it leaves the map has forgotten to push the last writes. They are found.
#[test]
fn a_source_that_forgets_its_last_writes_returns_into_the_map() {
    let mut returned = 0;
    for seed in 0..60 {
        let mut world = World::new(seed, 3, 1);
        let mut killed = false;
        world.drain(2, |world| {
            world.write();
            let removed = world.phase() == Some(Phase::Verify);
            (removed && !std::mem::replace(&mut killed, true)).then_some(Fault::KillSource)
        });
        world.assert_drained(2);
        returned += usize::from(world.returned);
    }
    assert!(returned > 0, "no run had a write that only the source had got");
}

/// The target loses its volume while it is filled: the proof of the first file does not count for the second.
#[test]
fn a_target_that_loses_its_volume_is_filled_again() {
    for copies in 1..=3 {
        for seed in 0..20 {
            let mut world = World::new(seed, 4, copies);
            let mut lost = false;
            world.drain(3, |world| {
                world.write();
                let filling = world.phase() == Some(Phase::Fill) && world.elapsed() > Duration::from_secs(2);
                (filling && !std::mem::replace(&mut lost, true)).then_some(Fault::LoseTarget)
            });
            assert!(lost);
            world.assert_drained(3);
        }
    }
}

/// The old file of the source has no checkpoint to the new file of the target. It returns into the map until it has one,
/// although nobody writes to the database.
#[test]
fn a_target_that_was_refilled_is_compared_with_the_source_again() {
    for copies in 2..=3 {
        for seed in 0..10 {
            let mut world = World::new(seed, 4, copies);
            let mut lost = false;
            world.drain(3, |world| {
                let verifies = world.phase() == Some(Phase::Verify);
                (verifies && !std::mem::replace(&mut lost, true)).then_some(Fault::RefillTarget)
            });
            assert!(lost);
            world.assert_drained(3);
            assert!(world.returned && world.ended, "{copies} copies, seed {seed}");
        }
    }
}

/// Nothing reaches a node whose disk is full. Its copies are given up until there is room, and the source keeps its own.
#[test]
fn a_copy_that_cannot_be_filled_is_given_up_and_tried_again() {
    for copies in 1..=2 {
        for seed in 0..10 {
            let mut world = World::new(seed, 3, copies);
            world.faults_for = Duration::from_secs(900);
            let (mut full, mut room) = (false, false);
            world.drain(2, |world| {
                if !std::mem::replace(&mut full, true) {
                    return Some(Fault::FullDisks);
                }
                let gave_up = !world.given_up.is_empty();
                (gave_up && !std::mem::replace(&mut room, true)).then(|| {
                    assert_eq!((world.placeholders(), world.orphans()), (0, 0));
                    Fault::Room
                })
            });
            assert!(world.given_up[0].contains("disk may be full"), "{:?}", world.given_up);
            world.assert_drained(2);
        }
    }
}
