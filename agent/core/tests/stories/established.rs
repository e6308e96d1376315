//! An established cluster: what keeps it formed, and what is refused.

use std::time::Duration;

use agent_core::decide::{IdentitySource, Refusal, Step, WaitFor, next_step};
use agent_core::facts::{ApiState, KnownRecord, Node, Observed, SystemDatabase, Unseen};
use insta::assert_snapshot;

use crate::cluster::{cluster, copies_on, member, pristine, with_uuid};
use crate::explained;

#[test]
fn a_missing_system_database_is_left_to_a_person_for_a_moment() {
    let half =
        Node { system: [(SystemDatabase::Users, copies_on(0..2))].into(), databases: 1, ..member(0..2) };
    let after = |seconds| {
        let absent_for = Duration::from_secs(seconds);
        next_step(&Observed { absent_for, ..cluster(2).all(0..2, &half).observed() })
    };
    let database = SystemDatabase::Replicator;
    assert_eq!(after(4), Step::Wait(WaitFor::SystemDatabase { by: 0, database }));
    assert_eq!(after(5), Step::CreateDatabase(database));
}

#[test]
fn a_node_that_is_alone_adopts_the_recorded_uuid_unless_that_cluster_was_given_up() {
    let recorded = Observed {
        api: ApiState::Current,
        record: KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None },
        ..cluster(1).node(0, with_uuid("generated", 9, member([0]))).observed()
    };
    assert_snapshot!(explained(&recorded), @"[ready] AdoptingIdentity: the uuid of this node differs from the cluster's: copying it from the founding record");
    let given_up = Observed { form_anew: Some("0409c57d".to_owned()), ..recorded };
    assert!(!matches!(next_step(&given_up), Step::Adopt(_)), "the record is of another cluster");
}

#[test]
fn a_displaced_pod_refuses_every_step() {
    let observed = cluster(2).members(0..2).observed();
    assert_snapshot!(explained(&Observed { displaced_by: Some("7c1f".to_owned()), ..observed }), @"[not ready] Displaced: another pod is named 'couchdb-0' now (uid '7c1f'): this one was deleted while its machine was cut off, and must not run. Fix: shut down the machine of this pod, or check that the pod no longer runs on it");
}

#[test]
fn a_peer_that_lost_its_volume_is_not_reported_to_have_removed_this_node() {
    assert_snapshot!(explained(&cluster(2).members(0..2).pristine([1]).observed()), @"[ready] WaitingForMembership: couchdb-1 does not list couchdb-0");
}

#[test]
fn a_complete_cluster_is_settled() {
    assert_snapshot!(explained(&cluster(3).me(1).members(0..3).observed()), @"[ready] Settled: the cluster is formed, and every member confirms it");
}

#[test]
fn an_established_member_stays_ready_while_no_peer_answers() {
    let alone = Node { connected: [1].into(), ..member(0..3) };
    assert_snapshot!(explained(&cluster(3).me(1).node(1, alone).unseen(2, Unseen::NoAnswer).observed()), @"[ready] WaitingForPeers: couchdb-0 cannot be reached; couchdb-2 does not answer in time");
}

#[test]
fn a_member_that_the_others_no_longer_list_is_not_ready() {
    let observed = cluster(3).me(2).members(0..2).node(2, member(0..3)).observed();
    assert_snapshot!(explained(&observed), @"[not ready] NotListed: couchdb-0, couchdb-1 no longer list this node: it was removed from their _nodes. Fix: to add the node again: kubectl couchdiscover readmit couchdb-2 -n default; to remove it for good, scale StatefulSet 'couchdb' down");
}

#[test]
fn a_foreign_node_refuses_and_the_cluster_goes_on() {
    let with_foreign_node = || cluster(3).members(0..2).members([2]);
    assert_snapshot!(explained(&with_foreign_node().me(2).observed()), @"[not ready] ForeignData: this node holds databases that the cluster of couchdb-0, couchdb-1 does not know; if it joined, one side's databases would vanish. Fix: save the data of this node, then empty its volume: it joins with an empty one");
    assert_snapshot!(explained(&with_foreign_node().observed()), @"[ready] ForeignPeers: couchdb-2 holds databases that this cluster does not know, so it is not joined. Fix: save the data there, then empty the volume: a node joins with an empty one");
}

#[test]
fn a_restarted_container_adopts_the_clusters_identity_before_anything_else() {
    let nodes = cluster(3)
        .node(0, with_uuid("new", 3, member(0..3)))
        .node(1, with_uuid("old", 900, member(0..3)))
        .unseen(2, Unseen::Unreachable);
    assert_snapshot!(explained(&nodes.clone().me(0).observed()), @"[ready] AdoptingIdentity: the uuid of this node differs from the cluster's: copying it from couchdb-1");
    assert_snapshot!(explained(&nodes.me(1).observed()), @"[ready] WaitingForPeers: couchdb-2 cannot be reached");
}

