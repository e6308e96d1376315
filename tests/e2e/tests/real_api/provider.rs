//! The Secrets and RoleBindings that the webhook creates for labelled StatefulSets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contract::{keys, objects};
use e2e::envtest::Envtest;
use e2e::until::until;
use serde_json::{Value, json};

use crate::deployed::{Deployed, Replica};
use crate::namespace::DEADLINE;

/// The path of an object in the users' namespace.
fn at(deployed: &Deployed, api: &str, rest: &str) -> String {
    format!("/{api}/namespaces/{}/{rest}", deployed.namespace)
}

fn secret(deployed: &Deployed, set: &str) -> String {
    at(deployed, "api/v1", &format!("secrets/{}", objects::companion(set)))
}

fn binding(deployed: &Deployed, set: &str) -> String {
    let name = objects::companion(set);
    at(deployed, "apis/rbac.authorization.k8s.io/v1", &format!("rolebindings/{name}"))
}

/// Waits for an object, and returns it.
async fn until_created(deployed: &Deployed, path: &str, replica: &Replica) -> Value {
    until(path, DEADLINE, async || match deployed.admin.get(path).await {
        answer if answer.code == 200 => Ok(answer.body),
        answer => Err((answer.body, replica.log())),
    })
    .await
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_secret_and_a_binding_are_created_and_the_secret_outlives_its_statefulset() {
    let deployed = Deployed::providing("provided").await;
    // The first replica creates both, and the other finds them.
    let (replica, other) =
        tokio::join!(deployed.replica(&["--provide=on"]), deployed.replica(&["--provide=on"]));
    replica.until_ready().await;
    other.until_ready().await;
    let mut set = deployed.example("couchdb");
    set["spec"]["template"]["spec"]["serviceAccountName"] = json!("couch");
    let set = deployed.admin.create(&set).await.accepted();

    let secret_before = until_created(&deployed, &secret(&deployed, "couchdb"), &replica).await;
    let data = secret_before["data"].as_object().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), [objects::AUTH_SECRET_KEY, objects::ERLANG_COOKIE_KEY]);
    // 64 hexadecimal digits, in base 64.
    assert!(data.values().all(|value| value.as_str().is_some_and(|text| text.len() == 88)));
    assert!(
        secret_before["metadata"]["ownerReferences"].is_null(),
        "the Secret must outlive its StatefulSet"
    );
    let bound = until_created(&deployed, &binding(&deployed, "couchdb"), &replica).await;
    assert_eq!(bound["roleRef"]["name"], objects::AGENT_CLUSTER_ROLE);
    assert_eq!(
        bound["subjects"],
        json!([{ "kind": "ServiceAccount", "name": "couch", "namespace": deployed.namespace }])
    );
    assert_eq!(bound["metadata"]["ownerReferences"][0]["uid"], set["metadata"]["uid"]);

    // A changed service account changes the binding.
    let change = json!({ "spec": { "template": { "spec": { "serviceAccountName": "sofa" } } } });
    deployed.admin.merge(&at(&deployed, "apis/apps/v1", "statefulsets/couchdb"), &change).await.accepted();
    until("the new account's binding", DEADLINE, async || {
        let bound = deployed.admin.get(&binding(&deployed, "couchdb")).await.accepted();
        if bound["subjects"][0]["name"] == "sofa" { Ok(()) } else { Err(bound) }
    })
    .await;

    deployed
        .admin
        .delete(&at(&deployed, "apis/apps/v1", "statefulsets/couchdb"), &json!(null))
        .await
        .accepted();
    until("the end of the binding", DEADLINE, async || {
        match deployed.admin.get(&binding(&deployed, "couchdb")).await {
            answer if answer.code == 404 => Ok(()),
            answer => Err(answer.body),
        }
    })
    .await;
    let kept = deployed.admin.get(&secret(&deployed, "couchdb")).await.accepted();
    assert_eq!(kept["data"], secret_before["data"]);
    for replica in [replica, other] {
        let log = serde_json::to_string(&replica.log()).unwrap();
        for value in data.values() {
            let text =
                base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value.as_str().unwrap());
            assert!(!log.contains(std::str::from_utf8(&text.unwrap()).unwrap()), "the log contains a secret");
        }
        let mut lines = replica.log().into_iter().filter(|line| line["namespace"] == deployed.namespace);
        assert!(lines.all(|line| line["level"] != "WARN"), "{log}");
    }
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn objects_of_the_user_are_not_modified() {
    let deployed = Deployed::providing("users-own").await;
    let replica = deployed.replica(&["--provide=on"]).await;
    replica.until_ready().await;
    let own = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "couchdb-couchdiscover", "namespace": deployed.namespace },
        "stringData": { objects::ERLANG_COOKIE_KEY: "ours" },
    });
    let own = deployed.admin.create(&own).await.accepted();
    let foreign = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "couchdb-couchdiscover", "namespace": deployed.namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": deployed.namespace }],
    });
    let foreign = deployed.admin.create(&foreign).await.accepted();
    deployed.admin.create(&deployed.example("couchdb")).await.accepted();
    let line = replica.until_logged("not provided for").await;
    assert_eq!((&line["namespace"], &line["name"]), (&json!(deployed.namespace), &json!("couchdb")));
    let error = line["error"].as_str().unwrap();
    assert!(
        error.starts_with(
            "RoleBinding 'couchdb-couchdiscover': conflicts with an existing object; not modified: "
        ),
        "{error}"
    );
    let event = until("an Event", DEADLINE, async || {
        let events = deployed.admin.get(&at(&deployed, "apis/events.k8s.io/v1", "events")).await.accepted();
        let events = events["items"].as_array().unwrap().clone();
        let ours = events.iter().find(|event| event["reason"] == "NotProvidedFor").cloned();
        ours.ok_or(replica.log())
    })
    .await;
    assert_eq!((&event["regarding"]["name"], &event["type"]), (&json!("couchdb"), &json!("Warning")));
    assert_eq!(deployed.admin.get(&secret(&deployed, "couchdb")).await.accepted(), own);
    assert_eq!(deployed.admin.get(&binding(&deployed, "couchdb")).await.accepted(), foreign);
    assert!(replica.metric("provider_errors_total{object=\"RoleBinding\"}").await >= 1.0);

    // Without the conflicting object the binding is created, without a restart.
    deployed.admin.delete(&binding(&deployed, "couchdb"), &json!(null)).await.accepted();
    let bound = until_created(&deployed, &binding(&deployed, "couchdb"), &replica).await;
    assert_eq!(bound["roleRef"]["name"], objects::AGENT_CLUSTER_ROLE);

    // A user's own cookie does not replace the session secret.
    let mut cookie = deployed.example("cookie");
    cookie["metadata"]["annotations"] = json!({ keys::ERLANG_COOKIE_SECRET: "cookies" });
    deployed.admin.create(&cookie).await.accepted();
    until_created(&deployed, &secret(&deployed, "cookie"), &replica).await;
    let mut both = deployed.example("both");
    both["metadata"]["annotations"] = json!({ keys::ERLANG_COOKIE_SECRET: "cookies" });
    let reference =
        json!({ "name": "COUCHDB_SECRET", "valueFrom": { "secretKeyRef": { "name": "own", "key": "s" } } });
    both["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap().push(reference);
    deployed.admin.create(&both).await.accepted();
    until_created(&deployed, &binding(&deployed, "both"), &replica).await;
    // The binding is created before the Secret, so only a later Secret proves that this one is not created.
    deployed.admin.create(&deployed.example("later")).await.accepted();
    until_created(&deployed, &secret(&deployed, "later"), &replica).await;
    assert_eq!(deployed.admin.get(&secret(&deployed, "both")).await.code, 404, "no pod refers to it");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn an_exceeded_quota_is_logged_once_and_retried() {
    let deployed = Deployed::providing("quota").await;
    let replica = deployed.replica(&["--provide=on"]).await;
    replica.until_ready().await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": { "name": "none", "namespace": deployed.namespace }, "spec": { "hard": { "secrets": "0" } },
    });
    deployed.admin.create(&quota).await.accepted();
    let path = at(&deployed, "api/v1", "resourcequotas/none");
    until("a quota in force", DEADLINE, async || {
        let quota = deployed.admin.get(&path).await.accepted();
        if quota["status"]["hard"]["secrets"] == "0" { Ok(()) } else { Err(quota) }
    })
    .await;
    deployed.admin.create(&deployed.example("couchdb")).await.accepted();
    let line = replica.until_logged("not provided for").await;
    let error = line["error"].as_str().unwrap();
    assert!(
        error.starts_with("Secret 'couchdb-couchdiscover': ") && error.contains("exceeded quota"),
        "{error}"
    );
    until_created(&deployed, &binding(&deployed, "couchdb"), &replica).await;
    deployed.admin.delete(&path, &json!(null)).await.accepted();
    until_created(&deployed, &secret(&deployed, "couchdb"), &replica).await;
    replica.until_logged("provided for").await;
    let warnings = replica
        .log()
        .iter()
        .filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with("not provided")))
        .count();
    assert_eq!(warnings, 1, "logged once");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn statefulsets_without_the_agent_are_counted_and_get_a_secret_once_injected() {
    let deployed = Deployed::providing("uninjected").await;
    let name = &deployed.config_name;
    let open =
        json!([{ "op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore" }]).to_string();
    let patch = ["patch", "mutatingwebhookconfiguration", name, "--type=json", "-p", &open];
    assert!(deployed.plane.kubectl(&patch, "").await.status.success());
    let set = at(&deployed, "apis/apps/v1", "statefulsets/old");
    until("a StatefulSet that is created without the webhook", DEADLINE, async || {
        match deployed.admin.create(&deployed.example("old")).await {
            answer if answer.code == 201 => Ok(()),
            answer => Err(answer),
        }
    })
    .await;
    let replica = deployed.replica(&["--provide=on"]).await;
    replica.until_ready().await;
    until_created(&deployed, &binding(&deployed, "old"), &replica).await;
    assert!(replica.metric("uninjected_statefulsets").await >= 1.0);
    deployed.until_called().await;
    assert_eq!(deployed.admin.get(&secret(&deployed, "old")).await.code, 404, "no pod refers to it yet");
    let template = json!({ "metadata": { "annotations": { "restarted": "now" } } });
    deployed.admin.merge(&set, &json!({ "spec": { "template": template } })).await.accepted();
    until_created(&deployed, &secret(&deployed, "old"), &replica).await;
}

