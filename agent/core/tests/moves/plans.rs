//! Plans: as few moves as possible, the same for every agent, and never fewer copies or zones.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::moves::{
    Change, Demands, Document, Holdings, Loads, Move, Phase, Rebalance, Roster, drain, raise,
};
use contract::moves::{NodeCopies, NodeState};
use serde_json::{Value, json};

fn roster(nodes: u32, leaving: &[u32]) -> Roster {
    let names = (0..nodes).map(|ordinal| (ordinal, name(ordinal))).collect();
    Roster::new(names, leaving.iter().copied().collect())
}

fn name(ordinal: u32) -> String {
    format!("couchdb@db-{ordinal}.db")
}

/// A map with these holders of each range.
fn document(database: &str, holders: &[Vec<u32>]) -> Document {
    let by_range: BTreeMap<String, Vec<String>> = holders
        .iter()
        .enumerate()
        .map(|(i, holders)| {
            (format!("{i}0000000-{i}fffffff"), holders.iter().map(|one| name(*one)).collect())
        })
        .collect();
    let mut by_node: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (range, holders) in &by_range {
        holders.iter().for_each(|holder| by_node.entry(holder).or_default().push(range));
    }
    let map = json!({ "_rev": "1-a", "shard_suffix": [46, 49], "changelog": [], "by_range": by_range, "by_node": by_node });
    Document::parse(database, map.as_object().unwrap().clone()).unwrap()
}

/// `count` databases of `ranges` ranges and `copies` copies, placed as CouchDB does: each on the next nodes.
fn databases(count: u32, ranges: u32, copies: u32, nodes: u32) -> Vec<Document> {
    let holders = |database: u32| -> Vec<Vec<u32>> {
        (0..ranges).map(|range| (0..copies).map(|copy| (database + range + copy) % nodes).collect()).collect()
    };
    (0..count).map(|database| document(&format!("db{database:05}"), &holders(database))).collect()
}

fn changed(document: &Document, changes: &[Change]) -> Document {
    Document::parse(&document.database, document.after(changes).unwrap()).unwrap()
}

fn loads(documents: &[Document], roster: &Roster) -> Loads {
    let mut loads = Loads::new(roster);
    documents.iter().for_each(|document| loads.count(document, roster));
    loads
}

/// The holders of each range after the moves.
fn after(document: &Document, moves: &[Move], roster: &Roster) -> BTreeMap<String, BTreeSet<u32>> {
    let mut holders: BTreeMap<String, BTreeSet<u32>> = document
        .ranges()
        .map(|range| {
            (range.to_owned(), document.holders(range).map(|node| roster.ordinal(node).unwrap()).collect())
        })
        .collect();
    for Move { range, from, to } in moves {
        let held = holders.get_mut(range).unwrap();
        assert!(from.is_none_or(|from| held.remove(&from)), "the source holds the range");
        assert!(to.is_none_or(|to| held.insert(to)), "the target does not");
    }
    holders
}

#[test]
fn a_rebalance_after_growing_takes_the_fewest_moves_and_ends_with_equal_loads() {
    // 50 databases of 2 ranges with 3 copies: 300 copies, 60 for each of 5 nodes, so 120 moves to the 2 new ones.
    let (mut documents, roster) = (databases(50, 2, 3, 3), roster(5, &[]));
    let mut all = 0;
    for _ in 0..3 {
        let mut plan = Rebalance::new(loads(&documents, &roster), &roster);
        let total = usize::try_from(plan.total()).unwrap();
        assert_eq!(total, 120 - all, "the second plan has what the first has left");
        let mut moved = 0;
        for (i, document) in documents.iter_mut().enumerate() {
            let moves = plan.next(document, &roster);
            moved += moves.len();
            assert!(
                moves.iter().all(|one| one.from < Some(3) && one.to >= Some(3)),
                "from old to new nodes only"
            );
            assert!(moved <= (total * (i + 1)).div_ceil(50), "no more than its share: {moved} after {i}");
            let holders: Vec<Vec<u32>> =
                after(document, &moves, &roster).into_values().map(Vec::from_iter).collect();
            *document = self::document(&document.database, &holders);
        }
        all += moved;
    }
    assert_eq!(all, 120);
    let loads = loads(&documents, &roster);
    assert_eq!((0..5).map(|ordinal| loads.of(ordinal)).collect::<Vec<_>>(), [60; 5]);
}

