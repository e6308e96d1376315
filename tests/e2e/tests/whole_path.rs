//! From a manifest to a formed cluster, with the real webhook and agents that use Kubernetes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use e2e::cluster::TestCluster;
use e2e::control_plane::{ControlPlane, ControlPlaneError};
use e2e::demo::{self, DemoError, Options};
use e2e::example::{example_cluster, recorded_copies, scale, stored_statefulset};
use e2e::manifest::EXAMPLE;
use e2e::until::until;
use sandbox::apiserver::Forbidden;
use sandbox::couchdb::CallFilter;
use serde_json::json;

/// Runs a demo. Returns its result and its output.
async fn run(options: Options) -> (Result<(), DemoError>, String) {
    let mut output = vec![];
    let result = demo::run(&options, &mut output).await;
    (result, String::from_utf8(output).unwrap())
}

fn example() -> Options {
    Options { manifest: EXAMPLE.to_owned(), title: "the example".to_owned(), nodes: None, wipe: None }
}

#[tokio::test]
async fn the_example_becomes_a_cluster_of_any_size() {
    for nodes in [1, 3, 5] {
        let (result, output) = run(Options { nodes: Some(nodes), ..example() }).await;
        result.unwrap();
        assert!(output.contains("one cluster, formed once, and confirmed by every node"), "{output}");
        let row = format!("{nodes}/{nodes}      {nodes}/{nodes}");
        assert_eq!(output.matches(&row).count(), nodes, "{output}");
    }
}

#[tokio::test]
async fn a_wiped_first_node_joins_again() {
    let (result, output) = run(Options { wipe: Some(0), ..example() }).await;
    result.unwrap();
    assert_eq!(output.matches("one cluster, formed once").count(), 2, "{output}");
}

#[tokio::test]
async fn pods_that_start_one_after_another_form_a_cluster() {
    let manifest = EXAMPLE.replace("podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady");
    let (result, output) = run(Options { manifest, ..example() }).await;
    result.unwrap();
    assert!(output.contains("3 pods, one after another"), "{output}");
}

#[tokio::test]
async fn a_manifest_may_name_another_namespace() {
    let manifest = EXAMPLE.replace("metadata:\n  name:", "metadata:\n  namespace: shop\n  name:");
    let (result, output) = run(Options { manifest, ..example() }).await;
    result.unwrap();
    assert!(output.contains("one cluster, formed once"), "{output}");
}

#[tokio::test]
async fn an_unlabelled_statefulset_is_not_injected() {
    let manifest = EXAMPLE.replace("couchdiscover.io/inject: enabled", "other: label");
    let (result, output) = run(Options { manifest, ..example() }).await;
    assert!(matches!(result, Err(DemoError::NotInjected)), "{output}");
}

#[tokio::test]
async fn a_denial_of_the_webhook_reaches_the_user() {
    let manifest = EXAMPLE.replace("couchdiscover.io/inject: enabled", "couchdiscover.io/inject: yes-please");
    let (result, _) = run(Options { manifest, ..example() }).await;
    let Err(DemoError::ControlPlane(ControlPlaneError::Refused(message))) = result else {
        panic!("{result:?}")
    };
    assert!(
        message.starts_with("admission webhook \"inject.couchdiscover.io\" denied the request: "),
        "{message}"
    );
    assert!(
        message.contains("'yes-please'") && message.contains("'enabled'") && message.contains("'disabled'"),
        "{message}"
    );
}

#[tokio::test]
async fn added_nodes_join() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 4).await;
    scale(&control_plane, 3);
    cluster.node(3).kill();
    cluster.start_agents(0..3).await;
    for i in 0..3 {
        cluster.until_step(i, "Settled").await;
    }
    cluster.node(3).start().unwrap();
    scale(&control_plane, 4);
    cluster.start_agent(3).await;
    for i in 0..4 {
        cluster.until_step(i, "Settled").await;
    }
    assert_eq!(cluster.get(0, "/_membership").await["all_nodes"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn without_a_role_the_injected_size_is_used_and_the_status_reports_it() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.api.forbid(Forbidden::new(&["get", "list", "watch"], &["statefulsets"]));
    let mut cluster = example_cluster(&control_plane, 3).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    assert_eq!(cluster.status(0).await["kubernetes"], "forbidden");
}

#[tokio::test]
async fn while_the_api_server_is_down_no_cluster_is_formed_and_a_formed_one_stays_ready() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    control_plane.api.down();
    cluster.start_agents(0..3).await;
    cluster.until_step(0, "WaitingForKubernetes").await;
    assert!(cluster.net.calls_of(&CallFilter::all().writes().below("/_cluster_setup")).is_empty());
    control_plane.api.up().unwrap();
    cluster.until_formed().await;
    control_plane.api.down();
    cluster.kill_agent(1).await;
    cluster.start_agent(1).await;
    cluster.until_step(1, "Settled").await;
    assert_eq!(cluster.readyz(1).await.0, 200);
}

