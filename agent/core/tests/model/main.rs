//! Every reachable state of a small cluster, and the state that the agents settle in from each of them.
//!
//! Deciding and acting are separate events, so a step may be carried out on facts that are no longer true. Nodes crash,
//! start again, lose their volume and are cut off; `finish_cluster` may end half way.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its result")]

mod copies;
mod couch;
mod liars;
mod proof;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::collections::BTreeSet;

use agent_core::decide::{Refusal, Step, WaitFor, next_step};
use agent_core::facts::VolumeNote;

use crate::couch::Couch;
use crate::proof::{every_state_ends_refused, every_state_ends_settled};
use crate::world::{Faults, World};

/// With a founding record, a cluster that lost every volume is not formed again: every agent refuses. One that lost them
/// before it was recorded is formed, and no state is in between.
#[test]
fn a_recorded_cluster_is_never_replaced_by_a_new_one() {
    for n in 1..=2 {
        let mut world = World::pristine(n, Faults { crashes: 1, wipes: n + 1, ..Faults::default() });
        world.asks_kubernetes = true;
        for state in world.reachable() {
            let empty = state.nodes.iter().all(|node| node.databases.is_empty());
            let (lost, end) = (empty && state.record, state.settle());
            end.check_invariants();
            let refused =
                end.steps().iter().all(|step| matches!(step, Step::Refuse(Refusal::FormedBefore { .. })));
            let settled = end.steps().iter().all(|step| *step == Step::Settled);
            // No pristine node can still hold a decision to form the cluster from before the record: its agent was
            // restarted together with the volume.
            assert!(if lost { refused } else { settled }, "{:?}\n{end:?}", end.steps());
        }
    }
}

#[test]
fn one_node_settles_after_crashes_and_a_lost_volume() {
    every_state_ends_settled(World::pristine(1, Faults { crashes: 2, wipes: 1, ..Faults::default() }));
}

#[test]
fn two_nodes_settle_after_crashes_cuts_and_lost_volumes() {
    every_state_ends_settled(World::pristine(
        2,
        Faults { crashes: 1, cuts: 1, wipes: 2, ..Faults::default() },
    ));
    let mut unknown = World::pristine(2, Faults { crashes: 1, wipes: 1, ..Faults::default() });
    unknown.nodes.iter_mut().for_each(|node| node.note = VolumeNote::None);
    every_state_ends_settled(unknown);
}

#[test]
fn three_nodes_settle_after_crashes() {
    every_state_ends_settled(World::pristine(3, Faults { crashes: 3, ..Faults::default() }));
}

#[test]
fn three_nodes_settle_after_crashes_and_lost_volumes() {
    every_state_ends_settled(World::pristine(3, Faults { crashes: 1, wipes: 2, ..Faults::default() }));
}

#[test]
fn three_nodes_settle_after_a_crash_a_lost_volume_and_cuts() {
    every_state_ends_settled(World::pristine(
        3,
        Faults { crashes: 1, wipes: 1, cuts: 2, ..Faults::default() },
    ));
}

#[test]
fn four_nodes_settle_after_a_crash_and_a_lost_volume() {
    every_state_ends_settled(World::pristine(4, Faults { crashes: 1, wipes: 1, ..Faults::default() }));
}

/// A container restart keeps the volume and loses uuid, secret and admins.
#[test]
fn nodes_that_restart_adopt_the_clusters_identity() {
    every_state_ends_settled(World::pristine(2, Faults { restarts: 2, ..Faults::default() }));
    every_state_ends_settled(World::pristine(3, Faults { restarts: 2, ..Faults::default() }));
    let cut_too = Faults { restarts: 1, cuts: 1, crashes: 1, ..Faults::default() };
    every_state_ends_settled(World::pristine(2, cut_too));
}

/// A node that sees no other adopts the recorded identity.
#[test]
fn nodes_that_restart_settle_with_the_recorded_identity() {
    for n in 1..=2 {
        let mut world = World::pristine(n, Faults { restarts: 2, ..Faults::default() });
        world.asks_kubernetes = true;
        every_state_ends_settled(world.clone());
        let as_recorded = |end: World| end.nodes.iter().all(|node| node.identity == end.recorded);
        assert!(
            world
                .reachable()
                .into_iter()
                .filter(|state| state.record)
                .all(|state| as_recorded(state.settle())),
            "the identity was lost with the ini file of the node that had it"
        );
    }
}

/// A name in DNS, or an address, that leads to another host.
#[test]
fn a_host_that_answers_at_a_pods_name_gives_no_node_its_identity() {
    for n in 2..=3 {
        let nodes = (0..n).map(|i| Couch::foreign(i, 1, &Vec::from_iter(0..n))).collect();
        let crashes = u8::from(n == 2);
        every_state_ends_settled(World::new(
            nodes,
            Faults { restarts: 1, impostors: 1, crashes, ..Faults::default() },
        ));
    }
}

