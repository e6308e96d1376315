//! Nodes that come empty to an established cluster, and the copies that they are given.

use agent_core::decide::{Step, WaitFor, next_step};
use agent_core::facts::{
    ApiState, KnownRecord, LeaseState, MaintenanceMode, Node, Observed, Spread, SystemDatabase, Unseen,
    VolumeNote,
};
use insta::assert_snapshot;

use crate::cluster::{Cluster, cluster, copies_on, member, member_with_one_copy, pristine, release, up};
use crate::explained;

#[test]
fn a_lowest_node_that_lost_its_volume_joins_the_established_ones() {
    let nodes = cluster(3).members(0..3).pristine([0]);
    let mut wiped = Observed { note: VolumeNote::None, ..nodes.observed() };
    assert_snapshot!(explained(&wiped), @"[not ready] NotingFilling: this node will receive copies of the cluster's data: noting on its volume that they are incomplete");
    wiped.note = VolumeNote::Filling;
    assert_snapshot!(explained(&wiped), @"[not ready] EnteringMaintenance: the volume of this node is incomplete: taking the node out of reads and writes until it is filled");
    wiped.maintenance = MaintenanceMode::On;
    assert_snapshot!(explained(&wiped), @"[not ready] Joining: joining couchdb-1");
    let closed_manually = Observed { note: VolumeNote::None, ..wiped };
    assert_snapshot!(explained(&closed_manually), @"[not ready] Joining: joining couchdb-1");
}

#[test]
fn a_node_that_came_empty_is_closed_until_it_is_filled() {
    let nodes = cluster(3).members(0..3).unseen(2, Unseen::Unreachable);
    let mut unknown = Observed { note: VolumeNote::None, ..nodes.observed() };
    assert_snapshot!(explained(&unknown), @"[ready] ProvingWhole: comparing the shards on this node with the other copies, to detect a volume that came to its cluster empty");
    unknown.note = VolumeNote::Filling;
    assert_snapshot!(explained(&unknown), @"[not ready] EnteringMaintenance: the volume of this node is incomplete: taking the node out of reads and writes until it is filled");
    unknown.maintenance = MaintenanceMode::On;
    assert_snapshot!(explained(&unknown), @"[not ready] Filling: out of reads and writes until every shard on this node has what the other copies have");

    let alone = cluster(3).node(0, member(0..3)).observed();
    assert_snapshot!(explained(&Observed { note: VolumeNote::Filling, ..alone }), @"[not ready] WaitingForPeers: couchdb-1 cannot be reached; couchdb-2 cannot be reached");
    let complete = cluster(3).members(0..3).observed();
    assert_snapshot!(explained(&Observed { maintenance: MaintenanceMode::On, ..complete }), @"[not ready] ClosedByHand: maintenance_mode of this node is 'true', set manually: the pod is not ready until it ends; left unchanged. Fix: kubectl couchdiscover open couchdb-0 -n default");
}

#[test]
fn the_members_of_a_grown_cluster_add_copies_one_after_another() {
    let grown = |me: u32| cluster(3).me(me).all(0..3, &member_with_one_copy(0..3));
    assert_snapshot!(explained(&grown(0).observed()), @"[ready] SystemDatabaseUnderReplicated: _replicator has 1 of 3 copies: it was created when the cluster was smaller; couchdb-1 adds the next one");
    assert_snapshot!(explained(&grown(1).observed()), @"[not ready] NotingFilling: this node will receive copies of the cluster's data: noting on its volume that they are incomplete");
    assert_snapshot!(explained(&grown(2).observed()), @"[ready] SystemDatabaseUnderReplicated: _replicator has 1 of 3 copies: it was created when the cluster was smaller; couchdb-1 adds the next one");
    let closed = |cluster: Cluster| Observed {
        note: VolumeNote::Filling,
        maintenance: MaintenanceMode::On,
        ..cluster.observed()
    };
    assert_snapshot!(explained(&closed(grown(1))), @"[not ready] AddingCopies: _replicator and _users have too few copies: adding one on this node");
    assert!(matches!(next_step(&closed(grown(2))), Step::Fill { .. }), "it is the turn of node 1");
    let unseen = grown(1).unseen(2, Unseen::NoAnswer).observed();
    assert!(matches!(next_step(&unseen), Step::Wait(WaitFor::Peers(_))), "only while all see the same");
}

