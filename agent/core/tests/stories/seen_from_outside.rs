//! Names, ports, maps and passwords: what a person is told of what the agent can't mend.

use std::collections::BTreeSet;

use agent_core::decide::{Readiness, Step, WaitFor, next_step, readiness};
use agent_core::facts::{
    BrokenMaps, KnownRecord, MapProblem, Node, Observed, PodManagement, PortCheck, Publication, Unseen,
};
use insta::assert_snapshot;

use crate::{evidence, fresh, member, seen, tell};

#[test]
fn why_names_are_not_in_dns_is_said_once_it_was_looked_for() {
    let unseen = [(1, Err(Unseen::NameUnknown)), (2, Err(Unseen::Busy))];
    let with = |publication| Observed { publication, ..seen(0, 3, fresh([0]), unseen.clone()) };
    assert_snapshot!(tell(&with(Publication::Withheld([0, 1, 2].into()))), @"[not ready] NotPublished: not in DNS: couchdb-1. Service 'couchdb' publishes pods only once they are ready, and they become ready by being found. Set publishNotReadyAddresses: true in the spec of Service 'couchdb'");
    assert_snapshot!(tell(&with(Publication::NoPods)), @"[not ready] NotPublished: not in DNS: couchdb-1. Service 'couchdb', which the StatefulSet's serviceName names, doesn't exist or selects none of its pods. Create it, headless (clusterIP: None), with publishNotReadyAddresses: true and with the pods' labels as its selector");
    let others = next_step(&with(Publication::Withheld([0, 2].into())));
    assert!(matches!(others, Step::Wait(WaitFor::Peers(_))), "they don't explain it");
    let found = Observed {
        publication: Publication::NoPods,
        ..seen(0, 2, member([0, 1]), [(1, Err(Unseen::Unreachable))])
    };
    assert!(matches!(next_step(&found), Step::Wait(WaitFor::Peers(_))), "its name is known");
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
    let with =
        |path| Observed { port_checks: [(0, path)].into(), ..seen(2, 3, lonely.clone(), peers.clone()) };
    assert_snapshot!(tell(&with(PortCheck::Open)), @"[not ready] CookieMismatch: couchdb-0 can be reached at every port, and Erlang does not connect: the Erlang cookies differ, most likely. Give all pods the same COUCHDB_ERLANG_COOKIE, and restart them");
    assert_snapshot!(tell(&with(PortCheck::Blocked(9100))), @"[not ready] PortsBlocked: port 9100 of couchdb-0 can't be reached; CouchDB answers there, and its nodes need these ports between all pods. Look at NetworkPolicies, and at meshes, which must leave them alone");
    assert_snapshot!(tell(&with(PortCheck::Unregistered)), @"[not ready] PortsBlocked: no Erlang node 'couchdb' is registered at couchdb-0; CouchDB answers there, and its nodes need these ports between all pods. Look at NetworkPolicies, and at meshes, which must leave them alone");
}

#[test]
fn maps_that_a_person_has_to_look_at_are_named_and_the_node_stays_ready() {
    let all = member([0, 1]);
    let mut broken = BrokenMaps::default();
    broken.add("orders", MapProblem::Conflict);
    let of = |broken_maps| Observed { broken_maps, ..seen(0, 2, all.clone(), [(1, Ok(all.clone()))]) };
    assert_snapshot!(tell(&of(broken.clone())), @"[ready] ShardMapsBroken: 'orders' has conflicting maps: CouchDB shows one and hides the others. Nothing is chosen by itself: look at GET /_node/_local/_dbs/<database>?conflicts=true, save what is hidden or unreachable, then change the document there");
    broken.add("bills", MapProblem::MissingRange);
    broken.add("carts", MapProblem::UnknownHolder("couchdb@10.0.0.7".to_owned()));
    ["a", "b", "c", "d"].iter().for_each(|database| broken.add(database, MapProblem::Conflict));
    assert_snapshot!(tell(&of(broken)), @"[ready] ShardMapsBroken: 'a' has conflicting maps: CouchDB shows one and hides the others, 'b' has conflicting maps: CouchDB shows one and hides the others, the map of 'bills' lacks a range: a part of its documents is nobody's, the map of 'carts' names 'couchdb@10.0.0.7', which is no member, 'orders' has conflicting maps: CouchDB shows one and hides the others and 2 more. Nothing is chosen by itself: look at GET /_node/_local/_dbs/<database>?conflicts=true, save what is hidden or unreachable, then change the document there");
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
    let record = KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None };
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
    let port_checks = [(0, PortCheck::Open), (1, PortCheck::Blocked(9100))].into();
    let peers = [(0, Ok(fresh([0, 1, 2]))), (1, Ok(fresh([0, 1, 2])))];
    assert_snapshot!(evidence(&Observed { port_checks, ..seen(2, 3, lonely, peers) }), @"
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
