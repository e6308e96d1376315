//! What forming and keeping a cluster costs, beside the bare calls that a script would make.
//!
//! ```text
//! cargo run --release -p couchdiscover-e2e --example numbers
//! ulimit -n 20000; cargo run --release -p couchdiscover-e2e --example numbers -- 48 64
//! ```
//!
//! Agents, stand-in nodes and their network share this process, so read ratios and counts rather than times.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for a person; a panic says what is wrong"
)]

use std::time::{Duration, Instant};

use e2e::stage::{PASSWORD, Stage, USER, host};
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
        "3 nodes, formed and proven: agents {agents:?}, script {script:?} for {turns} turns; {ratio:.2} times"
    );
    println!("{:>5} | calls of the busiest agent to form | of all | per 10 s once settled", "nodes");
    let asked: Vec<usize> = std::env::args().skip(1).map(|nodes| nodes.parse().unwrap()).collect();
    // Of 64 nodes each pair has a port, held and listened on, and a connection: more files than most shells allow.
    let sizes = if asked.is_empty() { vec![1, 3, 8, 16, 32] } else { asked };
    for nodes in sizes {
        let (stage, _) = by_agents(nodes).await;
        let calls = |stage: &Stage| (0..nodes).map(|i| stage.calls_of_agent(i).len()).collect::<Vec<_>>();
        let forming = calls(&stage);
        sleep(SETTLED).await;
        let settled = calls(&stage).iter().sum::<usize>() - forming.iter().sum::<usize>();
        let rate = settled as f64 / nodes as f64 / SETTLED.as_secs_f64() * 10.0;
        println!(
            "{nodes:>5} | {:>34} | {:>6} | {rate:.2}",
            forming.iter().max().unwrap(),
            forming.iter().sum::<usize>()
        );
    }
}

/// Agents from the moment in which all nodes answer.
async fn by_agents(nodes: usize) -> (Stage, Duration) {
    let mut stage = fresh(nodes).await;
    stage.erlang_ports = false;
    let begun = Instant::now();
    stage.start_agents(0..nodes).await;
    stage.formed().await;
    (stage, begun.elapsed())
}

/// The calls of a careful person: join, look at every node, finish, look at every node.
async fn by_script(nodes: usize) -> Duration {
    let stage = fresh(nodes).await;
    let begun = Instant::now();
    let first = format!("/_node/_local/_nodes/couchdb@{}", host(0));
    for i in 1..nodes {
        stage.tell_node(i, &first, &json!({})).await;
    }
    for i in 0..nodes {
        until_it_says(&stage, i, "/_membership", |seen| {
            ["all_nodes", "cluster_nodes"]
                .iter()
                .all(|list| seen[list].as_array().is_some_and(|l| l.len() == nodes))
        })
        .await;
    }
    let url = format!("{}/_cluster_setup", stage.node(0).url());
    let finish = reqwest::Client::new().post(url).basic_auth(USER, Some(PASSWORD));
    finish.json(&json!({ "action": "finish_cluster" })).send().await.unwrap().error_for_status().unwrap();
    for i in 0..nodes {
        until_it_says(&stage, i, "/_node/_local/_dbs/_all_docs", |seen| seen["total_rows"] == 2).await;
        until_it_says(&stage, i, "/_cluster_setup", |seen| seen["state"] == "cluster_finished").await;
    }
    begun.elapsed()
}

/// Nodes that answer, and have made the files that slow their first answers down.
async fn fresh(nodes: usize) -> Stage {
    let stage = Stage::in_real_time(nodes);
    for i in 0..nodes {
        until_it_says(&stage, i, "/_node/_local/_dbs", |seen| seen["db_name"].is_string()).await;
    }
    stage
}

async fn until_it_says(stage: &Stage, i: usize, path: &str, enough: impl Fn(&Value) -> bool) {
    while !enough(&stage.ask_node(i, path).await) {
        sleep(Duration::from_millis(50)).await;
    }
}

/// Several glances.
const SETTLED: Duration = Duration::from_secs(40);
