//! What a labelled StatefulSet was given is taken from it, or its whole namespace goes.

use std::sync::Arc;
use std::time::Instant;

use contract::objects;
use e2e::envtest::Envtest;
use e2e::until::until;
use serde_json::{Value, json};

use crate::deployed::{Deployed, Replica};
use crate::scene::DEADLINE;

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_role_binding_that_somebody_deletes_comes_back() {
    let deployed = Deployed::providing("deleted-binding").await;
    let (replica, other) =
        tokio::join!(deployed.replica(&["--provide=on"]), deployed.replica(&["--provide=on"]));
    replica.ready().await;
    other.ready().await;
    deployed.admin.create(&deployed.example("couchdb")).await.taken();
    let binding = binding(deployed.namespace, "couchdb");
    let mut made = there(&deployed, &binding, &replica, "").await;
    for _ in 0..2 {
        deployed.admin.delete(&binding, &json!(null)).await.taken();
        let again = there(&deployed, &binding, &replica, uid(&made)).await;
        let without_what_differs = |binding: &Value| {
            ["roleRef", "subjects"].map(|key| binding[key].clone()).into_iter().chain([
                binding["metadata"]["labels"].clone(),
                binding["metadata"]["ownerReferences"].clone(),
            ])
        };
        assert!(without_what_differs(&again).eq(without_what_differs(&made)), "{again}");
        made = again;
    }
    for replica in [&replica, &other] {
        replica.logged("its RoleBinding was deleted: making it anew").await;
    }

    // Without its labels it would be lost from sight.
    let change = json!({ "metadata": { "labels": { "app.kubernetes.io/component": null } } });
    deployed.admin.merge(&binding, &change).await.taken();
    until("its labels", DEADLINE, async || {
        let bound = deployed.admin.get(&binding).await.taken();
        if bound["metadata"]["labels"] == made["metadata"]["labels"] { Ok(()) } else { Err(bound) }
    })
    .await;

    // It still goes with its StatefulSet, and nobody brings it back.
    let set = format!("/apis/apps/v1/namespaces/{}/statefulsets/couchdb", deployed.namespace);
    deployed.admin.delete(&set, &json!(null)).await.taken();
    until("the end of the binding", DEADLINE, async || match deployed.admin.get(&binding).await {
        answer if answer.code == 404 => Ok(()),
        answer => Err(answer.body),
    })
    .await;
    // Whatever is heard later than that has been seen to.
    deployed.admin.create(&deployed.example("later")).await.taken();
    there(&deployed, &self::binding(deployed.namespace, "later"), &replica, "").await;
    assert_eq!(deployed.admin.get(&binding).await.code, 404);
    let here = |line: &&Value| line["namespace"] == deployed.namespace && line["level"] == "WARN";
    assert_eq!(replica.log().iter().find(here), None);
}

/// The manifests' role of before this could be: it is said, and all else is done.
#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_role_that_may_not_watch_bindings_still_makes_them() {
    let deployed = Deployed::without_roles(Arc::new(Envtest::start().await.unwrap()), "old-role").await;
    deployed.grant().await;
    let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{}", deployed.config_name);
    let mut role = deployed.admin.get(&path).await.taken();
    for rule in role["rules"].as_array_mut().unwrap() {
        if rule["resources"] == json!(["rolebindings"]) {
            rule["verbs"] = json!(["create", "patch"]);
        }
    }
    role["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
    role["kind"] = json!("ClusterRole");
    deployed.admin.replace(&role).await.taken();
    let replica = deployed.replica(&["--provide=on"]).await;
    replica.ready().await;
    deployed.admin.create(&deployed.example("couchdb")).await.taken();
    there(&deployed, &binding(deployed.namespace, "couchdb"), &replica, "").await;
    let said = replica.logged("watching the RoleBindings of labelled StatefulSets failed").await;
    assert!(said["error"].as_str().unwrap().contains("cannot list resource \"rolebindings\""), "{said}");
    assert!(replica.metric("provider_errors_total{object=\"RoleBinding\"}").await >= 1.0);
    // What it is given later it uses.
    deployed.grant().await;
    replica.logged("watching the RoleBindings of labelled StatefulSets works again").await;
    let binding = binding(deployed.namespace, "couchdb");
    let made = deployed.admin.get(&binding).await.taken();
    deployed.admin.delete(&binding, &json!(null)).await.taken();
    there(&deployed, &binding, &replica, uid(&made)).await;
}

