//! `check` against a real API server: a cluster without problems, then with one after the other.

use std::sync::Arc;

use cli::check::{self, Level, Output, Report};
use cli::cluster::Target;
use contract::{keys, objects, record};
use e2e::envtest::{ADMIN_TOKEN, Envtest, path};
use e2e::manifest::{self, EXAMPLE, companion_secret};
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::deployed::Deployed;
use crate::literals::{AGENT_ROLE, yaml};
use crate::namespace::{DEADLINE, IMAGE, TestNamespace, Webhook};

const WEBHOOK_ROLE: &str = include_str!("../../../../manifests/base/webhook-role.yaml");
const POLICIES: [&str; 3] = [
    include_str!("../../../../manifests/base/policy.yaml"),
    include_str!("../../../../manifests/base/webhook-policy.yaml"),
    include_str!("../../../../manifests/base/agent-policy.yaml"),
];

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn each_problem_is_found_and_gone_after_its_repair() {
    let mut ns = open().await;
    install(&ns).await;
    let report = check(&ns, ADMIN_TOKEN).await;
    let levels: Vec<Level> = report.findings.iter().map(|finding| finding.level).collect();
    assert!(levels.iter().all(|level| *level == Level::Ok), "{}", report.to_table());
    // Without the check of endpoints, because the configuration names a URL.
    assert_eq!(levels.len(), 19, "{}", report.to_table());

    let (code, report) = program(&ns).await;
    assert_eq!((code, report["summary"]["ok"].as_u64()), (0, Some(19)), "{report}");

    let objects = objects(&ns);
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
        ("ValidatingAdmissionPolicyBinding/couchdiscover-webhook", Value::Null, "accounts", Level::Warning),
        ("ValidatingAdmissionPolicy/couchdiscover-agent", Value::Null, "accounts", Level::Warning),
        ("ClusterRole/couchdiscover-agent", json!({ "rules": [] }), "role", Level::Wrong),
        ("ClusterRole/couchdiscover-webhook", Value::Null, "role", Level::Wrong),
    ] {
        let (kind, of) = name.split_once('/').unwrap();
        let object = objects.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == of).unwrap();
        if change.is_null() {
            ns.admin.delete(&path(object), &change).await.accepted();
        } else {
            ns.admin.merge(&path(object), &change).await.accepted();
        }
        until_found(&ns, name, check, level).await;
        ns.admin.apply(object).await.accepted();
        until_repaired(&ns, name).await;
    }

    let pod = format!("/api/v1/namespaces/{}/pods/couchdb-1/status", ns.name);
    ns.admin.merge(&pod, &ready(false)).await.accepted();
    until_found(&ns, "a pod that is not ready", "pods", Level::Wrong).await;
    let (code, report) = program(&ns).await;
    assert_eq!((code, report["summary"]["wrong"].as_u64()), (1, Some(1)), "{report}");
    ns.admin.merge(&pod, &ready(true)).await.accepted();
    until_repaired(&ns, "a pod that is not ready").await;

    refused_pods(&ns).await;
    stuck_rollout(&ns).await;
    misplaced_label(&ns).await;

    let other = Webhook::start(&ns.plane, IMAGE).await;
    let mut webhooks = ns.admin.get(&configuration(&ns)).await.accepted()["webhooks"].clone();
    webhooks[0]["clientConfig"]["caBundle"] = json!(other.ca_bundle());
    ns.admin.merge(&configuration(&ns), &json!({ "webhooks": webhooks })).await.accepted();
    until_found(&ns, "another caBundle", "certificate", Level::Wrong).await;
    until_found(&ns, "another caBundle", "admission", Level::Wrong).await;
    ns.register(&ns.webhook, &[ns.name]).await;
    until_repaired(&ns, "another caBundle").await;

    let old = ns.example_with(|set| set["metadata"]["name"] = json!("old"));
    for object in objects.iter().filter(|one| one["kind"] == "ValidatingAdmissionPolicyBinding") {
        ns.admin.delete(&path(object), &Value::Null).await.accepted();
    }
    ns.webhook.stop().await;
    until_found(&ns, "no webhook", "admission", Level::Wrong).await;
    ns.admin.delete(&configuration(&ns), &Value::Null).await.accepted();
    until_found(&ns, "no configuration", "configuration", Level::Wrong).await;
    until_found(&ns, "no configuration", "admission", Level::Wrong).await;
    until("a StatefulSet without a call of the webhook", DEADLINE, async || {
        match ns.admin.create(&old).await {
            answer if answer.code == 201 => Ok(()),
            answer => Err(answer),
        }
    })
    .await;
    until_found(&ns, "not injected", "injection", Level::Wrong).await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_state_that_the_user_may_not_read_is_unknown() {
    let ns = open().await;
    install(&ns).await;
    let token = guest(&ns).await;
    let nothing = check(&ns, &token).await;
    assert!(nothing.has_no_problem() && nothing.saw_nothing(), "{}", nothing.to_table());
    let unknown = nothing.findings.iter().find(|finding| finding.check == "statefulsets").unwrap();
    assert!(unknown.message.contains("is forbidden: User"), "{}", unknown.message);

    // A role that reads the objects of one namespace, except Secrets.
    let role = |rules: &Value| {
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules,
                "metadata": { "name": "guest", "namespace": ns.name } })
    };
    let rule = |group: &str, resource: &str| json!({ "apiGroups": [group], "resources": [resource], "verbs": ["get", "list"] });
    let rules = json!([
        rule("apps", "statefulsets"),
        rule("", "services"),
        rule("", "pods"),
        rule("coordination.k8s.io", "leases"),
        rule("rbac.authorization.k8s.io", "rolebindings"),
    ]);
    ns.admin.create(&role(&rules)).await.accepted();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": "guest", "namespace": ns.name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "guest" },
        "subjects": [{ "kind": "ServiceAccount", "name": "guest", "namespace": ns.name }],
    });
    ns.admin.create(&binding).await.accepted();
    until("a role in force", DEADLINE, async || {
        let report = check(&ns, &token).await;
        let readable = ["injection", "service", "binding", "record", "pods"];
        let is_in_force = readable.iter().all(|check| level_of(&report, check) == Some(Level::Ok));
        let hides_secrets = level_of(&report, "secrets") == Some(Level::Unknown);
        if is_in_force && hides_secrets && report.has_no_problem() { Ok(()) } else { Err(report.to_table()) }
    })
    .await;

    let error = check::check(ns.plane.config("unknown-token"), &args(&ns), now()).await.unwrap_err();
    assert!(error.to_string().contains("does not accept the kubeconfig's credentials"), "{error}");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_objects_that_the_deployed_webhook_creates_pass_the_check() {
    let deployed = Deployed::open("provided-and-checked").await;
    let _replica = deployed.replica(&["--provide=on"]).await;
    let args = check::Args {
        target: Target { namespace: Some(deployed.namespace.to_owned()), context: None },
        config_name: deployed.config_name.clone(),
        output: Output::Table,
        pre: false,
        wait: None,
    };
    let look = async || check::check(deployed.plane.config(ADMIN_TOKEN), &args, now()).await.unwrap();
    until("a webhook that is trusted", DEADLINE, async || {
        are_ok(&look().await, &["admission", "caBundle", "certificate"])
    })
    .await;
    for mut object in manifest::objects(EXAMPLE).unwrap() {
        object["metadata"]["namespace"] = json!(deployed.namespace);
        deployed.admin.create(&object).await.accepted();
    }
    until("the created objects", DEADLINE, async || {
        are_ok(&look().await, &["injection", "service", "binding", "secrets", "record"])
    })
    .await;
}