/// Another agent continues a plan of which some moves were begun: a copy that will leave is not counted beside the new one.
#[test]
fn moves_that_were_begun_count_as_done() {
    let (documents, roster) = (databases(50, 2, 3, 3), roster(5, &[]));
    let mut plan = Rebalance::new(loads(&documents, &roster), &roster);
    let total = plan.total();
    let (mut begun, mut documents_after) = (0, vec![]);
    for (i, document) in documents.iter().enumerate() {
        let moves = plan.next(document, &roster);
        begun += u64::try_from(moves.len()).unwrap();
        let fills = moves.iter().map(|one| Change::add(&one.range, one.fill().to_string()));
        let mut changes: Vec<Change> = fills.collect();
        // In every second database the target has replaced the placeholder.
        for one in moves.iter().filter(|_| i % 2 == 0) {
            changes.push(Change::remove(&one.range, one.fill().to_string()));
            changes.push(Change::add(&one.range, name(one.to.unwrap())));
        }
        documents_after.push(changed(document, &changes));
    }
    assert!(begun > 50);
    let left = Rebalance::new(loads(&documents_after, &roster), &roster).total();
    assert_eq!(left, total - begun);
}

#[test]
fn a_balanced_cluster_needs_no_moves() {
    for (nodes, count) in [(3, 9), (4, 7), (5, 1)] {
        let (documents, roster) = (databases(count, 2, 3, nodes), roster(nodes, &[]));
        let plan = Rebalance::new(loads(&documents, &roster), &roster);
        let copies: Vec<u64> = (0..nodes).map(|ordinal| loads(&documents, &roster).of(ordinal)).collect();
        let spread = copies.iter().max().unwrap() - copies.iter().min().unwrap();
        assert_eq!(plan.total() == 0, spread <= 1, "{copies:?}");
    }
}

/// Brute force over all assignments of small clusters: no plan with fewer moves ends with equal loads.
#[test]
fn no_plan_with_fewer_moves_ends_with_equal_loads() {
    for nodes in 2..=4_u32 {
        for shape in 0..81_u32 {
            let holder = |i: u32| vec![shape / 3_u32.pow(i) % 3 % (nodes - 1)];
            let documents: Vec<Document> =
                (0..4).map(|i| document(&format!("db{i}"), &[holder(i)])).collect();
            let roster = roster(nodes, &[]);
            let plan = Rebalance::new(loads(&documents, &roster), &roster);
            let fewest = (0..nodes.pow(4)).filter_map(|choice| {
                let to: Vec<u32> = (0..4).map(|i| choice / nodes.pow(i) % nodes).collect();
                let counts: Vec<usize> =
                    (0..nodes).map(|node| to.iter().filter(|one| **one == node).count()).collect();
                let even = counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1;
                even.then(|| {
                    to.iter()
                        .enumerate()
                        .filter(|(i, to)| holder(u32::try_from(*i).unwrap())[0] != **to)
                        .count()
                })
            });
            assert_eq!(plan.total(), fewest.min().unwrap() as u64, "{shape} on {nodes}");
        }
    }
}

#[test]
fn a_drained_node_gives_every_copy_to_a_node_without_one_and_drops_what_all_have() {
    let documents = databases(40, 2, 3, 5);
    let roster = roster(5, &[3, 4]);
    let mut loads = loads(&documents, &roster);
    let mut copies = BTreeMap::<u32, u64>::new();
    for document in &documents {
        let moves = drain(document, 4, &roster, &mut loads);
        for (range, holders) in after(document, &moves, &roster) {
            assert!(!holders.contains(&4), "{range}");
            assert!(!moves.iter().any(|one| one.to == Some(3)), "a node that leaves gets nothing");
            // Where the three others have one already, the copy is dropped.
            assert!(holders.len() == 3 || moves.iter().any(|one| one.range == range && one.to.is_none()));
            holders.into_iter().for_each(|ordinal| *copies.entry(ordinal).or_default() += 1);
        }
    }
    let staying: Vec<u64> = (0..3).map(|ordinal| copies[&ordinal]).collect();
    assert!(staying.iter().max().unwrap() - staying.iter().min().unwrap() <= 2, "{copies:?}");
}

#[test]
fn a_single_copy_is_moved_and_never_dropped() {
    let document = document("single", &[vec![2], vec![0]]);
    let roster = roster(3, &[2]);
    let moves = drain(&document, 2, &roster, &mut loads(std::slice::from_ref(&document), &roster));
    assert_eq!(moves, [Move { range: "00000000-0fffffff".to_owned(), from: Some(2), to: Some(1) }]);
}

#[test]
fn databases_with_few_copies_get_more_one_at_a_time() {
    let document = document("few", &[vec![0], vec![0, 1], vec![0, 1, 2]]);
    let roster = roster(4, &[3]);
    let moves = raise(&document, 3, &roster, &mut loads(std::slice::from_ref(&document), &roster));
    let targets: Vec<(&str, Option<u32>)> = moves.iter().map(|one| (one.range.as_str(), one.to)).collect();
    assert_eq!(targets, [("00000000-0fffffff", Some(2)), ("10000000-1fffffff", Some(2))]);
    let moves = raise(&document, 9, &roster, &mut loads(std::slice::from_ref(&document), &roster));
    assert_eq!(moves.len(), 2, "no more copies than nodes that stay");
}