#[test]
fn a_node_that_has_joined_again_waits_for_the_maps() {
    let observed =
        cluster(3).node(0, pristine(0..2)).node(1, member(0..3)).unseen(2, Unseen::Unreachable).observed();
    assert_snapshot!(explained(&observed), @"[not ready] WaitingForAdoption: joined: waiting for the shard maps of couchdb-1");
}

#[test]
fn a_pristine_node_between_two_groups_joins_neither() {
    assert_snapshot!(explained(&cluster(3).pristine([0]).members([1]).members([2]).observed()), @"[not ready] SplitCluster: 2 groups of nodes hold data and do not list each other: couchdb-1 | couchdb-2; if they were connected, one side's databases would vanish. Fix: choose the group that stays, save the data of the others, then empty their volumes: they join with empty ones");
}

#[test]
fn a_pristine_node_that_has_joined_a_peer_joins_again_where_no_two_groups_can_meet() {
    let joins = |nodes: Cluster| {
        let observed = nodes.me(2).node(2, pristine([0, 2])).observed();
        matches!(next_step(&observed), Step::NoteFilling | Step::Join(1))
    };
    let silent = || cluster(3).unseen(0, Unseen::NoAnswer);
    assert!(joins(cluster(3).pristine([0]).members([1])), "every node answers");
    assert!(joins(silent().node(1, member([1, 2]))), "node 1 lists this node");
    assert!(joins(silent().node(1, member([0, 1]))), "node 1 lists the node that this one joined");
    assert!(!joins(silent().members([1])), "node 1 may be another cluster");
}

#[test]
fn a_pristine_node_does_not_connect_a_group_that_does_not_answer_to_another() {
    let observed = cluster(3).me(2).members([1]).node(2, pristine([0, 2])).observed();
    assert_snapshot!(explained(&observed), @"[not ready] WaitingForJoined: this node joined couchdb-0 before, which does not answer; until it does, couchdb-1 may be another cluster, and is not joined. Fix: bring couchdb-0 back: kubectl -n default get pods");
}

#[test]
fn a_copy_is_added_under_the_lease_and_no_node_stays_closed_for_it() {
    let node = |me| cluster(2).me(me).all(0..2, &member_with_one_copy(0..2)).observed();
    let free =
        Observed { api: ApiState::Current, record: KnownRecord::Absent, lease: LeaseState::Free, ..node(1) };
    let held = |observed: &Observed| Observed {
        lease: LeaseState::Held("couchdb-0".to_owned()),
        ..observed.clone()
    };
    assert_eq!(next_step(&free), Step::NoteFilling);
    assert_snapshot!(explained(&held(&free)), @"[ready] WaitingForLease: the agent of couchdb-0 holds Lease 'couchdb-couchdiscover', under which one agent acts at a time");
    let silent = Observed { api: ApiState::Silent, ..free.clone() };
    assert!(matches!(next_step(&silent), Step::Wait(WaitFor::Copies { .. })));
    let not_my_turn = Observed { lease: LeaseState::Held("couchdb-1".to_owned()), ..node(0) };
    assert!(matches!(next_step(&not_my_turn), Step::Wait(WaitFor::Copies { turn: Some(1), .. })));

    let closed = Observed { note: VolumeNote::Filling, maintenance: MaintenanceMode::On, ..free };
    assert_eq!(next_step(&closed), Step::TakeLease);
    assert!(matches!(next_step(&Observed { lease: LeaseState::Mine, ..closed.clone() }), Step::AddCopies(_)));
    assert!(matches!(next_step(&held(&closed)), Step::Fill { .. }));
    assert!(matches!(next_step(&Observed { api: ApiState::Silent, ..closed }), Step::Fill { .. }));
}

#[test]
fn copies_are_added_only_where_too_few_and_only_while_all_nodes_see_the_same_maps() {
    let three = copies_on(0..3);
    let spread = |replicator: Spread, users: Spread| Node {
        system: [(SystemDatabase::Replicator, replicator), (SystemDatabase::Users, users)].into(),
        ..member(0..4)
    };
    let closed = |cluster: Cluster| Observed {
        note: VolumeNote::Filling,
        maintenance: MaintenanceMode::On,
        ..cluster.observed()
    };
    let with = |mine: &Node, theirs: &Node| cluster(4).me(3).all(0..3, theirs).node(3, mine.clone());
    let one_copy = spread(copies_on([0]), three.clone());
    assert!(matches!(next_step(&closed(with(&one_copy, &one_copy))), Step::Fill { .. }), "node 1 is first");
    let two_copies = spread(copies_on([0, 1]), three.clone());
    let two_of_three = Spread { copies: 2, holders: [0, 1, 2].into() };
    let mine = spread(two_of_three, three);
    assert_eq!(
        next_step(&closed(with(&mine, &mine))),
        Step::AddCopies([SystemDatabase::Replicator].into()),
        "_users has enough"
    );
    let differs = closed(with(&mine, &two_copies));
    assert!(matches!(next_step(&differs), Step::Fill { .. }), "the others see another map");
    let unseen = closed(with(&mine, &mine).unseen(2, Unseen::NoAnswer));
    assert!(matches!(next_step(&unseen), Step::Fill { .. }), "node 2 may be changing the map");
}

