//! Before there is a cluster: who joins whom, and what a founding waits for.

use agent_core::decide::{Readiness, Step, WaitFor, next_step, readiness};
use agent_core::facts::{
    ApiState, KnownRecord, LeaseState, Node, Observed, PodManagement, Release, SystemDatabase, Unseen,
};
use insta::assert_snapshot;

use crate::{fresh, member, on, seen, tell};

#[test]
fn one_fresh_node_founds_at_once() {
    assert_snapshot!(tell(&seen(0, 1, fresh([0]), [])), @"[not ready] Founding: every node answers, is connected and empty: founding the cluster");
}

#[test]
fn a_fresh_node_joins_the_lowest() {
    assert_snapshot!(tell(&seen(2, 3, fresh([2]), [(0, Ok(fresh([0]))), (1, Ok(fresh([1])))])), @"[not ready] Joining: joining couchdb-0");
}

#[test]
fn a_fresh_node_joins_the_lowest_also_while_others_are_silent() {
    assert_snapshot!(tell(&seen(2, 3, fresh([2]), [(0, Ok(fresh([0]))), (1, Err(Unseen::NoAnswer))])), @"[not ready] Joining: joining couchdb-0");
}

#[test]
fn a_joined_node_waits_for_the_founder() {
    let all = fresh([0, 1, 2]);
    assert_snapshot!(tell(&seen(2, 3, all.clone(), [(0, Ok(all.clone())), (1, Ok(all))])), @"[not ready] WaitingForFounding: waiting until couchdb-0 founds the cluster");
}

#[test]
fn the_lowest_does_not_found_while_a_peer_is_silent() {
    let unseen = [(1, Err(Unseen::NameUnknown)), (2, Err(Unseen::Busy))];
    assert_snapshot!(tell(&seen(0, 3, fresh([0]), unseen)), @"[not ready] WaitingForPeers: couchdb-1 is not in DNS, couchdb-2 is not up yet. Has the Service publishNotReadyAddresses: true, and does the pod exist?");
}

#[test]
fn nothing_is_begun_while_the_nodes_are_of_more_than_one_release() {
    let release = |minor| Some(Release { major: 3, minor });
    let of = |minor, node: Node| Node { release: release(minor), ..node };
    let founders = |theirs| seen(0, 2, of(4, fresh([0, 1])), [(1, Ok(of(theirs, fresh([0, 1]))))]);
    assert_snapshot!(tell(&founders(5)), @"[not ready] MixedReleases: the nodes are of more than one release (3.4: couchdb-0, 3.5: couchdb-1): waiting until they are of one");
    assert_eq!(next_step(&founders(4)), Step::Found);
    let thin =
        |node: Node| Node { system: SystemDatabase::ALL.map(|database| (database, on([0]))).into(), ..node };
    let grown = |theirs| {
        let peer = of(theirs, thin(member([0, 1])));
        seen(1, 2, of(4, thin(member([0, 1]))), [(0, Ok(peer))])
    };
    assert_snapshot!(tell(&grown(5)), @"[ready] MixedReleases: the nodes are of more than one release (3.4: couchdb-1, 3.5: couchdb-0): waiting until they are of one");
    assert_eq!(next_step(&grown(4)), Step::NoteFilling);
    let whole = seen(0, 2, of(4, member([0, 1])), [(1, Ok(of(5, member([0, 1]))))]);
    assert_eq!(next_step(&whole), Step::Settled, "it hinders nobody");
    assert_eq!(Release::from_server("CouchDB/3.5.0 (Erlang OTP/25)"), release(5));
    assert_eq!(Release::from_server("CouchDB/3.5"), release(5));
    for other in ["nginx/1.29", "CouchDB/3", "CouchDB/x.y", ""] {
        assert_eq!(Release::from_server(other), None);
    }
}

#[test]
fn the_lowest_does_not_found_before_all_list_all() {
    let peers = [(1, Ok(fresh([0, 1]))), (2, Ok(fresh([2])))];
    assert_snapshot!(tell(&seen(0, 3, fresh([0, 1]), peers)), @"[not ready] WaitingForMembership: couchdb-0 doesn't list couchdb-2, couchdb-1 doesn't list couchdb-2, couchdb-2 doesn't list couchdb-0, couchdb-1");
}

