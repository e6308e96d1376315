//! Lost volumes, copies that differ, and resharding.

use std::collections::BTreeSet;

use agent_core::decide::{
    Condition, Readiness, Step, WaitFor, checks_origin, checks_resharding, decide, next_step,
};
use agent_core::facts::{
    LostRanges, MaintenanceMode, NamedDatabases, Node, Observed, PodManagement, Spread, Stalled,
    SystemDatabase, VolumeNote, VolumeOrigin, WriteFailure,
};
use agent_core::moves::{Change, Document};
use agent_core::shards::ShardMap;
use insta::assert_snapshot;
use serde_json::json;

use crate::cluster::{cluster, member, member_with_one_copy, up};
use crate::{evidence, explain, explained};

fn replaced() -> VolumeOrigin {
    VolumeOrigin::Replaced { present: "0123456789abcdef0123456789abcdef".to_owned() }
}

/// Node 0 of three came back with an empty volume, and held the only copies of a range of two databases.
fn lost() -> Observed {
    let mut lost = LostRanges::default();
    lost.add("_users", vec!["00000000-7fffffff".to_owned()]);
    lost.add("orders", vec!["00000000-7fffffff".to_owned(), "80000000-ffffffff".to_owned()]);
    Observed { note: VolumeNote::None, origin: replaced(), lost, ..cluster(3).members(0..3).observed() }
}

fn closed(observed: Observed) -> Observed {
    Observed { note: VolumeNote::Filling, first_note: true, maintenance: MaintenanceMode::On, ..observed }
}

