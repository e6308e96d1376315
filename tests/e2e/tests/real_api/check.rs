//! `check` against a real API server: a cluster without problems, then with one after the other.

use std::sync::Arc;

use cli::check::{self, Level, Output, Report};
use contract::{keys, objects, record};
use e2e::envtest::{ADMIN_TOKEN, Envtest, path};
use e2e::manifest::{self, EXAMPLE, companion_secret};
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::deployed::Deployed;
use crate::literals::{AGENT_ROLE, yaml};
use crate::scene::{DEADLINE, IMAGE, Scene, Webhook};

const WEBHOOK_ROLE: &str = include_str!("../../../../manifests/base/webhook-role.yaml");
const POLICY: &str = include_str!("../../../../manifests/base/policy.yaml");

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn each_problem_is_found_and_gone_after_its_repair() {
    let mut scene = open().await;
    install(&scene).await;
    let report = check(&scene, ADMIN_TOKEN).await;
    let levels: Vec<Level> = report.findings.iter().map(|finding| finding.level).collect();
    assert!(levels.iter().all(|level| *level == Level::Ok), "{}", report.to_table());
    // Without the check of endpoints, because the configuration names a URL.
    assert_eq!(levels.len(), 13, "{}", report.to_table());

    let (code, report) = program(&scene).await;
    assert_eq!((code, report["summary"]["ok"].as_u64()), (0, Some(13)), "{report}");

    let objects = objects(&scene);
    for (name, change, check, level) in [
        (
            "Service/couchdb",
            json!({ "spec": { "publishNotReadyAddresses": false } }),
            "service",
            Level::Wrong,
        ),
        ("Service/couchdb", json!({ "spec": { "selector": { "app": "other" } } }), "service", Level::Wrong),
        ("Secret/couchdb-admin", json!({ "data": { "password": null } }), "secrets", Level::Wrong),
        ("RoleBinding/couchdb-couchdiscover", Value::Null, "binding", Level::Wrong),
        ("Secret/couchdb-couchdiscover", Value::Null, "secrets", Level::Wrong),
        ("Service/couchdb", Value::Null, "service", Level::Wrong),
        ("Lease/couchdb-couchdiscover", Value::Null, "record", Level::Warning),
        ("ValidatingAdmissionPolicyBinding/couchdiscover", Value::Null, "policy", Level::Warning),
        ("ClusterRole/couchdiscover-agent", json!({ "rules": [] }), "role", Level::Wrong),
        ("ClusterRole/couchdiscover-webhook", Value::Null, "role", Level::Wrong),
    ] {
        let (kind, of) = name.split_once('/').unwrap();
        let object = objects.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == of).unwrap();
        if change.is_null() {
            scene.admin.delete(&path(object), &change).await.taken();
        } else {
            scene.admin.merge(&path(object), &change).await.taken();
        }
        is_found(&scene, name, check, level).await;
        scene.admin.apply(object).await.taken();
        is_repaired(&scene, name).await;
    }

    let pod = format!("/api/v1/namespaces/{}/pods/couchdb-1/status", scene.namespace);
    scene.admin.merge(&pod, &ready(false)).await.taken();
    is_found(&scene, "a pod that is not ready", "pods", Level::Wrong).await;
    let (code, report) = program(&scene).await;
    assert_eq!((code, report["summary"]["wrong"].as_u64()), (1, Some(1)), "{report}");
    scene.admin.merge(&pod, &ready(true)).await.taken();
    is_repaired(&scene, "a pod that is not ready").await;

    let other = Webhook::start(IMAGE).await;
    let mut webhooks = scene.admin.get(&configuration(&scene)).await.taken()["webhooks"].clone();
    webhooks[0]["clientConfig"]["caBundle"] = json!(other.ca_bundle());
    scene.admin.merge(&configuration(&scene), &json!({ "webhooks": webhooks })).await.taken();
    is_found(&scene, "another caBundle", "certificate", Level::Wrong).await;
    is_found(&scene, "another caBundle", "admission", Level::Wrong).await;
    scene.register(&scene.webhook, &[scene.namespace]).await;
    is_repaired(&scene, "another caBundle").await;

    let old = scene.example_with(|set| set["metadata"]["name"] = json!("old"));
    for object in objects.iter().filter(|one| one["kind"] == "ValidatingAdmissionPolicyBinding") {
        scene.admin.delete(&path(object), &Value::Null).await.taken();
    }
    scene.webhook.stop().await;
    is_found(&scene, "no webhook", "admission", Level::Wrong).await;
    scene.admin.delete(&configuration(&scene), &Value::Null).await.taken();
    is_found(&scene, "no configuration", "configuration", Level::Wrong).await;
    is_found(&scene, "no configuration", "admission", Level::Wrong).await;
    until("a StatefulSet without a call of the webhook", DEADLINE, async || {
        match scene.admin.create(&old).await {
            answer if answer.code == 201 => Ok(()),
            answer => Err(answer),
        }
    })
    .await;
    is_found(&scene, "not injected", "injection", Level::Wrong).await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_state_that_the_user_may_not_read_is_unknown() {
    let scene = open().await;
    install(&scene).await;
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "guest", "namespace": scene.namespace },
    });
    scene.admin.create(&account).await.taken();
    let token =
        scene.admin.send(Method::POST, &format!("{}/token", path(&account)), &json!({ "spec": {} })).await;
    let token = token.taken()["status"]["token"].as_str().unwrap().to_owned();
    let nothing = check(&scene, &token).await;
    assert!(nothing.has_no_problem(), "{}", nothing.to_table());
    assert_eq!(nothing.summary.ok, 0, "{}", nothing.to_table());
    let unknown = nothing.findings.iter().find(|finding| finding.check == "statefulsets").unwrap();
    assert!(unknown.message.contains("is forbidden: User"), "{}", unknown.message);

    // A role that reads the objects of one namespace, except Secrets.
    let role = |rules: &Value| {
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules,
                "metadata": { "name": "guest", "namespace": scene.namespace } })
    };
    let rule = |group: &str, resource: &str| json!({ "apiGroups": [group], "resources": [resource], "verbs": ["get", "list"] });
    let rules = json!([
        rule("apps", "statefulsets"),
        rule("", "services"),
        rule("", "pods"),
        rule("coordination.k8s.io", "leases"),
        rule("rbac.authorization.k8s.io", "rolebindings"),
    ]);
    scene.admin.create(&role(&rules)).await.taken();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": "guest", "namespace": scene.namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "guest" },
        "subjects": [{ "kind": "ServiceAccount", "name": "guest", "namespace": scene.namespace }],
    });
    scene.admin.create(&binding).await.taken();
    until("a role in force", DEADLINE, async || {
        let report = check(&scene, &token).await;
        let of = |check: &str| {
            let mut found = report.findings.iter().filter(|finding| finding.check == check);
            found.next().map(|finding| finding.level)
        };
        let readable = ["injection", "service", "binding", "record", "pods"].map(of) == [Some(Level::Ok); 5];
        if readable && of("secrets") == Some(Level::Unknown) && report.has_no_problem() {
            Ok(())
        } else {
            Err(report.to_table())
        }
    })
    .await;

    let error = check::check(scene.plane.config("unknown-token"), &args(&scene), now()).await.unwrap_err();
    assert!(error.to_string().contains("does not accept the kubeconfig's credentials"), "{error}");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_objects_that_the_deployed_webhook_creates_pass_the_check() {
    let deployed = Deployed::open("provided-and-checked").await;
    let _replica = deployed.replica(&["--provide=on"]).await;
    let args = check::Args {
        namespace: Some(deployed.namespace.to_owned()),
        context: None,
        config_name: deployed.config_name.clone(),
        output: Output::Table,
    };
    let look = async || check::check(deployed.plane.config(ADMIN_TOKEN), &args, now()).await.unwrap();
    let are_ok = |report: &Report, checks: &[&str]| {
        let is_ok = |check: &&str| {
            let mut found = report.findings.iter().filter(|finding| finding.check == *check).peekable();
            found.peek().is_some() && found.all(|finding| finding.level == Level::Ok)
        };
        if checks.iter().all(is_ok) { Ok(()) } else { Err(report.to_table()) }
    };
    until("a webhook that is trusted", DEADLINE, async || {
        are_ok(&look().await, &["admission", "caBundle", "certificate"])
    })
    .await;
    for mut object in manifest::objects(EXAMPLE).unwrap() {
        object["metadata"]["namespace"] = json!(deployed.namespace);
        deployed.admin.create(&object).await.taken();
    }
    until("the created objects", DEADLINE, async || {
        are_ok(&look().await, &["injection", "service", "binding", "secrets", "record"])
    })
    .await;
}

