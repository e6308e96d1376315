//! A changed password in a running cluster.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashMap;
use std::time::Duration;

use e2e::cluster::{TestCluster, is_refused_password};
use e2e::control_plane::ControlPlane;
use e2e::example::{example_cluster, stored_statefulset};
use e2e::manifest;
use e2e::until::until;
use sandbox::kubelet::Pod;
use serde_json::json;

/// Each pod is restarted with the new password when the one before is ready again, as in a rolling update.
#[tokio::test]
async fn a_rolling_restart_brings_a_new_password_to_all_nodes() {
    for nodes in [3, 1] {
        let (control_plane, mut cluster) = formed(nodes).await;
        let uuid = cluster.get(0, "/").await["uuid"].clone();
        cluster.net.forget_calls();
        let pods = pods_with(&control_plane, "an:other\u{1F511}");
        for (i, pod) in pods.into_iter().enumerate().rev() {
            cluster.kill_agent(i).await;
            cluster.restart_node_as(i, pod);
            cluster.start_agent(i).await;
            cluster.until_ready(i).await;
            until("the cluster's uuid", DEADLINE, async || {
                let welcome = cluster.get(i, "/").await;
                if welcome["uuid"] == uuid { Ok(()) } else { Err(welcome) }
            })
            .await;
            for other in 0..nodes {
                assert_eq!(cluster.readyz(other).await.0, 200, "{other} while {i} has restarted");
            }
        }
        // An agent that called a peer before the peer had the new password tries again after 75 s.
        cluster.until_step(0, "Settled").await;
        for i in 0..nodes {
            // These calls use the new password.
            assert_eq!(cluster.get(i, "/").await["uuid"], uuid, "couchdb-{i}");
            let session = cluster.get(i, "/_session").await;
            assert_eq!(session["userCtx"]["name"], "admin", "couchdb-{i}");
        }
        let mut rejections: HashMap<_, u32> = HashMap::new();
        for call in cluster.net.calls().into_iter().filter(is_refused_password) {
            *rejections.entry((call.source, call.node.as_str().to_owned())).or_default() += 1;
        }
        // CouchDB locks an address out after five failures. An agent's calls from before and after its restart count as
        // those of one address here.
        assert!(rejections.values().all(|count| *count <= 2), "{rejections:?}");
    }
}

/// The environment of a running agent cannot change, and without a role it cannot read the Secret.
#[tokio::test]
async fn a_password_that_only_couchdb_got_is_reported_with_a_fix() {
    let (control_plane, mut cluster) = formed(1).await;
    cluster.net.forget_calls();
    let [pod] = <[Pod; 1]>::try_from(pods_with(&control_plane, "another")).unwrap();
    cluster.restart_node_as(0, pod);
    let message = cluster.until_step(0, "CredentialsRejected").await;
    assert!(message.contains("delete pod couchdb-0"), "{message}");
    assert_eq!(cluster.readyz(0).await.0, 503);
    assert_eq!(cluster.net.calls().into_iter().filter(is_refused_password).count(), 1);
    // After the deletion of the pod, both start with the Secret's current content.
    cluster.kill_agent(0).await;
    cluster.start_agent(0).await;
    cluster.until_formed().await;
    cluster.until_ready(0).await;
}

/// The example as a formed cluster.
async fn formed(nodes: usize) -> (ControlPlane, TestCluster) {
    let control_plane = ControlPlane::start().await.unwrap();
    let mut cluster = example_cluster(&control_plane, nodes).await;
    cluster.start_agents(0..nodes).await;
    cluster.until_formed().await;
    (control_plane, cluster)
}

/// Changes the Secret. Returns the pods as the kubelet starts them from now on.
fn pods_with(control_plane: &ControlPlane, password: &str) -> Vec<Pod> {
    let mut secret = control_plane.api.get("v1", "secrets", Some("default"), "couchdb-admin").unwrap();
    secret["data"] = json!({});
    secret["stringData"] = json!({ "user": "admin", "password": password });
    control_plane.api.seed(secret);
    manifest::pods(&stored_statefulset(control_plane), control_plane.api.list("v1", "secrets")).unwrap()
}

const DEADLINE: Duration = Duration::from_secs(40);
