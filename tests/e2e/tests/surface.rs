//! The outputs of an agent: Events, metrics and the termination log.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use e2e::control_plane::ControlPlane;
use e2e::example::example_cluster;
use e2e::until::until;
use sandbox::apiserver::Forbidden;
use serde_json::{Value, json};

#[tokio::test]
async fn forming_is_reported_by_one_event_that_restarted_agents_do_not_repeat() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let before = until("an Event of each pod", DEADLINE, async || {
        let events = events(&control_plane);
        if events.len() == 3 { Ok(events) } else { Err(events) }
    })
    .await;
    insta::assert_snapshot!(before.join("\n"), @"
    Normal Pod/couchdb-1 Joined: this node is a member, and every member confirms it
    Normal Pod/couchdb-2 Joined: this node is a member, and every member confirms it
    Normal StatefulSet/couchdb Formed: the cluster was formed
    ");
    for i in 0..3 {
        cluster.kill_agent(i).await;
        cluster.start_agent(i).await;
    }
    cluster.until_formed().await;
    // Events are posted in order: once that of the container's restart exists, the earlier ones were not repeated.
    cluster.kill_agent(1).await;
    cluster.node(1).restart_container().unwrap();
    cluster.start_agent(1).await;
    until("an Event of the restart", DEADLINE, async || {
        let events = events(&control_plane);
        if events.len() > 3 { Ok(()) } else { Err(events) }
    })
    .await;
    cluster.until_formed().await;
    for event in events(&control_plane) {
        let is_new = event.starts_with("Normal Pod/couchdb-1 IdentityHealed: ");
        assert!(is_new || before.contains(&event), "{event}");
    }
}

#[tokio::test]
async fn a_refusal_is_a_warning_that_a_restarted_agent_does_not_repeat() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 2).await;
    let termination_log = tempfile::NamedTempFile::new().unwrap();
    cluster.termination_log = Some(termination_log.path().to_owned());
    control_plane.api.seed(lost_cluster());
    cluster.start_agents([0]).await;
    cluster.start_agents([1]).await;
    let refusal = cluster.until_step(0, "FormedBefore").await;
    // Of both: the second agent logs in later, and its Event must not be counted below.
    let expected = [0, 1].map(|i| format!("Warning Pod/couchdb-{i} FormedBefore: {refusal}"));
    until("an Event of each agent", DEADLINE, async || {
        let events = events(&control_plane);
        if expected.iter().all(|event| events.contains(event)) { Ok(()) } else { Err(events) }
    })
    .await;
    assert_eq!(
        std::fs::read_to_string(termination_log.path()).unwrap(),
        format!("FormedBefore: {refusal}\n")
    );
    let refused =
        sample(&cluster.metrics(0).await, "couchdiscover_agent_refusals_total{reason=\"FormedBefore\"}");
    assert_eq!(refused, Some(1.0));

    control_plane.api.forget_calls();
    cluster.kill_agent(0).await;
    cluster.start_agent(0).await;
    cluster.until_step(0, "FormedBefore").await;
    until("the attempt to repeat the Event", DEADLINE, async || {
        let posts = control_plane.api.calls().into_iter().filter(|call| call.path.ends_with("/events"));
        let answers: Vec<u16> = posts.map(|call| call.status).collect();
        if answers == [409] { Ok(()) } else { Err(answers) }
    })
    .await;
    assert_eq!(
        events(&control_plane).len(),
        events_of(&control_plane, "couchdb-0") + events_of(&control_plane, "couchdb-1")
    );
    assert_eq!(events_of(&control_plane, "couchdb-0"), 1);
}

#[tokio::test]
async fn without_permission_to_create_events_a_cluster_is_still_formed() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.api.forbid(Forbidden::new(&["create"], &["events"]));
    let mut cluster = example_cluster(&control_plane, 2).await;
    cluster.start_agents(0..2).await;
    cluster.until_formed().await;
    assert!(events(&control_plane).is_empty());
}

#[tokio::test]
async fn the_metrics_agree_with_the_status_page() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let text = cluster.metrics(1).await;
    assert!(text.ends_with("# EOF\n"), "{text}");
    let value = |name: &str| sample(&text, &format!("couchdiscover_agent_{name}"));
    assert_eq!(value("state{reason=\"Settled\"}"), Some(1.0), "{text}");
    assert_eq!(value("ready"), Some(1.0));
    assert_eq!(value("kubernetes_reachable"), Some(1.0));
    for kind in ["expected", "listed", "connected"] {
        assert_eq!(value(&format!("members{{kind=\"{kind}\"}}")), Some(3.0), "{kind}");
    }
    assert!(value("couchdb_calls_total{outcome=\"answered\"}") > Some(10.0));
    assert!(value("last_settled_timestamp_seconds") > Some(1.7e9));
    let founded = cluster.metrics(0).await;
    assert_eq!(
        sample(&founded, "couchdiscover_agent_steps_total{step=\"Founding\",outcome=\"done\"}"),
        Some(1.0)
    );
    let status = cluster.status(1).await;
    assert_eq!(status["admin"], json!({ "user": "admin", "source": "COUCHDB_USER and COUCHDB_PASSWORD" }));
}

#[tokio::test]
async fn both_watches_use_a_role_that_is_granted_later() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.api.forbid(Forbidden::new(&["get", "list", "watch"], &["statefulsets", "leases"]));
    let mut cluster = example_cluster(&control_plane, 1).await;
    cluster.start_agent(0).await;
    cluster.until_formed().await;
    let status = cluster.status(0).await;
    assert_eq!((&status["kubernetes"], &status["record"]), (&json!("forbidden"), &json!("forbidden")));
    control_plane.api.forbid_nothing();
    until("both watches", DEADLINE, async || {
        let status = cluster.status(0).await;
        let works = status["kubernetes"] == "current" && status["record"] == "formed";
        if works { Ok(()) } else { Err(status) }
    })
    .await;
}

/// All Events as `Normal Pod/couchdb-0 Joined: ..`, sorted.
fn events(control_plane: &ControlPlane) -> Vec<String> {
    let events = control_plane.api.list("events.k8s.io/v1", "events");
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut lines: Vec<String> = events
        .iter()
        .map(|event| {
            let regarding = &event["regarding"];
            let object = format!("{}/{}", text(&regarding["kind"]), text(&regarding["name"]));
            format!("{} {object} {}: {}", text(&event["type"]), text(&event["reason"]), text(&event["note"]))
        })
        .collect();
    lines.sort_unstable();
    lines
}

fn events_of(control_plane: &ControlPlane, pod: &str) -> usize {
    events(control_plane).iter().filter(|event| event.contains(&format!("Pod/{pod} "))).count()
}

/// The value of a sample, by its name with labels.
fn sample(text: &str, name: &str) -> Option<f64> {
    let mut samples = text.lines().filter_map(|line| line.rsplit_once(' '));
    samples.find(|(sample, _)| *sample == name).and_then(|(_, value)| value.parse().ok())
}

/// The founding record of a cluster whose data is lost.
fn lost_cluster() -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "namespace": "default",
            "name": "couchdb-couchdiscover",
            "annotations": {
                contract::keys::FORMED_AT: "2026-01-01T00:00:00Z",
                contract::keys::FORMED_SIZE: "2",
                contract::keys::FORMED_UUID: "lost",
                contract::keys::RECORD_SCHEMA: "1",
            },
        },
        "spec": {},
    })
}

const DEADLINE: Duration = Duration::from_secs(40);
