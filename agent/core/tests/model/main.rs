//! Every reachable state of a small cluster, and from each of them the end.
//!
//! Deciding and acting are separate events, so a step may be carried out on facts that are no longer true. Nodes
//! crash, come back, lose their volume and are cut off; finish_cluster may die half way.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

mod couch;
mod proof;
mod world;

use std::collections::BTreeSet;

use agent_core::decide::{Refusal, Step};
use agent_core::facts::VolumeNote;

use crate::couch::Couch;
use crate::proof::{every_state_ends_refused, every_state_ends_settled};
use crate::world::{Faults, World};

/// Where the record can be written, a cluster that lost every volume is not founded again: it stands refused. One that
/// lost them before it was written down is founded, and no state is in between.
#[test]
fn a_cluster_that_was_written_down_is_never_founded_over() {
    for n in 1..=2 {
        let mut world = World::fresh(n, Faults { crashes: 1, wipes: n + 1, ..Faults::default() });
        world.asks_kubernetes = true;
        for state in world.reachable() {
            let empty = state.nodes.iter().all(|node| node.databases.is_empty());
            let (lost, end) = (empty && state.record, state.settle());
            end.check_invariants();
            let refused =
                end.steps().iter().all(|step| matches!(step, Step::Refuse(Refusal::FormedBefore { .. })));
            let settled = end.steps().iter().all(|step| *step == Step::Settled);
            // A stale decision to found, from before the record, is none that a node without data can still hold:
            // its agent went with the volume.
            assert!(if lost { refused } else { settled }, "{:?}\n{end:?}", end.steps());
        }
    }
}

#[test]
fn one_node_through_crashes_and_a_lost_volume() {
    every_state_ends_settled(World::fresh(1, Faults { crashes: 2, wipes: 1, ..Faults::default() }));
}

#[test]
fn two_nodes_through_crashes_cuts_and_lost_volumes() {
    every_state_ends_settled(World::fresh(2, Faults { crashes: 1, cuts: 1, wipes: 2, ..Faults::default() }));
    let mut unknown = World::fresh(2, Faults { crashes: 1, wipes: 1, ..Faults::default() });
    unknown.nodes.iter_mut().for_each(|node| node.note = VolumeNote::None);
    every_state_ends_settled(unknown);
}

#[test]
fn three_nodes_through_crashes() {
    every_state_ends_settled(World::fresh(3, Faults { crashes: 3, ..Faults::default() }));
}

#[test]
fn three_nodes_through_crashes_and_lost_volumes() {
    every_state_ends_settled(World::fresh(3, Faults { crashes: 1, wipes: 2, ..Faults::default() }));
}

#[test]
fn three_nodes_through_a_crash_a_lost_volume_and_cuts() {
    every_state_ends_settled(World::fresh(3, Faults { crashes: 1, wipes: 1, cuts: 2, ..Faults::default() }));
}

#[test]
fn four_nodes_through_a_crash_or_a_lost_volume() {
    every_state_ends_settled(World::fresh(4, Faults { crashes: 1, wipes: 1, ..Faults::default() }));
}

/// Container restarts that keep the volume and forget uuid, secret and admins.
#[test]
fn nodes_that_restart_get_the_clusters_identity_back() {
    every_state_ends_settled(World::fresh(2, Faults { restarts: 2, ..Faults::default() }));
    every_state_ends_settled(World::fresh(3, Faults { restarts: 2, ..Faults::default() }));
    let cut_too = Faults { restarts: 1, cuts: 1, crashes: 1, ..Faults::default() };
    every_state_ends_settled(World::fresh(2, cut_too));
}

/// What was written down at the founding is there for whoever sees nobody else.
#[test]
fn nodes_that_restart_have_the_recorded_identity_in_the_end() {
    for n in 1..=2 {
        let mut world = World::fresh(n, Faults { restarts: 2, ..Faults::default() });
        world.asks_kubernetes = true;
        every_state_ends_settled(world.clone());
        let as_recorded = |end: World| end.nodes.iter().all(|node| node.identity == end.recorded);
        assert!(
            world
                .reachable()
                .into_iter()
                .filter(|state| state.record)
                .all(|state| as_recorded(state.settle())),
            "the identity was lost with the ini of the node that had it"
        );
    }
}

/// One can't open a connection to the other, which can to it.
#[test]
fn nodes_through_cuts_in_one_direction() {
    every_state_ends_settled(World::fresh(
        2,
        Faults { half_cuts: 2, crashes: 1, wipes: 1, ..Faults::default() },
    ));
    every_state_ends_settled(World::fresh(3, Faults { half_cuts: 1, crashes: 1, ..Faults::default() }));
}

