//! Plans for many databases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use agent_core::moves::{Document, Loads, Rebalance, Roster};
use e2e::process::peak_memory;
use serde_json::json;

use crate::programs::mebibytes;
use crate::row::{Goal, Row};

/// A rebalance of 10,000 databases with 8 ranges and 3 copies, placed on 18 of 20 nodes.
pub(crate) fn measure() -> Vec<Row> {
    let roster = Roster::new((0..20).map(|i| (i, name(i))).collect(), BTreeSet::new());
    let documents: Vec<Document> = (0..10_000).map(|i| document(i, 18)).collect();
    let begun = Instant::now();
    let mut loads = Loads::new(&roster);
    documents.iter().for_each(|document| loads.count(document, &roster));
    let mut plan = Rebalance::new(loads, &roster);
    let moves: usize = documents.iter().map(|document| plan.next(document, &roster).len()).sum();
    let took = begun.elapsed().as_secs_f64();
    let share = 10_000 * 8 * 3 / 20;
    vec![
        Row::number("plan of 20 nodes, 10,000 databases, q=8, n=3", took, " s", Goal::AtMost(1.0)),
        Row::new(
            "its moves, and the fewest that fill two new nodes",
            format!("{moves}, {}", 2 * share),
            "equal",
            moves == 2 * share,
        ),
        Row::number(
            "peak memory of the process, all 10,000 shard maps included",
            mebibytes(peak_memory("self")),
            " MiB",
            Goal::AtMost(200.0),
        ),
    ]
}

fn name(ordinal: u32) -> String {
    format!("couchdb@couchdb-{ordinal}.couchdb.default.svc.cluster.local")
}

/// A database whose ranges CouchDB has placed on the next nodes of `nodes`.
fn document(database: u32, nodes: u32) -> Document {
    let mut by_range: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for range in 0..8_u32 {
        let range_name = format!("{:08x}-{:08x}", range << 29, (range << 29) | 0x1fff_ffff);
        for copy in 0..3 {
            let node = name((database + range + copy) % nodes);
            by_range.entry(range_name.clone()).or_default().push(node.clone());
            by_node.entry(node).or_default().push(range_name.clone());
        }
    }
    let map = json!({
        "_rev": "1-a", "shard_suffix": [46, 49], "changelog": [], "by_range": by_range, "by_node": by_node,
    });
    Document::parse(&format!("tenant-{database:05}"), map.as_object().unwrap().clone()).unwrap()
}
