//! The net below the webhook: where it fails open and doesn't answer, nobody who asks for the agent goes without it
//! unnoticed, and nobody else is held up.

use contract::keys;
use e2e::envtest::{Answer, Envtest, User};
use e2e::manifest::{self, EXAMPLE, injected};
use e2e::until::until;
use serde_json::{Value, json};

use crate::install::{apply, path};
use crate::scene::DEADLINE;

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn who_asks_for_the_agent_is_not_stored_without_it_and_nobody_else_is_held_up() {
    let plane = Envtest::start().await.unwrap();
    let admin = plane.admin();
    // Older than the webhook: labelled, and never injected.
    for (name, label) in
        [("old", Some("enabled")), ("unlabelled", None), ("out", Some("disabled")), ("on", None)]
    {
        admin.create(&named(name, label)).await.taken();
    }
    let mut held = named("held", Some("enabled"));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.create(&held).await.taken();

    // Its Service has no address here, so the webhook can't be called, and the API server goes on without it.
    apply(&plane, &["apply", "-k", &path("overlays/fail-open")], "").await;
    let denied = until("a policy in force", DEADLINE, async || {
        match admin.try_create(&named("new", Some("enabled"))).await {
            answer if answer.code == 422 => Ok(answer),
            answer => Err(answer),
        }
    })
    .await;
    insta::assert_snapshot!(denied.message(), @"statefulsets.apps \"new\" is forbidden: ValidatingAdmissionPolicy 'couchdiscover' with binding 'couchdiscover' denied request: the label couchdiscover.io/inject=enabled requests the container couchdiscover-agent, which was not added: couchdiscover's webhook did not answer, or was not called. Fix: run 'couchdiscover check', or look at the pods and logs in the webhook's namespace, and apply again. To run without the agent, set the label to 'disabled'");
    assert_eq!(denied.body["reason"], "Invalid");

    denies(&admin.merge(&at("old"), &another_image()).await);
    denies(&admin.merge(&at("on"), &labelled("enabled")).await);
    denies(&admin.merge(&at("out"), &labelled("enabled")).await);

    // Without a change to the pods.
    let annotated = json!({ "metadata": { "annotations": { "team": "a" } } });
    admin.merge(&at("old"), &annotated).await.taken();
    admin.merge(&at("old"), &json!({ "spec": { "replicas": 4 } })).await.taken();
    admin.merge(&format!("{}/scale", at("old")), &json!({ "spec": { "replicas": 5 } })).await.taken();
    admin.merge(&format!("{}/status", at("old")), &json!({ "status": { "replicas": 5 } })).await.taken();
    // Opted out, or never in.
    admin.merge(&at("out"), &another_image()).await.taken();
    admin.merge(&at("unlabelled"), &another_image()).await.taken();
    admin.merge(&at("old"), &labelled("disabled")).await.taken();
    admin.merge(&at("old"), &another_image()).await.taken();
    admin.try_create(&named("opted-out", Some("disabled"))).await.taken();
    // With the agent, brought along by the manifest; as a container, and as an init container.
    admin.create(&whole("whole", None)).await.taken();
    admin.merge(&at("whole"), &another_image_beside(&admin, "whole").await).await.taken();
    admin.create(&whole("native", Some("native"))).await.taken();
    denies(
        &admin
            .merge(
                &at("whole"),
                &json!({ "spec": { "template": {
        "spec": { "containers": named("whole", None)["spec"]["template"]["spec"]["containers"] } } } }),
            )
            .await,
    );
    // Where the webhook isn't asked.
    let mut elsewhere = named("elsewhere", Some("enabled"));
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    admin.try_create(&elsewhere).await.taken();
    // What is to go, goes.
    admin.delete(&at("held"), &Value::Null).await.taken();
    admin.merge(&at("held"), &json!({ "metadata": { "finalizers": null } })).await.taken();
    until("the end of an object", DEADLINE, async || match admin.get(&at("held")).await {
        answer if answer.code == 404 => Ok(()),
        answer => Err(answer.body),
    })
    .await;
    admin.delete(&at("whole"), &Value::Null).await.taken();
}

/// The example without the agent.
fn named(name: &str, label: Option<&str>) -> Value {
    let mut set = manifest::statefulset(&manifest::objects(EXAMPLE).unwrap()).unwrap().clone();
    set["metadata"]["name"] = json!(name);
    set["metadata"]["namespace"] = json!("default");
    let labels = set["metadata"]["labels"].as_object_mut().unwrap();
    labels.shift_remove(keys::INJECT);
    labels.extend(label.map(|label| (keys::INJECT.to_owned(), json!(label))));
    set
}

/// The example with it.
fn whole(name: &str, sidecar: Option<&str>) -> Value {
    let mut set = named(name, Some(keys::INJECT_ENABLED));
    if let Some(sidecar) = sidecar {
        set["metadata"]["annotations"] = json!({ keys::SIDECAR: sidecar });
    }
    injected(&set)
}

fn at(name: &str) -> String {
    e2e::envtest::path(&named(name, None))
}

fn labelled(value: &str) -> Value {
    json!({ "metadata": { "labels": { keys::INJECT: value } } })
}

/// A merge patch replaces lists as a whole, so this also brings no agent.
fn another_image() -> Value {
    let mut containers = named("any", None)["spec"]["template"]["spec"]["containers"].clone();
    containers[0]["image"] = json!("couchdb:3.4");
    json!({ "spec": { "template": { "spec": { "containers": containers } } } })
}

/// The same, with whatever else is stored.
async fn another_image_beside(admin: &User, name: &str) -> Value {
    let stored = admin.get(&at(name)).await.taken();
    let mut containers = stored["spec"]["template"]["spec"]["containers"].clone();
    containers[0]["image"] = json!("couchdb:3.4");
    json!({ "spec": { "template": { "spec": { "containers": containers } } } })
}

#[track_caller]
fn denies(answer: &Answer) {
    assert_eq!(answer.code, 422, "{answer:?}");
    assert!(answer.message().contains("ValidatingAdmissionPolicy 'couchdiscover'"), "{}", answer.message());
}