/// Runs the program; returns the exit code and the report. The server's binary accepts `check` as an alias.
async fn program(scene: &Scene) -> (i32, Value) {
    let home = tempfile::tempdir().unwrap();
    let kubeconfig = home.path().join("kubeconfig");
    std::fs::write(&kubeconfig, scene.plane.kubeconfig(ADMIN_TOKEN)).unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_webhook-process"))
        .args(["check", "-o", "json", "-n", scene.namespace, "--config-name", &config_name(scene)])
        .env_clear()
        .env("HOME", home.path())
        .env("KUBECONFIG", &kubeconfig)
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

/// On a control plane of its own, because the policy is in force in every namespace.
async fn open() -> Scene {
    let plane = Arc::new(Envtest::start().await.unwrap());
    Scene::on(plane, "checked", json!({})).await
}

/// Creates all objects of a cluster with a formed CouchDB.
async fn install(scene: &Scene) {
    for object in objects(scene) {
        scene.admin.apply(&object).await.taken();
    }
    for pod in scene.pods("couchdb", 3).await {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let status = format!("/api/v1/namespaces/{}/pods/{name}/status", scene.namespace);
        scene.admin.merge(&status, &ready(true)).await.taken();
    }
    until("a policy in force", DEADLINE, async || {
        let report = check(scene, ADMIN_TOKEN).await;
        if report.findings.iter().all(|finding| finding.level == Level::Ok) {
            Ok(())
        } else {
            Err(report.to_table())
        }
    })
    .await;
}

fn objects(scene: &Scene) -> Vec<Value> {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": objects::companion("couchdb") },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": objects::AGENT_CLUSTER_ROLE
        },
        "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": scene.namespace }],
    });
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": objects::companion("couchdb"), "annotations": {
            keys::FORMED_AT: "2026-05-01T12:00:00Z", keys::FORMED_UUID: "u", keys::FORMED_SIZE: "3",
            keys::RECORD_SCHEMA: record::SCHEMA,
        } },
    });
    let mut namespaced = manifest::objects(EXAMPLE).unwrap();
    namespaced.extend([companion_secret(&scene.example(), "ck", "sec"), binding, lease]);
    let namespaced = namespaced.into_iter().map(|object| scene.here(object));
    let mut all = vec![yaml(AGENT_ROLE)];
    all.extend(
        manifest::objects(WEBHOOK_ROLE).unwrap().into_iter().filter(|one| one["kind"] == "ClusterRole"),
    );
    all.extend(manifest::objects(POLICY).unwrap());
    all.extend(namespaced);
    all
}

