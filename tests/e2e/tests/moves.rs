//! Changes of size: nodes are drained and filled without a lost write or a wrong read.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use e2e::clients::Clients;
use e2e::cluster::{TestCluster, host};
use e2e::control_plane::ControlPlane;
use e2e::example::{annotate, example_cluster, recorded_copies, recorded_state, scale};
use e2e::until::until;
use kube::api::{Patch, PatchParams, Request};
use sandbox::couchdb::{CallFilter, Moment};
use serde_json::{Value, json};

#[tokio::test]
async fn a_drained_node_leaves_without_a_lost_document_and_returns_only_empty() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = cluster_of(&control_plane, 4).await;
    let clients = clients_at(&cluster, 0..4).await;
    annotate(&control_plane, TARGET_SIZE, Some("3"));
    until_moving(&cluster, &control_plane).await;
    // A split that is created meanwhile would change a map by its own picture of it.
    let held = json!({ "state": "stopped", "reason": "couchdiscover moves copies" });
    assert_eq!(cluster.get(1, "/_reshard/state").await, held);
    for i in 0..4 {
        cluster.put(i, &format!("/meanwhile{i}?n=2&q=4"), &Value::Null).await;
    }
    until_state(&cluster, &control_plane, 3, "drained").await;
    until("resharding that goes on", DEADLINE, async || {
        let state = cluster.get(1, "/_reshard/state").await;
        if state["state"] == "running" { Ok(()) } else { Err(state) }
    })
    .await;
    assert_eq!(cluster.readyz(3).await.0, 200, "a drained node serves until it leaves");
    end_well(clients, &cluster, 0..4).await;
    assert_eq!(cluster.loads().get(&node(3)), None);
    for i in 0..3 {
        assert_eq!(cluster.get(i, "/_node/_local/_config/mem3.redirects").await, json!({}));
    }

    scale(&control_plane, 3);
    let volume = stop(&mut cluster, 3).await;
    until_state(&cluster, &control_plane, 3, "removed").await;
    cluster.until_settled(0..3, DEADLINE).await;
    assert_eq!(cluster.get(0, "/_membership").await["cluster_nodes"].as_array().unwrap().len(), 3);

    // The old volume is not merged: it may have what was deleted since.
    annotate(&control_plane, TARGET_SIZE, None);
    scale(&control_plane, 4);
    cluster.node(3).mount(volume);
    cluster.node(3).start().unwrap();
    cluster.start_agent(3).await;
    cluster.until_step(3, "NotListed").await;
    assert_eq!(cluster.readyz(3).await.0, 503);
    assert_eq!(cluster.readyz(0).await.0, 200);
    stop(&mut cluster, 3).await;
    cluster.node(3).wipe();
    cluster.node(3).start().unwrap();
    cluster.start_agent(3).await;
    cluster.until_formed().await;
    until_state(&cluster, &control_plane, 3, "holding").await;
}

#[tokio::test]
async fn the_first_request_to_remove_a_node_is_denied_with_the_names_of_its_databases() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = cluster_of(&control_plane, 3).await;
    // The databases were created after the maps were read.
    cluster.kill_agent(0).await;
    cluster.start_agent(0).await;
    until("a record of the copies", DEADLINE, async || {
        let record = recorded_copies(&control_plane);
        if record["nodes"]["couchdb-2"]["examples"] == json!(["single"]) { Ok(()) } else { Err(record) }
    })
    .await;
    let denial = scale_request(&control_plane, 2).await.unwrap_err().to_string();
    let record = recorded_copies(&control_plane);
    let as_of = record["asOf"].as_str().unwrap();
    let expected = format!(
        "scaling StatefulSet 'couchdb' from 3 to 2 would stop couchdb-2 before their data has been moved: as of {as_of}, \
         couchdb-2 has copies of 4 databases and the only copy of 1 of them ('single'). Fix: kubectl couchdiscover scale \
         couchdb -n default --replicas 2 (moves the data, then scales down); or kubectl -n default annotate statefulset \
         couchdb --overwrite couchdiscover.io/target-size=2, and repeat the request once the nodes are drained"
    );
    assert!(denial.contains(&expected), "{denial}");
    cluster.until_settled(0..3, DEADLINE).await;
}

/// Sets the replicas of the example as `kubectl scale` does.
async fn scale_request(control_plane: &ControlPlane, replicas: u32) -> kube::Result<String> {
    let client = kube::Client::try_from(control_plane.client_config())?;
    let change = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    let sets = Request::new("/apis/apps/v1/namespaces/default/statefulsets");
    let request = sets.patch_subresource("scale", "couchdb", &PatchParams::default(), &change);
    client.request_text(request.unwrap()).await
}

