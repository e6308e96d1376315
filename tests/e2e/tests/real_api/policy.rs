//! The validating policy: while a webhook that fails open is down, labelled StatefulSets without the agent are denied,
//! and all other objects are accepted.

use contract::keys;
use e2e::envtest::{Answer, Envtest, User};
use e2e::manifest::{self, EXAMPLE, injected};
use e2e::until::until;
use serde_json::{Value, json};

use crate::install::{apply, path};
use crate::namespace::DEADLINE;

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn labelled_statefulsets_without_the_agent_are_denied_and_all_others_accepted() {
    let plane = Envtest::start().await.unwrap();
    let admin = plane.admin();
    // Created before the webhook, so never injected.
    for (name, label) in
        [("old", Some("enabled")), ("unlabelled", None), ("out", Some("disabled")), ("on", None)]
    {
        admin.create(&named(name, label)).await.accepted();
    }
    let mut held = named("held", Some("enabled"));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.create(&held).await.accepted();

    // The webhook's Service has no endpoints here, so that every call fails and is ignored.
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

    // Accepted: changes of anything but the pods.
    let annotated = json!({ "metadata": { "annotations": { "team": "a" } } });
    admin.merge(&at("old"), &annotated).await.accepted();
    admin.merge(&at("old"), &json!({ "spec": { "replicas": 4 } })).await.accepted();
    admin.merge(&format!("{}/scale", at("old")), &json!({ "spec": { "replicas": 5 } })).await.accepted();
    admin.merge(&format!("{}/status", at("old")), &json!({ "status": { "replicas": 5 } })).await.accepted();
    // Accepted: StatefulSets that opted out, or were never labelled.
    admin.merge(&at("out"), &another_image()).await.accepted();
    admin.merge(&at("unlabelled"), &another_image()).await.accepted();
    admin.merge(&at("old"), &labelled("disabled")).await.accepted();
    admin.merge(&at("old"), &another_image()).await.accepted();
    admin.try_create(&named("opted-out", Some("disabled"))).await.accepted();
    // Accepted: manifests that contain the agent, as a container or as an init container.
    admin.create(&with_agent("whole", None)).await.accepted();
    admin.merge(&at("whole"), &another_image_with_agent(&admin, "whole").await).await.accepted();
    admin.create(&with_agent("native", Some("native"))).await.accepted();
    denies(
        &admin
            .merge(
                &at("whole"),
                &json!({ "spec": { "template": {
        "spec": { "containers": named("whole", None)["spec"]["template"]["spec"]["containers"] } } } }),
            )
            .await,
    );
    // Accepted: namespaces that the webhook isn't called for.
    let mut elsewhere = named("elsewhere", Some("enabled"));
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    admin.try_create(&elsewhere).await.accepted();
    // Accepted: deletions.
    admin.delete(&at("held"), &Value::Null).await.accepted();
    admin.merge(&at("held"), &json!({ "metadata": { "finalizers": null } })).await.accepted();
    until("the end of an object", DEADLINE, async || match admin.get(&at("held")).await {
        answer if answer.code == 404 => Ok(()),
        answer => Err(answer.body),
    })
    .await;
    admin.delete(&at("whole"), &Value::Null).await.accepted();
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

/// The example with the agent.
fn with_agent(name: &str, sidecar: Option<&str>) -> Value {
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

/// A change of the image. A merge patch replaces whole lists, so that it also removes the agent.
fn another_image() -> Value {
    let mut containers = named("any", None)["spec"]["template"]["spec"]["containers"].clone();
    containers[0]["image"] = json!("couchdb:3.4");
    json!({ "spec": { "template": { "spec": { "containers": containers } } } })
}

/// A change of the image that keeps the stored containers.
async fn another_image_with_agent(admin: &User, name: &str) -> Value {
    let stored = admin.get(&at(name)).await.accepted();
    let mut containers = stored["spec"]["template"]["spec"]["containers"].clone();
    containers[0]["image"] = json!("couchdb:3.4");
    json!({ "spec": { "template": { "spec": { "containers": containers } } } })
}

#[track_caller]
fn denies(answer: &Answer) {
    assert_eq!(answer.code, 422, "{answer:?}");
    assert!(answer.message().contains("ValidatingAdmissionPolicy 'couchdiscover'"), "{}", answer.message());
}
