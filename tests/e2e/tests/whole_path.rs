//! From a manifest to a formed cluster, with the real webhook and agents that ask Kubernetes.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::time::Duration;

use e2e::control_plane::{ControlPlane, ControlPlaneError};
use e2e::example::{played, stored};
use e2e::manifest::EXAMPLE;
use e2e::stage::Stage;
use e2e::story::{Play, StoryError, tell};
use sandbox::apiserver::Forbidden;
use sandbox::couchdb::CallFilter;
use serde_json::json;

async fn story(play: Play) -> (Result<(), StoryError>, String) {
    let mut told = vec![];
    let end = tell(&play, &mut told).await;
    (end, String::from_utf8(told).unwrap())
}

fn example() -> Play {
    Play { manifest: EXAMPLE.to_owned(), title: "the example".to_owned(), nodes: None, wipe: None }
}

#[tokio::test]
async fn the_example_becomes_a_cluster_of_any_size() {
    for nodes in [1, 3, 5] {
        let (end, told) = story(Play { nodes: Some(nodes), ..example() }).await;
        end.unwrap();
        assert!(told.contains("one cluster, founded once, and every node confirms it"), "{told}");
        assert_eq!(told.matches(&format!("{nodes}/{nodes}    {nodes}/{nodes}")).count(), nodes, "{told}");
    }
}

#[tokio::test]
async fn a_wiped_first_node_is_taken_back() {
    let (end, told) = story(Play { wipe: Some(0), ..example() }).await;
    end.unwrap();
    assert_eq!(told.matches("one cluster, founded once").count(), 2, "{told}");
}

#[tokio::test]
async fn pods_that_come_one_after_the_other_form_a_cluster_too() {
    let manifest = EXAMPLE.replace("podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady");
    let (end, told) = story(Play { manifest, ..example() }).await;
    end.unwrap();
    assert!(told.contains("3 pod(s), one after the other"), "{told}");
}

#[tokio::test]
async fn a_manifest_may_name_a_namespace_of_its_own() {
    let manifest = EXAMPLE.replace("metadata:\n  name:", "metadata:\n  namespace: shop\n  name:");
    let (end, told) = story(Play { manifest, ..example() }).await;
    end.unwrap();
    assert!(told.contains("one cluster, founded once"), "{told}");
}

#[tokio::test]
async fn an_unlabelled_statefulset_is_left_alone() {
    let manifest = EXAMPLE.replace("couchdiscover.io/inject: enabled", "other: label");
    let (end, told) = story(Play { manifest, ..example() }).await;
    assert!(matches!(end, Err(StoryError::NotInjected)), "{told}");
}

#[tokio::test]
async fn what_the_webhook_denies_is_said_to_the_user() {
    let manifest = EXAMPLE.replace("couchdiscover.io/inject: enabled", "couchdiscover.io/inject: yes-please");
    let (end, _) = story(Play { manifest, ..example() }).await;
    let Err(StoryError::ControlPlane(ControlPlaneError::Refused(message))) = end else { panic!("{end:?}") };
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
async fn nodes_that_are_added_join() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 4).await;
    scale(&control_plane, 3);
    stage.node(3).kill();
    stage.start_agents(0..3).await;
    for i in 0..3 {
        stage.says(i, "Settled").await;
    }
    stage.node(3).start().unwrap();
    scale(&control_plane, 4);
    stage.start_agent(3).await;
    for i in 0..4 {
        stage.says(i, "Settled").await;
    }
    assert_eq!(stage.ask_node(0, "/_membership").await["all_nodes"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_role_that_is_missing_is_said_and_the_injected_size_does() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.api.forbid(Forbidden::new(&["get", "list", "watch"], &["statefulsets"]));
    let mut stage = played(&control_plane, 3).await;
    stage.start_agents(0..3).await;
    stage.formed().await;
    assert_eq!(stage.status(0).await["kubernetes"], "forbidden");
}

#[tokio::test]
async fn while_the_api_server_is_away_nothing_is_founded_and_what_is_formed_stays() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 3).await;
    control_plane.api.down();
    stage.start_agents(0..3).await;
    stage.says(0, "WaitingForKubernetes").await;
    assert!(stage.net.calls_of(&CallFilter::all().writes().below("/_cluster_setup")).is_empty());
    control_plane.api.up().unwrap();
    stage.formed().await;
    control_plane.api.down();
    stage.kill_agent(1).await;
    stage.start_agent(1).await;
    stage.says(1, "Settled").await;
    assert_eq!(stage.readyz(1).await.0, 200);
}

