//! Problems with names, ports, maps and passwords, which the agent cannot repair: their messages and evidence.

use std::collections::BTreeSet;

use agent_core::decide::{Step, WaitFor, next_step};
use agent_core::facts::{
    BrokenMaps, KnownRecord, MapProblem, Node, Observed, PodManagement, PortCheck, Publication,
    SystemDatabase, Unseen,
};
use insta::assert_snapshot;

use crate::cluster::{cluster, copies_on, member, pristine};
use crate::{evidence, explained, is_ready};

#[test]
fn the_reason_for_names_missing_from_dns_is_reported_once_known() {
    let nodes = cluster(3).pristine([0]).unseen(1, Unseen::NameUnknown).unseen(2, Unseen::Busy);
    let with = |publication| Observed { publication, ..nodes.clone().observed() };
    assert_snapshot!(explained(&with(Publication::Withheld([0, 1, 2].into()))), @r#"[not ready] NotPublished: couchdb-1 is not in DNS: Service 'couchdb' publishes pods only once they are ready, but they become ready only once they are in DNS. Fix: kubectl -n default patch service couchdb -p '{"spec":{"publishNotReadyAddresses":true}}'"#);
    assert_snapshot!(explained(&with(Publication::NoPods)), @"[not ready] NotPublished: couchdb-1 is not in DNS: Service 'couchdb', the serviceName of StatefulSet 'couchdb', does not exist or selects none of its pods. Fix: create it, headless (clusterIP: None), with publishNotReadyAddresses: true and the pods' labels as its selector; see kubectl -n default get service couchdb -o yaml");
    let others = next_step(&with(Publication::Withheld([0, 2].into())));
    assert!(matches!(others, Step::Wait(WaitFor::Peers(_))), "that explains nothing about couchdb-1");
    let unreachable = cluster(2).node(0, member(0..2)).observed();
    let named = Observed { publication: Publication::NoPods, ..unreachable };
    assert!(matches!(next_step(&named), Step::Wait(WaitFor::Peers(_))), "the name is in DNS");
}

#[test]
fn a_member_that_answers_without_being_connected_is_dialled() {
    let unconnected = Node { connected: [2].into(), ..pristine([0, 2]) };
    let observed = cluster(3).me(2).pristine([0]).unseen(1, Unseen::Busy).node(2, unconnected).observed();
    assert!(matches!(next_step(&observed), Step::Dial { peers, .. } if peers == [0].into()));
    assert_snapshot!(explained(&observed), @"[not ready] WaitingForPeers: couchdb-1 is not up yet");

    let removed = Node { connected: [2].into(), ..member(0..3) };
    let observed = cluster(3).me(2).members(0..2).node(2, removed).observed();
    assert!(matches!(next_step(&observed), Step::Wait(WaitFor::NotListed(_))), "it was removed");
}

#[test]
fn a_member_that_is_not_connected_is_dialled_whatever_answers_at_its_name() {
    let observed = cluster(2).members(0..2).node(0, Node { connected: [0].into(), ..member(0..2) });
    let observed = observed.unseen(1, Unseen::NotConnected).observed();
    let wait = WaitFor::Connections([(0, [1].into())].into());
    assert_eq!(next_step(&observed), Step::Dial { peers: [1].into(), wait });
    assert_snapshot!(explained(&observed), @"[ready] WaitingForConnections: couchdb-0 is not connected to couchdb-1. Fix: if this lasts, check that all pods have the same COUCHDB_ERLANG_COOKIE, and that ports 4369 and 9100 are open between them: kubectl -n default get networkpolicies");
    let one_is_away = cluster(3).node(0, Node { connected: [0].into(), ..member(0..3) });
    let one_is_away = one_is_away.unseen(1, Unseen::NotConnected).unseen(2, Unseen::Unreachable).observed();
    assert!(matches!(next_step(&one_is_away), Step::Dial { wait: WaitFor::Peers(_), .. }));
}

#[test]
fn the_reason_for_a_missing_connection_is_reported_once_known() {
    let unconnected = Node { connected: [2].into(), ..pristine([0, 2]) };
    let nodes = cluster(3).me(2).pristine([0]).unseen(1, Unseen::Busy).node(2, unconnected);
    let with = |check| Observed { port_checks: [(0, check)].into(), ..nodes.clone().observed() };
    assert_snapshot!(explained(&with(PortCheck::Open)), @"[not ready] CookieMismatch: the Erlang ports of couchdb-0 are open, but Erlang does not connect: most likely the cookies differ. Fix: set the same COUCHDB_ERLANG_COOKIE on all pods, then restart them: kubectl -n default rollout restart statefulset/couchdb");
    assert_snapshot!(explained(&with(PortCheck::Blocked(9100))), @"[not ready] PortsBlocked: port 9100 of couchdb-0 cannot be reached; CouchDB answers there, but its nodes need these ports between all pods. Fix: allow them in NetworkPolicies, and exempt them from service meshes: kubectl -n default get networkpolicies");
    assert_snapshot!(explained(&with(PortCheck::Unregistered)), @"[not ready] PortsBlocked: no Erlang node 'couchdb' is registered at couchdb-0; CouchDB answers there, but its nodes need these ports between all pods. Fix: allow them in NetworkPolicies, and exempt them from service meshes: kubectl -n default get networkpolicies");
}

#[test]
fn broken_maps_are_named_and_the_node_stays_ready() {
    let with = |broken_maps| Observed { broken_maps, ..cluster(2).members(0..2).observed() };
    let mut broken = BrokenMaps::default();
    broken.add("orders", MapProblem::Conflict);
    assert_snapshot!(explained(&with(broken.clone())), @"[ready] ShardMapsBroken: the shard map of 'orders' has conflicts: CouchDB uses one revision and hides the others. Fix: no revision is chosen automatically. Read the map (kubectl -n default exec -it couchdb-0 -- curl -u admin 'http://127.0.0.1:5984/_node/_local/_dbs/DATABASE?conflicts=true'), save what is hidden or unreachable, then correct the document there");
    broken.add("bills", MapProblem::MissingRange);
    broken.add("carts", MapProblem::UnknownHolder("couchdb@10.0.0.7".to_owned()));
    for database in ["a", "b", "c", "d"] {
        broken.add(database, MapProblem::Conflict);
    }
    assert_snapshot!(explained(&with(broken)), @"[ready] ShardMapsBroken: the shard map of 'a' has conflicts: CouchDB uses one revision and hides the others; the shard map of 'b' has conflicts: CouchDB uses one revision and hides the others; the shard map of 'bills' is missing a range: no node holds part of its documents; the shard map of 'carts' lists 'couchdb@10.0.0.7', which is not a member; the shard map of 'orders' has conflicts: CouchDB uses one revision and hides the others; 2 more databases have such problems. Fix: no revision is chosen automatically. Read the map (kubectl -n default exec -it couchdb-0 -- curl -u admin 'http://127.0.0.1:5984/_node/_local/_dbs/DATABASE?conflicts=true'), save what is hidden or unreachable, then correct the document there");
}

#[test]
fn a_split_cluster_shows_what_each_node_reports() {
    let observed = cluster(3).me(2).members(0..2).unseen(1, Unseen::NoAnswer).members([2]).observed();
    assert_snapshot!(evidence(&observed), @"
    couchdb-0 holds 2 databases, lists couchdb-0, couchdb-1, is connected to couchdb-0, couchdb-1
    couchdb-1 does not answer in time
    couchdb-2 holds 2 databases, lists couchdb-2, is connected to couchdb-2
    ");
}

#[test]
fn a_lost_cluster_shows_its_record_and_what_each_node_reports() {
    let record = KnownRecord::Formed { uuid: "0409c57d".to_owned(), instead_of: None };
    let lost = Observed { record, ..cluster(2).me(1).joined(0..2).observed() };
    assert_snapshot!(evidence(&lost), @"
    Lease 'couchdb-couchdiscover' records cluster '0409c57d'
    couchdb-0 holds no database, lists couchdb-0, couchdb-1, is connected to couchdb-0, couchdb-1
    couchdb-1 holds no database, lists couchdb-0, couchdb-1, is connected to couchdb-0, couchdb-1
    ");
}

#[test]
fn strangers_are_shown_with_the_present_name_of_their_pod() {
    let strangers = [
        "couchdb@10.42.0.11",
        "couchdb@couchdb-0.old.default.svc.cluster.local",
        "couchdb@couchdb-7.old.default.svc.cluster.local",
    ];
    let strangers = BTreeSet::from(strangers.map(str::to_owned));
    let system = SystemDatabase::ALL.map(|database| (database, copies_on([]))).into();
    let holding_strangers = strangers.clone();
    let node = Node { strangers, holding_strangers, system, ..member([0]) };
    assert_snapshot!(evidence(&cluster(1).node(0, node).observed()), @"
    'couchdb@10.42.0.11' belongs to no pod
    'couchdb@couchdb-0.old.default.svc.cluster.local' -> 'couchdb@couchdb-0.couchdb.default.svc.cluster.local'
    'couchdb@couchdb-7.old.default.svc.cluster.local' belongs to no pod
    ");
}

#[test]
fn a_displaced_pod_shows_the_other_pods_uid() {
    let observed = cluster(1).members([0]).observed();
    assert_snapshot!(evidence(&Observed { displaced_by: Some("4d3c".to_owned()), ..observed }), @"Kubernetes: pod 'couchdb-0' has uid '4d3c'");
}

#[test]
fn a_wrong_node_name_is_shown_with_the_call_that_returned_it() {
    let misnamed = cluster(1).unseen(0, Unseen::Misnamed("nonode@nohost".to_owned())).observed();
    assert_snapshot!(evidence(&misnamed), @"GET /_node/_local: name 'nonode@nohost'");
}

#[test]
fn a_wait_shows_the_observations_that_it_is_based_on() {
    assert_snapshot!(evidence(&cluster(1).unseen(0, Unseen::Rejects).observed()), @"user 'admin' from COUCHDB_USER and COUCHDB_PASSWORD");
    let unconnected = Node { connected: [2].into(), ..pristine(0..3) };
    let port_checks = [(0, PortCheck::Open), (1, PortCheck::Blocked(9100))].into();
    let observed = cluster(3).me(2).joined(0..3).node(2, unconnected).observed();
    assert_snapshot!(evidence(&Observed { port_checks, ..observed }), @"
    couchdb-0: port 4369 and the port of its node are open
    couchdb-1: port 9100 cannot be reached
    ");
    assert_snapshot!(evidence(&cluster(2).all(0..2, &member(0..3)).observed()), @"
    couchdb-0 holds 2 databases, lists couchdb-0, couchdb-1, couchdb-2, is connected to couchdb-0, couchdb-1, couchdb-2
    couchdb-1 holds 2 databases, lists couchdb-0, couchdb-1, couchdb-2, is connected to couchdb-0, couchdb-1, couchdb-2
    ");
    assert_snapshot!(evidence(&cluster(1).pristine([0]).observed()), @"");
}

#[test]
fn former_and_wrong_names_are_refused() {
    let strangers = BTreeSet::from(["couchdb@10.42.0.11".to_owned()]);
    let system = SystemDatabase::ALL.map(|database| (database, copies_on([]))).into();
    let node = Node { holding_strangers: strangers.clone(), strangers, system, ..member([0]) };
    assert_snapshot!(explained(&cluster(1).node(0, node).observed()), @"[not ready] NodeRenamed: the databases of this node are filed under 'couchdb@10.42.0.11', which belongs to no pod of StatefulSet 'couchdb': its volume was used under another name. Fix: restore the pods' old names (of the StatefulSet, its Service and the cluster's domain), or set NODENAME on the CouchDB container so that the nodes have their old names");
    let misnamed = cluster(1).unseen(0, Unseen::Misnamed("nonode@nohost".to_owned())).observed();
    assert_snapshot!(explained(&misnamed), @"[not ready] NodeNameMismatch: CouchDB runs as 'nonode@nohost', but its peers look for 'couchdb@couchdb-0.couchdb.default.svc.cluster.local'. Fix: set ERL_FLAGS='-name couchdb' or NODENAME='couchdb-0.couchdb.default.svc.cluster.local' on the CouchDB container");
}

#[test]
fn an_agent_waits_for_a_local_couchdb_that_cannot_be_observed() {
    for unseen in [Unseen::Busy, Unseen::Garbled, Unseen::LockedOut, Unseen::NoAnswer, Unseen::Rejects] {
        let observed = cluster(1).unseen(0, unseen.clone()).observed();
        let wait = next_step(&observed);
        assert_eq!(wait, Step::Wait(WaitFor::LocalCouchDb(unseen)));
        assert!(!is_ready(&observed, &wait, PodManagement::OrderedReady));
    }
    let explained = |unseen| explained(&cluster(1).unseen(0, unseen).observed());
    assert_snapshot!(explained(Unseen::Rejects), @"[not ready] CredentialsRejected: CouchDB rejects user 'admin' or the password from COUCHDB_USER and COUCHDB_PASSWORD: the running CouchDB has another password than its environment; the next attempt is in 75 s. Fix: if the password was changed through CouchDB's API, change it in its source as well: a restart brings that one back. If it changed there, restart CouchDB and the agent: kubectl -n default delete pod couchdb-0. If that does not help, CouchDB keeps another admin in an ini file on a volume: change the password there");
    assert_snapshot!(explained(Unseen::LockedOut), @"[not ready] CredentialsLockedOut: CouchDB has locked user 'admin' out after too many wrong passwords, and accepts it again 5 minutes after the last one. The lockout is by address, which the containers of a pod and clients behind one proxy share; it affects no other user. Fix: find the program that uses a wrong password, in this pod or behind a proxy that sends X-Forwarded-For: 127.0.0.1");
    assert_snapshot!(explained(Unseen::Garbled), @"[not ready] CouchDbUnclear: the server at http://127.0.0.1:5984 does not answer like CouchDB 3.x. Fix: run CouchDB 3.0 or later, and set COUCHDISCOVER_COUCHDB_URL to its address");
    assert_snapshot!(explained(Unseen::Untrusted), @"[not ready] CouchDbUntrusted: CouchDB at http://127.0.0.1:5984 presents no certificate for its name from a trusted authority. Fix: name the Secret with its authority in annotation 'couchdiscover.io/couchdb-ca-secret' (without the webhook, the file in COUCHDISCOVER_CA_FILE; the default is the system's authorities), and issue the certificate for 'couchdb-0.couchdb.default.svc.cluster.local'");
    assert_snapshot!(explained(Unseen::Unreachable), @"[not ready] WaitingForCouchDb: CouchDB at http://127.0.0.1:5984 cannot be reached. Fix: if this lasts, read its log: kubectl -n default logs couchdb-0 --all-containers --tail=50");
}

#[test]
fn a_peer_that_cannot_be_observed_is_reported_with_its_fix() {
    for (unseen, fix) in [(Unseen::Rejects, "rolling restart"), (Unseen::Untrusted, "same authority")] {
        let message = explained(&cluster(2).pristine([0]).unseen(1, unseen).observed());
        assert!(message.contains(fix), "{message}");
    }
}
