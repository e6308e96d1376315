//! Databases' maps that only a person can put right.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::time::Duration;

use e2e::stage::Stage;
use e2e::until::until;
use sandbox::couchdb::Cut;
use serde_json::json;

/// Two clients make a database of one name while the nodes are parted. When they meet again CouchDB shows one of the
/// two, and says nothing.
#[tokio::test]
async fn a_database_that_was_made_twice_is_told_until_a_person_has_chosen() {
    let mut stage = Stage::with_nodes(2);
    stage.start_agents(0..2).await;
    stage.formed().await;
    let (first, second) = (stage.node(0).host().clone(), stage.node(1).host().clone());
    stage.net.cut(&first, &second, Cut::Reset);
    for (i, path) in [(0, "/orders?q=1"), (1, "/orders?q=4")] {
        stage.tell_node(i, path, &json!({})).await;
    }
    stage.net.heal();
    let seen = until("both maps", DEADLINE, async || {
        let seen = stage.ask_node(0, "/_node/_local/_dbs/orders?conflicts=true").await;
        if seen["_conflicts"].is_array() { Ok(seen) } else { Err(seen) }
    })
    .await;
    stage.kill_agent(0).await;
    stage.start_agent(0).await;
    let message = stage.says(0, "ShardMapsBroken").await;
    assert!(message.contains("'orders'"), "{message}");
    assert_eq!(stage.readyz(0).await.0, 200, "it is a member like any other");

    let rev = seen["_conflicts"][0].as_str().unwrap();
    stage.delete_at_node(0, &format!("/_node/_local/_dbs/orders?rev={rev}")).await;
    stage.says(0, "Settled").await;
}

const DEADLINE: Duration = Duration::from_secs(30);