#[tokio::test]
async fn a_cluster_that_lost_every_volume_waits_for_a_person() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    recorded(&cluster, 0).await;
    let lease = control_plane
        .api
        .get("coordination.k8s.io/v1", "leases", Some("default"), "couchdb-couchdiscover")
        .unwrap();
    let record = &lease["metadata"]["annotations"];
    let uuid = record["couchdiscover.io/uuid"].as_str().unwrap().to_owned();
    assert_eq!(
        uuid,
        cluster.get(2, "/").await["uuid"].as_str().unwrap(),
        "finish_cluster made it equal on all nodes"
    );
    assert_eq!(
        (&record["couchdiscover.io/size"], &record["couchdiscover.io/schema"]),
        (&json!("3"), &json!("1"))
    );
    lose_every_volume(&mut cluster).await;
    for i in 0..3 {
        let message = cluster.until_step(i, "FormedBefore").await;
        assert!(message.contains(&format!("couchdiscover.io/form-anew={uuid}")), "{message}");
        assert_eq!(cluster.readyz(i).await.0, 503);
    }
    let mut statefulset = stored_statefulset(&control_plane);
    statefulset["metadata"]["annotations"]["couchdiscover.io/form-anew"] = json!(uuid);
    control_plane.api.seed(statefulset);
    cluster.until_formed().await;
    recorded(&cluster, 0).await;
    // The stand-ins kept their ini files, and so the uuid: the annotation allows a new cluster only once.
    lose_every_volume(&mut cluster).await;
    cluster.until_step(0, "FormedBefore").await;
}

#[tokio::test]
async fn a_deleted_founding_record_is_written_again_by_the_members() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 1).await;
    cluster.start_agent(0).await;
    recorded(&cluster, 0).await;
    assert!(control_plane.api.delete(
        "coordination.k8s.io/v1",
        "leases",
        Some("default"),
        "couchdb-couchdiscover"
    ));
    until("a new Lease", Duration::from_secs(20), async || {
        let lease = control_plane.api.get(
            "coordination.k8s.io/v1",
            "leases",
            Some("default"),
            "couchdb-couchdiscover",
        );
        lease.map(drop).ok_or("none")
    })
    .await;
}

#[tokio::test]
async fn a_settled_agent_makes_one_call_in_ten_seconds_and_none_to_kubernetes() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    for i in 0..3 {
        recorded(&cluster, i).await;
    }
    until("a record of the copies", Duration::from_secs(20), async || {
        let record = recorded_copies(&control_plane);
        if record["nodes"].as_object().is_some_and(|nodes| nodes.len() == 3) { Ok(()) } else { Err(record) }
    })
    .await;
    let before = cluster.net.calls().len();
    let api_calls = control_plane.api.calls().len();
    // Two calls of each agent to its own node: one in 10 s.
    until("two calls of each agent", Duration::from_secs(40), async || {
        let calls: Vec<usize> = (0..3).map(|i| cluster.calls_of_agent(i).len()).collect();
        let since = cluster.net.calls().len() - before;
        if since >= 6 { Ok(()) } else { Err(calls) }
    })
    .await;
    let since = cluster.net.calls().split_off(before);
    let glances =
        ["GET /_node/_local/_system", "GET /_node/_local/_dbs/_all_docs", "GET /_up", "GET /_membership"];
    assert!(since.iter().all(|call| glances.contains(&call.line().as_str())), "{since:#?}");
    assert!(since.iter().all(|call| call.source == call.node.as_str()), "{since:#?}");
    assert_eq!(control_plane.api.calls().len(), api_calls, "a watch instead of polls");
}

/// Stops all pods, and starts them again with empty volumes.
async fn lose_every_volume(cluster: &mut TestCluster) {
    for i in cluster.ordinals() {
        cluster.node(i).wipe();
        cluster.kill_agent(i).await;
    }
    for i in cluster.ordinals() {
        cluster.node(i).start().unwrap();
        cluster.start_agent(i).await;
    }
}

/// Waits until the agent of pod `i` has settled and read the founding record.
async fn recorded(cluster: &TestCluster, i: usize) {
    until("a founding record", Duration::from_secs(20), async || {
        let status = cluster.status(i).await;
        if status["record"] == "formed" && status["step"]["reason"] == "Settled" {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
}
