//! What is lost: a pod, a volume, the kubelet, the webhook.

use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::diagnosis::is_ready;
use crate::installation;
use crate::set::{NAME, Set, example};
use crate::webhook;

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_lost_pod_and_a_lost_volume_come_back_as_members_with_all_documents() {
    let set = Set::formed("losses", &example()).await;
    set.write("shop", 0..20).await;

    let before = set.uid("couchdb-1").await;
    set.kubectl.run(&["delete", "pod", "couchdb-1"]).await;
    set.until_settled(3).await;
    assert_ne!(set.uid("couchdb-1").await, before);
    set.read("shop", 0..20).await;

    // Without its volume the lowest node comes back empty: it must not form a cluster of its own.
    let claim = ["pvc", "data-couchdb-0"];
    let before = set.kubectl.get(&claim).await["metadata"]["uid"].clone();
    set.kubectl.run(&["delete", "pvc", "data-couchdb-0", "--wait=false"]).await;
    set.kubectl.run(&["delete", "pod", "couchdb-0"]).await;
    set.until_settled(3).await;
    assert_ne!(set.kubectl.get(&claim).await["metadata"]["uid"], before, "the volume is the old one");
    set.read("shop", 0..20).await;
    set.delete().await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn pods_survive_the_loss_of_the_kubelet_and_come_back_while_no_webhook_runs() {
    let installed = installation::exclusive().await;
    let set = Set::formed_under(&installed, "node", &example()).await;
    set.write("shop", 0..5).await;
    let pods = set.pods().await;
    let uids: Vec<&Value> = pods.iter().map(|pod| &pod["metadata"]["uid"]).collect();

    kubelet("kill").await;
    // Nothing needs the kubelet but starting and probing.
    set.write("shop", 5..10).await;
    kubelet("start").await;
    set.until_settled(3).await;
    let after = set.pods().await;
    assert_eq!(uids, after.iter().map(|pod| &pod["metadata"]["uid"]).collect::<Vec<_>>());
    assert!(after.iter().all(|pod| is_ready(pod) && restarts(pod) == 0), "{}", set.diagnosis().await);

    // The webhook is called for StatefulSets only: a pod comes back without it.
    webhook::scale(0).await;
    set.kubectl.run(&["delete", "pod", "couchdb-2"]).await;
    set.until_settled(3).await;
    set.read("shop", 0..10).await;
    // Scaling is a call for a subresource that the webhook is not registered for.
    set.kubectl.run(&["scale", "statefulset", NAME, "--replicas=4"]).await;
    set.until_settled(4).await;
    webhook::scale(2).await;
    set.delete().await;
    drop(installed);
}

fn restarts(pod: &Value) -> u64 {
    let containers = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    containers.filter_map(|container| container["restartCount"].as_u64()).sum()
}

/// Kills or starts the kubelet of the node, as `tests/cluster/inside/program` does.
async fn kubelet(action: &str) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster/inside/program");
    let mut command = Command::new(program);
    let ended =
        tokio::time::timeout(Duration::from_secs(60), command.args([action, "kubelet"]).status()).await;
    assert!(ended.unwrap().unwrap().success(), "kubelet: {action}");
}