#[test]
fn copies_stay_in_as_many_zones() {
    let zones: BTreeMap<String, String> = [(0, "a"), (1, "b"), (2, "a"), (3, "b")]
        .map(|(ordinal, zone)| (name(ordinal), zone.to_owned()))
        .into();
    let document = document("zoned", &[vec![0, 3]]);
    let draining = roster(4, &[3]).with_zones(zones.clone());
    let mut loads_of = loads(std::slice::from_ref(&document), &draining);
    let moves = drain(&document, 3, &draining, &mut loads_of);
    assert_eq!(moves[0].to, Some(1), "zone b, and not the lower load of zone a");
    // Node 1 is emptier, but then both copies would be in zone b.
    let spreading = roster(2, &[]).with_zones(zones);
    let documents: Vec<Document> = ["x", "y"].map(|database| self::document(database, &[vec![0]])).into();
    let mut plan = Rebalance::new(loads(&documents, &spreading), &spreading);
    assert_eq!(plan.total(), 1);
    assert_eq!(documents.iter().map(|document| plan.next(document, &spreading).len()).sum::<usize>(), 1);
}

#[test]
fn the_copies_on_a_node_are_counted_by_database_and_named_where_they_are_the_only_ones() {
    let roster = roster(3, &[]);
    let mut holdings = Holdings::new(&roster);
    let shapes: [(&str, &[Vec<u32>]); 7] = [
        ("_users", &[vec![0, 1, 2]]),
        ("a", &[vec![0, 1, 2], vec![0, 1]]),
        ("b", &[vec![0, 1]]),
        ("carts", &[vec![0], vec![2]]),
        ("d", &[vec![0, 1]]),
        ("e", &[vec![0, 1]]),
        ("f", &[vec![2]]),
    ];
    for (database, holders) in shapes {
        holdings.count(&document(database, holders), &roster);
    }
    let node = |databases, only_copies, examples: &[&str]| NodeCopies {
        state: NodeState::Holding,
        databases,
        only_copies,
        examples: examples.iter().map(|name| (*name).to_owned()).collect(),
    };
    let counted =
        [(0, node(6, 1, &["carts"])), (1, node(5, 0, &["a", "b", "d"])), (2, node(4, 2, &["carts", "f"]))];
    assert_eq!(holdings.into_nodes(), counted.into());
}

/// A resharding job has split the copy of one node.
#[test]
fn a_copy_that_others_hold_in_parts_is_not_the_only_one() {
    let roster = roster(2, &[]);
    let map = json!({ "_rev": "1-a", "shard_suffix": [46, 49], "by_node": {}, "by_range": {
        "00000000-7fffffff": [name(0)], "80000000-ffffffff": [name(0)], "00000000-ffffffff": [name(1)],
    }});
    let split = Document::parse("split", map.as_object().unwrap().clone()).unwrap();
    let mut holdings = Holdings::new(&roster);
    holdings.count(&split, &roster);
    let only: Vec<u64> = holdings.into_nodes().into_values().map(|node| node.only_copies).collect();
    assert_eq!(only, [0, 0]);
}

#[test]
fn the_log_of_a_map_shows_how_far_a_move_is_and_ignores_what_people_did() {
    let range = "00000000-0fffffff";
    let roster = roster(3, &[]);
    let fill = "couchdiscover-fill-2-to-1@127.0.0.1";
    let begin = document("db", &[vec![0, 2]]);
    let phases = |document: &Document| -> Vec<Phase> {
        document.moves(&roster).into_iter().map(|(_, phase)| phase).collect()
    };
    assert_eq!(phases(&begin), []);
    let filling = changed(&begin, &[Change::add(range, fill)]);
    assert_eq!(phases(&filling), [Phase::Fill]);
    assert_eq!(filling.holders(range).count(), 2, "a placeholder holds nothing");
    let both = changed(&filling, &[Change::remove(range, fill), Change::add(range, name(1))]);
    assert_eq!(phases(&both), [Phase::Confirm]);
    let left = changed(&both, &[Change::remove(range, name(2))]);
    assert_eq!(phases(&left), [Phase::Verify]);
    let verified = changed(&left, &[Change::remove(range, name(2))]);
    assert_eq!(phases(&verified), [], "a move that has ended");
    let begun = |document: &Document| {
        let mut demands = Demands::new(&roster, None);
        demands.add(document);
        demands.found().demands.begun
    };
    assert_eq!(begun(&left), 1, "the last writes of the source may be missing");
    assert_eq!(begun(&verified), 0);
    let by_hand = changed(&left, &[Change::add(range, name(2))]);
    assert_eq!(phases(&by_hand), [], "a copy that a person has added is not removed");
    let given_up = changed(&filling, &[Change::remove(range, fill)]);
    assert_eq!(phases(&given_up), []);
    let raw: Value = Value::Object(left.after(&[]).unwrap());
    assert_eq!(raw["by_node"], json!({ name(0): [range], name(1): [range] }), "both sides of the map agree");
}
