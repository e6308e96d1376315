//! Whether pods restart: they do when the stored template changes, and only then.

use contract::keys;
use e2e::envtest::Answer;
use e2e::until::until;
use serde_json::{Value, json};

use crate::scene::{DEADLINE, IMAGE, Scene, Webhook, agent, container, template};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_bare_manifest_again_is_no_change() {
    let scene = Scene::open("again").await;
    let created = scene.admin.apply(&scene.example()).await.taken();
    is_no_change(&scene, async || scene.admin.apply(&scene.example()).await).await;
    is_no_change(&scene, async || scene.admin.replace(&scene.example()).await).await;
    is_no_change(&scene, async || scene.admin.apply(&scene.example()).await).await;
    let stored = scene.stored().await;
    assert_eq!((&stored["metadata"]["generation"], template(&stored)), (&json!(1), template(&created)));
}

/// Waits for a time when nothing was stored: neither by this request, nor by a controller meanwhile.
async fn is_no_change(scene: &Scene, request: impl AsyncFn() -> Answer) {
    until("a request that changes nothing", DEADLINE, async || {
        let before = scene.stored().await;
        let after = request().await.taken();
        match before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"] {
            true => Ok(()),
            false => Err((before, after)),
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn scaling_leaves_the_template_alone() {
    let scene = Scene::open("scaled").await;
    let created = scene.admin.create(&scene.example()).await.taken();
    let revision = revision(&scene).await;
    let scale = format!("{}/scale", scene.example_path());
    for replicas in [5, 1, 0, 3] {
        scene.admin.merge(&scale, &json!({ "spec": { "replicas": replicas } })).await.taken();
        let pods = scene.pods("couchdb", replicas).await;
        assert!(pods.iter().all(|pod| pod["metadata"]["labels"]["controller-revision-hash"] == revision));
        assert_eq!(template(&scene.stored().await), template(&created), "{replicas}");
    }
    let stored = scene.merge(json!({ "spec": { "replicas": 4 } })).await.taken();
    assert_eq!(template(&stored), template(&created), "past the subresource");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn another_version_of_the_webhook_rolls_no_pod() {
    let scene = Scene::open("upgraded").await;
    let created = template(&scene.admin.create(&scene.example()).await.taken());
    let before = revision(&scene).await;
    let next = Webhook::start(NEXT).await;
    scene.register(&next, &[scene.namespace]).await;
    for change in [
        json!({ "metadata": { "labels": { "team": "a" }, "annotations": { "example.com/note": "x" } } }),
        json!({ "metadata": { "annotations": { keys::AGENT_LOG_LEVEL: "debug" } } }),
        json!({ "spec": { "replicas": 5, "minReadySeconds": 5 } }),
        json!({ "metadata": { "annotations": { keys::AGENT_LOG_LEVEL: null } } }),
    ] {
        assert_eq!(template(&scene.merge(change.clone()).await.taken()), created, "{change}");
    }
    let replaced = scene.admin.replace(&scene.example()).await.taken();
    assert_eq!(template(&replaced), created, "replaced by the bare manifest");
    let applied = scene.admin.apply(&scene.example()).await.taken();
    assert_eq!(template(&applied), created, "applied");
    assert_eq!(revision(&scene).await, before);
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn what_rolls_the_pods_anyway_takes_the_newer_version() {
    let scene = Scene::open("rendered-anew").await;
    let refreshed = |name: &'static str| scene.example_with(|set| set["metadata"]["name"] = json!(name));
    scene.admin.create(&scene.example()).await.taken();
    let other = refreshed("other");
    scene.admin.create(&other).await.taken();
    let next = Webhook::start(NEXT).await;
    scene.register(&next, &[scene.namespace]).await;

    let change = json!({ "metadata": { "annotations": { keys::REFRESH: "1" } } });
    let stored = scene.merge(change.clone()).await.taken();
    assert_eq!(agent(&stored)["image"], NEXT);
    let again = scene.merge(change).await.taken();
    assert_eq!(template(&again), template(&stored), "the same value asks for nothing");

    let changed = json!({ "spec": { "template": { "metadata": { "annotations": { "example.com/restarted": "1" } } } } });
    let path = e2e::envtest::path(&other);
    assert_eq!(agent(&scene.admin.get(&path).await.taken())["image"], IMAGE);
    let stored = scene.admin.merge(&path, &changed).await.taken();
    assert_eq!(agent(&stored)["image"], NEXT);
    assert_eq!(container(&stored, "couchdb")["image"], "couchdb:3.5");
    let rolled = stored["spec"]["template"]["metadata"]["annotations"]["example.com/restarted"].clone();
    assert_eq!(rolled, "1", "as `kubectl rollout restart` does");
}

/// The revision that the controller gives to new pods, once it knows the stored template.
async fn revision(scene: &Scene) -> Value {
    until("an observed generation", DEADLINE, async || {
        let stored = scene.stored().await;
        match stored["status"]["observedGeneration"] == stored["metadata"]["generation"] {
            true => Ok(stored["status"]["updateRevision"].clone()),
            false => Err(stored["status"].clone()),
        }
    })
    .await
}

const NEXT: &str = "couchdiscover-agent:two";
