//! Updates that restart pods, by changing the stored template, and updates that don't.

use contract::keys;
use e2e::envtest::Answer;
use e2e::until::until;
use serde_json::{Value, json};

use crate::namespace::{DEADLINE, IMAGE, TestNamespace, Webhook, agent, container, template};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn applying_the_original_manifest_again_changes_nothing() {
    let ns = TestNamespace::open("again").await;
    let created = ns.admin.apply(&ns.example()).await.accepted();
    until_unchanged(&ns, async || ns.admin.apply(&ns.example()).await).await;
    until_unchanged(&ns, async || ns.admin.replace(&ns.example()).await).await;
    until_unchanged(&ns, async || ns.admin.apply(&ns.example()).await).await;
    let stored = ns.stored().await;
    assert_eq!((&stored["metadata"]["generation"], template(&stored)), (&json!(1), template(&created)));
}

/// Repeats the request until the object was stored neither by it nor, meanwhile, by a controller.
async fn until_unchanged(ns: &TestNamespace, request: impl AsyncFn() -> Answer) {
    until("a request that changes nothing", DEADLINE, async || {
        let before = ns.stored().await;
        let after = request().await.accepted();
        let is_unchanged = before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"];
        if is_unchanged { Ok(()) } else { Err((before, after)) }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn scaling_does_not_change_the_template() {
    let ns = TestNamespace::open("scaled").await;
    let created = ns.admin.create(&ns.example()).await.accepted();
    let revision = revision(&ns).await;
    let scale = format!("{}/scale", ns.example_path());
    for replicas in [5, 1, 0, 3] {
        ns.admin.merge(&scale, &json!({ "spec": { "replicas": replicas } })).await.accepted();
        let pods = ns.pods("couchdb", replicas).await;
        assert!(pods.iter().all(|pod| pod["metadata"]["labels"]["controller-revision-hash"] == revision));
        assert_eq!(template(&ns.stored().await), template(&created), "{replicas}");
    }
    let stored = ns.merge(json!({ "spec": { "replicas": 4 } })).await.accepted();
    assert_eq!(template(&stored), template(&created), "scaled without the subresource");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn another_version_of_the_webhook_restarts_no_pod() {
    let ns = TestNamespace::open("upgraded").await;
    let created = template(&ns.admin.create(&ns.example()).await.accepted());
    let before = revision(&ns).await;
    let next = Webhook::start(&ns.plane, NEXT).await;
    ns.register(&next, &[ns.name]).await;
    for change in [
        json!({ "metadata": { "labels": { "team": "a" }, "annotations": { "example.com/note": "x" } } }),
        json!({ "metadata": { "annotations": { keys::AGENT_LOG_LEVEL: "debug" } } }),
        json!({ "spec": { "replicas": 5, "minReadySeconds": 5 } }),
        json!({ "metadata": { "annotations": { keys::AGENT_LOG_LEVEL: null } } }),
    ] {
        assert_eq!(template(&ns.merge(change.clone()).await.accepted()), created, "{change}");
    }
    let replaced = ns.admin.replace(&ns.example()).await.accepted();
    assert_eq!(template(&replaced), created, "replaced by the original manifest");
    let applied = ns.admin.apply(&ns.example()).await.accepted();
    assert_eq!(template(&applied), created, "applied");
    assert_eq!(revision(&ns).await, before);
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_change_that_restarts_the_pods_injects_the_newer_version() {
    let ns = TestNamespace::open("rendered-again").await;
    ns.admin.create(&ns.example()).await.accepted();
    let other = ns.example_with(|set| set["metadata"]["name"] = json!("other"));
    ns.admin.create(&other).await.accepted();
    let next = Webhook::start(&ns.plane, NEXT).await;
    ns.register(&next, &[ns.name]).await;

    let change = json!({ "metadata": { "annotations": { keys::REFRESH: "1" } } });
    let stored = ns.merge(change.clone()).await.accepted();
    assert_eq!(agent(&stored)["image"], NEXT);
    let again = ns.merge(change).await.accepted();
    assert_eq!(template(&again), template(&stored), "the same value changes nothing");

    let changed = json!({ "spec": { "template": { "metadata": { "annotations": { "example.com/restarted": "1" } } } } });
    let path = e2e::envtest::path(&other);
    assert_eq!(agent(&ns.admin.get(&path).await.accepted())["image"], IMAGE);
    let stored = ns.admin.merge(&path, &changed).await.accepted();
    assert_eq!(agent(&stored)["image"], NEXT);
    assert_eq!(container(&stored, "couchdb")["image"], "couchdb:3.5");
    let rolled = stored["spec"]["template"]["metadata"]["annotations"]["example.com/restarted"].clone();
    assert_eq!(rolled, "1", "as `kubectl rollout restart` does");
}

/// The revision that the controller gives to new pods, once it knows the stored template.
async fn revision(ns: &TestNamespace) -> Value {
    until("an observed generation", DEADLINE, async || {
        let stored = ns.stored().await;
        let status = &stored["status"];
        if status["observedGeneration"] != stored["metadata"]["generation"] {
            return Err(status.clone());
        }
        Ok(status["updateRevision"].clone())
    })
    .await
}

const NEXT: &str = "couchdiscover-agent:two";