/// Quotas, limits and Pod Security refuse pods, not StatefulSets: the dry run of a pod finds them.
async fn refused_pods(ns: &TestNamespace) {
    let limits = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "least", "namespace": ns.name },
        "spec": { "limits": [{ "type": "Container", "min": { "cpu": "50m" } }] },
    });
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "most", "namespace": ns.name },
        "spec": { "hard": { "limits.cpu": "8" } },
    });
    for (object, words) in [(&limits, "minimum cpu usage per Container"), (&quota, "must specify limits.cpu")]
    {
        ns.admin.apply(object).await.accepted();
        until_message(ns, "next-pod", words).await;
        ns.admin.delete(&path(object), &Value::Null).await.accepted();
        until_repaired(ns, words).await;
    }
    let namespace = format!("/api/v1/namespaces/{}", ns.name);
    let enforce =
        |level: Value| json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": level } } });
    ns.admin.merge(&namespace, &enforce(json!("restricted"))).await.accepted();
    until_message(ns, "next-pod", "violates PodSecurity").await;
    ns.admin.merge(&namespace, &enforce(Value::Null)).await.accepted();
    until_repaired(ns, "Pod Security").await;
}

/// With OrderedReady the controller waits for the pod that is not ready, whatever its revision is.
async fn stuck_rollout(ns: &TestNamespace) {
    let account = json!({ "spec": { "podManagementPolicy": "OrderedReady" } });
    let set = ns.example_with(|set| {
        set["metadata"]["name"] = json!("ordered");
        set["spec"]["podManagementPolicy"] = account["spec"]["podManagementPolicy"].clone();
        set["metadata"]["annotations"] = json!({ keys::AGENT_IMAGE: "registry.invalid/agent:1" });
    });
    ns.admin.create(&set).await.accepted();
    ns.pods("ordered", 1).await;
    let fixed = json!({ "metadata": { "annotations": {
        keys::AGENT_IMAGE: "couchdiscover-agent:one", keys::REFRESH: "1",
    } } });
    ns.admin.merge(&path(&set), &fixed).await.accepted();
    until("the pod to delete", DEADLINE, async || {
        let report = check(ns, ADMIN_TOKEN).await;
        let found = report.findings.iter().any(|finding| {
            finding.check == "rollout"
                && finding.fix.as_deref() == Some(&*format!("kubectl -n {} delete pod ordered-0", ns.name))
        });
        if found { Ok(()) } else { Err(report.to_table()) }
    })
    .await;
    ns.admin.delete(&path(&set), &Value::Null).await.accepted();
    until_repaired(ns, "a stuck rollout").await;
}

