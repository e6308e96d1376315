//! Nodes that come empty to an established cluster, and the copies that they are given.

use std::time::Duration;

use agent_core::decide::{Step, WaitFor, next_step};
use agent_core::facts::{
    ApiState, Identity, KnownRecord, LeaseState, MaintenanceMode, Node, Observed, Release, Spread,
    SystemDatabase, Unseen, VolumeNote,
};
use insta::assert_snapshot;

use crate::{fresh, member, on, seen, tell};

#[test]
fn a_wiped_lowest_joins_the_established() {
    let peers = [(1, Ok(member([0, 1, 2]))), (2, Ok(member([0, 1, 2])))];
    let mut wiped = Observed { note: VolumeNote::None, ..seen(0, 3, fresh([0]), peers) };
    assert_snapshot!(tell(&wiped), @"[not ready] NotingFilling: copies of the cluster's data will come to this node: writing down on its volume that they are not complete");
    wiped.note = VolumeNote::Filling;
    assert_snapshot!(tell(&wiped), @"[not ready] EnteringMaintenance: this node's volume has to be filled first: keeping it out of reads and writes until then");
    wiped.maintenance = MaintenanceMode::On;
    assert_snapshot!(tell(&wiped), @"[not ready] Joining: joining couchdb-1");
    let by_hand = Observed { note: VolumeNote::None, ..wiped };
    assert_snapshot!(tell(&by_hand), @"[not ready] Joining: joining couchdb-1");
}