#[test]
fn two_groups_of_two_are_split() {
    assert_snapshot!(explained(&cluster(4).members(0..2).members(2..4).observed()), @"[not ready] SplitCluster: 2 groups of nodes hold data and do not list each other: couchdb-0, couchdb-1 | couchdb-2, couchdb-3; if they were connected, one side's databases would vanish. Fix: choose the group that stays, save the data of the others, then empty their volumes: they join with empty ones");
}

#[test]
fn a_missing_system_database_is_created_by_the_lowest_only() {
    let half =
        Node { system: [(SystemDatabase::Users, copies_on(0..2))].into(), databases: 1, ..member(0..2) };
    assert_snapshot!(explained(&cluster(2).all(0..2, &half).observed()), @"[ready] CreatingDatabase: no member has _replicator: creating it");
    assert_snapshot!(explained(&cluster(2).me(1).all(0..2, &half).observed()), @"[ready] WaitingForSystemDatabase: waiting until couchdb-0 creates _replicator");
}

#[test]
fn a_member_waits_for_maps_that_have_not_reached_every_node() {
    assert_snapshot!(explained(&cluster(2).members(0..2).node(1, pristine(0..2)).observed()), @"[ready] WaitingForMaps: waiting until the shard maps of the system databases reach couchdb-1");
}

#[test]
fn a_cluster_whose_system_databases_cannot_be_opened_is_not_settled() {
    let observed = cluster(2).members(0..2).observed();
    assert_snapshot!(explained(&Observed { finished: false, ..observed }), @"[ready] SystemDatabasesClosed: the system databases exist, but cannot be opened. Fix: check that no node that holds them is in maintenance mode: kubectl -n default exec -it couchdb-0 -- curl -u admin 'http://127.0.0.1:5984/_node/_local/_config/couchdb/maintenance_mode'");
}

#[test]
fn members_beyond_the_size_are_reported_and_left_unchanged() {
    assert_snapshot!(explained(&cluster(2).all(0..2, &member(0..3)).observed()), @"[ready] MembersBeyondSize: couchdb-2 is a member beyond the size of StatefulSet 'couchdb', and not drained: no member is removed that may hold the only copy of data. Fix: scale up again (kubectl -n default scale statefulset/couchdb --replicas=M), then drain them: kubectl couchdiscover scale couchdb -n default --replicas N");
}

#[test]
fn a_member_beyond_the_size_keeps_serving() {
    assert_snapshot!(explained(&cluster(2).me(2).members(0..3).observed()), @"[ready] NotExpected: couchdb-2 is beyond the size of StatefulSet 'couchdb': it neither joins nor leaves");
}

/// An impostor has the address of pod 1: it is a member by its own report only, and claims the longest uptime.
#[test]
fn a_host_that_answers_at_a_pods_name_and_is_no_member_changes_no_identity() {
    let impostor = || with_uuid("impostor", u64::MAX, member(0..3));
    let without_1 =
        |uuid, uptime| with_uuid(uuid, uptime, Node { connected: [0, 2].into(), ..member([0, 2]) });
    let alone = cluster(2).node(0, with_uuid("ours", 5000, member([0]))).node(1, impostor());
    let peer_silent = cluster(3).node(0, without_1("ours", 5000)).node(1, impostor());
    let restarted =
        cluster(3).node(0, without_1("new", 3)).node(1, impostor()).node(2, without_1("ours", 5000));
    assert!(!matches!(next_step(&alone.observed()), Step::Adopt(_)));
    assert!(!matches!(next_step(&peer_silent.observed()), Step::Adopt(_)));
    let Step::Adopt(difference) = next_step(&restarted.observed()) else { panic!("the identity was lost") };
    assert_eq!(difference.from, IdentitySource::Member(2));

    // The pod is a member, and its name leads to another host: the listed node is not connected.
    let listed = |uuid, uptime| with_uuid(uuid, uptime, Node { connected: [0, 2].into(), ..member(0..3) });
    let diverted = cluster(3).node(0, listed("ours", 5000)).node(1, impostor());
    assert!(!matches!(next_step(&diverted.observed()), Step::Adopt(_)));
}

#[test]
fn pods_that_share_a_member_outside_of_the_statefulset_are_one_cluster() {
    let with = |ordinal: u32, colleagues: &[&str]| {
        let colleagues = colleagues.iter().map(|name| (*name).to_owned()).collect();
        Node { colleagues, databases: 3, ..member([ordinal]) }
    };
    let machines = ["couchdb@machine-1", "couchdb@machine-2"];
    let shared = cluster(2).node(0, with(0, &machines)).node(1, with(1, &machines[1..])).observed();
    assert!(!matches!(next_step(&shared), Step::Refuse(_)), "{:?}", next_step(&shared));
    // By the number of members: the other pod has none but itself.
    let larger = cluster(2).node(0, with(0, &machines)).node(1, with(1, &[])).observed();
    assert_eq!(next_step(&larger), Step::Wait(WaitFor::ForeignPeers([1].into())));
    let smaller = Observed {
        me: 1,
        local: larger.peers[&1].clone(),
        peers: [(0, larger.local.clone())].into(),
        ..larger
    };
    assert_eq!(next_step(&smaller), Step::Refuse(Refusal::ForeignData { cluster: [0].into() }));
}
