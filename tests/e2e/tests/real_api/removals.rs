//! Deleted RoleBindings, missing permissions and terminating namespaces.

use std::sync::Arc;
use std::time::Instant;

use contract::objects;
use e2e::envtest::Envtest;
use e2e::until::until;
use serde_json::{Value, json};

use crate::deployed::{Deployed, Replica};
use crate::namespace::DEADLINE;

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_deleted_role_binding_is_created_again() {
    let deployed = Deployed::providing("deleted-binding").await;
    let (replica, other) =
        tokio::join!(deployed.replica(&["--provide=on"]), deployed.replica(&["--provide=on"]));
    replica.until_ready().await;
    other.until_ready().await;
    deployed.admin.create(&deployed.example("couchdb")).await.accepted();
    let binding = binding(deployed.namespace, "couchdb");
    let mut made = until_created(&deployed, &binding, &replica, "").await;
    for _ in 0..2 {
        deployed.admin.delete(&binding, &json!(null)).await.accepted();
        let again = until_created(&deployed, &binding, &replica, uid(&made)).await;
        assert_eq!(content(&again), content(&made));
        made = again;
    }
    for replica in [&replica, &other] {
        replica.until_logged("the RoleBinding was deleted: creating it again").await;
    }

    // Without its labels the webhook would not watch it any more.
    let change = json!({ "metadata": { "labels": { "app.kubernetes.io/component": null } } });
    deployed.admin.merge(&binding, &change).await.accepted();
    until("its labels", DEADLINE, async || {
        let bound = deployed.admin.get(&binding).await.accepted();
        if bound["metadata"]["labels"] == made["metadata"]["labels"] { Ok(()) } else { Err(bound) }
    })
    .await;

    // It is deleted with its StatefulSet, and not created again.
    let set = format!("/apis/apps/v1/namespaces/{}/statefulsets/couchdb", deployed.namespace);
    deployed.admin.delete(&set, &json!(null)).await.accepted();
    until("the end of the binding", DEADLINE, async || match deployed.admin.get(&binding).await {
        answer if answer.code == 404 => Ok(()),
        answer => Err(answer.body),
    })
    .await;
    // Once a later StatefulSet has its binding, the deletion has been handled.
    deployed.admin.create(&deployed.example("later")).await.accepted();
    until_created(&deployed, &self::binding(deployed.namespace, "later"), &replica, "").await;
    assert_eq!(deployed.admin.get(&binding).await.code, 404);
    let log = replica.log();
    let mut warnings = log.iter().filter(|line| line["level"] == "WARN");
    assert_eq!(warnings.find(|line| line["namespace"] == deployed.namespace), None);
}

/// With the role of an older manifest: the failure is logged, and everything else works.
#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn without_permission_to_watch_bindings_they_are_still_created() {
    let deployed = Deployed::without_roles(Arc::new(Envtest::start().await.unwrap()), "old-role").await;
    deployed.grant().await;
    let role = format!("{}-provider", deployed.config_name);
    let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{role}");
    let mut role = deployed.admin.get(&path).await.accepted();
    let rules = role["rules"].as_array_mut().unwrap();
    let rule = rules.iter_mut().find(|rule| rule["resources"] == json!(["rolebindings"]));
    rule.unwrap()["verbs"] = json!(["create", "patch"]);
    role["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
    role["kind"] = json!("ClusterRole");
    deployed.admin.replace(&role).await.accepted();
    let replica = deployed.replica(&["--provide=on"]).await;
    replica.until_ready().await;
    deployed.admin.create(&deployed.example("couchdb")).await.accepted();
    until_created(&deployed, &binding(deployed.namespace, "couchdb"), &replica, "").await;
    let line = replica.until_logged("watching the RoleBindings of labelled StatefulSets failed").await;
    assert!(line["error"].as_str().unwrap().contains("cannot list resource \"rolebindings\""), "{line}");
    assert!(replica.metric("provider_errors_total{object=\"RoleBinding\"}").await >= 1.0);
    // A permission that is granted later is used.
    deployed.grant().await;
    replica.until_logged("watching the RoleBindings of labelled StatefulSets works again").await;
    let binding = binding(deployed.namespace, "couchdb");
    let made = deployed.admin.get(&binding).await.accepted();
    deployed.admin.delete(&binding, &json!(null)).await.accepted();
    until_created(&deployed, &binding, &replica, uid(&made)).await;
}