#[test]
fn the_only_holder_of_a_range_that_lost_its_volume_is_closed_and_refuses() {
    assert_eq!(next_step(&lost()), Step::NoteFilling);
    let noted = Observed { note: VolumeNote::Filling, first_note: true, ..lost() };
    assert_eq!(next_step(&noted), Step::EnterMaintenance);
    assert_snapshot!(explained(&closed(lost())), @"[not ready] ShardsLost: the volume of this node was lost, and it held the only copies of some documents of '_users' (00000000-7fffffff); 'orders' (00000000-7fffffff, 80000000-ffffffff): the node stays out of reads and writes. Fix: mount the volume again, or a backup of it; to give these documents up for good: kubectl -n default annotate statefulset/couchdb --overwrite couchdiscover.io/accept-loss=0123456789ab");
    assert_snapshot!(evidence(&closed(lost())), @"
    '_users' (00000000-7fffffff)
    'orders' (00000000-7fffffff, 80000000-ffffffff)
    ");
}

#[test]
fn a_person_accepts_the_loss_by_its_token() {
    for tokens in ["0123456789ab", "another, 0123456789ab"] {
        let accepted = Observed { accept_loss: Some(tokens.to_owned()), ..closed(lost()) };
        assert!(matches!(next_step(&accepted), Step::Fill { .. }), "{tokens}");
    }
    let other = Observed { accept_loss: Some("ba9876543210".to_owned()), ..closed(lost()) };
    assert!(matches!(next_step(&other), Step::Refuse(_)), "the token of an earlier loss");
}

#[test]
fn a_volume_that_was_replaced_is_filled_however_few_documents_it_held() {
    let replaced = Observed { lost: LostRanges::default(), ..lost() };
    assert_eq!(next_step(&replaced), Step::NoteFilling);
    assert!(matches!(next_step(&closed(replaced)), Step::Fill { .. }));
    let silent = cluster(3).members(0..3).unseen(2, agent_core::facts::Unseen::NoAnswer).observed();
    let silent = Observed { note: VolumeNote::None, origin: self::replaced(), ..silent };
    assert!(matches!(next_step(&silent), Step::CompareVolume { .. }), "it could not be reopened");
}

#[test]
fn the_origin_of_a_volume_is_read_only_where_no_agent_has_found_it_complete() {
    let unread =
        |observed| Observed { origin: VolumeOrigin::Unknown, lost: LostRanges::default(), ..observed };
    assert!(checks_origin(&unread(lost())) && checks_origin(&unread(closed(lost()))));
    assert!(!checks_origin(&Observed { first_note: false, ..unread(closed(lost())) }), "copies are added");
    let settled = cluster(3).members(0..3).observed();
    assert!(!checks_origin(&settled) && !checks_origin(&Observed { compared: false, ..settled }));
    // Nothing may delay closing a node that has just started.
    let node = |uptime| up(uptime, Node { databases: 3, ..member(0..2) });
    let started = cluster(2).node(0, node(1)).node(1, node(99)).observed();
    assert!(!checks_origin(&Observed { note: VolumeNote::None, ..started }));
}

#[test]
fn no_copy_is_added_while_a_resharding_job_runs() {
    let grown = cluster(3).me(1).all(0..3, &member_with_one_copy(0..3)).observed();
    assert_eq!(next_step(&grown), Step::NoteFilling);
    assert!(checks_resharding(&grown));
    let waiting = Observed { resharding: true, ..grown.clone() };
    assert_snapshot!(explained(&waiting), @"[ready] WaitingForResharding: a system database has too few copies, and a resharding job is running: a copy is added when it has ended");
    let closed = Observed { note: VolumeNote::Filling, maintenance: MaintenanceMode::On, ..grown };
    assert!(matches!(next_step(&closed), Step::AddCopies(_)) && checks_resharding(&closed));
    assert!(
        matches!(next_step(&Observed { resharding: true, ..closed }), Step::Fill { .. }),
        "it does not stay closed"
    );
}

fn named(databases: &[&str]) -> NamedDatabases {
    let mut named = NamedDatabases::default();
    databases.iter().for_each(|database| named.add(database));
    named
}

#[test]
fn problems_of_copies_are_conditions() {
    let stalled = Stalled { database: "orders".to_owned(), write_error: None };
    let filling = Observed { stalled: Some(stalled.clone()), ..closed(cluster(2).members(0..2).observed()) };
    let because = |failure| {
        let stalled = Stalled { write_error: Some(failure), ..stalled.clone() };
        Observed { stalled: Some(stalled), ..filling.clone() }
    };
    let full = because(WriteFailure::NoSpace("PUT /_node/_local/_dbs/_local/couchdiscover: 507".to_owned()));
    let failing = because(WriteFailure::Other("PUT /_node/_local/_dbs/_local/couchdiscover: 500".to_owned()));
    let condition = &decide(&full, PodManagement::Parallel).conditions[0];
    let behind = explain(&full, |explainer| explainer.condition(&full, condition)).evidence.join("\n");
    assert!(behind.contains("couchdiscover: 507\n") && behind.contains("couchdb-1 holds 2"), "{behind}");
    let open = cluster(2).members(0..2).observed();
    let single = Observed { single_copies: named(&["a", "b", "c", "d", "e", "f"]), ..open.clone() };
    let disagreeing = Observed { disagreeing: named(&["orders"]), ..open.clone() };
    let mut lines = vec![];
    for observed in [&filling, &full, &failing, &single, &disagreeing] {
        let decision = decide(observed, PodManagement::Parallel);
        for condition in &decision.conditions {
            lines.push(explain(observed, |explainer| explainer.condition(observed, condition)).explanation);
        }
    }
    let lines =
        Vec::from_iter(lines.iter().map(|line| format!("{}: {}", line.reason, line.message))).join("\n");
    assert_snapshot!(lines, @r#"
    FillingStalled: this node is being filled, and nothing has arrived for 'orders' for some minutes; what has arrived stays. Fix: read the log of CouchDB on this node and on the holders: kubectl -n default logs couchdb-0 -c CONTAINER --tail=50; check that the volume is not full
    FillingStalled: this node is being filled, and nothing has arrived for 'orders' for some minutes: CouchDB cannot write to its volume, which is full. What has arrived stays, and the rest follows when there is space. Fix: enlarge the claim of couchdb-0: kubectl -n default patch pvc CLAIM -p '{"spec":{"resources":{"requests":{"storage":"<size>"}}}}'
    FillingStalled: this node is being filled, and nothing has arrived for 'orders' for some minutes: CouchDB cannot write to its volume, which is probably full. What has arrived stays, and the rest follows when there is space. Fix: enlarge the claim of couchdb-0: kubectl -n default patch pvc CLAIM -p '{"spec":{"resources":{"requests":{"storage":"<size>"}}}}'
    SingleCopies: 'a', 'b', 'c', 'd', 'e' and 1 more have a single copy of some documents in a cluster of several nodes: when a node is down they cannot be read, and with its volume they are lost. Fix: create such databases with n=2 or more ([cluster] n, or PUT /DATABASE?n=3), and replicate their documents into them
    CopiesDisagree: the copies of 'orders' on the other nodes have different _security or _revs_limit: the same request is allowed at some nodes only. Fix: set the right values once more, for all copies: kubectl -n default exec -it couchdb-0 -- curl -u admin 'http://127.0.0.1:5984/DATABASE/_security' -X PUT -d @security.json, and the same with _revs_limit
    "#);
    for observed in [&single, &disagreeing] {
        assert_eq!(decide(observed, PodManagement::Parallel).readiness, Readiness::Ready);
    }
    let alone = Observed { single_copies: named(&["a"]), ..cluster(1).members([0]).observed() };
    assert_eq!(decide(&alone, PodManagement::Parallel).conditions, [], "there is no place for a second copy");
    let over = Observed { stalled: Some(stalled), ..open };
    let conditions: BTreeSet<Condition> =
        decide(&over, PodManagement::Parallel).conditions.into_iter().collect();
    assert!(conditions.is_empty(), "{conditions:?}");
}

/// All maps that a database has while its only copy of a range is moved from pod 1 to pod 0.
fn maps_of_a_move() -> Vec<ShardMap> {
    let [low, high] = ["00000000-7fffffff", "80000000-ffffffff"];
    let [zero, one] = [0, 1].map(|ordinal| format!("couchdb@couchdb-{ordinal}.couchdb"));
    let [fill, none] = ["1-to-0", "none-to-none"].map(|ends| format!("couchdiscover-fill-{ends}@127.0.0.1"));
    let map = json!({
        "_rev": "1-a", "shard_suffix": [46, 49], "changelog": [["add", low, one], ["add", high, zero]],
        "by_range": { low: [one], high: [zero] }, "by_node": { &zero: [high], &one: [low] },
    });
    let steps = [
        vec![Change::add(low, &fill)],
        vec![Change::remove(low, &fill), Change::add(low, &zero), Change::add(high, &none)],
        vec![Change::remove(high, &none), Change::remove(low, &one)],
    ];
    let mut documents = vec![Document::parse("orders", map.as_object().unwrap().clone()).unwrap()];
    for changes in steps {
        let changed = documents.last().unwrap().after(&changes).unwrap();
        documents.push(Document::parse("orders", changed).unwrap());
    }
    documents.iter().map(|map| serde_json::from_value(map.after(&[]).unwrap().into()).unwrap()).collect()
}

#[test]
fn a_single_copy_is_reported_all_the_time_while_it_is_moved() {
    for (phase, map) in maps_of_a_move().iter().enumerate() {
        assert_eq!(map.fewest_copies(), 1, "phase {phase}: {map:?}");
    }
    // A copy that a person has added stays.
    let map = json!({
        "by_range": { "00000000-ffffffff": ["a", "b"] },
        "changelog": [["add", "00000000-ffffffff", "a"], ["add", "00000000-ffffffff", "b"]],
    });
    assert_eq!(serde_json::from_value::<ShardMap>(map).unwrap().fewest_copies(), 2);
}

#[test]
fn copies_on_members_outside_of_the_statefulset_count_and_prove() {
    let colleagues = || BTreeSet::from(["couchdb@machine-1".to_owned()]);
    let outside = |copies: u32, holders: &[u32]| {
        let spread = Spread { copies, holders: holders.iter().copied().collect() };
        let system = SystemDatabase::ALL.map(|database| (database, spread.clone())).into();
        Node { colleagues: colleagues(), connected_colleagues: colleagues(), system, ..member(0..2) }
    };
    let step = |me, node: &Node| next_step(&cluster(2).me(me).all(0..2, node).observed());
    // Three nodes: a copy on the machine, one on pod 0, and the third is missing.
    let two = outside(2, &[0]);
    assert_eq!(step(1, &two), Step::NoteFilling);
    assert!(matches!(step(0, &two), Step::Wait(WaitFor::Copies { want: 3, have: 2, turn: Some(1), .. })));
    // Both pods have a copy: another one would be up to a second machine.
    let mut both = outside(2, &[0, 1]);
    both.colleagues.insert("couchdb@machine-2".to_owned());
    assert_eq!(step(0, &both), Step::Settled);
    // The only pod has lost its volume. Its copies are compared with those on the machine.
    let alone = Node { members: [0].into(), connected: [0].into(), ..outside(2, &[0]) };
    let one =
        |note, maintenance| Observed { note, maintenance, ..cluster(1).node(0, alone.clone()).observed() };
    let compare = Step::CompareVolume { with: [].into() };
    assert_eq!(next_step(&one(VolumeNote::None, MaintenanceMode::Off)), compare);
    assert_eq!(next_step(&one(VolumeNote::Filling, MaintenanceMode::Off)), Step::EnterMaintenance);
    assert_eq!(next_step(&one(VolumeNote::Filling, MaintenanceMode::On)), Step::Fill { from: [].into() });
}

#[test]
fn a_volume_is_not_compared_by_a_map_that_is_older_than_a_members() {
    let compare = |theirs: Node| {
        let observed = cluster(2).node(0, member_with_one_copy(0..2)).node(1, theirs).me(0).observed();
        matches!(next_step(&Observed { note: VolumeNote::None, ..observed }), Step::CompareVolume { .. })
    };
    assert!(compare(member_with_one_copy(0..2)));
    assert!(!compare(member(0..2)), "by the newer map this node may hold a copy, and have lost it");
    let stranger = Node { connected: [1].into(), ..member(0..2) };
    let observed = cluster(2).node(0, Node { connected: [0].into(), ..member_with_one_copy(0..2) });
    let observed = observed.node(1, stranger).observed();
    let step = next_step(&Observed { note: VolumeNote::None, ..observed });
    assert!(matches!(step, Step::CompareVolume { .. }), "a host that is not connected holds nothing up");
}
