//! Copies of many small databases that are spread over new nodes, while clients write and read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use e2e::clients::Clients;
use e2e::cluster::{PlacedCopy, host};
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
        cluster.set_entry(i, "decom", json!(true)).await;
    }
    for i in 0..DATABASES {
        cluster.put(0, &format!("/db{i}?n=3&q=2"), &Value::Null).await;
        cluster.put(0, &format!("/db{i}/a"), &json!({})).await;
    }
    let (before, loads) = (cluster.copies(), cluster.loads());
    let mut clients = Clients::start(&cluster, 0..5, ["db0", "db1"]).await;
    let begun = Instant::now();
    annotate(&control_plane, "couchdiscover.io/rebalance", Some("all"));
    until("equal loads", DEADLINE, async || {
        let mut loads: Vec<usize> = cluster.loads().into_values().collect();
        loads.sort_unstable();
        if loads.len() == 5 && loads[4] <= loads[0] + 1 { Ok(()) } else { Err(loads) }
    })
    .await;
    let took = begun.elapsed();
    cluster.until_settled(0..5, DEADLINE).await;
    clients.end().await;
    let answers = clients.answers();
    clients.until_complete(&cluster, 0..5).await;
    let after = cluster.copies();
    let moved: Vec<&PlacedCopy> = after.iter().filter(|copy| !before.contains(copy)).collect();
    let changed: BTreeSet<&str> = moved.iter().map(|copy| copy.database.as_str()).collect();
    let fewest = fewest(&loads);
    vec![
        Row::number(
            "databases moved in a second, 50 databases, 3 -> 5 nodes (stand-ins)",
            changed.len() as f64 / took.as_secs_f64(),
            "",
            Goal::AtLeast(1.0),
        ),
        Row::new(
            "copies moved, and the fewest that give equal loads",
            format!("{}, {fewest}", moved.len()),
            "equal",
            moved.len() == fewest,
        ),
        Row::new(
            "wrong reads and failed requests of clients meanwhile",
            format!("{} of {}", answers.failures.len(), 2 * answers.acknowledged),
            "none",
            answers.failures.is_empty(),
        ),
    ]
}

/// The copies that the new nodes must get: what they have less than an equal share of all.
fn fewest(loads: &BTreeMap<String, usize>) -> usize {
    let share = loads.values().sum::<usize>() / 5;
    (0..5)
        .map(|i| share.saturating_sub(loads.get(&format!("couchdb@{}", host(i))).copied().unwrap_or(0)))
        .sum()
}

const DATABASES: usize = 50;
const DEADLINE: Duration = Duration::from_secs(300);
