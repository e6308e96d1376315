//! Copies of many small databases that are spread over new nodes, while clients write and read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::clients::Clients;
use e2e::cluster::{TestCluster, host};
use e2e::control_plane::ControlPlane;
use e2e::example::{annotate, example_cluster};
use e2e::until::until;
use serde_json::{Value, json};

use crate::row::{Goal, Row};

pub(crate) async fn measure() -> Vec<Row> {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 5).await;
    // Otherwise old copies stay beside the new ones for 10 minutes.
    cluster.set("COUCHDISCOVER_READERS_STAY", "0");
    cluster.start_agents(0..5).await;
    cluster.until_formed().await;
    // As if nodes 3 and 4 had come later: new databases are not placed on a node with this mark.
    for i in [3, 4] {
        let path = format!("/_node/_local/_nodes/couchdb@{}", host(i));
        let mut entry = cluster.get(0, &path).await;
        entry["decom"] = json!(true);
        cluster.put(0, &path, &entry).await;
    }
    for i in 0..DATABASES {
        cluster.put(0, &format!("/db{i}?n=3&q=2"), &Value::Null).await;
        cluster.put(0, &format!("/db{i}/a"), &json!({})).await;
    }
    let before = holders(&cluster);
    let mut clients = Clients::start(&cluster, 0..5, ["db0", "db1"]).await;
    let begun = Instant::now();
    annotate(&control_plane, "couchdiscover.io/rebalance", Some("all"));
    until("equal loads", DEADLINE, async || {
        let mut loads: Vec<usize> = loads(&holders(&cluster)).into_values().collect();
        loads.sort_unstable();
        if loads.len() == 5 && loads[4] <= loads[0] + 1 { Ok(()) } else { Err(loads) }
    })
    .await;
    let took = begun.elapsed();
    cluster.until_settled(0..5, DEADLINE).await;
    clients.end().await;
    let answers = clients.answers();
    clients.until_complete(&cluster, 0..5).await;
    let after = holders(&cluster);
    let moved = after.iter().filter(|copy| !before.contains(copy)).count();
    let changed = changed_databases(&before, &after);
    vec![
        Row::number(
            "databases moved in a second, 50 databases, 3 -> 5 nodes (stand-ins)",
            changed as f64 / took.as_secs_f64(),
            "",
            Goal::AtLeast(1.0),
        ),
        Row::new(
            "copies moved, and the fewest that give equal loads",
            format!("{moved}, {}", fewest(&before)),
            "equal",
            moved == fewest(&before),
        ),
        Row::new(
            "wrong reads and failed requests of clients meanwhile",
            format!("{} of {}", answers.failures.len(), 2 * answers.acknowledged),
            "none",
            answers.failures.is_empty(),
        ),
    ]
}

/// Database, range and node of each copy, by the shard maps of node 0.
type Copies = Vec<(String, String, String)>;

fn holders(cluster: &TestCluster) -> Copies {
    cluster.net.world(|world| {
        let dbs = &world.node(&host(0)).unwrap().volume.dbs;
        let mut copies = vec![];
        for (database, _, map) in dbs.live() {
            for (range, nodes) in map.get("by_range").and_then(Value::as_object).into_iter().flatten() {
                let nodes = nodes.as_array().into_iter().flatten().filter_map(Value::as_str);
                copies.extend(nodes.map(|node| (database.to_owned(), range.clone(), node.to_owned())));
            }
        }
        copies
    })
}

fn loads(copies: &Copies) -> BTreeMap<&str, usize> {
    let mut loads = BTreeMap::new();
    for (_, _, node) in copies {
        *loads.entry(node.as_str()).or_default() += 1;
    }
    loads
}

/// The copies that the new nodes must get: what they have less than an equal share of all.
fn fewest(before: &Copies) -> usize {
    let loads = loads(before);
    let share = before.len() / 5;
    (0..5)
        .map(|i| {
            share.saturating_sub(loads.get(format!("couchdb@{}", host(i)).as_str()).copied().unwrap_or(0))
        })
        .sum()
}

fn changed_databases(before: &Copies, after: &Copies) -> usize {
    let moved = after.iter().filter(|copy| !before.contains(copy));
    moved.map(|(database, _, _)| database).collect::<std::collections::BTreeSet<_>>().len()
}

const DATABASES: usize = 50;
const DEADLINE: Duration = Duration::from_secs(300);