#[tokio::test]
async fn a_drain_survives_agents_and_nodes_that_are_killed() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = cluster_of(&control_plane, 4).await;
    let clients = clients_at(&cluster, 0..3).await;
    annotate(&control_plane, TARGET_SIZE, Some("3"));
    until_moving(&cluster, &control_plane).await;
    // The agent that leads, a bystander's node, and the node that is drained.
    for round in 0..3 {
        cluster.kill_agent(0).await;
        cluster.start_agent(0).await;
        until_looked(&cluster, 0).await;
        let killed = [1, 3, 2][round];
        cluster.node(killed).kill();
        cluster.node(killed).start().unwrap();
        until_looked(&cluster, 0).await;
    }
    until_state(&cluster, &control_plane, 3, "drained").await;
    end(clients, &cluster, 0..3).await;
    assert_eq!(cluster.loads().get(&node(3)), None);
}

/// Each drain has a leader that ends at one of its calls. The last one has fewer calls than that.
#[tokio::test]
async fn a_drain_survives_a_leader_that_ends_at_any_of_its_calls() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = cluster_of(&control_plane, 4).await;
    let mut calls: Vec<u64> =
        if every_call() { (1..200).collect() } else { vec![2, 5, 8, 11, 14, 17, 21, 26] };
    calls.reverse();
    while let Some(k) = calls.pop() {
        let moment = if k % 2 == 0 { Moment::After } else { Moment::Before };
        for (database, shape) in [("one", "n=1&q=4"), ("two", "n=2&q=2")] {
            cluster.put(0, &format!("/{database}-{k}?{shape}"), &Value::Null).await;
            cluster.put(0, &format!("/{database}-{k}/a"), &json!({})).await;
        }
        let stopped = cluster.net.stop_caller(CallFilter::all().from(&host(0)).writes(), k, moment);
        annotate(&control_plane, TARGET_SIZE, Some("3"));
        until("a drained node or a stopped agent", DEADLINE, async || {
            let state = recorded_state(&control_plane, 3);
            if stopped.is_stopped() || state == "drained" { Ok(()) } else { Err(state) }
        })
        .await;
        cluster.kill_agent(0).await;
        cluster.net.forget_rules();
        cluster.start_agent(0).await;
        until_state(&cluster, &control_plane, 3, "drained").await;
        let loads = cluster.loads();
        assert!(loads.keys().all(|name| !name.contains("couchdiscover-fill")), "call {k}: {loads:?}");
        assert_eq!(loads.get(&node(3)), None, "call {k}");
        for database in ["one", "two"] {
            for i in 0..3 {
                let document = cluster.get(i, &format!("/{database}-{k}/a")).await;
                assert_eq!(document["_id"], "a", "call {k}, {database}, pod {i}");
            }
        }
        until("resharding that goes on", DEADLINE, async || {
            let state = cluster.get(0, "/_reshard/state").await;
            if state["state"] == "running" { Ok(()) } else { Err(state) }
        })
        .await;
        annotate(&control_plane, TARGET_SIZE, None);
        until_state(&cluster, &control_plane, 3, "holding").await;
        if !stopped.is_stopped() {
            calls.clear();
        }
    }
}

#[tokio::test]
async fn a_drain_that_is_cancelled_leaves_every_copy_complete_and_the_node_in_use() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = cluster_of(&control_plane, 4).await;
    let clients = clients_at(&cluster, 0..4).await;
    annotate(&control_plane, TARGET_SIZE, Some("3"));
    until_moving(&cluster, &control_plane).await;
    annotate(&control_plane, TARGET_SIZE, None);
    until_state(&cluster, &control_plane, 3, "holding").await;
    cluster.until_settled(0..4, DEADLINE).await;
    end_well(clients, &cluster, 0..4).await;
    assert!(cluster.loads().keys().all(|name| !name.contains("couchdiscover-fill")), "{:?}", cluster.loads());
    let path = format!("/_node/_local/_nodes/{}", node(3));
    assert_eq!(cluster.get(0, &path).await["decom"], Value::Null, "new databases may be placed there");
    cluster.kill_agent(0).await;
}

#[tokio::test]
async fn copies_are_spread_over_a_new_node_with_the_fewest_moves() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = cluster_of(&control_plane, 4).await;
    let before = cluster.loads();
    // The example's databases were created by four nodes; these by three.
    cluster.set_entry(3, "decom", json!(true)).await;
    for i in 0..6 {
        cluster.put(0, &format!("/more{i}?n=3&q=2"), &Value::Null).await;
    }
    let total: usize = cluster.loads().values().sum();
    let share = total / 4;
    assert!(cluster.loads()[&node(3)] < share, "{before:?}");
    let clients = clients_at(&cluster, 0..4).await;
    annotate(&control_plane, "couchdiscover.io/rebalance", Some("all"));
    until("equal loads", DEADLINE, async || {
        let loads = cluster.loads();
        let even = loads.len() == 4 && loads.values().all(|copies| (share..=share + 1).contains(copies));
        if even { Ok(()) } else { Err((loads, cluster.status(0).await["progress"].clone())) }
    })
    .await;
    cluster.until_settled(0..4, DEADLINE).await;
    end_well(clients, &cluster, 0..4).await;
    cluster.kill_agent(0).await;
}