/// A record that is lost is written again, also on the way.
#[test]
fn a_record_that_is_lost_is_written_again() {
    for n in 1..=2 {
        let mut world = World::fresh(n, Faults { crashes: 1, lost_records: 2, ..Faults::default() });
        world.asks_kubernetes = true;
        every_state_ends_settled(world.clone());
        assert!(
            world.reachable().into_iter().all(|state| state.settle().record),
            "not written down in the end"
        );
    }
}

/// `spec.replicas` changes in any state. Where that leaves members beyond the size, a person has to see to them, and
/// nothing more is done.
#[test]
fn a_size_that_changes_on_the_way_is_followed() {
    let faults = Faults { resizes: 1, crashes: 1, ..Faults::default() };
    for (volumes, size) in [(2, 1), (2, 2), (3, 1), (3, 2)] {
        for state in World::fresh(volumes, faults).of_size(size).reachable() {
            let end = state.clone().settle();
            end.check_invariants();
            let beyond = |i: u8| end.node(i).members.iter().any(|member| *member >= end.size);
            let left = end.ordinals().any(beyond);
            let fine = |step: &Step| match left {
                true => matches!(step, Step::Wait(_)),
                false => *step == Step::Settled,
            };
            assert!(end.steps().iter().all(fine), "{:?}\nfrom {state:?}\nto {end:?}", end.steps());
        }
    }
}

#[test]
fn nodes_that_are_disabled_or_lack_a_secret_are_helped() {
    let mut world = World::fresh(3, Faults::default());
    world.nodes[0].secret = false;
    world.nodes[1].enabled = false;
    world.nodes[1].secret = false;
    every_state_ends_settled(world);
}

/// The same under the Lease, which its holder may lose at any time: order alone keeps two changes apart then.
#[test]
fn a_cluster_grows_under_the_lease() {
    for n in 2..=3 {
        let mut world = World::fresh(n, Faults { crashes: u8::from(n == 2), ..Faults::default() });
        world.nodes[0] = Couch::foreign(0, 1, &[]);
        (world.asks_kubernetes, world.record) = (true, true);
        every_state_ends_settled(world);
    }
}

/// A cluster of one that grows: the others join it, out of all reads until they have what it has, and one after the
/// other gets copies of the system databases.
#[test]
fn a_node_with_data_of_its_own_is_joined_and_never_founded_over() {
    for faults in [Faults { crashes: 1, ..Faults::default() }, Faults { cuts: 1, ..Faults::default() }] {
        let mut world = World::fresh(3, faults);
        world.nodes[1] = Couch::foreign(1, 1, &[]);
        every_state_ends_settled(world);
    }
}

#[test]
fn of_two_that_lost_their_volumes_neither_waits_for_the_other() {
    let nodes = [0, 1, 2].map(|i| Couch::foreign(i, 1, &[0, 1, 2]));
    every_state_ends_settled(World::new(nodes.into(), Faults { wipes: 2, ..Faults::default() }));
}

#[test]
fn a_foreign_node_is_never_taken_into_a_cluster() {
    let nodes = vec![Couch::foreign(0, 1, &[0, 1]), Couch::foreign(1, 1, &[0, 1]), Couch::foreign(2, 2, &[])];
    let world = World::new(nodes, Faults { crashes: 1, cuts: 1, ..Faults::default() });
    every_state_ends_refused(world, &|steps| {
        let cluster = BTreeSet::from([0, 1]);
        steps[2] == Step::Refuse(Refusal::ForeignData { cluster })
            && steps[..2].iter().all(|step| matches!(step, Step::Wait(_)))
    });
}

#[test]
fn clusters_of_one_are_never_brought_together_not_even_by_fresh_nodes_between_them() {
    let faults = Faults { crashes: 1, cuts: 1, ..Faults::default() };
    for fresh in [&[2][..], &[2, 3]] {
        let mut nodes = vec![Couch::foreign(0, 1, &[]), Couch::foreign(1, 2, &[])];
        nodes.extend(fresh.iter().copied().map(Couch::fresh));
        // Which of them is the lowest must not matter.
        for turn in 0..nodes.len() {
            let world = World::new(turned(&nodes, turn), faults);
            every_state_ends_refused(world, &|steps| !steps.contains(&Step::Settled));
        }
    }
}

/// The same nodes under other ordinals.
fn turned(nodes: &[Couch], by: usize) -> Vec<Couch> {
    let mut nodes = nodes.to_vec();
    nodes.rotate_left(by);
    for (i, node) in nodes.iter_mut().enumerate() {
        node.members = [u8::try_from(i).unwrap()].into();
    }
    nodes
}
