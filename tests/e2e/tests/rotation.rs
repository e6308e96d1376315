//! A password that changes while the cluster runs.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::collections::HashMap;
use std::time::Duration;

use e2e::control_plane::ControlPlane;
use e2e::example::{played, stored};
use e2e::manifest;
use e2e::stage::Stage;
use e2e::until::until;
use sandbox::kubelet::Pod;
use serde_json::json;

/// Each pod is restarted with the new password when the one before is ready again, as a rolling update does it.
#[tokio::test]
async fn a_password_that_a_rolling_restart_brings_is_everywhere_in_the_end() {
    for nodes in [3, 1] {
        let (control_plane, mut stage) = formed(nodes).await;
        let uuid = stage.ask_node(0, "/").await["uuid"].clone();
        stage.net.forget_calls();
        let pods = pods_with(&control_plane, "an:other\u{1F511}");
        for (i, pod) in pods.into_iter().enumerate().rev() {
            stage.kill_agent(i).await;
            stage.restart_node_as(i, pod);
            stage.start_agent(i).await;
            stage.ready(i).await;
            until("the cluster's uuid", DEADLINE, async || {
                let welcome = stage.ask_node(i, "/").await;
                if welcome["uuid"] == uuid { Ok(()) } else { Err(welcome) }
            })
            .await;
            for other in 0..nodes {
                assert_eq!(stage.readyz(other).await.0, 200, "{other} while {i} has restarted");
            }
        }
        // Whoever asked a peer before it had the new password asks it again after 75 s.
        stage.says(0, "Settled").await;
        for i in 0..nodes {
            // Asked with the new password.
            assert_eq!(stage.ask_node(i, "/").await["uuid"], uuid, "couchdb-{i}");
            let session = stage.ask_node(i, "/_session").await;
            assert_eq!(session["userCtx"]["name"], "admin", "couchdb-{i}");
        }
        let mut rejections: HashMap<_, u32> = HashMap::new();
        for call in stage.net.calls().into_iter().filter(|call| call.status == Some(401)) {
            *rejections.entry((call.source, call.node.as_str().to_owned())).or_default() += 1;
        }
        // CouchDB locks an address out after five. Agents before and after a restart share a name here.
        assert!(rejections.values().all(|count| *count <= 2), "{rejections:?}");
        assert!(nodes == 1 || !rejections.is_empty(), "nobody met another password");
    }
}

/// A process can't be given another environment, and whoever must not read the Secret can't look there.
#[tokio::test]
async fn a_couchdb_that_restarts_alone_with_another_password_is_told_with_the_cure() {
    let (control_plane, mut stage) = formed(1).await;
    stage.net.forget_calls();
    let [pod] = <[Pod; 1]>::try_from(pods_with(&control_plane, "another")).unwrap();
    stage.restart_node_as(0, pod);
    let message = stage.says(0, "CredentialsRejected").await;
    assert!(message.contains("delete this pod"), "{message}");
    assert_eq!(stage.readyz(0).await.0, 503);
    assert_eq!(stage.net.calls().iter().filter(|call| call.status == Some(401)).count(), 1);
    // Deleted: both start with what the Secret holds now.
    stage.kill_agent(0).await;
    stage.start_agent(0).await;
    stage.formed().await;
    stage.ready(0).await;
}

/// The example, formed, and its founding written down.
async fn formed(nodes: usize) -> (ControlPlane, Stage) {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut stage = played(&control_plane, nodes).await;
    stage.start_agents(0..nodes).await;
    stage.formed().await;
    (control_plane, stage)
}

/// Changes the Secret; the pods as the kubelet would start them from now on.
fn pods_with(control_plane: &ControlPlane, password: &str) -> Vec<Pod> {
    let mut secret = control_plane.api.get("v1", "secrets", Some("default"), "couchdb-admin").unwrap();
    secret["data"] = json!({});
    secret["stringData"] = json!({ "user": "admin", "password": password });
    control_plane.api.seed(secret);
    manifest::pods(&stored(control_plane), control_plane.api.list("v1", "secrets")).unwrap()
}

const DEADLINE: Duration = Duration::from_secs(40);
