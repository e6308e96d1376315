//! Fewer nodes: refused while they hold copies, carried out by `couchdiscover scale`.

use std::cell::RefCell;
use std::process::Stdio;

use contract::keys;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::diagnosis::all_ready;
use crate::installation;
use crate::kubectl::Kubectl;
use crate::set::{NAME, Set, annotate, example, example_with};
use crate::waiting::{Look, until};

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_smaller_cluster_is_refused_until_its_nodes_are_drained_and_keeps_every_document() {
    let set = Set::formed("sizes", &example()).await;
    set.kubectl.run(&["scale", "statefulset", NAME, "--replicas=4"]).await;
    set.until_settled(4).await;
    set.write("shop", 0..20).await;
    // One copy of each range, some of them on the node that leaves.
    let pods = set.pods().await;
    let (status, body) = set.call(&pods[0], Method::PUT, "/single?n=1&q=8", Value::Null).await.unwrap();
    assert_eq!(status, 201, "{body}");
    set.write("single", 0..40).await;

    let refused = set.kubectl.try_run(&["scale", "statefulset", NAME, "--replicas=3"], "").await.unwrap_err();
    assert!(refused.contains("couchdb-3"), "{refused}");
    assert!(refused.contains("kubectl couchdiscover scale couchdb -n sizes --replicas 3"), "{refused}");
    let patched = json!({ "spec": { "replicas": 3 } }).to_string();
    let patch = ["patch", "statefulset", NAME, "--type=merge", "--patch", &patched];
    let refused = set.kubectl.try_run(&patch, "").await.unwrap_err();
    assert!(refused.contains("couchdb-3"), "{refused}");

    let output = Command::new(env!("CARGO_BIN_EXE_couchdiscover-process"))
        .args(["scale", NAME, "--namespace", "sizes", "--replicas", "3", "--yes"])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success(), "{text}\n{}", set.diagnosis().await);
    assert!(text.contains("delete pvc data-couchdb-3"), "{text}");
    // Not settled: a database with a single copy is a condition.
    set.until_pods("three ready pods", |pods| all_ready(pods, 3)).await;
    set.read("shop", 0..20).await;
    set.read("single", 0..40).await;

    // It comes back with an empty volume only.
    set.kubectl.run(&["delete", "pvc", "data-couchdb-3"]).await;
    set.kubectl.run(&["scale", "statefulset", NAME, "--replicas=4"]).await;
    set.until_pods("four ready pods", |pods| all_ready(pods, 4)).await;
    set.read("single", 0..40).await;
    set.delete().await;
}

/// With the component `scale-down-drain`, a smaller manifest is all that it takes.
#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_smaller_manifest_drains_the_nodes_and_then_removes_them_while_clients_write() {
    let webhook = Kubectl::new(installation::NAMESPACE);
    let of_size = |replicas: u32| {
        example_with(|set| {
            set["spec"]["replicas"] = json!(replicas);
            annotate(set, keys::SCALE_DOWN, "drain");
            annotate(set, keys::CLUSTER_SIZE, "3");
        })
    };
    let set = Set::formed("gitops", &of_size(3)).await;
    // It concerns no other test.
    for file in ["role.yaml", "policy.yaml"] {
        webhook.run(&["apply", "-f", &format!("{COMPONENT}/{file}")]).await;
    }
    set.kubectl.apply(&of_size(5)).await;
    set.until_settled(5).await;
    // Copies on all five nodes, the two that leave included.
    set.write("shop", 0..20).await;
    let pods = set.pods().await;
    for pod in &pods {
        let path = format!("/of-{}?n=2&q=4", pod["metadata"]["name"].as_str().unwrap());
        let (status, body) = set.call(pod, Method::PUT, &path, Value::Null).await.unwrap();
        assert_eq!(status, 201, "{body}");
    }

    let output = set.kubectl.apply(&of_size(3)).await;
    assert!(output.warnings.contains("drain"), "{}", output.warnings);
    let replicas = set.kubectl.get(&["statefulset", NAME]).await["spec"]["replicas"].clone();
    assert_eq!(replicas, 5, "no pod is stopped before it is drained");
    let acknowledged = RefCell::new(vec![]);
    let drained = async {
        until_recorded(&set, "couchdb-4", &["draining", "drained"]).await;
        // A pod that stays is lost in the middle.
        set.kubectl.run(&["delete", "pod", "couchdb-1", "--wait=false"]).await;
        // What a GitOps tool does every few minutes.
        set.kubectl.apply(&of_size(3)).await;
        until_recorded(&set, "couchdb-4", &["drained", "removed"]).await;
        until_recorded(&set, "couchdb-3", &["drained", "removed"]).await;
        until_recorded(&set, "couchdb-3", &["removed"]).await;
    };
    tokio::select! {
        () = drained => {}
        () = write_on(&set, &acknowledged) => {}
    }
    set.until_settled(3).await;
    let stored = set.kubectl.get(&["statefulset", NAME]).await;
    assert_eq!(stored["spec"]["replicas"], 3);
    assert_eq!(stored["metadata"]["annotations"][keys::TARGET_SIZE], Value::Null);
    set.read("shop", 0..20).await;
    let acknowledged = acknowledged.into_inner();
    assert!(acknowledged.len() > 10, "{acknowledged:?}");
    for pod in set.pods().await {
        for path in &acknowledged {
            let (status, body) = set.call(&pod, Method::GET, path, Value::Null).await.unwrap();
            assert_eq!(status, 200, "{path} on {}: {body}", pod["metadata"]["name"]);
        }
    }
    for file in ["role.yaml", "policy.yaml"] {
        webhook.run(&["delete", "-f", &format!("{COMPONENT}/{file}")]).await;
    }
    set.delete().await;
}

/// Writes documents through the pods that stay, and keeps the paths of those that were acknowledged by a majority.
async fn write_on(set: &Set, acknowledged: &RefCell<Vec<String>>) {
    for id in 0_u32.. {
        let pods = set.pods().await;
        // A pod that is being replaced does not answer.
        let Some(pod) = pods.get(id as usize % 3) else { continue };
        let path = format!("/shop/meanwhile-{id}");
        if let Ok((201, _)) = set.call(pod, Method::PUT, &path, json!({})).await {
            acknowledged.borrow_mut().push(path);
        }
    }
}

/// Waits until the record on the Lease has one of these states for a pod.
async fn until_recorded(set: &Set, pod: &str, states: &[&str]) {
    let look = async || {
        let lease = set.kubectl.get(&["lease", "couchdb-couchdiscover"]).await;
        let record =
            lease["metadata"]["annotations"][keys::COPIES_RECORD].as_str().unwrap_or("{}").to_owned();
        let record: Value = serde_json::from_str(&record).unwrap();
        let state = record["nodes"][pod]["state"].as_str().unwrap_or_default();
        if states.contains(&state) {
            return Look::Done(());
        }
        let mut pages = vec![];
        for pod in set.pods().await {
            pages.push(set.page(&pod).await.map(|page| (page.step.reason, page.moves)));
        }
        Look::Waiting(format!("{record} {pages:?}"))
    };
    until(&format!("{pod} {states:?}"), look, async || set.diagnosis().await).await;
}

const COMPONENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/components/scale-down-drain");
