//! What an agent shows to the outside: Events, metrics, last words.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::control_plane::ControlPlane;
use e2e::example::played;
use e2e::until::until;
use sandbox::apiserver::Forbidden;
use serde_json::{Value, json};

#[tokio::test]
async fn a_founding_is_told_once_and_not_again_by_agents_that_restart() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 3).await;
    stage.start_agents(0..3).await;
    stage.formed().await;
    let told = until("an Event of each pod", DEADLINE, async || {
        let told = events(&control_plane);
        if told.len() == 3 { Ok(told) } else { Err(told) }
    })
    .await;
    insta::assert_snapshot!(told.join("\n"), @"
    Normal Pod/couchdb-1 Joined: this node is a member, and every member confirms it
    Normal Pod/couchdb-2 Joined: this node is a member, and every member confirms it
    Normal StatefulSet/couchdb Formed: the cluster was founded
    ");
    for i in 0..3 {
        stage.kill_agent(i).await;
        stage.start_agent(i).await;
    }
    stage.formed().await;
    // Events are posted in order: when that of something new is there, none of the old was posted.
    stage.kill_agent(1).await;
    stage.node(1).restart_container().unwrap();
    stage.start_agent(1).await;
    until("an Event of the restart", DEADLINE, async || {
        let told = events(&control_plane);
        if told.len() > 3 { Ok(()) } else { Err(told) }
    })
    .await;
    stage.formed().await;
    let healed = events(&control_plane).into_iter().filter(|event| !told.contains(event));
    assert!(
        healed.clone().all(|event| event.starts_with("Normal Pod/couchdb-1 IdentityHealed: ")),
        "{told:#?}"
    );
}

#[tokio::test]
async fn a_refusal_is_a_warning_that_a_restarted_agent_does_not_repeat() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 2).await;
    let words = tempfile::NamedTempFile::new().unwrap();
    stage.termination_log = Some(words.path().to_owned());
    control_plane.api.seed(lost_cluster());
    stage.start_agents([0]).await;
    stage.start_agents([1]).await;
    let refusal = stage.says(0, "FormedBefore").await;
    let told = until("an Event", DEADLINE, async || {
        let told = events(&control_plane);
        if told.iter().any(|event| event.contains("Pod/couchdb-0 FormedBefore")) {
            Ok(told)
        } else {
            Err(told)
        }
    })
    .await;
    assert!(
        told.iter().any(|event| *event == format!("Warning Pod/couchdb-0 FormedBefore: {refusal}")),
        "{told:#?}"
    );
    assert_eq!(std::fs::read_to_string(words.path()).unwrap(), format!("FormedBefore: {refusal}\n"));
    let refused =
        sample(&stage.metrics(0).await, "couchdiscover_agent_refusals_total{reason=\"FormedBefore\"}");
    assert_eq!(refused, Some(1.0));

    control_plane.api.forget_calls();
    stage.kill_agent(0).await;
    stage.start_agent(0).await;
    stage.says(0, "FormedBefore").await;
    until("the Event that is there already", DEADLINE, async || {
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
async fn without_leave_to_create_events_all_goes_on() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.api.forbid(Forbidden::new(&["create"], &["events"]));
    let mut stage = played(&control_plane, 2).await;
    stage.start_agents(0..2).await;
    stage.formed().await;
    assert!(events(&control_plane).is_empty());
}

#[tokio::test]
async fn the_metrics_tell_what_the_status_tells() {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, 3).await;
    stage.start_agents(0..3).await;
    stage.formed().await;
    let text = stage.metrics(1).await;
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
    let founded = stage.metrics(0).await;
    assert_eq!(
        sample(&founded, "couchdiscover_agent_steps_total{step=\"Founding\",outcome=\"done\"}"),
        Some(1.0)
    );
    let status = stage.status(1).await;
    assert_eq!(status["admin"], json!({ "user": "admin", "source": "COUCHDB_USER and COUCHDB_PASSWORD" }));
}

#[tokio::test]
async fn a_role_that_comes_later_is_found_by_both_watches_at_once() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.api.forbid(Forbidden::new(&["get", "list", "watch"], &["statefulsets", "leases"]));
    let mut stage = played(&control_plane, 1).await;
    stage.start_agent(0).await;
    stage.formed().await;
    let status = stage.status(0).await;
    assert_eq!((&status["kubernetes"], &status["record"]), (&json!("forbidden"), &json!("forbidden")));
    control_plane.api.forbid_nothing();
    until("both", DEADLINE, async || {
        let status = stage.status(0).await;
        match (status["kubernetes"].as_str(), status["record"].as_str()) {
            (Some("current"), Some("formed")) => Ok(()),
            _ => Err(status),
        }
    })
    .await;
}

/// `Normal Pod/couchdb-0 Joined: ..`, sorted.
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

/// The value of one sample.
fn sample(text: &str, name: &str) -> Option<f64> {
    let samples: BTreeMap<&str, f64> = text
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(n, v)| Some((n, v.parse().ok()?)))
        .collect();
    samples.get(name).copied()
}

/// The record of a cluster whose data is gone.
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
