//! An established cluster: what keeps it whole, and what is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::decide::{Step, next_step};
use agent_core::facts::{
    ApiState, Digest, Identity, IdentityPart, KnownRecord, Node, Observed, SystemDatabase, Unseen,
};
use insta::assert_snapshot;

use crate::{fresh, member, on, seen, tell};

#[test]
fn a_node_that_is_alone_takes_the_recorded_uuid_unless_that_cluster_was_given_up() {
    let parts = [(IdentityPart::Uuid, Digest::of(["made up"]))].into();
    let alone = Node {
        identity: Identity { parts, uptime: Duration::from_secs(9), ..Identity::default() },
        ..member([0])
    };
    let recorded = Observed {
        api: ApiState::Current,
        record: KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None },
        ..seen(0, 1, alone, [])
    };
    assert_snapshot!(tell(&recorded), @"[ready] AdoptingIdentity: the uuid differs from the cluster's: taking it over from the founding record");
    let given_up = Observed { form_anew: Some("0409c57d".to_owned()), ..recorded };
    assert!(!matches!(next_step(&given_up), Step::Adopt(_)), "it is another cluster's");
}

#[test]
fn a_pod_whose_name_another_one_has_does_nothing_more() {
    let peers = [(1, Ok(member([0, 1])))];
    let displaced = Observed { displaced_by: Some("7c1f".to_owned()), ..seen(0, 2, member([0, 1]), peers) };
    assert_snapshot!(tell(&displaced), @"[not ready] Displaced: pod 'couchdb-0' is another one now, with uid '7c1f': this one was deleted while its machine was cut off, and should not be alive. Make sure that its machine is shut down, or that this pod is gone from it");
}

#[test]
fn a_peer_that_lost_its_volume_has_removed_nobody() {
    let wiped = seen(0, 2, member([0, 1]), [(1, Ok(fresh([1])))]);
    assert_snapshot!(tell(&wiped), @"[ready] WaitingForMembership: couchdb-1 doesn't list couchdb-0");
}

#[test]
fn a_whole_cluster_is_settled() {
    let all = member([0, 1, 2]);
    assert_snapshot!(tell(&seen(1, 3, all.clone(), [(0, Ok(all.clone())), (2, Ok(all))])), @"[ready] Settled: the cluster is formed, and every member confirms it");
}

#[test]
fn an_established_member_stays_ready_when_every_peer_is_gone() {
    let peers = [(0, Err(Unseen::Unreachable)), (2, Err(Unseen::NoAnswer))];
    assert_snapshot!(tell(&seen(1, 3, Node { connected: [1].into(), ..member([0, 1, 2]) }, peers)), @"[ready] WaitingForPeers: couchdb-0 can't be reached, couchdb-2 does not answer in time");
}

#[test]
fn a_member_that_the_others_no_longer_list_is_not_ready() {
    let peers = [(0, Ok(member([0, 1]))), (1, Ok(member([0, 1])))];
    assert_snapshot!(tell(&seen(2, 3, member([0, 1, 2]), peers)), @"[not ready] NotListed: somebody removed this node: it is no longer listed by couchdb-0, couchdb-1. To take it back, PUT its name into their _nodes; to let it go, scale down");
}

#[test]
fn a_foreign_node_is_refused_and_the_cluster_goes_on() {
    let foreign = member([2]);
    let peers = [(0, Ok(member([0, 1]))), (1, Ok(member([0, 1])))];
    assert_snapshot!(tell(&seen(2, 3, foreign.clone(), peers)), @"[not ready] ForeignData: this node holds databases that the cluster of couchdb-0, couchdb-1 doesn't know; joined, one side's data would vanish. Save what is here, then empty its volume to let it join");
    let peers = [(1, Ok(member([0, 1]))), (2, Ok(foreign))];
    assert_snapshot!(tell(&seen(0, 3, member([0, 1]), peers)), @"[ready] ForeignPeers: outside stay, with data that this cluster doesn't know: couchdb-2. Save what they hold, then empty their volumes to let them join");
}

#[test]
fn a_restarted_container_takes_the_clusters_identity_over_before_anything_else() {
    let with = |uuid: &str, uptime| {
        let parts = [(IdentityPart::Uuid, Digest::of([uuid]))].into();
        Node {
            identity: Identity { parts, uptime: Duration::from_secs(uptime), ..Identity::default() },
            ..member([0, 1, 2])
        }
    };
    let silent = Err(Unseen::Unreachable);
    let restarted = seen(0, 3, with("new", 3), [(1, Ok(with("old", 900))), (2, silent.clone())]);
    assert_snapshot!(tell(&restarted), @"[ready] AdoptingIdentity: the uuid differs from the cluster's: taking it over from couchdb-1");
    let stayed = seen(1, 3, with("old", 900), [(0, Ok(with("new", 3))), (2, silent)]);
    assert_snapshot!(tell(&stayed), @"[ready] WaitingForPeers: couchdb-2 can't be reached");
}

#[test]
fn two_groups_of_two_are_split() {
    let peers = [(1, Ok(member([0, 1]))), (2, Ok(member([2, 3]))), (3, Ok(member([2, 3])))];
    assert_snapshot!(tell(&seen(0, 4, member([0, 1]), peers)), @"[not ready] SplitCluster: there are 2 groups that hold data and don't know each other: couchdb-0, couchdb-1 | couchdb-2, couchdb-3. Brought together, one side's databases would vanish. Choose the one that stays, save what the others hold, then empty their volumes to let them join");
}

#[test]
fn a_missing_system_database_is_made_by_the_lowest_only() {
    let half = Node { system: [(SystemDatabase::Users, on([0, 1]))].into(), databases: 1, ..member([0, 1]) };
    assert_snapshot!(tell(&seen(0, 2, half.clone(), [(1, Ok(half.clone()))])), @"[not ready] CreatingDatabase: no member has _replicator: making it");
    assert_snapshot!(tell(&seen(1, 2, half.clone(), [(0, Ok(half))])), @"[not ready] WaitingForSystemDatabase: waiting until couchdb-0 makes _replicator");
}

#[test]
fn maps_that_have_not_reached_everybody_are_waited_for() {
    let late = Node { system: BTreeMap::new(), databases: 0, ..member([0, 1]) };
    assert_snapshot!(tell(&seen(0, 2, member([0, 1]), [(1, Ok(late))])), @"[ready] WaitingForMaps: waiting until the databases' maps reach couchdb-1");
}

#[test]
fn system_databases_that_cannot_be_opened_are_not_settled() {
    let all = member([0, 1]);
    let observed = Observed { finished: false, ..seen(0, 2, all.clone(), [(1, Ok(all))]) };
    assert_snapshot!(tell(&observed), @"[ready] SystemDatabasesClosed: the system databases are in the maps and can't be opened. Are the nodes that hold them in maintenance mode?");
}

#[test]
fn members_beyond_the_size_are_told_and_left_alone() {
    let all = member([0, 1, 2]);
    assert_snapshot!(tell(&seen(0, 2, all.clone(), [(1, Ok(all))])), @"[ready] MembersBeyondSize: members beyond the StatefulSet's size: couchdb-2; nothing is removed by itself. Scale back up, or drain them and DELETE their documents in /_node/_local/_nodes");
}

#[test]
fn a_member_beyond_the_size_keeps_serving() {
    let all = member([0, 1, 2]);
    let observed = Observed { me: 2, ..seen(2, 2, all.clone(), [(0, Ok(all.clone())), (1, Ok(all))]) };
    assert_snapshot!(tell(&observed), @"[ready] NotExpected: couchdb-2 is beyond the StatefulSet's size: it neither joins nor leaves");
}