#[test]
fn the_lowest_does_not_found_before_all_are_connected() {
    let lonely = Node { connected: [2].into(), ..fresh([0, 1, 2]) };
    let peers = [(1, Ok(fresh([0, 1, 2]))), (2, Ok(lonely))];
    assert_snapshot!(tell(&seen(0, 3, fresh([0, 1, 2]), peers)), @"[not ready] WaitingForConnections: couchdb-2 isn't connected to couchdb-0, couchdb-1. If it lasts: is the Erlang cookie the same everywhere, and are ports 4369 and 9100 open between the pods?");
}

#[test]
fn the_lowest_does_not_found_with_a_phantom_among_the_members() {
    let all = fresh([0, 1, 3]);
    assert_snapshot!(tell(&seen(0, 2, all.clone(), [(1, Ok(all))])), @"[not ready] MembersBeyondSize: members beyond the StatefulSet's size: couchdb-3; nothing is removed by itself. Scale back up, or drain them and DELETE their documents in /_node/_local/_nodes");
}

#[test]
fn only_who_holds_the_lease_founds() {
    let free = seen(0, 2, fresh([0, 1]), [(1, Ok(fresh([0, 1])))]);
    let free =
        Observed { api: ApiState::Current, record: KnownRecord::Absent, lease: LeaseState::Free, ..free };
    assert_snapshot!(tell(&free), @"[not ready] TakingLease: taking Lease 'couchdb-couchdiscover', for what only one agent may do at a time");
    assert_eq!(next_step(&Observed { lease: LeaseState::Mine, ..free.clone() }), Step::Found);
    let held = Observed { lease: LeaseState::Held("couchdb-0".to_owned()), ..free.clone() };
    assert_snapshot!(tell(&held), @"[not ready] WaitingForLease: the agent of couchdb-0 does what only one may do at a time, and holds the Lease");
    let unknown = Observed { lease: LeaseState::Unknown, ..free.clone() };
    assert_eq!(next_step(&unknown), Step::Wait(WaitFor::KubernetesApi));
    let later = Observed { local: Err(Unseen::NoAnswer), lease: LeaseState::Mine, ..free };
    assert_snapshot!(tell(&later), @"[not ready] ReleasingLease: done with what only one agent may do at a time");
}

#[test]
fn nothing_is_founded_while_the_kubernetes_api_is_silent() {
    let observed = Observed { api: ApiState::Silent, ..seen(0, 2, fresh([0, 1]), [(1, Ok(fresh([0, 1])))]) };
    assert_snapshot!(tell(&observed), @"[not ready] WaitingForKubernetes: the Kubernetes API doesn't say how many nodes to expect, and nothing is founded on a guess. Where there is none, set COUCHDISCOVER_KUBERNETES=off");
}

#[test]
fn an_empty_cluster_that_was_founded_before_waits_for_a_person() {
    let all = fresh([0, 1]);
    let lost = Observed {
        api: ApiState::Current,
        record: KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None },
        ..seen(1, 2, all.clone(), [(0, Ok(all.clone()))])
    };
    assert_snapshot!(tell(&lost), @"[not ready] FormedBefore: cluster '0409c57d' was founded here before, and every node is empty: its data is gone, or on volumes that are not mounted. Bring the volumes back, or give it up by annotating the StatefulSet with couchdiscover.io/form-anew=0409c57d");
    let other = Observed { form_anew: Some("another".to_owned()), ..lost.clone() };
    assert_eq!(next_step(&other), next_step(&lost), "only the lost cluster's own uuid gives it up");
    let given_up =
        Observed { me: 0, form_anew: Some("0409c57d".to_owned()), peers: [(1, Ok(all))].into(), ..lost };
    assert_eq!(next_step(&given_up), Step::Found);
    assert_snapshot!(tell(&Observed { record: KnownRecord::Newer, ..given_up }), @"[not ready] FormedBefore: a newer agent wrote down that a cluster was founded here, and every node is empty. Run that version of the agent");
}

#[test]
fn an_empty_node_whose_peers_are_silent_does_not_say_that_the_data_is_gone() {
    let record = KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None };
    let observed = seen(0, 2, fresh([0]), [(1, Err(Unseen::Unreachable))]);
    assert_snapshot!(tell(&Observed { api: ApiState::Current, record, ..observed }), @"[not ready] WaitingForPeers: couchdb-1 can't be reached");
}

