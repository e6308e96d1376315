//! Situations by name: what the agent decides, whether the pod is ready, and what a person reads.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::collections::{BTreeMap, BTreeSet};

use agent::kubernetes::Record;
use agent::ready::{Readiness, readiness};
use agent::secret::Secret;
use agent::settings::{Credentials, PodManagement};
use agent::step::{
    Ailing, Ailment, Api, Digest, Identity, Lock, Mode, Node, Note, Observed, Path, Publication, Release,
    Spread, Step, SystemDatabase, Trait, Unseen, WaitFor, next_step,
};
use agent::words::Speaker;
use contract::PodFqdn;
use insta::assert_snapshot;

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
fn why_names_are_not_in_dns_is_said_once_it_was_looked_for() {
    let unseen = [(1, Err(Unseen::NameUnknown)), (2, Err(Unseen::Busy))];
    let with = |publication| Observed { publication, ..seen(0, 3, fresh([0]), unseen.clone()) };
    assert_snapshot!(tell(&with(Publication::Withheld([0, 1, 2].into()))), @"[not ready] NotPublished: not in DNS: couchdb-1. Service 'couchdb' publishes pods only once they are ready, and they become ready by being found. Set publishNotReadyAddresses: true in the spec of Service 'couchdb'");
    assert_snapshot!(tell(&with(Publication::Nobody)), @"[not ready] NotPublished: not in DNS: couchdb-1. Service 'couchdb', which the StatefulSet's serviceName names, doesn't exist or selects none of its pods. Create it, headless (clusterIP: None), with publishNotReadyAddresses: true and with the pods' labels as its selector");
    let others = next_step(&with(Publication::Withheld([0, 2].into())));
    assert!(matches!(others, Step::Wait(WaitFor::Peers(_))), "they don't explain it");
    let found = Observed {
        publication: Publication::Nobody,
        ..seen(0, 2, member([0, 1]), [(1, Err(Unseen::Unreachable))])
    };
    assert!(matches!(next_step(&found), Step::Wait(WaitFor::Peers(_))), "its name is known");
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
fn under_a_record_an_empty_first_pod_lets_others_come_and_stands_in_for_none_that_is_there() {
    let record = Record::Formed { uuid: "0409c57d".to_owned(), instead_of: None };
    let ready = |peer: Result<Node, Unseen>, record: &Record| {
        let peers = [(1, peer), (2, Err(Unseen::NameUnknown))];
        let observed =
            Observed { api: Api::Current, record: record.clone(), ..seen(0, 3, fresh([0]), peers) };
        readiness(&observed, &next_step(&observed), PodManagement::OrderedReady) == Readiness::Ready
    };
    assert!(ready(Err(Unseen::NameUnknown), &record), "else it would never be made");
    assert!(ready(Ok(fresh([1])), &record), "else the third would never be made");
    assert!(!ready(Err(Unseen::NoAnswer), &record), "it has what this one lost");
    assert!(ready(Err(Unseen::NoAnswer), &Record::Absent), "there was nothing to lose");
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
fn a_member_that_answers_and_is_not_connected_is_dialled() {
    let lonely = Node { connected: [2].into(), ..fresh([0, 2]) };
    let observed = seen(2, 3, lonely, [(0, Ok(fresh([0]))), (1, Err(Unseen::Busy))]);
    assert!(matches!(next_step(&observed), Step::Dial { peers, .. } if peers == [0].into()));
    assert_snapshot!(tell(&observed), @"[not ready] WaitingForPeers: couchdb-1 is not up yet");
    let removed = Node { connected: [2].into(), ..member([0, 1, 2]) };
    let peers = [(0, Ok(member([0, 1]))), (1, Ok(member([0, 1])))];
    assert!(
        matches!(next_step(&seen(2, 3, removed, peers)), Step::Wait(WaitFor::NotListed(_))),
        "not dialled"
    );
}

#[test]
fn what_keeps_a_member_from_being_connected_is_said_once_it_was_looked_for() {
    let lonely = Node { connected: [2].into(), ..fresh([0, 2]) };
    let peers = [(0, Ok(fresh([0]))), (1, Err(Unseen::Busy))];
    let with = |path| Observed { paths: [(0, path)].into(), ..seen(2, 3, lonely.clone(), peers.clone()) };
    assert_snapshot!(tell(&with(Path::Open)), @"[not ready] CookieMismatch: couchdb-0 can be reached at every port, and Erlang does not connect: the Erlang cookies differ, most likely. Give all pods the same COUCHDB_ERLANG_COOKIE, and restart them");
    assert_snapshot!(tell(&with(Path::Blocked(9100))), @"[not ready] PortsBlocked: port 9100 of couchdb-0 can't be reached; CouchDB answers there, and its nodes need these ports between all pods. Look at NetworkPolicies, and at meshes, which must leave them alone");
    assert_snapshot!(tell(&with(Path::Unregistered)), @"[not ready] PortsBlocked: no Erlang node 'couchdb' is registered at couchdb-0; CouchDB answers there, and its nodes need these ports between all pods. Look at NetworkPolicies, and at meshes, which must leave them alone");
}

#[test]
fn the_lowest_does_not_found_with_a_phantom_among_the_members() {
    let all = fresh([0, 1, 3]);
    assert_snapshot!(tell(&seen(0, 2, all.clone(), [(1, Ok(all))])), @"[not ready] MembersBeyondSize: members beyond the StatefulSet's size: couchdb-3; nothing is removed by itself. Scale back up, or drain them and DELETE their documents in /_node/_local/_nodes");
}

#[test]
fn a_node_that_is_alone_takes_the_recorded_uuid_unless_that_cluster_was_given_up() {
    let traits = [(Trait::Uuid, Digest::of(["made up"]))].into();
    let alone = Node { identity: Identity { traits, uptime: 9 }, ..member([0]) };
    let recorded = Observed {
        api: Api::Current,
        record: Record::Formed { uuid: "0409c57d".to_owned(), instead_of: None },
        ..seen(0, 1, alone, [])
    };
    assert_snapshot!(tell(&recorded), @"[ready] AdoptingIdentity: the uuid differs from the cluster's: taking it over from the founding record");
    let given_up = Observed { form_anew: Some("0409c57d".to_owned()), ..recorded };
    assert!(!matches!(next_step(&given_up), Step::Adopt(_)), "it is another cluster's");
}

#[test]
fn only_who_holds_the_lease_founds() {
    let free = seen(0, 2, fresh([0, 1]), [(1, Ok(fresh([0, 1])))]);
    let free = Observed { api: Api::Current, record: Record::Absent, lock: Lock::Free, ..free };
    assert_snapshot!(tell(&free), @"[not ready] TakingLease: taking Lease 'couchdb-couchdiscover', for what only one agent may do at a time");
    assert_eq!(next_step(&Observed { lock: Lock::Mine, ..free.clone() }), Step::Found);
    let held = Observed { lock: Lock::Held("couchdb-0".to_owned()), ..free.clone() };
    assert_snapshot!(tell(&held), @"[not ready] WaitingForLease: the agent of couchdb-0 does what only one may do at a time, and holds the Lease");
    let unknown = Observed { lock: Lock::Unknown, ..free.clone() };
    assert_eq!(next_step(&unknown), Step::Wait(WaitFor::KubernetesApi));
    let later = Observed { local: Err(Unseen::NoAnswer), lock: Lock::Mine, ..free };
    assert_snapshot!(tell(&later), @"[not ready] ReleasingLease: done with what only one agent may do at a time");
}

#[test]
fn a_copy_is_given_under_the_lease_and_nobody_waits_outside_for_it() {
    let thin =
        Node { system: SystemDatabase::ALL.map(|database| (database, on([0]))).into(), ..member([0, 1]) };
    let free = Observed {
        api: Api::Current,
        record: Record::Absent,
        lock: Lock::Free,
        ..seen(1, 2, thin.clone(), [(0, Ok(thin.clone()))])
    };
    let held =
        |observed: &Observed| Observed { lock: Lock::Held("couchdb-0".to_owned()), ..observed.clone() };
    assert_eq!(next_step(&free), Step::NoteFilling);
    assert_snapshot!(tell(&held(&free)), @"[ready] WaitingForLease: the agent of couchdb-0 does what only one may do at a time, and holds the Lease");
    let silent = Observed { api: Api::Silent, ..free.clone() };
    assert!(matches!(next_step(&silent), Step::Wait(WaitFor::Copies { .. })));
    let not_my_turn =
        Observed { lock: Lock::Held("couchdb-1".to_owned()), ..seen(0, 2, thin.clone(), [(1, Ok(thin))]) };
    assert!(matches!(next_step(&not_my_turn), Step::Wait(WaitFor::Copies { turn: Some(1), .. })));

    let closed = Observed { note: Note::Filling, mode: Mode::Maintenance, ..free };
    assert_eq!(next_step(&closed), Step::TakeLease);
    assert!(matches!(next_step(&Observed { lock: Lock::Mine, ..closed.clone() }), Step::AddCopies(_)));
    assert!(matches!(next_step(&held(&closed)), Step::Fill { .. }));
    assert!(matches!(next_step(&Observed { api: Api::Silent, ..closed }), Step::Fill { .. }));
}

#[test]
fn copies_are_given_only_of_what_is_thin_and_only_while_all_see_the_same() {
    let three = on([0, 1, 2]);
    let spread = |replicator: Spread, users: Spread| Node {
        system: [(SystemDatabase::Replicator, replicator), (SystemDatabase::Users, users)].into(),
        ..member([0, 1, 2, 3])
    };
    let with = |mine: Node, theirs: Node| Observed {
        note: Note::Filling,
        mode: Mode::Maintenance,
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
    let unknown = Observed { note: Note::None, ..seen(0, 3, member([0, 1, 2]), peers) };
    assert_eq!(next_step(&unknown), Step::ProveWhole { by: [1].into() });
}

#[test]
fn who_has_just_started_with_a_volume_that_nobody_looked_at_is_closed_before_it_is_compared() {
    let up = |uptime, databases| Node {
        identity: Identity { uptime, ..Identity::default() },
        databases,
        ..member([0, 1])
    };
    let with = |node: Node, peer| Observed { note: Note::None, ..seen(0, 2, node, [(1, peer)]) };
    let whole = || Ok(member([0, 1]));
    assert_eq!(next_step(&with(up(29, 3), whole())), Step::NoteFilling);
    let compared = Step::ProveWhole { by: [1].into() };
    assert_eq!(next_step(&with(up(30, 3), whole())), compared, "it has been open for long");
    assert_eq!(next_step(&with(up(29, 2), whole())), compared, "nothing of anybody's is on it");
    let silent = Observed {
        peers: [(1, whole()), (2, Err(Unseen::NoAnswer))].into(),
        expected: [0, 1, 2].into(),
        ..with(up(29, 3), whole())
    };
    assert_eq!(next_step(&silent), compared, "nobody else might have what it has");
}

#[test]
fn maps_that_a_person_has_to_look_at_are_named_and_the_node_stays_ready() {
    let all = member([0, 1]);
    let mut ailing = Ailing::default();
    ailing.add("orders", Ailment::Conflict);
    let of = |ailing| Observed { ailing, ..seen(0, 2, all.clone(), [(1, Ok(all.clone()))]) };
    assert_snapshot!(tell(&of(ailing.clone())), @"[ready] ShardMapsBroken: 'orders' has conflicting maps: CouchDB shows one and hides the others. Nothing is chosen by itself: look at GET /_node/_local/_dbs/<database>?conflicts=true, save what is hidden or unreachable, then change the document there");
    ailing.add("bills", Ailment::LacksRange);
    ailing.add("carts", Ailment::NoMember("couchdb@10.0.0.7".to_owned()));
    ["a", "b", "c", "d"].iter().for_each(|database| ailing.add(database, Ailment::Conflict));
    assert_snapshot!(tell(&of(ailing)), @"[ready] ShardMapsBroken: 'a' has conflicting maps: CouchDB shows one and hides the others, 'b' has conflicting maps: CouchDB shows one and hides the others, the map of 'bills' lacks a range: a part of its documents is nobody's, the map of 'carts' names 'couchdb@10.0.0.7', which is no member, 'orders' has conflicting maps: CouchDB shows one and hides the others and 2 more. Nothing is chosen by itself: look at GET /_node/_local/_dbs/<database>?conflicts=true, save what is hidden or unreachable, then change the document there");
}

#[test]
fn a_pod_whose_name_another_one_has_does_nothing_more() {
    let peers = [(1, Ok(member([0, 1])))];
    let displaced = Observed { displaced_by: Some("7c1f".to_owned()), ..seen(0, 2, member([0, 1]), peers) };
    assert_snapshot!(tell(&displaced), @"[not ready] Displaced: pod 'couchdb-0' is another one now, with uid '7c1f': this one was deleted while its machine was cut off, and should not be alive. Make sure that its machine is shut down, or that this pod is gone from it");
}

#[test]
fn nothing_is_founded_while_the_kubernetes_api_is_silent() {
    let observed = Observed { api: Api::Silent, ..seen(0, 2, fresh([0, 1]), [(1, Ok(fresh([0, 1])))]) };
    assert_snapshot!(tell(&observed), @"[not ready] WaitingForKubernetes: the Kubernetes API doesn't say how many nodes to expect, and nothing is founded on a guess. Where there is none, set COUCHDISCOVER_KUBERNETES=off");
}

#[test]
fn an_empty_cluster_that_was_founded_before_waits_for_a_person() {
    let all = fresh([0, 1]);
    let lost = Observed {
        api: Api::Current,
        record: Record::Formed { uuid: "0409c57d".to_owned(), instead_of: None },
        ..seen(1, 2, all.clone(), [(0, Ok(all.clone()))])
    };
    assert_snapshot!(tell(&lost), @"[not ready] FormedBefore: cluster '0409c57d' was founded here before, and every node is empty: its data is gone, or on volumes that are not mounted. Bring the volumes back, or give it up by annotating the StatefulSet with couchdiscover.io/form-anew=0409c57d");
    let other = Observed { form_anew: Some("another".to_owned()), ..lost.clone() };
    assert_eq!(next_step(&other), next_step(&lost), "only the lost cluster's own uuid gives it up");
    let given_up =
        Observed { me: 0, form_anew: Some("0409c57d".to_owned()), peers: [(1, Ok(all))].into(), ..lost };
    assert_eq!(next_step(&given_up), Step::Found);
    assert_snapshot!(tell(&Observed { record: Record::Newer, ..given_up }), @"[not ready] FormedBefore: a newer agent wrote down that a cluster was founded here, and every node is empty. Run that version of the agent");
}

#[test]
fn an_empty_node_whose_peers_are_silent_does_not_say_that_the_data_is_gone() {
    let record = Record::Formed { uuid: "0409c57d".to_owned(), instead_of: None };
    let observed = seen(0, 2, fresh([0]), [(1, Err(Unseen::Unreachable))]);
    assert_snapshot!(tell(&Observed { api: Api::Current, record, ..observed }), @"[not ready] WaitingForPeers: couchdb-1 can't be reached");
}

#[test]
fn a_founding_that_is_not_written_down_is_by_the_lowest() {
    let all = member([0, 1]);
    let unwritten = |me, other| Observed {
        api: Api::Current,
        record: Record::Absent,
        ..seen(me, 2, all.clone(), [(other, Ok(all.clone()))])
    };
    assert_snapshot!(tell(&unwritten(0, 1)), @"[ready] RecordingFounding: writing down that 2 nodes founded a cluster here");
    assert_eq!(next_step(&unwritten(1, 0)), Step::Settled);
    let lost_api = Observed { api: Api::Silent, ..unwritten(0, 1) };
    assert_eq!(next_step(&lost_api), Step::Settled);

    let instead_of = |record| {
        let given_up = Observed { form_anew: Some("lost".to_owned()), record, ..unwritten(0, 1) };
        let Step::RecordFounding { instead_of, .. } = next_step(&given_up) else { panic!("{given_up:?}") };
        instead_of
    };
    let lost = Record::Formed { uuid: "lost".to_owned(), instead_of: None };
    assert_eq!(instead_of(lost), Some("lost".to_owned()));
    assert_eq!(instead_of(Record::Absent), None, "nothing was written down of it");
}

#[test]
fn a_peer_that_lost_its_volume_has_removed_nobody() {
    let wiped = seen(0, 2, member([0, 1]), [(1, Ok(fresh([1])))]);
    assert_snapshot!(tell(&wiped), @"[ready] WaitingForMembership: couchdb-1 doesn't list couchdb-0");
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
fn a_wiped_lowest_joins_the_established() {
    let peers = [(1, Ok(member([0, 1, 2]))), (2, Ok(member([0, 1, 2])))];
    let mut wiped = Observed { note: Note::None, ..seen(0, 3, fresh([0]), peers) };
    assert_snapshot!(tell(&wiped), @"[not ready] NotingFilling: copies of the cluster's data will come to this node: writing down on its volume that they are not complete");
    wiped.note = Note::Filling;
    assert_snapshot!(tell(&wiped), @"[not ready] EnteringMaintenance: this node's volume has to be filled first: keeping it out of reads and writes until then");
    wiped.mode = Mode::Maintenance;
    assert_snapshot!(tell(&wiped), @"[not ready] Joining: joining couchdb-1");
    let by_hand = Observed { note: Note::None, ..wiped };
    assert_snapshot!(tell(&by_hand), @"[not ready] Joining: joining couchdb-1");
}

#[test]
fn a_node_that_came_empty_is_closed_until_it_is_filled() {
    let all = member([0, 1, 2]);
    let peers = [(1, Ok(all.clone())), (2, Err(Unseen::Unreachable))];
    let mut unknown = Observed { note: Note::None, ..seen(0, 3, all.clone(), peers) };
    assert_snapshot!(tell(&unknown), @"[ready] ProvingWhole: comparing the shards here with the other copies, to see whether this volume came empty");
    unknown.note = Note::Filling;
    assert_snapshot!(tell(&unknown), @"[not ready] EnteringMaintenance: this node's volume has to be filled first: keeping it out of reads and writes until then");
    unknown.mode = Mode::Maintenance;
    assert_snapshot!(tell(&unknown), @"[not ready] Filling: out of reads and writes until every shard here has what the other copies have");
    let alone = [(1, Err(Unseen::Unreachable)), (2, Err(Unseen::Unreachable))];
    let restarted = Observed { note: Note::Filling, ..seen(0, 3, all.clone(), alone) };
    assert_snapshot!(tell(&restarted), @"[not ready] WaitingForPeers: couchdb-1 can't be reached, couchdb-2 can't be reached");
    let by_hand =
        Observed { mode: Mode::Maintenance, ..seen(0, 3, all.clone(), [(1, Ok(all.clone())), (2, Ok(all))]) };
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
    assert_snapshot!(tell(&grown(1)), @"[ready] NotingFilling: copies of the cluster's data will come to this node: writing down on its volume that they are not complete");
    assert_snapshot!(tell(&grown(2)), @"[ready] SystemDatabaseUnderReplicated: _replicator has 1 copy and 3 are wanted: it was made when the cluster was smaller; couchdb-1 takes the next one");
    let closed = Observed { note: Note::Filling, mode: Mode::Maintenance, ..grown(1) };
    assert_snapshot!(tell(&closed), @"[not ready] AddingCopies: _replicator and _users have too few copies: this node gets one");
    let late = Observed { note: Note::Filling, mode: Mode::Maintenance, ..grown(2) };
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
        let traits = [(Trait::Uuid, Digest::of([uuid]))].into();
        Node { identity: Identity { traits, uptime }, ..member([0, 1, 2]) }
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

#[test]
fn strangers_and_wrong_names_are_refused() {
    let strangers: BTreeSet<String> = ["couchdb@10.42.0.11".to_owned()].into();
    assert_snapshot!(tell(&seen(0, 1, Node { strangers, ..member([0]) }, [])), @"[not ready] NodeRenamed: _nodes lists 'couchdb@10.42.0.11', which is no pod of 'couchdb' here: the volume was used under another name, or a wrong host was added by hand. Give the pods their old names back, or, where nothing is kept under these names, DELETE their documents in /_node/_local/_nodes");
    let misnamed = Err(Unseen::Misnamed("nonode@nohost".to_owned()));
    assert_snapshot!(tell(&Observed { local: misnamed, ..seen(0, 1, fresh([0]), []) }), @"[not ready] NodeNameMismatch: CouchDB calls itself 'nonode@nohost', and its peers will look for 'couchdb@couchdb-0.couchdb.default.svc.cluster.local'. Set ERL_FLAGS='-name couchdb' or NODENAME='couchdb-0.couchdb.default.svc.cluster.local' on the CouchDB container");
}

#[test]
fn a_local_couchdb_that_cannot_be_asked_is_waited_for() {
    for unseen in [Unseen::Busy, Unseen::Garbled, Unseen::LockedOut, Unseen::NoAnswer, Unseen::Rejects] {
        let observed = Observed { local: Err(unseen.clone()), ..seen(0, 1, fresh([0]), []) };
        let wait = next_step(&observed);
        assert_eq!(wait, Step::Wait(WaitFor::LocalCouchDb(unseen)));
        assert!(matches!(readiness(&observed, &wait, PodManagement::OrderedReady), Readiness::NotReady(_)));
    }
    assert_snapshot!(tell(&Observed { local: Err(Unseen::Rejects), ..seen(0, 1, fresh([0]), []) }), @"[not ready] CredentialsRejected: CouchDB rejects user 'admin' or the password from COUCHDB_USER and COUCHDB_PASSWORD; the next try is in 75 s. If they were changed since CouchDB or the agent was started, delete this pod: both then start with the present ones. If that doesn't help, CouchDB keeps an admin of its own in an ini file on a volume: change the password there");
    assert_snapshot!(tell(&Observed { local: Err(Unseen::Unreachable), ..seen(0, 1, fresh([0]), []) }), @"[not ready] WaitingForCouchDb: the local CouchDB can't be reached");
}

#[test]
fn an_unknown_size_and_a_size_of_nothing() {
    let nobody = Observed { expected: [].into(), founders: [].into(), ..seen(0, 1, fresh([0]), []) };
    assert_snapshot!(tell(&Observed { api: Api::Forbidden, ..nobody.clone() }), @"[not ready] SizeUnknown: nothing tells how many nodes to expect: the Kubernetes API can't be asked. Set COUCHDB_CLUSTER_SIZE, or give the pod's service account the agent's role");
    assert_snapshot!(tell(&Observed { api: Api::Current, ..nobody }), @"[not ready] NotExpected: couchdb-0 is beyond the StatefulSet's size: it neither joins nor leaves");
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
fn a_refusal_shows_what_it_stands_on() {
    let groups = seen(0, 3, member([0, 1]), [(1, Ok(member([0, 1]))), (2, Ok(member([2])))]);
    let split = Observed {
        me: 2,
        local: Ok(member([2])),
        peers: [(0, Ok(member([0, 1]))), (1, Err(Unseen::NoAnswer))].into(),
        ..groups
    };
    assert_snapshot!(evidence(&split), @"
    couchdb-0 holds 2 databases, lists couchdb-0, couchdb-1, is connected to couchdb-0, couchdb-1
    couchdb-1 does not answer in time
    couchdb-2 holds 2 databases, lists couchdb-2, is connected to couchdb-2
    ");
    let all = fresh([0, 1]);
    let record = Record::Formed { uuid: "0409c57d".to_owned(), instead_of: None };
    let lost = Observed { record, ..seen(1, 2, all.clone(), [(0, Ok(all))]) };
    assert_snapshot!(evidence(&lost), @"
    Lease 'couchdb-couchdiscover' records cluster '0409c57d'
    couchdb-0 holds no database, lists couchdb-0, couchdb-1, is connected to couchdb-0, couchdb-1
    couchdb-1 holds no database, lists couchdb-0, couchdb-1, is connected to couchdb-0, couchdb-1
    ");
    let strangers = [
        "couchdb@10.42.0.11",
        "couchdb@couchdb-0.old.default.svc.cluster.local",
        "couchdb@couchdb-7.old.default.svc.cluster.local",
    ];
    let strangers = strangers.map(str::to_owned).into();
    assert_snapshot!(evidence(&seen(0, 1, Node { strangers, ..member([0]) }, [])), @"
    'couchdb@10.42.0.11' is no pod's
    'couchdb@couchdb-0.old.default.svc.cluster.local' -> 'couchdb@couchdb-0.couchdb.default.svc.cluster.local'
    'couchdb@couchdb-7.old.default.svc.cluster.local' is no pod's
    ");
    let displaced = Observed { displaced_by: Some("4d3c".to_owned()), ..seen(0, 1, member([0]), []) };
    assert_snapshot!(evidence(&displaced), @"Kubernetes: pod 'couchdb-0' has uid '4d3c'");
    let misnamed = Err(Unseen::Misnamed("nonode@nohost".to_owned()));
    assert_snapshot!(evidence(&Observed { local: misnamed, ..seen(0, 1, fresh([0]), []) }), @"GET /_node/_local: name 'nonode@nohost'");
}

#[test]
fn a_wait_shows_what_it_stands_on() {
    let rejects = Observed { local: Err(Unseen::Rejects), ..seen(0, 1, fresh([0]), []) };
    assert_snapshot!(evidence(&rejects), @"user 'admin' from COUCHDB_USER and COUCHDB_PASSWORD");
    let lonely = Node { connected: [2].into(), ..fresh([0, 1, 2]) };
    let paths = [(0, Path::Open), (1, Path::Blocked(9100))].into();
    let peers = [(0, Ok(fresh([0, 1, 2]))), (1, Ok(fresh([0, 1, 2])))];
    assert_snapshot!(evidence(&Observed { paths, ..seen(2, 3, lonely, peers) }), @"
    couchdb-0: port 4369 and the one of its node answer
    couchdb-1: port 9100 can't be reached
    ");
    let all = member([0, 1, 2]);
    assert_snapshot!(evidence(&seen(0, 2, all.clone(), [(1, Ok(all))])), @"
    couchdb-0 holds 2 databases, lists couchdb-0, couchdb-1, couchdb-2, is connected to couchdb-0, couchdb-1, couchdb-2
    couchdb-1 holds 2 databases, lists couchdb-0, couchdb-1, couchdb-2, is connected to couchdb-0, couchdb-1, couchdb-2
    ");
    assert_snapshot!(evidence(&seen(0, 1, fresh([0]), [])), @"");
}

/// What the step stands on.
fn evidence(observed: &Observed) -> String {
    let me = pod(observed.me);
    let speaker = Speaker { me: &me, credentials: &credentials() };
    speaker.evidence(observed, &next_step(observed)).join("\n")
}

fn pod(ordinal: u32) -> PodFqdn {
    format!("couchdb-{ordinal}.couchdb.default.svc.cluster.local").parse().unwrap()
}

fn credentials() -> Credentials {
    Credentials {
        user: "admin".to_owned(),
        password: Secret::new("s3cret"),
        source: "COUCHDB_USER and COUCHDB_PASSWORD".to_owned(),
    }
}

/// The step and whether the pod is ready under `Parallel`, as a person reads it.
fn tell(observed: &Observed) -> String {
    let step = next_step(observed);
    let words = Speaker { me: &pod(observed.me), credentials: &credentials() }.step(&step);
    assert!(words.cure.is_none_or(|cure| words.message.ends_with(&cure)), "{}", words.message);
    let ready = match readiness(observed, &step, PodManagement::Parallel) {
        Readiness::Ready => "ready",
        Readiness::NotReady(_) => "not ready",
    };
    format!("[{ready}] {}: {}", words.reason, words.message)
}

fn seen<const N: usize>(
    me: u32,
    size: u32,
    local: Node,
    peers: [(u32, Result<Node, Unseen>); N],
) -> Observed {
    let finished = local.databases > 0;
    Observed {
        me,
        expected: (0..size).collect(),
        founders: (0..size).collect(),
        api: Api::Off,
        record: Record::Forbidden,
        lock: Lock::Unasked,
        displaced_by: None,
        form_anew: None,
        local: Ok(local),
        enabled: true,
        finished,
        session_secret: true,
        wanted_copies: 3,
        note: Note::Whole,
        mode: Mode::Serving,
        peers: peers.into(),
        ailing: Ailing::default(),
        paths: BTreeMap::new(),
        publication: Publication::default(),
    }
}

/// Holds nothing, and is connected to whom it lists.
fn fresh<const N: usize>(members: [u32; N]) -> Node {
    Node { members: members.into(), connected: members.into(), ..Node::default() }
}

/// Holds the system databases in as many copies as there are members, up to three.
fn member<const N: usize>(members: [u32; N]) -> Node {
    let system = SystemDatabase::ALL.map(|database| (database, on(members))).into();
    Node { databases: 2, system, ..fresh(members) }
}

/// A database that the first three of `members` hold whole.
fn on<const N: usize>(members: [u32; N]) -> Spread {
    let holders: BTreeSet<u32> = members.into_iter().take(3).collect();
    Spread { copies: u32::try_from(holders.len()).unwrap(), holders }
}
