//! Shard maps that only a person can repair.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use e2e::cluster::TestCluster;
use e2e::until::until;
use sandbox::couchdb::Cut;
use serde_json::json;

/// Two clients create a database of the same name while the nodes are disconnected. After the reconnection CouchDB
/// silently serves one of the two.
#[tokio::test]
async fn a_database_that_was_created_twice_is_reported_until_one_is_deleted() {
    let mut cluster = TestCluster::with_nodes(2);
    cluster.start_agents(0..2).await;
    cluster.until_formed().await;
    let (first, second) = (cluster.node(0).host().clone(), cluster.node(1).host().clone());
    cluster.net.cut(&first, &second, Cut::Reset);
    for (i, path) in [(0, "/orders?q=1"), (1, "/orders?q=4")] {
        cluster.put(i, path, &json!({})).await;
    }
    cluster.net.heal();
    let map = until("both maps", DEADLINE, async || {
        let map = cluster.get(0, "/_node/_local/_dbs/orders?conflicts=true").await;
        if map["_conflicts"].is_array() { Ok(map) } else { Err(map) }
    })
    .await;
    cluster.kill_agent(0).await;
    cluster.start_agent(0).await;
    let message = cluster.until_step(0, "ShardMapsBroken").await;
    assert!(message.contains("'orders'"), "{message}");
    assert_eq!(cluster.readyz(0).await.0, 200, "a conflict does not make a member unready");

    let rev = map["_conflicts"][0].as_str().unwrap();
    cluster.delete(0, &format!("/_node/_local/_dbs/orders?rev={rev}")).await;
    cluster.until_step(0, "Settled").await;
}

const DEADLINE: Duration = Duration::from_secs(30);