/// One node can't open a connection to the other, which can open one to it.
#[test]
fn nodes_settle_after_cuts_in_one_direction() {
    every_state_ends_settled(World::pristine(
        2,
        Faults { half_cuts: 2, crashes: 1, wipes: 1, ..Faults::default() },
    ));
    every_state_ends_settled(World::pristine(3, Faults { half_cuts: 1, crashes: 1, ..Faults::default() }));
}

/// At any time: while the cluster is being formed, and later.
#[test]
fn a_record_that_is_lost_is_written_again() {
    for n in 1..=2 {
        let mut world = World::pristine(n, Faults { crashes: 1, lost_records: 2, ..Faults::default() });
        world.asks_kubernetes = true;
        every_state_ends_settled(world.clone());
        assert!(world.reachable().into_iter().all(|state| state.settle().record), "settled without a record");
    }
}

/// `spec.replicas` changes in any state. Where that leaves members beyond the size, the agents wait for a person.
#[test]
fn agents_follow_a_size_that_changes_at_any_time() {
    let faults = Faults { resizes: 1, crashes: 1, ..Faults::default() };
    for (volumes, size) in [(2, 1), (2, 2), (3, 1), (3, 2)] {
        for state in World::pristine(volumes, faults).of_size(size).reachable() {
            let end = state.clone().settle();
            end.check_invariants();
            let beyond = |i: u8| end.node(i).members.iter().any(|member| *member >= end.size);
            let left = end.ordinals().any(beyond);
            let fine =
                |step: &Step| if left { matches!(step, Step::Wait(_)) } else { *step == Step::Settled };
            assert!(end.steps().iter().all(fine), "{:?}\nfrom {state:?}\nto {end:?}", end.steps());
        }
    }
}

#[test]
fn nodes_that_are_disabled_or_have_no_secret_settle() {
    let mut world = World::pristine(3, Faults::default());
    world.nodes[0].secret = false;
    world.nodes[1].enabled = false;
    world.nodes[1].secret = false;
    every_state_ends_settled(world);
}

/// The holder may lose the Lease at any time. Then only the order of the rules keeps two edits of a map apart.
#[test]
fn a_cluster_grows_under_the_lease() {
    for n in 2..=3 {
        let mut world = World::pristine(n, Faults { crashes: u8::from(n == 2), ..Faults::default() });
        world.nodes[0] = Couch::foreign(0, 1, &[]);
        (world.asks_kubernetes, world.record) = (true, true);
        every_state_ends_settled(world);
    }
}

/// A cluster of one that grows: the others join it, stay out of reads until they are complete, and add copies of the
/// system databases one after another.
#[test]
fn an_established_node_is_joined_and_no_cluster_is_formed_beside_it() {
    for faults in [Faults { crashes: 1, ..Faults::default() }, Faults { cuts: 1, ..Faults::default() }] {
        let mut world = World::pristine(3, faults);
        world.nodes[1] = Couch::foreign(1, 1, &[]);
        every_state_ends_settled(world);
    }
}

#[test]
fn two_nodes_that_lost_their_volumes_do_not_wait_for_each_other() {
    let nodes = [0, 1, 2].map(|i| Couch::foreign(i, 1, &[0, 1, 2]));
    every_state_ends_settled(World::new(nodes.into(), Faults { wipes: 2, ..Faults::default() }));
}

#[test]
fn a_foreign_node_never_becomes_a_member() {
    let nodes = vec![Couch::foreign(0, 1, &[0, 1]), Couch::foreign(1, 1, &[0, 1]), Couch::foreign(2, 2, &[])];
    let world = World::new(nodes, Faults { crashes: 1, cuts: 1, ..Faults::default() });
    every_state_ends_refused(world, &|steps| {
        let cluster = BTreeSet::from([0, 1]);
        steps[2] == Step::Refuse(Refusal::ForeignData { cluster })
            && steps[..2].iter().all(|step| matches!(step, Step::Wait(_)))
    });
}

/// An image or a script has created them. A client may write into one of them at any time; then it is no longer removed.
#[test]
fn nodes_with_empty_system_databases_of_their_own_become_one_cluster_and_lose_no_document() {
    let empty = |i| Couch { has_users: false, ..Couch::foreign(i, 1 + i, &[]) };
    for n in 2..=3 {
        let faults = Faults { crashes: u8::from(n == 2), ..Faults::default() };
        every_state_ends_settled(World::new((0..n).map(empty).collect(), faults));
    }
    let written = World::new((0..2).map(empty).collect(), Faults { writes: 1, ..Faults::default() });
    for state in written.reachable() {
        state.clone().settle().check_invariants();
    }
    // One of them is the cluster already.
    let cluster = vec![Couch::foreign(0, 1, &[]), empty(1)];
    every_state_ends_settled(World::new(cluster, Faults { crashes: 1, ..Faults::default() }));
}

