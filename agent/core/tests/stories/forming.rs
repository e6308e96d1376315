//! Before there is a cluster: which node joins which, and what the lowest founder waits for.

use std::collections::BTreeSet;

use agent_core::decide::{Condition, Step, WaitFor, decide, next_step};
use agent_core::facts::{
    ApiState, KnownRecord, LeaseState, Node, Observed, PodManagement, Release, Unseen, ZoneFacts, ZoneRule,
};
use contract::OtherMembers;
use insta::assert_snapshot;

use crate::cluster::{cluster, member, member_with_one_copy, pristine, release, up};
use crate::{explained, is_ready};

#[test]
fn a_single_pristine_node_forms_the_cluster_at_once() {
    assert_snapshot!(explained(&cluster(1).pristine([0]).observed()), @"[not ready] Founding: every node answers, is connected and holds no data: forming the cluster");
}

#[test]
fn a_pristine_node_joins_the_lowest() {
    assert_snapshot!(explained(&cluster(3).me(2).pristine(0..3).observed()), @"[not ready] Joining: joining couchdb-0");
}

#[test]
fn a_pristine_node_joins_the_lowest_even_while_others_do_not_answer() {
    let observed = cluster(3).me(2).pristine(0..3).unseen(1, Unseen::NoAnswer).observed();
    assert_snapshot!(explained(&observed), @"[not ready] Joining: joining couchdb-0");
}

#[test]
fn a_joined_node_waits_for_the_founder() {
    assert_snapshot!(explained(&cluster(3).me(2).joined(0..3).observed()), @"[not ready] WaitingForFounding: waiting until couchdb-0 forms the cluster");
}

#[test]
fn the_lowest_forms_no_cluster_while_a_peer_does_not_answer() {
    let observed = cluster(3).pristine([0]).unseen(1, Unseen::NameUnknown).unseen(2, Unseen::Busy).observed();
    assert_snapshot!(explained(&observed), @"[not ready] WaitingForPeers: couchdb-1 is not in DNS; couchdb-2 is not up yet. Fix: if this lasts, set publishNotReadyAddresses: true on Service 'couchdb', and check that the pod exists: kubectl -n default get pods");
}

#[test]
fn nothing_is_started_while_the_nodes_run_more_than_one_release() {
    let founders = |theirs| {
        let node = pristine(0..2);
        cluster(2).node(0, release(4, node.clone())).node(1, release(theirs, node)).observed()
    };
    assert_snapshot!(explained(&founders(5)), @"[not ready] MixedReleases: the nodes run more than one release (3.4: couchdb-0; 3.5: couchdb-1): waiting until they run one");
    assert_eq!(next_step(&founders(4)), Step::Found);

    let grown = |theirs| {
        let node = member_with_one_copy(0..2);
        cluster(2).me(1).node(1, release(4, node.clone())).node(0, release(theirs, node)).observed()
    };
    assert_snapshot!(explained(&grown(5)), @"[ready] MixedReleases: the nodes run more than one release (3.4: couchdb-1; 3.5: couchdb-0): waiting until they run one");
    assert_eq!(next_step(&grown(4)), Step::NoteFilling);

    let complete = cluster(2).node(0, release(4, member(0..2))).node(1, release(5, member(0..2))).observed();
    assert_eq!(next_step(&complete), Step::Settled, "with all copies there is nothing to start");
}

#[test]
fn an_unknown_release_counts_as_another_one() {
    let unknown = cluster(2).joined(0..2).node(1, release(5, pristine(0..2))).observed();
    assert_snapshot!(explained(&unknown), @"[not ready] MixedReleases: the nodes run more than one release (unknown: couchdb-0; 3.5: couchdb-1): waiting until they run one");
    let all_unknown = cluster(2).joined(0..2).observed();
    assert_eq!(next_step(&all_unknown), Step::Found);
    // It may have gone back to a release that reads files in a state of before the update.
    let younger = |node: Node| up(5, Node { databases: 3, ..node });
    let back =
        cluster(2).node(0, younger(member(0..2))).node(1, up(900, release(5, member(0..2)))).observed();
    assert_eq!(next_step(&Observed { compared: false, ..back }), Step::NoteFilling);
}

#[test]
fn a_release_is_read_from_the_version() {
    let parsed = Some(Release { major: 3, minor: 5 });
    for version in ["3.5.0", "3.5", "3.5.0-RC1", "3.5.0-cf0fdae6a"] {
        assert_eq!(Release::from_version(version), parsed, "{version}");
    }
    for other in ["CouchDB/3.5.0", "3", "x.y", ""] {
        assert_eq!(Release::from_version(other), None);
    }
}

