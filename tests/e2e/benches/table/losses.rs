//! Lost volumes: the time until an emptied node is kept out of reads, and the answers of clients until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::cluster::{PASSWORD, TestCluster, USER};
use e2e::until::until;
use sandbox::couchdb::Timings;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::row::{Goal, Row};

pub(crate) async fn measure() -> Vec<Row> {
    let mut cluster = TestCluster::in_real_time(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    cluster.put(0, "/orders", &Value::Null).await;
    for i in 0..DOCUMENTS {
        cluster.put(0, &format!("/orders/{i}"), &json!({})).await;
    }
    cluster.net.world(|world| world.set_timings(Timings { pass: PASS, ..world.timings() }));
    let (mut closed, mut filled) = (vec![], vec![]);
    let wrong = Arc::new(AtomicUsize::new(0));
    for _ in 0..LOSSES {
        cluster.kill_agent(1).await;
        cluster.node(1).kill();
        cluster.node(1).wipe();
        let reader = read(&cluster, &wrong);
        let begun = Instant::now();
        cluster.node(1).start().unwrap();
        cluster.start_agent(1).await;
        while cluster.maintenance_mode(1) != "true" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        closed.push(begun.elapsed());
        until("a filled node", DEADLINE, async || match cluster.readyz(1).await {
            (200, _) => Ok(()),
            other => Err(other),
        })
        .await;
        filled.push(begun.elapsed());
        reader.abort();
    }
    let (closed, filled) = (sorted(closed), sorted(filled));
    let wrong = wrong.load(Ordering::Relaxed) as f64 / f64::from(LOSSES);
    vec![
        Row::number(
            "an emptied node: from its start until it is kept out of reads, median of 20 (stand-ins)",
            millis(closed[closed.len() / 2]),
            " ms",
            Goal::AtMost(50.0),
        ),
        Row::point("the same, longest", format!("{:.0} ms", millis(closed[closed.len() - 1]))),
        Row::number(
            "wrong reads for each loss, at 60 reads a second (stand-ins)",
            wrong,
            "",
            Goal::AtMost(0.0),
        ),
        Row::point(
            "an emptied node: from its start until it is ready again, median; a pass of replication takes 1 s",
            format!("{:.0} ms", millis(filled[filled.len() / 2])),
        ),
    ]
}

/// Reads all documents through another node, 60 times a second, and counts answers without all documents.
fn read(cluster: &TestCluster, wrong: &Arc<AtomicUsize>) -> JoinHandle<()> {
    let url = format!("{}/orders/_all_docs?limit=0", cluster.node(0).url());
    let wrong = Arc::clone(wrong);
    tokio::spawn(async move {
        let http = reqwest::Client::new();
        let mut pace = tokio::time::interval(Duration::from_secs(1) / 60);
        loop {
            pace.tick().await;
            let answer = http.get(&url).basic_auth(USER, Some(PASSWORD)).send().await.unwrap();
            let answer: Value = answer.json().await.unwrap_or_default();
            if answer["total_rows"] != DOCUMENTS {
                wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

const LOSSES: u32 = 20;
const DOCUMENTS: u32 = 300;
/// The time of a pass of internal replication.
const PASS: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(60);