#[tokio::test]
async fn a_cluster_that_lost_every_volume_waits_for_a_person() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 3).await;
    stage.start_agents(0..3).await;
    stage.formed().await;
    recorded(&stage, 0).await;
    let lease = control_plane
        .api
        .get("coordination.k8s.io/v1", "leases", Some("default"), "couchdb-couchdiscover")
        .unwrap();
    let record = &lease["metadata"]["annotations"];
    let uuid = record["couchdiscover.io/uuid"].as_str().unwrap().to_owned();
    assert_eq!(uuid, stage.ask_node(2, "/").await["uuid"].as_str().unwrap(), "finish made it equal");
    assert_eq!(
        (&record["couchdiscover.io/size"], &record["couchdiscover.io/schema"]),
        (&json!("3"), &json!("1"))
    );
    lose_every_volume(&mut stage).await;
    for i in 0..3 {
        let message = stage.says(i, "FormedBefore").await;
        assert!(message.contains(&format!("couchdiscover.io/form-anew={uuid}")), "{message}");
        assert_eq!(stage.readyz(i).await.0, 503);
    }
    let mut statefulset = stored(&control_plane);
    statefulset["metadata"]["annotations"]["couchdiscover.io/form-anew"] = json!(uuid);
    control_plane.api.seed(statefulset);
    stage.formed().await;
    recorded(&stage, 0).await;
    // The stand-ins kept their ini, and with it the uuid: what was given up once must not be given up for ever.
    lose_every_volume(&mut stage).await;
    stage.says(0, "FormedBefore").await;
}

#[tokio::test]
async fn a_record_that_was_lost_is_written_anew_by_the_members() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 1).await;
    stage.start_agent(0).await;
    recorded(&stage, 0).await;
    assert!(control_plane.api.delete(
        "coordination.k8s.io/v1",
        "leases",
        Some("default"),
        "couchdb-couchdiscover"
    ));
    e2e::until::until("a new Lease", Duration::from_secs(20), async || {
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
async fn a_settled_cluster_is_left_in_peace() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 3).await;
    stage.start_agents(0..3).await;
    stage.formed().await;
    for i in 0..3 {
        recorded(&stage, i).await;
    }
    let before = stage.net.calls().len();
    let asked = control_plane.api.calls().len();
    // Two glances of each agent at its own node, no more: that is once in 10 s.
    e2e::until::until("a second glance of each", Duration::from_secs(40), async || {
        let glances: Vec<usize> = (0..3).map(|i| stage.calls_of_agent(i).len()).collect();
        let since = stage.net.calls().len() - before;
        if since >= 6 { Ok(()) } else { Err(glances) }
    })
    .await;
    let since = stage.net.calls().split_off(before);
    assert!(since.iter().all(|call| call.line() == "GET /_node/_local/_system"), "{since:#?}");
    assert!(since.iter().all(|call| call.source == call.node.as_str()), "{since:#?}");
    assert_eq!(control_plane.api.calls().len(), asked, "a watch, no polls");
}

/// Every pod comes back empty, when all of them are gone.
async fn lose_every_volume(stage: &mut Stage) {
    for i in stage.ordinals() {
        stage.node(i).wipe();
        stage.kill_agent(i).await;
    }
    for i in stage.ordinals() {
        stage.node(i).start().unwrap();
        stage.start_agent(i).await;
    }
}

/// Waits until the agent of pod `i` has settled and seen the founding written down.
async fn recorded(stage: &Stage, i: usize) {
    e2e::until::until("a founding record", Duration::from_secs(20), async || {
        let status = stage.status(i).await;
        if status["record"] == "formed" && status["step"]["reason"] == "Settled" {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
}

/// As `kubectl scale` does: past the webhook, and the template stays as it was.
fn scale(control_plane: &ControlPlane, replicas: usize) {
    let mut statefulset = stored(control_plane);
    statefulset["spec"]["replicas"] = json!(replicas);
    control_plane.api.seed(statefulset);
}
