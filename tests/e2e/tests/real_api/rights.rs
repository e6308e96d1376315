//! The worth of a stolen token: what the webhook's account and the agents' role can be used for, with the manifests' policies
//! in force. On control planes of their own, since the manifests are applied as they are.

use contract::objects;
use e2e::envtest::{Answer, Envtest, User};
use e2e::until::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::install::{apply, path};
use crate::literals::yaml;
use crate::namespace::DEADLINE;

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_webhooks_token_creates_what_statefulsets_need_and_nothing_else() {
    let plane = Envtest::start().await.unwrap();
    apply(&plane, &["apply", "-k", &path("base")], "").await;
    let admin = plane.admin();
    let thief = account(&plane, "couchdiscover", "couchdiscover-webhook").await;
    admin.create(&namespace("shop")).await.accepted();
    until("a policy in force", DEADLINE, async || {
        let answer = thief.try_create(&secret("shop", "any", "Opaque")).await;
        if is_denied_by(&answer, "couchdiscover-webhook") { Ok(()) } else { Err(answer) }
    })
    .await;

    // What the webhook does.
    thief.create(&secret("shop", "db-couchdiscover", "Opaque")).await.accepted();
    thief.create(&secret("couchdiscover", objects::CA_SECRET, "Opaque")).await.accepted();
    let ours = binding("shop", "db-couchdiscover", "ServiceAccount", "shop");
    thief.create(&ours).await.accepted();
    let relabelled = json!({ "metadata": { "labels": { "team": "a" } } });
    thief.merge(&e2e::envtest::path(&ours), &relabelled).await.accepted();

    // A node's identity on clusters of kubeadm, and the token of any account.
    let bootstrap = secret("kube-system", "bootstrap-token-abcdef", "bootstrap.kubernetes.io/token");
    denied(&thief.create(&bootstrap).await);
    let mut token = secret("shop", "db-couchdiscover-2-couchdiscover", "kubernetes.io/service-account-token");
    token["metadata"]["annotations"] = json!({ "kubernetes.io/service-account.name": "default" });
    denied(&thief.create(&token).await);
    // Secrets that other programs would use.
    denied(&thief.create(&secret("shop", "registry", "Opaque")).await);
    denied(&thief.create(&secret("kube-system", "x-couchdiscover", "Opaque")).await);
    denied(&thief.create(&secret("couchdiscover", "x-couchdiscover", "Opaque")).await);
    let mut generated = secret("shop", "x", "Opaque");
    generated["metadata"] = json!({ "namespace": "shop", "generateName": "x-" });
    denied(&thief.send(Method::POST, "/api/v1/namespaces/shop/secrets", &generated).await);
    // The agents' role for others: all users, another namespace's account, the control plane's namespace.
    denied(&thief.create(&binding("shop", "all-couchdiscover", "Group", "")).await);
    denied(&thief.create(&binding("shop", "other-couchdiscover", "ServiceAccount", "default")).await);
    denied(&thief.create(&binding("kube-system", "db-couchdiscover", "ServiceAccount", "kube-system")).await);
    denied(&thief.create(&binding("shop", "mine", "ServiceAccount", "shop")).await);
    // The deletion of a RoleBinding: the garbage collector removes an object whose owner does not exist.
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings/system:controller:token-cleaner";
    let owner = json!({ "metadata": { "ownerReferences": [
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "00000000-0000-4000-8000-000000000000" }
    ] } });
    denied(&thief.merge(path, &owner).await);
    admin.get(path).await.accepted();

    // Accounts of others are not affected.
    admin.create(&secret("shop", "registry", "Opaque")).await.accepted();
    admin.create(&binding("shop", "theirs", "ServiceAccount", "default")).await.accepted();
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn with_cert_manager_and_without_the_provider_the_webhooks_token_only_reads() {
    let plane = Envtest::start().await.unwrap();
    let both = tempfile::tempdir().unwrap();
    // kustomize accepts only relative paths.
    let manifests = std::fs::canonicalize(path("")).unwrap();
    let up = "../".repeat(std::fs::canonicalize(both.path()).unwrap().components().count() - 1);
    let folder =
        |name: &str| json!(format!("{up}{}", manifests.join(name).strip_prefix("/").unwrap().display()));
    let kustomization = json!({
        "resources": [folder("base")],
        "components": [folder("components/cert-manager"), folder("components/provide-off")],
    });
    std::fs::write(both.path().join("kustomization.yaml"), kustomization.to_string()).unwrap();
    let rendered = apply(&plane, &["kustomize", both.path().to_str().unwrap()], "").await.join("\n");
    let mut ours = e2e::manifest::objects(&rendered).unwrap();
    ours.retain(|object| !object["apiVersion"].as_str().unwrap().starts_with("cert-manager.io/"));
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": ours }).to_string();
    apply(&plane, &["apply", "-f", "-"], &list).await;
    let thief = account(&plane, "couchdiscover", "couchdiscover-webhook").await;
    let configuration = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/couchdiscover";
    thief.get(configuration).await.accepted();
    for (method, path) in [
        (Method::PATCH, configuration),
        (Method::POST, "/api/v1/namespaces/default/secrets"),
        (Method::POST, "/api/v1/namespaces/couchdiscover/secrets"),
        (Method::GET, "/api/v1/namespaces/couchdiscover/secrets/couchdiscover-webhook-ca"),
        (Method::POST, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"),
        (Method::GET, "/apis/rbac.authorization.k8s.io/v1/rolebindings"),
        (Method::GET, "/apis/apps/v1/statefulsets"),
        (Method::POST, "/apis/events.k8s.io/v1/namespaces/default/events"),
    ] {
        let answer = thief.send(method.clone(), path, &Value::Null).await;
        assert_eq!(answer.code, 403, "{method} {path}: {}", answer.message());
    }
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_webhooks_token_lowers_the_replicas_of_statefulsets_that_ask_for_it_and_changes_nothing_else() {
    let plane = Envtest::start().await.unwrap();
    apply(&plane, &["apply", "-k", &path("overlays/scale-down-drain")], "").await;
    let admin = plane.admin();
    // No webhook runs here.
    let configuration = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/couchdiscover";
    admin.delete(configuration, &Value::Null).await.accepted();
    let thief = account(&plane, "couchdiscover", "couchdiscover-webhook").await;
    admin.create(&namespace("shop")).await.accepted();
    let (ours, others) = (set("db", "drain"), set("guarded", "guard"));
    let (ours_path, others_path) = (e2e::envtest::path(&ours), e2e::envtest::path(&others));
    until("a set", DEADLINE, async || match admin.create(&ours).await {
        answer if answer.code == 201 => Ok(()),
        // Until the API server has seen that the webhook is gone.
        answer => Err(answer),
    })
    .await;
    admin.create(&others).await.accepted();
    let lower = |replicas: u32| json!({ "spec": { "replicas": replicas } });
    until("a policy in force", DEADLINE, async || {
        let answer = thief.merge(&others_path, &lower(2)).await;
        if is_denied_by(&answer, "couchdiscover-webhook-scale-down") { Ok(()) } else { Err(answer) }
    })
    .await;

    // What the webhook does.
    let target =
        |value: Value| json!({ "metadata": { "annotations": { "couchdiscover.io/target-size": value } } });
    thief.merge(&ours_path, &target(json!("3"))).await.accepted();
    thief.merge(&ours_path, &lower(3)).await.accepted();
    thief.merge(&ours_path, &target(Value::Null)).await.accepted();

    for change in [
        lower(5),
        json!({ "spec": { "template": { "spec": { "containers": containers("evil") } } } }),
        json!({ "spec": { "template": { "metadata": { "annotations": { "x": "y" } } } } }),
        json!({ "spec": { "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } } }),
        json!({ "spec": { "ordinals": { "start": 7 } } }),
        json!({ "spec": { "persistentVolumeClaimRetentionPolicy": { "whenScaled": "Delete" } } }),
        json!({ "metadata": { "annotations": { "couchdiscover.io/scale-down": "allow" } } }),
        json!({ "metadata": { "annotations": { "note": null } } }),
        json!({ "metadata": { "labels": { "couchdiscover.io/inject": null } } }),
        json!({ "metadata": { "finalizers": ["a.b/c"] } }),
    ] {
        let answer = thief.merge(&ours_path, &change).await;
        assert!(is_denied_by(&answer, "couchdiscover-webhook-scale-down"), "{change}: {answer:?}");
    }
    assert_eq!(thief.merge(&format!("{ours_path}/scale"), &lower(1)).await.code, 403);
    assert_eq!(thief.delete(&ours_path, &Value::Null).await.code, 403);
    assert_eq!(thief.apply(&set("new", "drain")).await.code, 403);
    // Accounts of others are not affected.
    admin.merge(&others_path, &lower(2)).await.accepted();
}

/// A StatefulSet with the agent.
fn set(name: &str, mode: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": { "couchdiscover.io/inject": "enabled" },
            "annotations": { "couchdiscover.io/scale-down": mode, "note": "x" },
        },
        "spec": {
            "replicas": 4,
            "serviceName": name,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": containers("couchdb:3.5") },
            },
        },
    })
}

/// The containers of a StatefulSet with the agent. Without the agent, a second policy denies a change, and the API server
/// reports only one of the two, at random.
fn containers(image: &str) -> Value {
    json!([{ "name": "couchdb", "image": image }, { "name": objects::AGENT_CONTAINER, "image": "agent" }])
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_role_of_the_agents_writes_no_lease_of_another_program() {
    let plane = Envtest::start().await.unwrap();
    apply(&plane, &["apply", "-k", &path("base")], "").await;
    let admin = plane.admin();
    admin.create(&namespace("shop")).await.accepted();
    for name in ["couch", "operator"] {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "namespace": "shop", "name": name }
        });
        admin.create(&account).await.accepted();
        let mut binding = binding("shop", &format!("{name}-couchdiscover"), "ServiceAccount", "shop");
        binding["subjects"][0]["name"] = json!(name);
        admin.create(&binding).await.accepted();
    }
    // An operator that runs as the account of a StatefulSet, with a role of its own for its lock.
    admin.create(&yaml("{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {namespace: shop, name: locks}, rules: [{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}]}")).await.accepted();
    admin.create(&yaml("{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {namespace: shop, name: locks}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: locks}, subjects: [{kind: ServiceAccount, name: operator, namespace: shop}]}")).await.accepted();
    admin.create(&lease("operator-lock")).await.accepted();
    let (agent, operator) =
        (account(&plane, "shop", "couch").await, account(&plane, "shop", "operator").await);
    let forged = json!({ "spec": { "holderIdentity": "forged", "leaseDurationSeconds": 2_000_000_000 } });
    let lock = e2e::envtest::path(&lease("operator-lock"));
    until("a policy in force", DEADLINE, async || {
        let answer = agent.try_create(&lease("any")).await;
        if is_denied_by(&answer, "couchdiscover-agent") { Ok(()) } else { Err(answer) }
    })
    .await;

    let answer = agent.merge(&lock, &forged).await;
    assert!(is_denied_by(&answer, "couchdiscover-agent"), "{answer:?}");
    insta::assert_snapshot!(answer.message(), @r#"leases.coordination.k8s.io "operator-lock" is forbidden: ValidatingAdmissionPolicy 'couchdiscover-agent' with binding 'couchdiscover-agent' denied request: the role of couchdiscover's agents is for Leases called '<statefulset>-couchdiscover'. Fix: if another program uses this service account, give it a role that allows 'update' on its Lease"#);
    assert_eq!(agent.send(Method::PUT, &lock, &lease("operator-lock")).await.code, 403);
    assert_eq!(agent.delete(&lock, &Value::Null).await.code, 403);

    // What agents do.
    agent.create(&lease("db-couchdiscover")).await.accepted();
    let own = e2e::envtest::path(&lease("db-couchdiscover"));
    agent.merge(&own, &json!({ "spec": { "holderIdentity": "db-0" } })).await.accepted();
    agent.apply(&lease("db-couchdiscover")).await.accepted();

    // Everything else writes Leases as before.
    let mut stored = operator.get(&lock).await.accepted();
    stored["spec"]["holderIdentity"] = json!("operator-1");
    operator.replace(&stored).await.accepted();
    operator.create(&lease("another-lock")).await.accepted();
    admin.merge(&lock, &forged).await.accepted();
}

/// A user with the token of this account.
async fn account(plane: &Envtest, namespace: &str, name: &str) -> User {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let token = plane.admin().send(Method::POST, &path, &json!({ "spec": {} })).await.accepted();
    plane.user(token["status"]["token"].as_str().unwrap())
}

fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

fn secret(namespace: &str, name: &str, kind: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": { "namespace": namespace, "name": name } })
}

fn lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "namespace": "shop", "name": name },
    })
}

/// A RoleBinding of the agents' role to a subject of this kind, in the namespace `of`.
fn binding(namespace: &str, name: &str, kind: &str, of: &str) -> Value {
    let subject = match kind {
        "Group" => {
            json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "system:authenticated" })
        }
        _ => json!({ "kind": kind, "name": "default", "namespace": of }),
    };
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "namespace": namespace, "name": name },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": objects::AGENT_CLUSTER_ROLE
        },
        "subjects": [subject],
    })
}

fn is_denied_by(answer: &Answer, policy: &str) -> bool {
    answer.code == 403 && answer.message().contains(&format!("ValidatingAdmissionPolicy '{policy}'"))
}

#[track_caller]
fn denied(answer: &Answer) {
    assert!(is_denied_by(answer, "couchdiscover-webhook"), "{answer:?}");
}