#[test]
fn the_lowest_forms_no_cluster_before_all_founders_list_each_other() {
    let listed = cluster(3).node(0, pristine(0..2)).node(1, pristine(0..2)).pristine([2]).observed();
    assert_snapshot!(explained(&listed), @"[not ready] WaitingForMembership: couchdb-0 does not list couchdb-2; couchdb-1 does not list couchdb-2; couchdb-2 does not list couchdb-0, couchdb-1");
}

#[test]
fn the_lowest_forms_no_cluster_before_all_founders_are_connected() {
    let unconnected = Node { connected: [2].into(), ..pristine(0..3) };
    assert_snapshot!(explained(&cluster(3).joined(0..3).node(2, unconnected).observed()), @"[not ready] WaitingForConnections: couchdb-2 is not connected to couchdb-0, couchdb-1. Fix: if this lasts, check that all pods have the same COUCHDB_ERLANG_COOKIE, and that ports 4369 and 9100 are open between them: kubectl -n default get networkpolicies");
}

#[test]
fn the_lowest_forms_no_cluster_with_a_member_beyond_the_size() {
    let observed = cluster(2).all(0..2, &pristine([0, 1, 3])).observed();
    assert_snapshot!(explained(&observed), @"[not ready] MembersBeyondSize: couchdb-3 is a member beyond the size of StatefulSet 'couchdb', and not drained: no member is removed that may hold the only copy of data. Fix: scale up again (kubectl -n default scale statefulset/couchdb --replicas=M), then drain them: kubectl couchdiscover scale couchdb -n default --replicas N");
}

#[test]
fn only_the_holder_of_the_lease_forms_the_cluster() {
    let free = Observed {
        api: ApiState::Current,
        record: KnownRecord::Absent,
        lease: LeaseState::Free,
        ..cluster(2).joined(0..2).observed()
    };
    assert_snapshot!(explained(&free), @"[not ready] TakingLease: acquiring Lease 'couchdb-couchdiscover', under which one agent acts at a time");
    assert_eq!(next_step(&Observed { lease: LeaseState::Mine, ..free.clone() }), Step::Found);
    let held = Observed { lease: LeaseState::Held("couchdb-0".to_owned()), ..free.clone() };
    assert_snapshot!(explained(&held), @"[not ready] WaitingForLease: the agent of couchdb-0 holds Lease 'couchdb-couchdiscover', under which one agent acts at a time");
    let unknown = Observed { lease: LeaseState::Unknown, ..free.clone() };
    assert_eq!(next_step(&unknown), Step::Wait(WaitFor::KubernetesApi));
    let no_longer_needed = Observed { local: Err(Unseen::NoAnswer), lease: LeaseState::Mine, ..free };
    assert_snapshot!(explained(&no_longer_needed), @"[not ready] ReleasingLease: releasing Lease 'couchdb-couchdiscover'");
}

#[test]
fn no_cluster_is_formed_while_the_kubernetes_api_does_not_answer() {
    let observed = Observed { api: ApiState::Silent, ..cluster(2).joined(0..2).observed() };
    assert_snapshot!(explained(&observed), @"[not ready] WaitingForKubernetes: the Kubernetes API has not reported the size of StatefulSet 'couchdb', and no cluster is formed with an uncertain size. Fix: where there is no Kubernetes API, set COUCHDISCOVER_KUBERNETES=off");
}

#[test]
fn an_empty_cluster_with_a_record_waits_for_a_person() {
    let recorded = |me| Observed {
        api: ApiState::Current,
        record: KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None },
        ..cluster(2).me(me).joined(0..2).observed()
    };
    let lost = recorded(1);
    assert_snapshot!(explained(&lost), @"[not ready] FormedBefore: cluster '0409c57d' was formed here before, but no node holds data: its data is lost, or on volumes that are not mounted. Fix: mount the volumes again, or give the cluster up: kubectl -n default annotate statefulset/couchdb couchdiscover.io/form-anew=0409c57d");
    let other = Observed { form_anew: Some("another".to_owned()), ..lost.clone() };
    assert_eq!(next_step(&other), next_step(&lost), "only the uuid of the lost cluster gives it up");
    let given_up = Observed { form_anew: Some("0409c57d".to_owned()), ..recorded(0) };
    assert_eq!(next_step(&given_up), Step::Found);
    assert_snapshot!(explained(&Observed { record: KnownRecord::Newer, ..given_up }), @"[not ready] FormedBefore: a newer agent recorded that a cluster was formed here, but no node holds data. Fix: run that version of the agent, which can read the record");
}