/// Prints the measured times and memory with `-- --ignored --nocapture five_thousand`.
#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS, and minutes"]
async fn five_thousand_labelled_statefulsets_need_at_most_sixty_mebibytes() {
    const MANY: usize = 5000;
    let plane = Arc::new(Envtest::start().await.unwrap());
    let deployed = Deployed::without_roles(plane, "many").await;
    deployed.grant().await;
    let replica = deployed.replica(&["--provide=on"]).await;
    replica.until_ready().await;
    deployed.until_called().await;
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let create = async || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= MANY {
                return;
            }
            let mut set = deployed.example(&format!("couchdb-{i}"));
            set["spec"]["replicas"] = json!(0);
            deployed.admin.create(&set).await.accepted();
        }
    };
    tokio::join!(create(), create(), create(), create(), create(), create(), create(), create());
    println!("{MANY} StatefulSets created after {:?}", begun.elapsed());
    all_provided(&replica, MANY).await;
    println!(
        "Secrets and bindings created after {:?}; current and peak memory: {:?} MiB",
        begun.elapsed(),
        replica.memory()
    );
    let begun = Instant::now();
    let late = deployed.replica(&["--provide=on"]).await;
    all_provided(&late, MANY).await;
    println!("a second replica has checked all after {:?}: {:?} MiB", begun.elapsed(), late.memory());
    for replica in [replica, late] {
        let [_, peak] = replica.memory();
        assert!(peak <= 60, "{peak} MiB");
    }
}

/// Waits until the replica has seen this many StatefulSets, and all of them have their objects.
async fn all_provided(replica: &Replica, count: usize) {
    until("the objects of all StatefulSets", Duration::from_secs(300), async || {
        let labelled = replica.metric("labelled_statefulsets").await;
        let unprovided = replica.metric("unprovided_statefulsets").await;
        let is_done = labelled == count as f64 && unprovided == 0.0;
        if is_done { Ok(()) } else { Err((labelled, unprovided, replica.log().len())) }
    })
    .await;
}