#[tokio::test]
async fn a_drain_of_two_nodes_moves_what_the_plan_shows_with_zones() {
    let control_plane = ControlPlane::start().await.unwrap();
    let cluster = cluster_of(&control_plane, 4).await;
    for i in 0..8 {
        cluster.put(0, &format!("/pair{i}?n=2&q=2"), &Value::Null).await;
    }
    for (i, zone) in ["a", "b", "a", "b"].into_iter().enumerate() {
        cluster.set_entry(i, "zone", json!(zone)).await;
    }
    let expected = after(holders(&cluster), &plan(&cluster, 2).await);
    annotate(&control_plane, TARGET_SIZE, Some("2"));
    until_state(&cluster, &control_plane, 2, "drained").await;
    assert_eq!(holders(&cluster), expected);
}

/// Equal loads would need two copies in one zone.
#[tokio::test]
async fn copies_are_spread_as_far_as_zones_allow_and_as_the_plan_shows() {
    let control_plane = ControlPlane::start().await.unwrap();
    let cluster = cluster_of(&control_plane, 3).await;
    cluster.set_entry(2, "decom", json!(true)).await;
    for i in 0..6 {
        cluster.put(0, &format!("/pair{i}?n=2&q=2"), &Value::Null).await;
    }
    for (i, zone) in ["a", "b", "b"].into_iter().enumerate() {
        cluster.set_entry(i, "zone", json!(zone)).await;
    }
    let plan = plan(&cluster, 3).await;
    let moves = plan["first"].as_array().unwrap();
    assert!(moves.iter().any(|one| one["from"] == "couchdb-1" && one["to"] == "couchdb-2"), "{plan}");
    let expected = after(holders(&cluster), &plan);
    annotate(&control_plane, "couchdiscover.io/rebalance", Some("all"));
    until("the copies of the plan", DEADLINE, async || {
        let holders = holders(&cluster);
        if holders == expected { Ok(()) } else { Err((holders, cluster.status(0).await["step"].clone())) }
    })
    .await;
    cluster.until_settled(0..3, DEADLINE).await;
    assert_eq!(holders(&cluster), expected);
    let even = cluster.loads();
    assert!(even[&node(0)] > even[&node(2)] + 1, "zones have forbidden nothing: {even:?}");
}

/// The plan of the agent of pod 0 for this number of nodes.
async fn plan(cluster: &TestCluster, replicas: u32) -> Value {
    let url = format!("http://{}/plan?replicas={replicas}", cluster.agent_address(0));
    let plan: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let shown = u64::try_from(plan["first"].as_array().unwrap().len()).unwrap();
    assert_eq!(plan["moves"].as_u64().unwrap() + plan["drops"].as_u64().unwrap(), shown, "{plan}");
    plan
}

/// The pods that hold each range, by database and range.
type Holders = BTreeMap<(String, String), BTreeSet<String>>;

/// The holders by the shard maps of node 0.
fn holders(cluster: &TestCluster) -> Holders {
    let mut holders = Holders::new();
    for copy in cluster.copies() {
        holders.entry((copy.database, copy.range)).or_default().insert(pod_of(&copy.node));
    }
    holders
}

/// The name of the pod whose node has this name.
fn pod_of(node: &str) -> String {
    let host = node.split_once('@').map_or(node, |(_, host)| host);
    host.split('.').next().unwrap_or_default().to_owned()
}

/// The holders when the plan is carried out.
fn after(mut holders: Holders, plan: &Value) -> Holders {
    for step in plan["first"].as_array().unwrap() {
        let text = |key: &str| step[key].as_str().map(str::to_owned);
        let held = holders.get_mut(&(text("database").unwrap(), text("range").unwrap())).unwrap();
        assert!(text("from").is_none_or(|from| held.remove(&from)), "{step}");
        assert!(text("to").is_none_or(|to| held.insert(to)), "{step}");
    }
    holders
}

#[tokio::test]
async fn databases_with_few_copies_get_more() {
    let control_plane = ControlPlane::start().await.unwrap();
    let cluster = cluster_of(&control_plane, 3).await;
    let clients = clients_at(&cluster, 0..3).await;
    annotate(&control_plane, "couchdiscover.io/copies", Some("2"));
    until("two copies", DEADLINE, async || {
        let shards = cluster.get(0, "/single/_shards").await;
        let ranges = shards["shards"].as_object().unwrap();
        let all = ranges.values().all(|holders| holders.as_array().is_some_and(|holders| holders.len() == 2));
        if all { Ok(()) } else { Err((shards.clone(), cluster.status(0).await["step"].clone())) }
    })
    .await;
    cluster.until_settled(0..3, DEADLINE).await;
    end_well(clients, &cluster, 0..3).await;
}