#[test]
fn a_node_that_came_empty_is_closed_until_it_is_filled() {
    let all = member([0, 1, 2]);
    let peers = [(1, Ok(all.clone())), (2, Err(Unseen::Unreachable))];
    let mut unknown = Observed { note: VolumeNote::None, ..seen(0, 3, all.clone(), peers) };
    assert_snapshot!(tell(&unknown), @"[ready] ProvingWhole: comparing the shards here with the other copies, to see whether this volume came without its data");
    unknown.note = VolumeNote::Filling;
    assert_snapshot!(tell(&unknown), @"[not ready] EnteringMaintenance: this node's volume has to be filled first: keeping it out of reads and writes until then");
    unknown.maintenance = MaintenanceMode::On;
    assert_snapshot!(tell(&unknown), @"[not ready] Filling: out of reads and writes until every shard here has what the other copies have");
    let alone = [(1, Err(Unseen::Unreachable)), (2, Err(Unseen::Unreachable))];
    let restarted = Observed { note: VolumeNote::Filling, ..seen(0, 3, all.clone(), alone) };
    assert_snapshot!(tell(&restarted), @"[not ready] WaitingForPeers: couchdb-1 can't be reached, couchdb-2 can't be reached");
    let by_hand = Observed {
        maintenance: MaintenanceMode::On,
        ..seen(0, 3, all.clone(), [(1, Ok(all.clone())), (2, Ok(all))])
    };
    assert_snapshot!(tell(&by_hand), @r#"[ready] ClosedByHand: the cluster is formed; maintenance_mode of this node is 'true' by somebody's hand, and stays as it is. To open it, PUT "false" to /_node/_local/_config/couchdb/maintenance_mode"#);
}

#[test]
fn a_grown_cluster_gets_its_copies_one_member_after_another() {
    let thin =
        Node { system: SystemDatabase::ALL.map(|database| (database, on([0]))).into(), ..member([0, 1, 2]) };
    let grown = |me: u32| {
        let peers = [(u32::from(me == 0), Ok(thin.clone())), (2 - u32::from(me == 2), Ok(thin.clone()))];
        seen(me, 3, thin.clone(), peers)
    };
    assert_snapshot!(tell(&grown(0)), @"[ready] SystemDatabaseUnderReplicated: _replicator has 1 copy and 3 are wanted: it was made when the cluster was smaller; couchdb-1 takes the next one");
    assert_snapshot!(tell(&grown(1)), @"[not ready] NotingFilling: copies of the cluster's data will come to this node: writing down on its volume that they are not complete");
    assert_snapshot!(tell(&grown(2)), @"[ready] SystemDatabaseUnderReplicated: _replicator has 1 copy and 3 are wanted: it was made when the cluster was smaller; couchdb-1 takes the next one");
    let closed = Observed { note: VolumeNote::Filling, maintenance: MaintenanceMode::On, ..grown(1) };
    assert_snapshot!(tell(&closed), @"[not ready] AddingCopies: _replicator and _users have too few copies: this node gets one");
    let late = Observed { note: VolumeNote::Filling, maintenance: MaintenanceMode::On, ..grown(2) };
    assert!(matches!(next_step(&late), Step::Fill { .. }), "it is not its turn");
    let unseen = Observed { peers: [(0, Ok(thin.clone())), (2, Err(Unseen::NoAnswer))].into(), ..grown(1) };
    assert!(matches!(next_step(&unseen), Step::Wait(WaitFor::Peers(_))), "only while all see the same");
}

#[test]
fn a_wiped_lowest_that_has_joined_waits_for_the_maps() {
    let peers = [(1, Ok(member([0, 1, 2]))), (2, Err(Unseen::Unreachable))];
    assert_snapshot!(tell(&seen(0, 3, fresh([0, 1]), peers)), @"[not ready] WaitingForAdoption: joined; waiting for the databases' maps of couchdb-1");
}

#[test]
fn a_fresh_node_between_two_groups_joins_neither() {
    let peers = [(1, Ok(member([1]))), (2, Ok(member([2])))];
    assert_snapshot!(tell(&seen(0, 3, fresh([0]), peers)), @"[not ready] SplitCluster: there are 2 groups that hold data and don't know each other: couchdb-1 | couchdb-2. Brought together, one side's databases would vanish. Choose the one that stays, save what the others hold, then empty their volumes to let them join");
}

#[test]
fn a_fresh_node_that_joined_somebody_joins_on_where_nobody_can_be_brought_together() {
    let joins =
        |peers| matches!(next_step(&seen(2, 3, fresh([0, 2]), peers)), Step::NoteFilling | Step::Join(1));
    assert!(joins([(0, Ok(fresh([0]))), (1, Ok(member([1])))]), "nobody is silent");
    assert!(joins([(0, Err(Unseen::NoAnswer)), (1, Ok(member([1, 2])))]), "they know me");
    assert!(joins([(0, Err(Unseen::NoAnswer)), (1, Ok(member([0, 1])))]), "they know whom I joined");
    assert!(!joins([(0, Err(Unseen::NoAnswer)), (1, Ok(member([1])))]), "they may be another cluster");
}

#[test]
fn a_fresh_node_that_joined_a_silent_group_does_not_bridge_it_to_another() {
    let peers = [(0, Err(Unseen::Unreachable)), (1, Ok(member([1])))];
    assert_snapshot!(tell(&seen(2, 3, fresh([0, 2]), peers)), @"[not ready] WaitingForJoined: joined couchdb-0 before, which doesn't answer; until it does, couchdb-1 may be another cluster, and is not joined. Bring couchdb-0 back");
}

#[test]
fn a_copy_is_given_under_the_lease_and_nobody_waits_outside_for_it() {
    let thin =
        Node { system: SystemDatabase::ALL.map(|database| (database, on([0]))).into(), ..member([0, 1]) };
    let free = Observed {
        api: ApiState::Current,
        record: KnownRecord::Absent,
        lease: LeaseState::Free,
        ..seen(1, 2, thin.clone(), [(0, Ok(thin.clone()))])
    };
    let held = |observed: &Observed| Observed {
        lease: LeaseState::Held("couchdb-0".to_owned()),
        ..observed.clone()
    };
    assert_eq!(next_step(&free), Step::NoteFilling);
    assert_snapshot!(tell(&held(&free)), @"[ready] WaitingForLease: the agent of couchdb-0 does what only one may do at a time, and holds the Lease");
    let silent = Observed { api: ApiState::Silent, ..free.clone() };
    assert!(matches!(next_step(&silent), Step::Wait(WaitFor::Copies { .. })));
    let not_my_turn = Observed {
        lease: LeaseState::Held("couchdb-1".to_owned()),
        ..seen(0, 2, thin.clone(), [(1, Ok(thin))])
    };
    assert!(matches!(next_step(&not_my_turn), Step::Wait(WaitFor::Copies { turn: Some(1), .. })));

    let closed = Observed { note: VolumeNote::Filling, maintenance: MaintenanceMode::On, ..free };
    assert_eq!(next_step(&closed), Step::TakeLease);
    assert!(matches!(next_step(&Observed { lease: LeaseState::Mine, ..closed.clone() }), Step::AddCopies(_)));
    assert!(matches!(next_step(&held(&closed)), Step::Fill { .. }));
    assert!(matches!(next_step(&Observed { api: ApiState::Silent, ..closed }), Step::Fill { .. }));
}

#[test]
fn copies_are_given_only_of_what_is_thin_and_only_while_all_see_the_same() {
    let three = on([0, 1, 2]);
    let spread = |replicator: Spread, users: Spread| Node {
        system: [(SystemDatabase::Replicator, replicator), (SystemDatabase::Users, users)].into(),
        ..member([0, 1, 2, 3])
    };
    let with = |mine: Node, theirs: Node| Observed {
        note: VolumeNote::Filling,
        maintenance: MaintenanceMode::On,
        ..seen(3, 4, mine, [0, 1, 2].map(|peer| (peer, Ok(theirs.clone()))))
    };
    let thin = spread(on([0]), three.clone());
    assert!(matches!(next_step(&with(thin.clone(), thin)), Step::Fill { .. }), "it is 1's turn");
    let last = spread(on([0, 1]), three.clone());
    let held_by_two = Spread { copies: 2, holders: [0, 1, 2].into() };
    let mine = spread(held_by_two, three);
    assert_eq!(
        next_step(&with(mine.clone(), mine.clone())),
        Step::AddCopies([SystemDatabase::Replicator].into()),
        "the other one has enough"
    );
    assert!(matches!(next_step(&with(mine.clone(), last)), Step::Fill { .. }), "they see another map");
    let alone = Observed {
        peers: [(0, Ok(mine.clone())), (1, Ok(mine.clone())), (2, Err(Unseen::NoAnswer))].into(),
        ..with(mine.clone(), mine)
    };
    assert!(matches!(next_step(&alone), Step::Fill { .. }), "one may be changing it");
}

#[test]
fn a_volume_is_compared_with_those_only_who_hold_data() {
    let peers = [(1, Ok(member([0, 1, 2]))), (2, Ok(fresh([0, 1, 2])))];
    let unknown = Observed { note: VolumeNote::None, ..seen(0, 3, member([0, 1, 2]), peers) };
    assert_eq!(next_step(&unknown), Step::CompareVolume { with: [1].into() });
}

#[test]
fn who_has_just_started_with_a_volume_that_nobody_looked_at_is_closed_before_it_is_compared() {
    let up = |uptime, databases| Node {
        identity: Identity { uptime: Duration::from_secs(uptime), ..Identity::default() },
        databases,
        ..member([0, 1])
    };
    let with = |node: Node, peer| Observed { note: VolumeNote::None, ..seen(0, 2, node, [(1, peer)]) };
    let whole = || Ok(up(900, 3));
    assert_eq!(next_step(&with(up(29, 3), whole())), Step::NoteFilling);
    let compared = Step::CompareVolume { with: [1].into() };
    assert_eq!(next_step(&with(up(30, 3), whole())), compared, "it has been open for long");
    assert_eq!(next_step(&with(up(29, 2), whole())), compared, "nothing of anybody's is on it");
    assert_eq!(next_step(&with(up(29, 3), Ok(up(29, 3)))), compared, "nobody was there before it");
    let silent = Observed {
        peers: [(1, whole()), (2, Err(Unseen::NoAnswer))].into(),
        expected: [0, 1, 2].into(),
        ..with(up(29, 3), whole())
    };
    assert_eq!(next_step(&silent), compared, "nobody else might have what it has");
}

#[test]
fn a_note_is_believed_once_the_shards_were_compared_since_the_start() {
    let restarted = Observed { compared: false, ..seen(0, 2, member([0, 1]), [(1, Ok(member([0, 1])))]) };
    assert_eq!(next_step(&restarted), Step::CompareVolume { with: [1].into() });
    let closed = Observed { maintenance: MaintenanceMode::NoLb, ..restarted.clone() };
    assert_snapshot!(tell(&closed), @r#"[ready] ClosedByHand: the cluster is formed; maintenance_mode of this node is 'nolb' by somebody's hand, and stays as it is. To open it, PUT "false" to /_node/_local/_config/couchdb/maintenance_mode"#);
    let silent = Observed { peers: [(1, Err(Unseen::NoAnswer))].into(), ..restarted };
    assert!(matches!(next_step(&silent), Step::Wait(_)), "it is a member, and stays one");
    let alone = Observed { compared: false, ..seen(0, 1, member([0]), []) };
    assert_eq!(next_step(&alone), Step::Settled, "nobody has another copy");
}

#[test]
fn who_went_back_to_an_older_release_is_closed_until_it_was_compared() {
    let of = |minor, uptime| Node {
        release: Some(Release { major: 3, minor }),
        identity: Identity { uptime: Duration::from_secs(uptime), ..Identity::default() },
        ..member([0, 1])
    };
    let with = |mine, theirs| Observed { compared: false, ..seen(0, 2, mine, [(1, Ok(theirs))]) };
    let back = with(of(3, 5), of(5, 900));
    assert_eq!(next_step(&back), Step::NoteFilling);
    assert_snapshot!(tell(&back), @"[not ready] NotingFilling: copies of the cluster's data will come to this node: writing down on its volume that they are not complete");
    for (open, why) in [
        (with(of(5, 5), of(3, 900)), "it goes on"),
        (with(of(3, 900), of(5, 5)), "it was there before"),
        (
            Observed {
                expected: [0, 1, 2].into(),
                peers: [(1, Ok(of(5, 900))), (2, Err(Unseen::NoAnswer))].into(),
                ..back.clone()
            },
            "nobody else might have what it has",
        ),
        (Observed { compared: true, ..back }, "it was compared"),
    ] {
        assert!(!matches!(next_step(&open), Step::NoteFilling), "{why}");
    }
}
