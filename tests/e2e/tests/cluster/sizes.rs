//! Fewer nodes: refused while they hold copies, carried out by `couchdiscover scale`.

use std::process::Stdio;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::diagnosis::all_ready;
use crate::set::{NAME, Set, example};

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

    let output = Command::new(env!("CARGO_BIN_EXE_webhook-process"))
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