#[test]
fn a_volume_is_compared_only_with_nodes_that_hold_data() {
    let nodes = cluster(3).members(0..3).node(2, pristine(0..3));
    let unknown = Observed { note: VolumeNote::None, ..nodes.observed() };
    assert_eq!(next_step(&unknown), Step::CompareVolume { with: [1].into() });
}

#[test]
fn a_node_that_has_just_started_on_an_unknown_volume_is_closed_before_it_is_compared() {
    let node = |uptime, databases| up(uptime, Node { databases, ..member(0..2) });
    let with = |mine: Node, theirs: Node| Observed {
        note: VolumeNote::None,
        ..cluster(2).node(0, mine).node(1, theirs).observed()
    };
    let compare = Step::CompareVolume { with: [1].into() };
    assert_eq!(next_step(&with(node(29, 3), node(900, 3))), Step::NoteFilling);
    assert_eq!(next_step(&with(node(30, 3), node(900, 3))), compare, "it has been open for long");
    assert_eq!(next_step(&with(node(29, 2), node(900, 3))), compare, "it holds only system databases");
    assert_eq!(next_step(&with(node(29, 3), node(29, 3))), compare, "no peer was up before it");
    let nodes = cluster(3).node(0, node(29, 3)).node(1, node(900, 3)).unseen(2, Unseen::NoAnswer);
    let silent = Observed { note: VolumeNote::None, ..nodes.observed() };
    assert_eq!(next_step(&silent), compare, "it may hold the only copies");
    let unproven = with(Node { connected: [0].into(), ..node(29, 3) }, node(u64::MAX, 3));
    assert_eq!(next_step(&unproven), compare, "the uptime of a node that is not connected does not count");
}

#[test]
fn a_volume_is_compared_once_after_each_start_whatever_its_note() {
    let restarted = Observed { compared: false, ..cluster(2).members(0..2).observed() };
    assert_eq!(next_step(&restarted), Step::CompareVolume { with: [1].into() });
    let closed = Observed { maintenance: MaintenanceMode::NoLb, ..restarted };
    assert_snapshot!(explained(&closed), @"[not ready] ClosedByHand: maintenance_mode of this node is 'nolb', set manually: the pod is not ready until it ends; left unchanged. Fix: kubectl couchdiscover open couchdb-0 -n default");
    let silent = cluster(2).members(0..2).unseen(1, Unseen::NoAnswer).observed();
    let silent = Observed { compared: false, ..silent };
    assert!(matches!(next_step(&silent), Step::Wait(_)), "it stays a member");
    let alone = Observed { compared: false, ..cluster(1).members([0]).observed() };
    assert_eq!(next_step(&alone), Step::Settled, "there is no other copy");
}

#[test]
fn a_downgraded_node_is_closed_until_it_is_compared() {
    let node = |minor, uptime| release(minor, up(uptime, member(0..2)));
    let with =
        |mine, theirs| Observed { compared: false, ..cluster(2).node(0, mine).node(1, theirs).observed() };
    let downgraded = with(node(3, 5), node(5, 900));
    assert_eq!(next_step(&downgraded), Step::NoteFilling);
    assert_snapshot!(explained(&downgraded), @"[not ready] NotingFilling: this node will receive copies of the cluster's data: noting on its volume that they are incomplete");
    let nodes = cluster(3).node(0, node(3, 5)).node(1, node(5, 900)).unseen(2, Unseen::NoAnswer);
    for (open, why) in [
        (with(node(5, 5), node(3, 900)), "it was upgraded"),
        (with(node(3, 900), node(5, 5)), "it has been up longer than the newer one"),
        (Observed { compared: false, ..nodes.observed() }, "it may hold the only copies"),
        (Observed { compared: true, ..downgraded }, "it has been compared"),
    ] {
        assert!(!matches!(next_step(&open), Step::NoteFilling), "{why}");
    }
}
