//! Injected pods where a platform restricts pods: accounts without a token, uids from a range, limits and quotas.

use serde_json::{Value, json};

use crate::namespace::{DEADLINE, TestNamespace, Webhook, agent};
use e2e::until::until;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn agents_have_a_token_whatever_the_service_account_says() {
    let ns = TestNamespace::open("tokens").await;
    for (name, mounts) in [("without", false), ("with", true)] {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": mounts,
            "metadata": { "name": name, "namespace": ns.name },
        });
        ns.admin.apply(&account).await.accepted();
        let set = ns.example_with(|set| {
            set["metadata"]["name"] = json!(name);
            set["spec"]["template"]["spec"]["serviceAccountName"] = json!(name);
        });
        ns.admin.create(&set).await.accepted();
        for pod in ns.pods(name, 3).await {
            assert_eq!(token_mounts(&agent(&pod)), ["couchdiscover-token"], "{name}");
            let couchdb = &pod["spec"]["containers"][0];
            assert_eq!(
                token_mounts(couchdb).len(),
                usize::from(mounts),
                "{name}: CouchDB's is the account's choice"
            );
        }
    }
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn injected_pods_are_admitted_where_uids_must_be_of_a_range() {
    let ns = TestNamespace::open("uid-range").await;
    // The rule of OpenShift's restricted SCC: no uid, or one of the namespace's range.
    let in_range = "(!has(c.securityContext) || !has(c.securityContext.runAsUser) || c.securityContext.runAsUser >= 1000700000)";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": "uid-range" },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [
                { "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"] },
            ] },
            "validations": [{ "message": "a uid outside of the range", "expression": format!(
                "(object.spec.containers + object.spec.?initContainers.orValue([])).all(c, {in_range})"
            ) }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": "uid-range" },
        "spec": {
            "policyName": "uid-range", "validationActions": ["Deny"],
            "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": ns.name } } },
        },
    });
    ns.admin.apply(&policy).await.accepted();
    ns.admin.apply(&binding).await.accepted();
    let fixed = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "fixed", "namespace": ns.name },
        "spec": { "containers": [{ "name": "a", "image": "a", "securityContext": { "runAsUser": 65532 } }] },
    });
    until("the policy in force", DEADLINE, async || {
        let answer = ns.admin.try_create(&fixed).await;
        if answer.code == 422 { Ok(()) } else { Err(answer) }
    })
    .await;
    ns.admin.create(&ns.example()).await.accepted();
    assert_eq!(ns.pods("couchdb", 3).await.len(), 3);
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_admins_defaults_satisfy_a_limit_range_and_a_quota() {
    let ns = TestNamespace::open("limits").await;
    let options =
        ["--agent-cpu-request", "10m", "--agent-memory-request", "32Mi", "--agent-cpu-limit", "100m"];
    let webhook = Webhook::with(&ns.plane, "couchdiscover-agent:two", &options).await;
    ns.register(&webhook, &[ns.name]).await;
    let least = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "least", "namespace": ns.name },
        "spec": { "limits": [{ "type": "Container", "min": { "cpu": "10m", "memory": "32Mi" } }] },
    });
    let most = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "most", "namespace": ns.name },
        "spec": { "hard": {
            "limits.cpu": "8", "limits.memory": "16Gi", "requests.cpu": "4", "requests.memory": "8Gi",
        } },
    });
    ns.admin.apply(&least).await.accepted();
    ns.admin.apply(&most).await.accepted();
    let set = ns.example_with(|set| {
        set["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({
            "requests": { "cpu": "100m", "memory": "256Mi" }, "limits": { "cpu": "1", "memory": "1Gi" },
        });
    });
    ns.admin.create(&set).await.accepted();
    for pod in ns.pods("couchdb", 3).await {
        assert_eq!(agent(&pod)["resources"]["requests"], json!({ "cpu": "10m", "memory": "32Mi" }));
    }
}

/// The names of the volumes that a container has at the token's path.
fn token_mounts(container: &Value) -> Vec<String> {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    mounts
        .filter(|mount| mount["mountPath"] == TOKEN_PATH)
        .map(|mount| mount["name"].as_str().unwrap().to_owned())
        .collect()
}