/// Between the request to delete a namespace and its emptying there are StatefulSets in it for which nothing can be
/// made any more. The controllers are paused, so that this lasts.
#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_namespace_that_is_being_deleted_is_told_of_and_holds_up_nobody() {
    let plane = Arc::new(Envtest::start().await.unwrap());
    let deployed = Deployed::without_roles(plane, "staying").await;
    deployed.grant().await;
    let (admin, going) = (&deployed.admin, "/api/v1/namespaces/going");
    admin
        .create(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "going" } }))
        .await
        .taken();
    // Until somebody takes this finalizer away the namespace stays as it is, terminating.
    let held = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "held", "namespace": "going", "finalizers": ["example.com/held"] },
    });
    admin.create(&held).await.taken();
    // The webhook isn't asked about this namespace, and the provider sees it all the same.
    let mut set = deployed.example("couchdb");
    set["metadata"]["namespace"] = json!("going");
    admin.create(&set).await.taken();
    deployed.plane.pause_controllers();
    admin.delete(going, &json!(null)).await.taken();
    assert_eq!(admin.get(going).await.taken()["status"]["phase"], "Terminating");

    let begun = Instant::now();
    let replica = deployed.replica(&["--provide=on"]).await;
    replica.ready().await;
    let said = replica.logged("not provided for").await;
    assert_eq!((&said["namespace"], &said["name"]), (&json!("going"), &json!("couchdb")));
    let error = said["error"].as_str().unwrap();
    assert!(error.contains("because it is being terminated"), "{error}");
    for name in ["a", "b", "c"] {
        admin.create(&deployed.example(name)).await.taken();
        there(&deployed, &binding(deployed.namespace, name), &replica, "").await;
    }
    until("the others to be served", DEADLINE, async || {
        match replica.metric("unprovided_statefulsets").await {
            1.0 => Ok(()),
            lacking => Err((lacking, replica.log())),
        }
    })
    .await;
    // Tried after 1 s, 2 s, 4 s: of which there are no more than the logarithm of the time says.
    let tried = replica.metric("provider_errors_total{object=\"RoleBinding\"}").await;
    let most = 2.0 + (begun.elapsed().as_secs_f64() + 1.0).log2();
    assert!((1.0..=most).contains(&tried), "{tried} attempts");
    let told = |text: &'static str| {
        let says = move |line: &Value| line["message"].as_str().is_some_and(|said| said.starts_with(text));
        replica.log().iter().filter(|line| says(line) && line["namespace"] == "going").count()
    };
    assert_eq!(told("not provided for"), 1, "told once");

    // The StatefulSet goes, the namespace doesn't, and there is nothing left to complain of.
    deployed.plane.resume_controllers();
    until("nobody to lack anything", DEADLINE, async || {
        match replica.metric("unprovided_statefulsets").await {
            0.0 => Ok(()),
            lacking => Err((lacking, replica.log())),
        }
    })
    .await;
    assert_eq!(admin.get(going).await.taken()["status"]["phase"], "Terminating");
    assert_eq!(told("not provided for"), 1);
    let free = json!({ "metadata": { "finalizers": null } });
    admin.merge("/api/v1/namespaces/going/configmaps/held", &free).await.taken();
    until("the end of the namespace", DEADLINE, async || match admin.get(going).await {
        answer if answer.code == 404 => Ok(()),
        answer => Err(answer.body),
    })
    .await;
}

fn binding(namespace: &str, set: &str) -> String {
    let name = objects::companion(set);
    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/{name}")
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

/// Waits for an object that isn't the one of before, and returns it.
async fn there(deployed: &Deployed, path: &str, replica: &Replica, before: &str) -> Value {
    until(path, DEADLINE, async || match deployed.admin.get(path).await {
        answer if answer.code == 200 && uid(&answer.body) != before => Ok(answer.body),
        answer => Err((answer.body, replica.log())),
    })
    .await
}
