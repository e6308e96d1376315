//! Forming a cluster, compared with the calls of a script that does the same.

use std::time::{Duration, Instant};

use e2e::cluster::{PASSWORD, TestCluster, USER, host};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::row::{Goal, Row};

/// The time until a cluster is formed and confirmed, from the start of its nodes, with CouchDB's cost of a first login.
pub(crate) async fn against_a_script() -> Vec<Row> {
    let mut rows = vec![];
    for nodes in [3, 5] {
        let (mut agents, mut script) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..TURNS {
            let begun = Instant::now();
            by_script(&start(nodes, FIRST_LOGIN)).await;
            script += begun.elapsed();
            let begun = Instant::now();
            form_by_agents(&mut start(nodes, FIRST_LOGIN)).await;
            agents += begun.elapsed();
        }
        let ratio = agents.as_secs_f64() / script.as_secs_f64();
        let what = format!("formed and confirmed, {nodes} nodes, against the bare calls");
        rows.push(Row::number(&what, ratio, " times", Goal::AtMost(1.15)));
        rows.push(Row::point(
            &format!("the same in seconds, agents and script ({nodes} nodes)"),
            format!("{:.2} s, {:.2} s", (agents / TURNS).as_secs_f64(), (script / TURNS).as_secs_f64()),
        ));
    }
    rows
}

/// The calls of the busiest agent until its cluster is formed, by size, and of a settled one.
pub(crate) async fn calls() -> Vec<Row> {
    let mut rows = vec![];
    let mut rate = 0.0_f64;
    // With 64 nodes, each pair's port and connection exceed the usual limit of open files.
    for nodes in [1, 3, 8, 16, 32] {
        let mut cluster = start(nodes, Duration::ZERO);
        form_by_agents(&mut cluster).await;
        let forming = calls_of_agents(&cluster);
        sleep(SETTLED).await;
        let settled = calls_of_agents(&cluster).iter().sum::<usize>() - forming.iter().sum::<usize>();
        rate = rate.max(settled as f64 / nodes as f64 / SETTLED.as_secs_f64() * 10.0);
        rows.push(Row::point(
            &format!("calls of the busiest agent until formed, {nodes} nodes"),
            forming.iter().max().unwrap().to_string(),
        ));
    }
    rows.push(Row::number("calls of a settled agent to CouchDB in 10 s", rate, "", Goal::AtMost(1.0)));
    rows
}

/// The number of calls of each agent so far.
fn calls_of_agents(cluster: &TestCluster) -> Vec<usize> {
    cluster.ordinals().map(|i| cluster.calls_of_agent(i).len()).collect()
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

const TURNS: u32 = 10;
/// The time that 600,000 rounds of PBKDF2 take on an idle core.
const FIRST_LOGIN: Duration = Duration::from_millis(250);
/// Several intervals in which a settled agent checks its node.
const SETTLED: Duration = Duration::from_secs(40);