#[test]
fn the_data_is_not_reported_lost_while_a_peer_does_not_answer() {
    let observed = Observed {
        api: ApiState::Current,
        record: KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None },
        ..cluster(2).pristine([0]).observed()
    };
    assert_snapshot!(explained(&observed), @"[not ready] WaitingForPeers: couchdb-1 cannot be reached");
}

#[test]
fn the_lowest_records_a_founding_that_is_not_recorded() {
    let unrecorded = |me| Observed {
        api: ApiState::Current,
        record: KnownRecord::Absent,
        ..cluster(2).me(me).members(0..2).observed()
    };
    assert_snapshot!(explained(&unrecorded(0)), @"[ready] RecordingFounding: recording in Lease 'couchdb-couchdiscover' that 2 nodes formed a cluster");
    assert_eq!(next_step(&unrecorded(1)), Step::Settled);
    let without_api = Observed { api: ApiState::Silent, ..unrecorded(0) };
    assert_eq!(next_step(&without_api), Step::Settled);

    let instead_of = |record| {
        let given_up = Observed { form_anew: Some("lost".to_owned()), record, ..unrecorded(0) };
        let Step::RecordFounding { instead_of, .. } = next_step(&given_up) else { panic!("{given_up:?}") };
        instead_of
    };
    let lost = KnownRecord::Formed { uuid: "lost".to_owned(), instead_of: None };
    assert_eq!(instead_of(lost), Some("lost".to_owned()));
    assert_eq!(instead_of(KnownRecord::Absent), None, "there is no record of the lost cluster");
}

#[test]
fn a_pinned_size_waits_for_more_nodes_than_there_are_replicas() {
    let observed = cluster(3).joined(0..2).unseen(2, Unseen::NameUnknown).observed();
    assert_snapshot!(explained(&Observed { expected: [0, 1].into(), ..observed }), @"[not ready] WaitingForPeers: couchdb-2 is not in DNS. Fix: if this lasts, set publishNotReadyAddresses: true on Service 'couchdb', and check that the pod exists: kubectl -n default get pods");
}

#[test]
fn a_pod_beyond_the_pinned_size_waits_until_the_cluster_is_formed() {
    let observed = cluster(3).me(2).joined(0..2).pristine([2]).observed();
    assert_snapshot!(explained(&Observed { founders: [0, 1].into(), ..observed }), @"[not ready] WaitingForFounding: waiting until couchdb-0 forms the cluster");
}

#[test]
fn an_unknown_size_differs_from_a_size_of_0() {
    let no_nodes =
        Observed { expected: [].into(), founders: [].into(), ..cluster(1).pristine([0]).observed() };
    assert_snapshot!(explained(&Observed { api: ApiState::Forbidden, ..no_nodes.clone() }), @"[not ready] SizeUnknown: the number of nodes is unknown: COUCHDB_CLUSTER_SIZE is not set, and the Kubernetes API is not available. Fix: set COUCHDB_CLUSTER_SIZE, or bind the agent's role: kubectl -n default create rolebinding couchdiscover-agent --clusterrole=couchdiscover-agent --serviceaccount=default:NAME");
    assert_snapshot!(explained(&Observed { api: ApiState::Current, ..no_nodes }), @"[not ready] NotExpected: couchdb-0 is beyond the size of StatefulSet 'couchdb': it neither joins nor leaves");
}

#[test]
fn under_ordered_ready_a_pod_is_ready_when_all_lower_ones_list_it() {
    let ready = |observed: &Observed| is_ready(observed, &next_step(observed), PodManagement::OrderedReady);
    let three = || cluster(3).unseen(1, Unseen::NameUnknown).unseen(2, Unseen::NameUnknown);
    assert!(ready(&three().pristine([0]).observed()), "otherwise pod 1 is never created");
    assert!(!ready(&three().me(1).pristine(0..2).observed()));
    assert!(ready(&three().me(1).joined(0..2).observed()));
    let lost_its_volume = three().pristine([0]).node(1, member(0..2)).observed();
    assert!(!ready(&lost_its_volume));
}