#[test]
fn a_founding_that_is_not_written_down_is_by_the_lowest() {
    let all = member([0, 1]);
    let unwritten = |me, other| Observed {
        api: ApiState::Current,
        record: KnownRecord::Absent,
        ..seen(me, 2, all.clone(), [(other, Ok(all.clone()))])
    };
    assert_snapshot!(tell(&unwritten(0, 1)), @"[ready] RecordingFounding: writing down that 2 nodes founded a cluster here");
    assert_eq!(next_step(&unwritten(1, 0)), Step::Settled);
    let lost_api = Observed { api: ApiState::Silent, ..unwritten(0, 1) };
    assert_eq!(next_step(&lost_api), Step::Settled);

    let instead_of = |record| {
        let given_up = Observed { form_anew: Some("lost".to_owned()), record, ..unwritten(0, 1) };
        let Step::RecordFounding { instead_of, .. } = next_step(&given_up) else { panic!("{given_up:?}") };
        instead_of
    };
    let lost = KnownRecord::Formed { uuid: "lost".to_owned(), instead_of: None };
    assert_eq!(instead_of(lost), Some("lost".to_owned()));
    assert_eq!(instead_of(KnownRecord::Absent), None, "nothing was written down of it");
}

#[test]
fn a_pinned_size_waits_for_more_nodes_than_there_are_replicas() {
    let all = fresh([0, 1]);
    let peers = [(1, Ok(all.clone())), (2, Err(Unseen::NameUnknown))];
    let observed = Observed { expected: [0, 1].into(), ..seen(0, 3, all, peers) };
    assert_snapshot!(tell(&observed), @"[not ready] WaitingForPeers: couchdb-2 is not in DNS. Has the Service publishNotReadyAddresses: true, and does the pod exist?");
}

#[test]
fn a_pod_beyond_the_pinned_size_waits_for_the_founding() {
    let peers = [(0, Ok(fresh([0, 1]))), (1, Ok(fresh([0, 1])))];
    let observed = Observed { founders: [0, 1].into(), ..seen(2, 3, fresh([2]), peers) };
    assert_snapshot!(tell(&observed), @"[not ready] WaitingForFounding: waiting until couchdb-0 founds the cluster");
}

#[test]
fn an_unknown_size_and_a_size_of_nothing() {
    let nobody = Observed { expected: [].into(), founders: [].into(), ..seen(0, 1, fresh([0]), []) };
    assert_snapshot!(tell(&Observed { api: ApiState::Forbidden, ..nobody.clone() }), @"[not ready] SizeUnknown: nothing tells how many nodes to expect: the Kubernetes API can't be asked. Set COUCHDB_CLUSTER_SIZE, or give the pod's service account the agent's role");
    assert_snapshot!(tell(&Observed { api: ApiState::Current, ..nobody }), @"[not ready] NotExpected: couchdb-0 is beyond the StatefulSet's size: it neither joins nor leaves");
}

#[test]
fn under_ordered_ready_a_pod_is_ready_when_all_lower_ones_list_it() {
    let silent = Err(Unseen::NameUnknown);
    let ready = |observed: &Observed| {
        readiness(observed, &next_step(observed), PodManagement::OrderedReady) == Readiness::Ready
    };
    assert!(
        ready(&seen(0, 3, fresh([0]), [(1, silent.clone()), (2, silent.clone())])),
        "or pod 1 is never made"
    );
    assert!(!ready(&seen(1, 3, fresh([1]), [(0, Ok(fresh([0]))), (2, silent.clone())])));
    assert!(ready(&seen(1, 3, fresh([0, 1]), [(0, Ok(fresh([0, 1]))), (2, silent.clone())])));
    assert!(!ready(&seen(0, 3, fresh([0]), [(1, Ok(member([0, 1]))), (2, silent)])), "it was wiped");
}

#[test]
fn under_a_record_an_empty_first_pod_lets_others_come_and_stands_in_for_none_that_is_there() {
    let record = KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None };
    let ready = |peer: Result<Node, Unseen>, record: &KnownRecord| {
        let peers = [(1, peer), (2, Err(Unseen::NameUnknown))];
        let observed =
            Observed { api: ApiState::Current, record: record.clone(), ..seen(0, 3, fresh([0]), peers) };
        readiness(&observed, &next_step(&observed), PodManagement::OrderedReady) == Readiness::Ready
    };
    assert!(ready(Err(Unseen::NameUnknown), &record), "else it would never be made");
    assert!(ready(Ok(fresh([1])), &record), "else the third would never be made");
    assert!(!ready(Err(Unseen::NoAnswer), &record), "it has what this one lost");
    assert!(ready(Err(Unseen::NoAnswer), &KnownRecord::Absent), "there was nothing to lose");
}