/// A label on another kind has no effect.
async fn misplaced_label(ns: &TestNamespace) {
    let labels = json!({ "app": "x" });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "db", "namespace": ns.name, "labels": { keys::INJECT: "enabled" } },
        "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "a", "image": "a" }] },
        } },
    });
    ns.admin.create(&deployment).await.accepted();
    until_message(ns, "label", "is on a deployment").await;
    ns.admin.delete(&path(&deployment), &Value::Null).await.accepted();
    until_repaired(ns, "a label on a Deployment").await;
}

async fn until_message(ns: &TestNamespace, check_name: &str, words: &str) {
    until(words, DEADLINE, async || {
        let report = check(ns, ADMIN_TOKEN).await;
        let mut found = report.findings.iter().filter(|finding| finding.check == check_name);
        if found.any(|finding| finding.level == Level::Wrong && finding.message.contains(words)) {
            Ok(())
        } else {
            Err(report.to_table())
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_requirements_of_an_installation_are_checked_before_it() {
    let ns = open().await;
    let pre = check::Args { pre: true, ..args(&ns) };
    let look = async |token: &str| check::check(ns.plane.config(token), &pre, now()).await.unwrap();
    let report = look(ADMIN_TOKEN).await;
    assert!(report.findings.iter().all(|finding| finding.level == Level::Ok), "{}", report.to_table());
    let token = guest(&ns).await;
    let report = look(&token).await;
    assert_eq!(level_of(&report, "rights"), Some(Level::Wrong), "{}", report.to_table());
}

/// The token of a new account without any permission.
async fn guest(ns: &TestNamespace) -> String {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "guest", "namespace": ns.name },
    });
    ns.admin.create(&account).await.accepted();
    let token =
        ns.admin.send(Method::POST, &format!("{}/token", path(&account)), &json!({ "spec": {} })).await;
    token.accepted()["status"]["token"].as_str().unwrap().to_owned()
}

/// Runs the program; returns the exit code and the report. The server's binary accepts `check` as an alias.
async fn program(ns: &TestNamespace) -> (i32, Value) {
    let home = tempfile::tempdir().unwrap();
    let kubeconfig = home.path().join("kubeconfig");
    std::fs::write(&kubeconfig, ns.plane.kubeconfig(ADMIN_TOKEN)).unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_webhook-process"))
        .args(["check", "-o", "json", "-n", ns.name, "--config-name", &config_name(ns)])
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
async fn open() -> TestNamespace {
    let plane = Arc::new(Envtest::start().await.unwrap());
    TestNamespace::on(plane, "checked", json!({})).await
}

/// Creates all objects of a cluster with a formed CouchDB.
async fn install(ns: &TestNamespace) {
    for object in objects(ns) {
        ns.admin.apply(&object).await.accepted();
    }
    for pod in ns.pods("couchdb", 3).await {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let status = format!("/api/v1/namespaces/{}/pods/{name}/status", ns.name);
        ns.admin.merge(&status, &ready(true)).await.accepted();
    }
    until("a policy in force", DEADLINE, async || {
        let report = check(ns, ADMIN_TOKEN).await;
        if report.findings.iter().all(|finding| finding.level == Level::Ok) {
            Ok(())
        } else {
            Err(report.to_table())
        }
    })
    .await;
}

fn objects(ns: &TestNamespace) -> Vec<Value> {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": objects::companion("couchdb") },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": objects::AGENT_CLUSTER_ROLE
        },
        "subjects": [{ "kind": "ServiceAccount", "name": "couchdb", "namespace": ns.name }],
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
    namespaced.extend([companion_secret(&ns.example(), "ck", "sec"), binding, lease]);
    let namespaced = namespaced.into_iter().map(|object| ns.here(object));
    let mut all = vec![yaml(AGENT_ROLE)];
    all.extend(
        manifest::objects(WEBHOOK_ROLE).unwrap().into_iter().filter(|one| one["kind"] == "ClusterRole"),
    );
    all.extend(POLICIES.iter().flat_map(|policy| manifest::objects(policy).unwrap()));
    all.extend(namespaced);
    all
}

fn ready(is: bool) -> Value {
    let status = if is { "True" } else { "False" };
    json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": status }] } })
}

/// Path of the MutatingWebhookConfiguration.
fn configuration(ns: &TestNamespace) -> String {
    let name = config_name(ns);
    format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}")
}