/// A node that was used alone, and newcomers with empty system databases of their own.
#[test]
fn the_node_that_holds_the_data_never_refuses() {
    for newcomers in 1..=2 {
        let mut nodes = vec![Couch { orders: true, ..Couch::foreign(0, 1, &[]) }];
        nodes.extend((1..=newcomers).map(|i| Couch::foreign(i, 1 + i, &[])));
        let faults =
            Faults { crashes: 4 - newcomers, cuts: 1, half_cuts: 2 - newcomers, ..Faults::default() };
        let world = World::new(nodes, faults);
        let others: BTreeSet<u32> = (1..=newcomers).map(u32::from).collect();
        for state in world.clone().reachable() {
            let step = next_step(&state.observe(0));
            assert!(!matches!(step, Step::Refuse(_)), "{step:?}: {state:?}");
        }
        every_state_ends_refused(world, &|steps| {
            steps[0] == Step::Wait(WaitFor::ForeignPeers(others.clone()))
                && steps[1..].iter().all(|step| matches!(step, Step::Refuse(Refusal::ForeignData { .. })))
        });
    }
}

#[test]
fn clusters_of_one_are_never_connected_not_even_by_pristine_nodes_between_them() {
    let faults = Faults { crashes: 1, cuts: 1, ..Faults::default() };
    for pristine in [&[2][..], &[2, 3]] {
        let mut nodes = vec![Couch::foreign(0, 1, &[]), Couch::foreign(1, 2, &[])];
        nodes.extend(pristine.iter().copied().map(Couch::pristine));
        // It must not matter which of them is the lowest.
        for turn in 0..nodes.len() {
            let world = World::new(turned(&nodes, turn), faults);
            every_state_ends_refused(world, &|steps| !steps.contains(&Step::Settled));
        }
    }
}

/// The pods are members of a cluster that exists elsewhere. A person adds its machine to one of them, at any time; until
/// then they wait. Nothing is read from an empty copy, the only pod's included.
#[test]
fn pods_beside_a_machine_that_the_user_names_join_its_cluster_and_form_none() {
    for (pods, faults) in [
        (1, Faults { crashes: 1, wipes: 2, additions: 1, cuts: 1, ..Faults::default() }),
        (2, Faults { crashes: 1, additions: 1, ..Faults::default() }),
        (2, Faults { wipes: 1, additions: 1, ..Faults::default() }),
    ] {
        let (mut settled, mut waiting) = (0, 0);
        for state in World::pristine(pods, faults).beside_a_machine().reachable() {
            let end = state.clone().settle();
            end.check_invariants();
            let steps = end.steps();
            if steps.iter().all(|step| *step == Step::Settled) {
                settled += 1;
            } else {
                let waits = |step: &Step| *step == Step::Wait(WaitFor::OtherMembers(BTreeSet::new()));
                assert!(steps.iter().all(waits), "{steps:?}\nfrom {state:?}\nto {end:?}");
                waiting += 1;
            }
        }
        assert!(settled > 0 && waiting > 0, "{settled} and {waiting} states");
    }
}

/// A node that held the only copy of a database comes back with an empty volume. Where a member remembers the lost volume, the
/// node stays closed and refuses, whatever happens meanwhile; the others go on.
#[test]
fn the_only_holder_of_a_lost_copy_never_opens_by_itself() {
    let nodes = (0..2).map(|i| Couch { note: VolumeNote::None, ..Couch::foreign(i, 1, &[0, 1]) });
    let mut world = World::new(nodes.collect(), Faults { crashes: 1, cuts: 1, ..Faults::default() });
    world.only_holder = Some(1);
    world.nodes[1].orders = true;
    world.left.wipes = 1;
    let mut refused = 0;
    for state in world.reachable() {
        let end = state.clone().settle();
        end.check_invariants();
        if !end.lost_remembered {
            continue;
        }
        let steps = end.steps();
        assert!(
            matches!(steps[1], Step::Refuse(Refusal::ShardsLost { .. })),
            "{steps:?}\nfrom {state:?}\nto {end:?}"
        );
        assert!(end.node(1).maintenance && end.node(1).note == VolumeNote::Filling, "open: {end:?}");
        assert!(!matches!(steps[0], Step::Refuse(_)), "{steps:?}");
        refused += 1;
    }
    assert!(refused > 0);
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