fn ready(is: bool) -> Value {
    let status = if is { "True" } else { "False" };
    json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": status }] } })
}

/// Path of the MutatingWebhookConfiguration.
fn configuration(scene: &Scene) -> String {
    let name = config_name(scene);
    format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}")
}

fn config_name(scene: &Scene) -> String {
    format!("couchdiscover-{}", scene.namespace)
}

fn args(scene: &Scene) -> check::Args {
    check::Args {
        namespace: Some(scene.namespace.to_owned()),
        context: None,
        config_name: config_name(scene),
        output: Output::Table,
    }
}

async fn check(scene: &Scene, token: &str) -> Report {
    check::check(scene.plane.config(token), &args(scene), now()).await.unwrap()
}

fn now() -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc()
}

/// Waits for the finding: API servers take milliseconds to act on a changed configuration.
async fn is_found(scene: &Scene, what: &str, check_name: &str, level: Level) {
    until(what, DEADLINE, async || {
        let report = check(scene, ADMIN_TOKEN).await;
        let found =
            report.findings.iter().any(|finding| finding.check == check_name && finding.level == level);
        if found && report.has_no_problem() == (level != Level::Wrong) {
            Ok(())
        } else {
            Err(report.to_table())
        }
    })
    .await;
}

async fn is_repaired(scene: &Scene, what: &str) {
    until(&format!("no problem after the repair of {what}"), DEADLINE, async || {
        let report = check(scene, ADMIN_TOKEN).await;
        if report.findings.iter().all(|finding| finding.level == Level::Ok) {
            Ok(())
        } else {
            Err(report.to_table())
        }
    })
    .await;
}