fn config_name(ns: &TestNamespace) -> String {
    format!("couchdiscover-{}", ns.name)
}

fn args(ns: &TestNamespace) -> check::Args {
    check::Args {
        target: Target { namespace: Some(ns.name.to_owned()), context: None },
        config_name: config_name(ns),
        output: Output::Table,
        pre: false,
        wait: None,
    }
}

async fn check(ns: &TestNamespace, token: &str) -> Report {
    check::check(ns.plane.config(token), &args(ns), now()).await.unwrap()
}

fn now() -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc()
}

/// Waits for the finding: API servers take milliseconds to act on a changed configuration.
async fn until_found(ns: &TestNamespace, what: &str, check_name: &str, level: Level) {
    until(what, DEADLINE, async || {
        let report = check(ns, ADMIN_TOKEN).await;
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

async fn until_repaired(ns: &TestNamespace, what: &str) {
    until(&format!("no problem after the repair of {what}"), DEADLINE, async || {
        let report = check(ns, ADMIN_TOKEN).await;
        if report.findings.iter().all(|finding| finding.level == Level::Ok) {
            Ok(())
        } else {
            Err(report.to_table())
        }
    })
    .await;
}

/// The level of the first finding of a check.
fn level_of(report: &Report, check: &str) -> Option<Level> {
    report.findings.iter().find(|finding| finding.check == check).map(|finding| finding.level)
}

/// `Ok` if each of these checks has findings, all of which are ok; else the report.
fn are_ok(report: &Report, checks: &[&str]) -> Result<(), String> {
    for check in checks {
        let mut findings = report.findings.iter().filter(|finding| finding.check == *check).peekable();
        if findings.peek().is_none() || findings.any(|finding| finding.level != Level::Ok) {
            return Err(report.to_table());
        }
    }
    Ok(())
}
