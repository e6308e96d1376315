//! A copy that is called complete has every change and every property that the others have.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::cluster::{TestCluster, host};
use e2e::control_plane::ControlPlane;
use e2e::example::{example_cluster, scale, stored_statefulset};
use e2e::until::until;
use sandbox::couchdb::{CallFilter, Timings};
use serde_json::{Value, json};

#[tokio::test]
async fn a_copy_that_missed_edits_is_not_opened_although_all_counts_are_equal() {
    let mut cluster = TestCluster::with_nodes(2);
    cluster.start_agents(0..2).await;
    cluster.until_formed().await;
    cluster.put(0, "/orders", &Value::Null).await;
    let mut revisions = vec![];
    for i in 0..DOCUMENTS {
        revisions.push(cluster.put_document(0, &format!("/orders/{i}"), &json!({})).await);
    }
    cluster.kill_agent(1).await;
    cluster.net.world(|world| {
        world.set_timings(Timings { pass: Duration::from_secs(20), ..world.timings() });
    });
    // As an agent that was killed while it filled the node.
    cluster.put(1, NOTE, &json!({"state": "filling"})).await;
    cluster.put(1, MODE, &json!("true")).await;
    for (i, rev) in revisions.iter().enumerate() {
        cluster.put_document(0, &format!("/orders/{i}?rev={rev}"), &json!({"edited": true})).await;
    }
    assert_ne!(documents(&cluster, 1, "orders"), documents(&cluster, 0, "orders"), "not replicated yet");
    cluster.start_agent(1).await;
    until("an open node", DEADLINE, async || match cluster.maintenance_mode(1).as_str() {
        "false" => Ok(()),
        closed => Err(closed.to_owned()),
    })
    .await;
    assert_eq!(documents(&cluster, 1, "orders"), documents(&cluster, 0, "orders"));
    cluster.until_formed().await;
}

#[tokio::test]
async fn a_refilled_copy_has_the_properties_of_the_others() {
    let open_by_default =
        |settings: sandbox::couchdb::NodeSettings| settings.ini("couchdb", "default_security", "everyone");
    let mut cluster = TestCluster::with_settings(2, open_by_default);
    cluster.start_agents(0..2).await;
    cluster.until_formed().await;
    cluster.put(0, "/orders", &Value::Null).await;
    cluster.put(0, "/orders/1", &json!({})).await;
    cluster.put(0, "/orders/_security", &security()).await;
    cluster.put(0, "/orders/_revs_limit", &json!(50)).await;
    cluster.put(0, "/orders/_purged_infos_limit", &json!(44)).await;
    lose_volume(&mut cluster, 1).await;
    cluster.until_ready(1).await;
    cluster.until_formed().await;
    assert_eq!(properties(&cluster, 1, "orders").await, vec![(security(), json!(50)); 2]);
    // The copy on the node that is asked answers.
    assert_eq!(cluster.get(1, "/orders/_security").await, security());
    // Without TLS the question for it would carry the password to whatever answers at the peer's name.
    assert_eq!(cluster.get(1, "/orders/_purged_infos_limit").await, 1000);
    let asked = cluster.net.calls_of(&CallFilter::all().from(cluster.fqdn(1)).on(host(0)).below("/orders"));
    assert!(asked.is_empty(), "{asked:#?}");
    let synced = CallFilter::all().from(cluster.fqdn(1)).below("/orders/_sync_shards");
    assert!(!cluster.net.calls_of(&synced).is_empty(), "one more pass after opening");
}

#[tokio::test]
async fn an_added_copy_of_a_system_database_has_the_properties_of_the_first() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 2).await;
    scale(&control_plane, 1);
    cluster.start_agents([0]).await;
    cluster.until_step(0, "Settled").await;
    cluster.put(0, "/_users/_security", &security()).await;
    cluster.put(0, "/_users/_revs_limit", &json!(50)).await;
    scale(&control_plane, 2);
    cluster.start_agents([1]).await;
    cluster.until_formed().await;
    assert_eq!(properties(&cluster, 1, "_users").await, vec![(security(), json!(50)); 2]);
}