#[test]
fn a_pristine_first_pod_with_a_record_is_ready_only_while_no_other_pod_may_hold_the_data() {
    let formed = KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None };
    let ready = |peer: Result<Node, Unseen>, record: &KnownRecord| {
        let nodes = cluster(3).pristine([0]).unseen(2, Unseen::NameUnknown);
        let nodes = match peer {
            Ok(node) => nodes.node(1, node),
            Err(reason) => nodes.unseen(1, reason),
        };
        let observed = Observed { api: ApiState::Current, record: record.clone(), ..nodes.observed() };
        is_ready(&observed, &next_step(&observed), PodManagement::OrderedReady)
    };
    assert!(ready(Err(Unseen::NameUnknown), &formed), "otherwise pod 1 is never created");
    assert!(ready(Ok(pristine([1])), &formed), "otherwise pod 2 is never created");
    assert!(!ready(Err(Unseen::NoAnswer), &formed), "pod 1 may hold what this one lost");
    assert!(ready(Err(Unseen::NoAnswer), &KnownRecord::Absent), "there was nothing to lose");
}

#[test]
fn pods_of_an_existing_cluster_form_no_cluster_of_their_own_and_join_it() {
    let (other_members, _) = OtherMembers::parse("couchdb@machine-*");
    let named = |observed| Observed { other_members: other_members.clone(), ..observed };
    for (me, joined) in [(0, [0, 1]), (1, [0, 1])] {
        let waiting = named(cluster(2).me(me).joined(joined).observed());
        assert_eq!(next_step(&waiting), Step::Wait(WaitFor::OtherMembers([].into())));
    }
    let waiting = named(cluster(2).joined(0..2).observed());
    assert_snapshot!(explained(&waiting), @"[not ready] WaitingForOtherMembers: annotation couchdiscover.io/other-members of StatefulSet 'couchdb' names members of an existing cluster, so no cluster is formed here, and this node has not joined them. Fix: add one of them by its Erlang name: kubectl -n default exec -it couchdb-0 -- curl -u admin 'http://127.0.0.1:5984/_node/_local/_nodes/NAME@HOST' -X PUT -d '{}'; or, to form a new cluster, remove the annotation: kubectl -n default annotate statefulset/couchdb couchdiscover.io/other-members-");
    // Where the volumes of all pods are lost, the other members have the data: nothing is given up.
    let record = KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None };
    let lost = Observed { record, api: ApiState::Current, ..waiting };
    assert_eq!(next_step(&lost), Step::Wait(WaitFor::OtherMembers([].into())));
    // A person has added one of them, whose maps are still on their way.
    let colleagues = BTreeSet::from(["couchdb@machine-1".to_owned()]);
    let node = Node { colleagues: colleagues.clone(), ..pristine(0..2) };
    let joined = named(cluster(2).all(0..2, &node).observed());
    assert_snapshot!(explained(&joined), @"[not ready] WaitingForOtherMembers: joined: waiting for the shard maps of 'couchdb@machine-1'");
    // The first pod was adopted, and the second joins it.
    let adopted = Node { colleagues, ..member([0]) };
    let second = named(cluster(2).me(1).node(0, adopted).pristine([1]).observed());
    assert_eq!(next_step(&second), Step::NoteFilling);
}

#[test]
fn a_node_gets_its_zone_before_anything_is_placed_and_no_other_zone_is_changed() {
    let zone = |rule: &str, of_pod: Option<&str>, own: Option<&str>| ZoneFacts {
        rule: Some(ZoneRule::from(rule)),
        of_pod: of_pod.map(str::to_owned),
        own: own.map(str::to_owned),
    };
    let with = |zone| Observed { zone, ..cluster(1).pristine([0]).observed() };
    let to = |name: &str| Step::SetZone(name.to_owned());
    assert_eq!(next_step(&with(zone("topology", Some("eu-1a"), None))), to("eu-1a"));
    assert_eq!(
        next_step(&with(zone("topology", Some("eu-1a"), Some("eu-1b")))),
        to("eu-1a"),
        "the pod has moved"
    );
    assert_eq!(next_step(&with(zone("dc2", Some("eu-1a"), None))), to("dc2"));
    assert_eq!(next_step(&with(zone("dc2", None, Some("dc2")))), Step::Found);
    // Without the annotation, a zone is a person's.
    let by_hand = ZoneFacts { rule: None, ..zone("dc2", Some("eu-1a"), Some("rack-7")) };
    assert_eq!(next_step(&with(by_hand)), Step::Found);
    // Nothing is guessed.
    let unknown = with(zone("topology", None, Some("rack-7")));
    let decision = decide(&unknown, PodManagement::Parallel);
    assert_eq!((decision.step, decision.conditions), (Step::Found, vec![Condition::ZoneUnknown]));
    let refused = Observed { displaced_by: Some("4d3c".to_owned()), ..with(zone("dc2", None, None)) };
    assert!(matches!(next_step(&refused), Step::Refuse(_)));
}
