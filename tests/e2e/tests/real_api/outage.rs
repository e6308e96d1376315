//! While no webhook answers.

use e2e::until::until;
use serde_json::json;

use crate::scene::{DEADLINE, Scene};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn while_the_webhook_is_down_only_the_labelled_wait_and_the_deleted_go() {
    let mut scene = Scene::open("outage").await;
    let with_finalizer =
        scene.example_with(|set| set["metadata"]["finalizers"] = json!(["example.com/hold"]));
    scene.admin.create(&with_finalizer).await.taken();
    let foreground = scene.example_with(|set| set["metadata"]["name"] = json!("foreground"));
    scene.admin.create(&foreground).await.taken();
    scene.pods("foreground", 3).await;
    scene.webhook.stop().await;

    let address = scene.webhook.url.trim_start_matches("https://").trim_end_matches("/mutate");
    let expected = format!(
        "Internal error occurred: failed calling webhook \"inject.couchdiscover.io\": failed to call webhook: Post \
         \"https://{address}/mutate?timeout=5s\": dial tcp {address}: connect: connection refused"
    );
    // The first call may still meet the end of a connection that was kept.
    until("a refusal", DEADLINE, async || {
        let refused = scene.merge(json!({ "metadata": { "labels": { "team": "a" } } })).await;
        if (refused.code, refused.message()) == (500, &*expected) { Ok(()) } else { Err(refused) }
    })
    .await;
    let scaled = json!({ "spec": { "replicas": 4 } });
    let scale = format!("{}/scale", scene.example_path());
    scene.admin.merge(&scale, &scaled).await.taken();
    scene.pods("couchdb", 4).await;

    scene.admin.delete(&scene.example_path(), &json!(null)).await.taken();
    assert!(scene.stored().await["metadata"]["deletionTimestamp"].is_string(), "held by its finalizer");
    scene.merge(json!({ "metadata": { "finalizers": null } })).await.taken();
    gone(&scene, &scene.example_path()).await;

    let foreground = e2e::envtest::path(&foreground);
    scene.admin.delete(&foreground, &json!({ "propagationPolicy": "Foreground" })).await.taken();
    gone(&scene, &foreground).await;
}

/// Waits until there is no such object.
async fn gone(scene: &Scene, path: &str) {
    until("the end of an object", DEADLINE, async || match scene.admin.get(path).await {
        answer if answer.code == 404 => Ok(()),
        answer => Err(answer.body["metadata"].clone()),
    })
    .await;
}