#[tokio::test]
async fn the_only_holder_of_a_range_refuses_after_the_loss_of_its_volume_until_it_is_back() {
    let (mut cluster, volume) = with_lost_only_copies(TestCluster::with_nodes(3)).await;
    let message = cluster.until_step(1, "ShardsLost").await;
    assert!(message.contains("'orders' (") && message.contains("couchdiscover.io/accept-loss="), "{message}");
    assert_eq!(cluster.readyz(1).await.0, 503);
    assert_eq!(cluster.maintenance_mode(1), "true");
    assert!(cluster.metrics(1).await.contains(r#"refusals_total{reason="ShardsLost"} 1"#));
    cluster.kill_agent(1).await;
    cluster.node(1).mount(volume);
    cluster.node(1).start().unwrap();
    cluster.start_agent(1).await;
    cluster.until_ready(1).await;
    assert_eq!(cluster.get(0, "/orders").await["doc_count"], DOCUMENTS);
    // A person sees what could be lost before it is.
    cluster.kill_agent(0).await;
    cluster.start_agent(0).await;
    until("a condition", DEADLINE, async || {
        let conditions = cluster.status(0).await["conditions"].clone();
        let mut reasons = conditions.as_array().into_iter().flatten().map(|condition| &condition["reason"]);
        let found = reasons.any(|reason| reason == "SingleCopies");
        if found { Ok(()) } else { Err(conditions) }
    })
    .await;
    assert_eq!(cluster.readyz(0).await.0, 200);
}

#[tokio::test]
async fn a_person_accepts_that_the_only_copies_are_gone() {
    let control_plane = ControlPlane::start().await.unwrap();
    let cluster = example_cluster(&control_plane, 3).await;
    let (cluster, _) = with_lost_only_copies(cluster).await;
    let message = cluster.until_step(1, "ShardsLost").await;
    let (_, token) = message.split_once("couchdiscover.io/accept-loss=").unwrap();
    let mut statefulset = stored_statefulset(&control_plane);
    statefulset["metadata"]["annotations"]["couchdiscover.io/accept-loss"] = json!(token.trim());
    control_plane.api.seed(statefulset);
    cluster.until_ready(1).await;
    cluster.until_formed().await;
    let left = cluster.get(0, "/orders").await["doc_count"].as_u64().unwrap();
    assert!(left > 0 && left < DOCUMENTS, "{left}");
}

#[tokio::test]
async fn shards_that_were_split_on_one_node_are_filled_and_no_problem() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    cluster.put(0, "/orders?q=1", &Value::Null).await;
    for i in 0..DOCUMENTS {
        cluster.put(0, &format!("/orders/{i}"), &json!({})).await;
    }
    let job = json!({"type": "split", "db": "orders", "node": format!("couchdb@{}", host(0))});
    cluster.post(0, "/_reshard/jobs", &job).await;
    until("two halves", DEADLINE, async || match documents(&cluster, 0, "orders").len() {
        2 => Ok(()),
        files => Err(files),
    })
    .await;
    // The whole range is compared with two halves.
    lose_volume(&mut cluster, 1).await;
    cluster.until_ready(1).await;
    cluster.until_formed().await;
    let one = |cluster: &TestCluster, i| {
        documents(cluster, i, "orders").into_values().flatten().collect::<BTreeMap<_, _>>()
    };
    assert_eq!(one(&cluster, 1).len(), usize::try_from(DOCUMENTS).unwrap());
    assert_eq!(one(&cluster, 1), one(&cluster, 2));
    // And each half with the whole.
    lose_volume(&mut cluster, 0).await;
    cluster.until_ready(0).await;
    cluster.until_formed().await;
    assert_eq!(one(&cluster, 0), one(&cluster, 2));
}

/// A cluster with a database of one copy of each range, after node 1 lost its volume. Returns the lost volume.
async fn with_lost_only_copies(mut cluster: TestCluster) -> (TestCluster, sandbox::couchdb::Volume) {
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    cluster.put(0, "/orders?n=1&q=3", &Value::Null).await;
    for i in 0..DOCUMENTS {
        cluster.put(0, &format!("/orders/{i}"), &json!({})).await;
    }
    assert_eq!(cluster.get(0, "/orders").await["doc_count"], DOCUMENTS);
    let volume = cluster.node(1).volume();
    lose_volume(&mut cluster, 1).await;
    (cluster, volume)
}

/// Replaces the volume of pod `i` by an empty one. The agent of the pod is restarted with it.
async fn lose_volume(cluster: &mut TestCluster, i: usize) {
    cluster.kill_agent(i).await;
    cluster.node(i).wipe();
    cluster.node(i).start().unwrap();
    cluster.start_agent(i).await;
}

/// Ids and revisions in the files of a database on node `i`, by file.
fn documents(cluster: &TestCluster, i: usize, database: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    cluster.net.world(|world| {
        let shards = &world.node(&host(i)).unwrap().volume.shards;
        let files = shards.iter().filter(|(shard, _)| shard.db == database);
        files
            .map(|(shard, file)| {
                let live = file.docs.live().map(|(id, rev, _)| (id.clone(), rev.to_string()));
                (shard.range.clone(), live.collect())
            })
            .collect()
    })
}

/// `_security` and `_revs_limit` of the files of a database on node `i`.
async fn properties(cluster: &TestCluster, i: usize, database: &str) -> Vec<(Value, Value)> {
    let files = cluster.get(i, "/_node/_local/_all_dbs").await;
    let mut properties = vec![];
    for file in files.as_array().unwrap().iter().filter_map(Value::as_str) {
        if file.starts_with("shards/") && file.contains(&format!("/{database}.")) {
            let path = format!("/_node/_local/{}", file.replace('/', "%2F"));
            let security = cluster.get(i, &format!("{path}/_security")).await;
            properties.push((security, cluster.get(i, &format!("{path}/_revs_limit")).await));
        }
    }
    properties
}

fn security() -> Value {
    json!({"members": {"roles": ["staff"]}, "admins": {"roles": ["_admin"]}})
}

const DOCUMENTS: u64 = 20;
const NOTE: &str = "/_node/_local/_dbs/_local/couchdiscover";
const MODE: &str = "/_node/_local/_config/couchdb/maintenance_mode";
/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
