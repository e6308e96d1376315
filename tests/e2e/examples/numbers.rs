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
    for (nodes, first_login) in [(3, Duration::ZERO), (3, FIRST_LOGIN), (5, FIRST_LOGIN)] {
        compare(nodes, first_login).await;
    }
    println!("{:>5} | calls of the busiest agent to form | of all | per 10 s once settled", "nodes");
    let arguments: Vec<usize> = std::env::args().skip(1).map(|nodes| nodes.parse().unwrap()).collect();
    // By default at most 32 nodes: with 64, each pair's port and connection exceed the usual limit of open files.
    let sizes = if arguments.is_empty() { vec![1, 3, 8, 16, 32] } else { arguments };
    for nodes in sizes {
        let cluster = by_agents(nodes).await;
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

/// Compares agents with a script that forms the same cluster, from the start of the nodes.
async fn compare(nodes: usize, first_login: Duration) {
    let turns = 10;
    let (mut agents, mut script) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..turns {
        let begun = Instant::now();
        by_script(&start(nodes, first_login)).await;
        script += begun.elapsed();
        let begun = Instant::now();
        form_by_agents(&mut start(nodes, first_login)).await;
        agents += begun.elapsed();
    }
    let ratio = agents.as_secs_f64() / script.as_secs_f64();
    println!(
        "{nodes} nodes, first login {first_login:?}, formed and confirmed: agents {:?}, script {:?}; {ratio:.2} times",
        agents / turns,
        script / turns
    );
}

/// The number of calls of each agent so far.
fn calls(cluster: &TestCluster) -> Vec<usize> {
    cluster.ordinals().map(|i| cluster.calls_of_agent(i).len()).collect()
}

/// Forms a cluster by agents.
async fn by_agents(nodes: usize) -> TestCluster {
    let mut cluster = start(nodes, Duration::ZERO);
    form_by_agents(&mut cluster).await;
    cluster
}

async fn form_by_agents(cluster: &mut TestCluster) {
    cluster.erlang_ports = false;
    cluster.start_agents(cluster.ordinals()).await;
    cluster.until_formed().await;
}

/// Forms a cluster by the calls of a careful script: join, check every node, finish, check every node.
async fn by_script(cluster: &TestCluster) {
    let nodes = cluster.ordinals().len();
    // A new node creates the files that delay its first answers.
    for i in 0..nodes {
        until_answer(cluster, i, "/_node/_local/_dbs", |answer| answer["db_name"].is_string()).await;
    }
    let first = format!("/_node/_local/_nodes/couchdb@{}", host(0));
    for i in 1..nodes {
        cluster.put(i, &first, &json!({})).await;
    }
    for i in 0..nodes {
        until_answer(cluster, i, "/_membership", |answer| {
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
        until_answer(cluster, i, "/_node/_local/_dbs/_all_docs", |answer| answer["total_rows"] == 2).await;
        until_answer(cluster, i, "/_cluster_setup", |answer| answer["state"] == "cluster_finished").await;
    }
}

/// Starts nodes with this cost of a first login.
fn start(nodes: usize, first_login: Duration) -> TestCluster {
    TestCluster::in_real_time_with(nodes, |settings| settings.first_login(first_login))
}

async fn until_answer(cluster: &TestCluster, i: usize, path: &str, is_enough: impl Fn(&Value) -> bool) {
    while !is_enough(&cluster.get(i, path).await) {
        sleep(Duration::from_millis(50)).await;
    }
}

/// The time that 600,000 rounds of PBKDF2 take on an idle core.
const FIRST_LOGIN: Duration = Duration::from_millis(250);
/// Several intervals in which a settled agent checks its node.
const SETTLED: Duration = Duration::from_secs(40);
