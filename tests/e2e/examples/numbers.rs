//! Measures the cost of forming and keeping a cluster, compared with the bare calls of a script.
//!
//! ```text
//! cargo run --release -p couchdiscover-e2e --example numbers
//! ulimit -n 20000; cargo run --release -p couchdiscover-e2e --example numbers -- 48 64
//! ```
//!
//! Agents, stand-in nodes and their network share this process: ratios and counts are more meaningful than times.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a command-line tool, where a panic is an acceptable error message"
)]

use std::time::{Duration, Instant};

use e2e::cluster::{PASSWORD, TestCluster, USER, host};
use serde_json::{Value, json};
use tokio::time::sleep;

#[tokio::main]
async fn main() {
    let turns = 20;
    let (mut agents, mut script) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..turns {
        script += by_script(3).await;
        agents += by_agents(3).await.1;
    }
    let ratio = agents.as_secs_f64() / script.as_secs_f64();
    println!(
        "3 nodes, formed and confirmed: agents {agents:?}, script {script:?} for {turns} turns; {ratio:.2} times"
    );
    println!("{:>5} | calls of the busiest agent to form | of all | per 10 s once settled", "nodes");
    let arguments: Vec<usize> = std::env::args().skip(1).map(|nodes| nodes.parse().unwrap()).collect();
    // By default at most 32 nodes: with 64, each pair's port and connection exceed the usual limit of open files.
    let sizes = if arguments.is_empty() { vec![1, 3, 8, 16, 32] } else { arguments };
    for nodes in sizes {
        let (cluster, _) = by_agents(nodes).await;
        let forming = calls(&cluster);
        sleep(SETTLED).await;
        let settled = calls(&cluster).iter().sum::<usize>() - forming.iter().sum::<usize>();
        let rate = settled as f64 / nodes as f64 / SETTLED.as_secs_f64() * 10.0;
        println!(
            "{nodes:>5} | {:>34} | {:>6} | {rate:.2}",
            forming.iter().max().unwrap(),
            forming.iter().sum::<usize>()
        );
    }
}

/// The number of calls of each agent so far.
fn calls(cluster: &TestCluster) -> Vec<usize> {
    cluster.ordinals().map(|i| cluster.calls_of_agent(i).len()).collect()
}

/// Forms a cluster by agents. Returns it, and the time from the moment when all nodes answer.
async fn by_agents(nodes: usize) -> (TestCluster, Duration) {
    let mut cluster = fresh(nodes).await;
    cluster.erlang_ports = false;
    let begun = Instant::now();
    cluster.start_agents(0..nodes).await;
    cluster.until_formed().await;
    (cluster, begun.elapsed())
}

/// Forms a cluster by the calls of a careful script: join, check every node, finish, check every node.
async fn by_script(nodes: usize) -> Duration {
    let cluster = fresh(nodes).await;
    let begun = Instant::now();
    let first = format!("/_node/_local/_nodes/couchdb@{}", host(0));
    for i in 1..nodes {
        cluster.put(i, &first, &json!({})).await;
    }
    for i in 0..nodes {
        until_answer(&cluster, i, "/_membership", |answer| {
            ["all_nodes", "cluster_nodes"]
                .iter()
                .all(|list| answer[list].as_array().is_some_and(|list| list.len() == nodes))
        })
        .await;
    }
    let url = format!("{}/_cluster_setup", cluster.node(0).url());
    let finish = reqwest::Client::new().post(url).basic_auth(USER, Some(PASSWORD));
    finish.json(&json!({ "action": "finish_cluster" })).send().await.unwrap().error_for_status().unwrap();
    for i in 0..nodes {
        until_answer(&cluster, i, "/_node/_local/_dbs/_all_docs", |answer| answer["total_rows"] == 2).await;
        until_answer(&cluster, i, "/_cluster_setup", |answer| answer["state"] == "cluster_finished").await;
    }
    begun.elapsed()
}

/// Starts nodes, and waits until they answer and have created the files that delay their first answers.
async fn fresh(nodes: usize) -> TestCluster {
    let cluster = TestCluster::in_real_time(nodes);
    for i in 0..nodes {
        until_answer(&cluster, i, "/_node/_local/_dbs", |answer| answer["db_name"].is_string()).await;
    }
    cluster
}

async fn until_answer(cluster: &TestCluster, i: usize, path: &str, is_enough: impl Fn(&Value) -> bool) {
    while !is_enough(&cluster.get(i, path).await) {
        sleep(Duration::from_millis(50)).await;
    }
}

/// Several intervals in which a settled agent checks its node.
const SETTLED: Duration = Duration::from_secs(40);
