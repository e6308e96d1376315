//! The cluster while the webhook is down.

use e2e::until::until;
use serde_json::json;

use crate::namespace::{DEADLINE, TestNamespace};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn while_the_webhook_is_down_labelled_updates_fail_and_scaling_and_deletion_work() {
    let mut ns = TestNamespace::open("outage").await;
    let with_finalizer = ns.example_with(|set| set["metadata"]["finalizers"] = json!(["example.com/hold"]));
    ns.admin.create(&with_finalizer).await.accepted();
    let foreground = ns.example_with(|set| set["metadata"]["name"] = json!("foreground"));
    ns.admin.create(&foreground).await.accepted();
    ns.pods("foreground", 3).await;
    ns.webhook.stop().await;

    let address = ns.webhook.url.trim_start_matches("https://");
    let expected = format!(
        "Internal error occurred: failed calling webhook \"inject.couchdiscover.io\": failed to call webhook: Post \
         \"https://{address}/mutate?timeout=5s\": dial tcp {address}: connect: connection refused"
    );
    // The first call may fail with another error, on a kept connection that the webhook closed.
    until("a refusal", DEADLINE, async || {
        let refused = ns.merge(json!({ "metadata": { "labels": { "team": "a" } } })).await;
        if (refused.code, refused.message()) == (500, &*expected) { Ok(()) } else { Err(refused) }
    })
    .await;
    let scaled = json!({ "spec": { "replicas": 4 } });
    let scale = format!("{}/scale", ns.example_path());
    ns.admin.merge(&scale, &scaled).await.accepted();
    ns.pods("couchdb", 4).await;
    // By the subresource nodes are removed without a check, and the volumes stay: StatefulSets of others must scale, too.
    ns.admin.merge(&scale, &json!({ "spec": { "replicas": 2 } })).await.accepted();
    ns.pods("couchdb", 2).await;

    ns.admin.delete(&ns.example_path(), &json!(null)).await.accepted();
    assert!(ns.stored().await["metadata"]["deletionTimestamp"].is_string(), "kept by its finalizer");
    ns.merge(json!({ "metadata": { "finalizers": null } })).await.accepted();
    until_deleted(&ns, &ns.example_path()).await;

    let foreground = e2e::envtest::path(&foreground);
    ns.admin.delete(&foreground, &json!({ "propagationPolicy": "Foreground" })).await.accepted();
    until_deleted(&ns, &foreground).await;
}

/// Waits until an object is deleted.
async fn until_deleted(ns: &TestNamespace, path: &str) {
    until("the end of an object", DEADLINE, async || match ns.admin.get(path).await {
        answer if answer.code == 404 => Ok(()),
        answer => Err(answer.body["metadata"].clone()),
    })
    .await;
}
