//! Opting out and in again.

use serde_json::Value;

use crate::set::{Set, example};

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_cluster_that_opts_out_keeps_its_documents_and_opts_in_again() {
    let set = Set::formed("opting", &example()).await;
    set.write("shop", 0..10).await;

    let warnings = set.label("disabled").await.warnings;
    assert!(warnings.contains("Warning:"), "opting out is answered without a warning");
    set.until_pods("pods without an agent", |pods| containers(pods, 1)).await;
    set.read("shop", 0..10).await;

    set.label("enabled").await;
    set.until_settled(3).await;
    containers(&set.pods().await, 2).unwrap();
    set.read("shop", 0..10).await;
    set.delete().await;
}

/// Fails unless there are three pods with this many running containers.
fn containers(pods: &[Value], count: usize) -> Result<(), String> {
    let running = |pod: &Value| {
        let containers = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        containers.filter(|container| container["state"]["running"].is_object()).count()
    };
    let counts: Vec<usize> = pods.iter().map(running).collect();
    (counts == [count; 3]).then_some(()).ok_or_else(|| format!("{counts:?} running containers"))
}