/// A formed cluster with a database of three copies, and one of a single copy, with a `_security` of its own.
async fn cluster_of(control_plane: &ControlPlane, nodes: usize) -> TestCluster {
    let mut cluster = example_cluster(control_plane, nodes).await;
    cluster.set("COUCHDISCOVER_READERS_STAY", "0");
    cluster.start_agents(0..nodes).await;
    cluster.until_formed().await;
    for (database, shape) in DATABASES {
        cluster.put(0, &format!("/{database}?{shape}"), &Value::Null).await;
        cluster.put(0, &format!("/{database}/_security"), &security()).await;
        for i in 0..DOCUMENTS {
            cluster.put(0, &format!("/{database}/before-{i}"), &json!({})).await;
        }
    }
    cluster
}

/// Clients of both databases at these pods.
async fn clients_at(cluster: &TestCluster, pods: impl IntoIterator<Item = usize>) -> Clients {
    Clients::start(cluster, pods, DATABASES.map(|(database, _)| database)).await
}

/// Ends the clients, and checks that every acknowledged document is on every pod.
async fn end(mut clients: Clients, cluster: &TestCluster, pods: std::ops::Range<usize>) {
    clients.end().await;
    let acknowledged = clients.answers().acknowledged;
    assert!(acknowledged > 20, "{acknowledged}");
    clients.until_complete(cluster, pods.clone()).await;
    for i in pods {
        for (database, _) in DATABASES {
            assert_eq!(cluster.get(i, &format!("/{database}/_security")).await, security());
        }
    }
}

/// The same, where no node was killed: every request was answered as on an untouched cluster.
async fn end_well(clients: Clients, cluster: &TestCluster, pods: std::ops::Range<usize>) {
    let failures = clients.answers().failures;
    assert!(failures.is_empty(), "{:#?}", &failures[..failures.len().min(5)]);
    end(clients, cluster, pods).await;
}

/// Ends pod `i`, and returns its volume.
async fn stop(cluster: &mut TestCluster, i: usize) -> sandbox::couchdb::Volume {
    cluster.kill_agent(i).await;
    let volume = cluster.node(i).volume();
    cluster.node(i).kill();
    volume
}

/// Waits until the record on the Lease has this state for pod `i`.
async fn until_state(cluster: &TestCluster, control_plane: &ControlPlane, i: usize, state: &str) {
    until(state, DEADLINE, async || {
        let recorded = recorded_state(control_plane, i);
        if recorded == state {
            return Ok(());
        }
        let status = cluster.status(0).await;
        Err((recorded, status["step"].clone(), status["progress"].clone(), status["lastError"].clone()))
    })
    .await;
}

/// Waits until the agent that leads has begun to move copies.
async fn until_moving(cluster: &TestCluster, control_plane: &ControlPlane) {
    until_state(cluster, control_plane, 3, "draining").await;
    until("a placeholder or a new copy", DEADLINE, async || {
        let changed = cluster.net.world(|world| {
            let dbs = &world.node(&host(0)).unwrap().volume.dbs;
            dbs.live().any(|(_, _, map)| {
                map.get("by_node").is_some_and(|nodes| nodes.to_string().contains("couchdiscover-fill"))
            })
        });
        if changed { Ok(()) } else { Err(cluster.status(0).await["step"].clone()) }
    })
    .await;
}

/// Waits until the agent of pod `i` has run three further rounds.
async fn until_looked(cluster: &TestCluster, i: usize) {
    let rounds = async || cluster.status(i).await["rounds"].as_u64().unwrap_or_default();
    let before = rounds().await;
    until("three further rounds", DEADLINE, async || {
        let rounds = rounds().await - before;
        if rounds >= 3 { Ok(()) } else { Err(rounds) }
    })
    .await;
}

fn node(i: usize) -> String {
    format!("couchdb@{}", host(i))
}

fn security() -> Value {
    json!({"members": {"roles": ["staff"]}, "admins": {"roles": ["_admin"]}})
}

/// `true` if the leader ends at each of its calls in turn: some minutes.
#[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
fn every_call() -> bool {
    std::env::var_os("COUCHDISCOVER_TEST_EVERY_CALL").is_some()
}

const DATABASES: [(&str, &str); 2] = [("orders", "n=3&q=2"), ("single", "n=1&q=4")];
const DOCUMENTS: u64 = 20;
const TARGET_SIZE: &str = "couchdiscover.io/target-size";
/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