/// After the request to delete a namespace its StatefulSets exist for a while, but no object can be created for them.
/// The controllers are paused to keep this state.
#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_terminating_namespace_is_logged_once_and_delays_no_other() {
    let plane = Arc::new(Envtest::start().await.unwrap());
    let deployed = Deployed::without_roles(plane, "staying").await;
    deployed.grant().await;
    let (admin, going) = (&deployed.admin, "/api/v1/namespaces/going");
    admin
        .create(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "going" } }))
        .await
        .accepted();
    // As long as this finalizer exists, the namespace stays terminating.
    let held = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "held", "namespace": "going", "finalizers": ["example.com/held"] },
    });
    admin.create(&held).await.accepted();
    // The webhook isn't called for this namespace, but its controller watches all namespaces.
    let mut set = deployed.example("couchdb");
    set["metadata"]["namespace"] = json!("going");
    admin.create(&set).await.accepted();
    deployed.plane.pause_controllers();
    admin.delete(going, &json!(null)).await.accepted();
    assert_eq!(admin.get(going).await.accepted()["status"]["phase"], "Terminating");

    let begun = Instant::now();
    let replica = deployed.replica(&["--provide=on"]).await;
    replica.until_ready().await;
    let line = replica.until_logged("not provided for").await;
    assert_eq!((&line["namespace"], &line["name"]), (&json!("going"), &json!("couchdb")));
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("because it is being terminated"), "{error}");
    for name in ["a", "b", "c"] {
        admin.create(&deployed.example(name)).await.accepted();
        until_created(&deployed, &binding(deployed.namespace, name), &replica, "").await;
    }
    until("the objects of all others", DEADLINE, async || {
        match replica.metric("unprovided_statefulsets").await {
            1.0 => Ok(()),
            unprovided => Err((unprovided, replica.log())),
        }
    })
    .await;
    // Retries after 1 s, 2 s, 4 s, ..: their number grows with the logarithm of the time.
    let attempts = replica.metric("provider_errors_total{object=\"RoleBinding\"}").await;
    let most = 2.0 + (begun.elapsed().as_secs_f64() + 1.0).log2();
    assert!((1.0..=most).contains(&attempts), "{attempts} attempts");
    assert_eq!(warnings_about_going(&replica), 1, "logged once");

    // The StatefulSet is deleted and the namespace isn't, so no StatefulSet is without its objects.
    deployed.plane.resume_controllers();
    until("no StatefulSet without its objects", DEADLINE, async || {
        match replica.metric("unprovided_statefulsets").await {
            0.0 => Ok(()),
            unprovided => Err((unprovided, replica.log())),
        }
    })
    .await;
    assert_eq!(admin.get(going).await.accepted()["status"]["phase"], "Terminating");
    assert_eq!(warnings_about_going(&replica), 1);
    let free = json!({ "metadata": { "finalizers": null } });
    admin.merge("/api/v1/namespaces/going/configmaps/held", &free).await.accepted();
    until("the end of the namespace", DEADLINE, async || match admin.get(going).await {
        answer if answer.code == 404 => Ok(()),
        answer => Err(answer.body),
    })
    .await;
}

/// The log lines about StatefulSets of the terminating namespace without their objects.
fn warnings_about_going(replica: &Replica) -> usize {
    let log = replica.log();
    let lines = log.iter().filter(|line| line["namespace"] == "going");
    lines
        .filter_map(|line| line["message"].as_str())
        .filter(|text| text.starts_with("not provided for"))
        .count()
}

/// The parts of a binding that its recreation must not change.
fn content(binding: &Value) -> [&Value; 4] {
    let metadata = &binding["metadata"];
    [&binding["roleRef"], &binding["subjects"], &metadata["labels"], &metadata["ownerReferences"]]
}

fn binding(namespace: &str, set: &str) -> String {
    let name = objects::companion(set);
    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/{name}")
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

/// Waits for an object whose UID differs from `before`, and returns it.
async fn until_created(deployed: &Deployed, path: &str, replica: &Replica, before: &str) -> Value {
    until(path, DEADLINE, async || match deployed.admin.get(path).await {
        answer if answer.code == 200 && uid(&answer.body) != before => Ok(answer.body),
        answer => Err((answer.body, replica.log())),
    })
    .await
}
