//! Installation by `kubectl apply -k`. On a control plane of its own, since the applied configuration calls a webhook in
//! every namespace, and no webhook runs.

use std::path::Path;

use contract::objects;
use e2e::envtest::{Envtest, User};
use e2e::manifest;
use reqwest::Method;
use serde_json::{Value, json};

use crate::literals::yaml;

/// Without the overlay for cert-manager, whose kinds the API server does not know.
const ALL: [&str; 13] = [
    "base",
    "overlays/openshift",
    "overlays/aks",
    "overlays/provide-off",
    "overlays/client-ca",
    "examples/ingress",
    "overlays/single-replica",
    "overlays/other-port",
    "overlays/host-network",
    "overlays/fail-open",
    "overlays/scale-down-drain",
    "examples/own-registry",
    "examples/egress",
];

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_manifests_are_applied_without_a_warning_and_again_without_a_change() {
    let plane = Envtest::start().await.unwrap();
    for folder in ALL {
        assert_ne!(apply(&plane, &["apply", "-k", &path(folder)], "").await, Vec::<String>::new());
        let again = apply(&plane, &["apply", "-k", &path(folder)], "").await;
        let changed = again.iter().filter(|line| !line.ends_with(" unchanged")).collect::<Vec<_>>();
        // kubectl prints this for every PodDisruptionBudget, because it replaces the selector by an equal one.
        assert_eq!(changed, ["poddisruptionbudget.policy/couchdiscover-webhook configured"], "{folder}");
    }
    // The base does not remove what only a component contains.
    for file in ["role.yaml", "policy.yaml"] {
        apply(&plane, &["delete", "-f", &path(&format!("components/scale-down-drain/{file}"))], "").await;
    }
    // Of cert-manager's overlay, the kinds that every API server knows.
    let rendered = apply(&plane, &["kustomize", &path("overlays/cert-manager")], "").await.join("\n");
    let (theirs, ours): (Vec<Value>, Vec<Value>) = manifest::objects(&rendered)
        .unwrap()
        .into_iter()
        .partition(|object| object["apiVersion"].as_str().unwrap().starts_with("cert-manager.io/"));
    assert_eq!(theirs.len(), 4);
    let namespaced_rights =
        ours.iter().filter(|object| object["kind"] == "Role" || object["kind"] == "RoleBinding");
    assert_eq!(namespaced_rights.count(), 0, "no permission for a Secret");
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": ours }).to_string();
    apply(&plane, &["apply", "-f", "-"], &list).await;

    apply(&plane, &["apply", "-k", &path("base")], "").await;
    let admin = plane.admin();
    let deployment = "/apis/apps/v1/namespaces/couchdiscover/deployments/couchdiscover-webhook";
    let by_client = admin.get(deployment).await.accepted();
    apply(&plane, &["apply", "--server-side", "-k", &path("base")], "").await;
    let by_server = admin.get(deployment).await.accepted();
    assert_eq!(by_server["spec"], by_client["spec"]);
    apply(&plane, &["apply", "--server-side", "-k", &path("base")], "").await;
    let again = admin.get(deployment).await.accepted();
    assert_eq!(again["metadata"]["generation"], by_server["metadata"]["generation"]);

    a_published_ca_bundle_is_kept(&plane, &admin).await;
    the_webhook_has_exactly_the_permissions_it_needs(&plane, &admin).await;
}

/// Applying the manifests again keeps the caBundle that the webhook has published.
async fn a_published_ca_bundle_is_kept(plane: &Envtest, admin: &User) {
    let configuration = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/couchdiscover";
    let bundle = a_published_ca_bundle(admin).await;
    for arguments in [["apply", "-k"].as_slice(), &["apply", "--server-side", "-k"]] {
        apply(plane, &[arguments, &[&*path("base")]].concat(), "").await;
        let stored = admin.get(configuration).await.accepted();
        let stored = &stored["webhooks"][0]["clientConfig"];
        assert_eq!(stored["caBundle"], bundle, "after {arguments:?}");
        assert_eq!(stored["service"]["name"], "couchdiscover-webhook");
    }
}

/// Publishes a caBundle as the webhook does, and returns it.
pub(crate) async fn a_published_ca_bundle(admin: &User) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem();
    let bundle = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, certificate);
    let entry = |name: &str| json!({ "name": name, "clientConfig": { "caBundle": bundle } });
    let written = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "couchdiscover" },
        "webhooks": [entry("inject.couchdiscover.io"), entry("scale.couchdiscover.io")],
    });
    admin.apply(&written).await.accepted();
    bundle
}

async fn the_webhook_has_exactly_the_permissions_it_needs(plane: &Envtest, admin: &User) {
    let account = "/api/v1/namespaces/couchdiscover/serviceaccounts/couchdiscover-webhook/token";
    let token = admin.send(Method::POST, account, &json!({ "spec": {} })).await.accepted();
    let webhook = plane.user(token["status"]["token"].as_str().unwrap());
    webhook.get("/apis/apps/v1/statefulsets").await.accepted();
    webhook
        .get("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/couchdiscover")
        .await
        .accepted();
    webhook.try_create(&secret("default", "couchdb-couchdiscover")).await.accepted();
    webhook.try_create(&binding(objects::AGENT_CLUSTER_ROLE)).await.accepted();

    let answer = webhook.try_create(&binding("cluster-admin")).await;
    assert_eq!(answer.code, 403, "the webhook may bind only the agents' role");
    admin.create(&secret("couchdiscover", "other")).await.accepted();
    admin.create(&secret("default", "other")).await.accepted();
    for (method, path) in [
        (Method::GET, "/api/v1/secrets"),
        (Method::GET, "/api/v1/namespaces/default/secrets"),
        (Method::GET, "/api/v1/namespaces/default/secrets/other"),
        (Method::DELETE, "/api/v1/namespaces/default/secrets/other"),
        (Method::PATCH, "/api/v1/namespaces/default/secrets/other"),
        (Method::GET, "/api/v1/namespaces/couchdiscover/secrets/other"),
        (Method::DELETE, "/api/v1/namespaces/couchdiscover/secrets/other"),
        (Method::GET, "/api/v1/configmaps"),
        (Method::GET, "/api/v1/pods"),
        (Method::POST, "/api/v1/namespaces/default/pods"),
        (Method::POST, "/api/v1/namespaces/default/serviceaccounts/default/token"),
        (Method::POST, "/apis/apps/v1/namespaces/default/statefulsets"),
        (Method::PATCH, "/apis/apps/v1/namespaces/default/statefulsets/couchdb"),
        (Method::DELETE, "/apis/apps/v1/namespaces/default/statefulsets/couchdb"),
        (Method::PATCH, "/apis/apps/v1/namespaces/default/statefulsets/couchdb/scale"),
        (Method::PATCH, "/apis/rbac.authorization.k8s.io/v1/clusterroles/couchdiscover-agent"),
        (Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
        (Method::POST, "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"),
        (Method::PATCH, "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/other"),
        (Method::DELETE, "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/couchdiscover"),
        (Method::PATCH, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/couchdiscover"),
        (Method::GET, "/api/v1/nodes"),
    ] {
        let answer = webhook.send(method.clone(), path, &Value::Null).await;
        assert_eq!(answer.code, 403, "{method} {path}: {}", answer.message());
    }
}

fn secret(namespace: &str, name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "namespace": namespace, "name": name } })
}

fn binding(role: &str) -> Value {
    let mut binding = yaml(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: couchdb-couchdiscover, namespace: default}}",
    );
    binding["roleRef"] =
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role });
    binding["subjects"] = json!([{ "kind": "ServiceAccount", "name": "default", "namespace": "default" }]);
    binding
}

/// Runs `kubectl`, which must succeed without a warning, and returns the lines of its output.
pub(crate) async fn apply(plane: &Envtest, arguments: &[&str], input: &str) -> Vec<String> {
    let output = plane.kubectl(arguments, input).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(output.stderr));
    // The component cert-manager has no other way to follow the namespace of a layer above.
    let stderr = text(output.stderr).replace(VARS, "");
    assert_eq!(stderr, "", "{arguments:?}");
    text(output.stdout).lines().map(str::to_owned).collect()
}

const VARS: &str = "# Warning: 'vars' is deprecated. Please use 'replacements' instead. [EXPERIMENTAL] Run 'kustomize edit fix' to update your Kustomization automatically.\n";

/// The path of a folder of the manifests.
pub(crate) fn path(folder: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests").join(folder);
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn names_follow_another_namespace_and_annotations_of_a_layer_below_stay() {
    let plane = Envtest::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    // kustomize accepts only relative paths.
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests").canonicalize().unwrap();
    let root = format!("{}{}", "../".repeat(16), manifests.to_str().unwrap().trim_start_matches('/'));
    let write = |name: &str, text: &str| {
        let text = text.replace("../../", &format!("{root}/"));
        let path = folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("kustomization.yaml"), text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    write(
        "team",
        "resources: [../../base]\npatches:\n- patch: |\n    apiVersion: admissionregistration.k8s.io/v1\n    kind: MutatingWebhookConfiguration\n    metadata:\n      name: couchdiscover\n      annotations: {example.com/owner: data}\n",
    );
    let all = write(
        "all",
        "resources: [../team]\ncomponents: [../../components/cert-manager, ../../components/aks]\n",
    );
    let annotations = &rendered(&plane, &all).await.0["metadata"]["annotations"];
    assert_eq!(annotations["example.com/owner"], "data");
    assert_eq!(annotations["admissions.enforcer/disabled"], "true");
    assert_eq!(annotations["cert-manager.io/inject-ca-from"], "couchdiscover/couchdiscover-webhook");

    let other = write(
        "other",
        "namespace: platform-couch\nnamePrefix: my-\nresources: [../../base]\ncomponents: [../../components/cert-manager]\n",
    );
    let (configuration, certificate) = rendered(&plane, &other).await;
    assert_eq!(certificate["spec"]["dnsNames"], json!(["my-couchdiscover-webhook.platform-couch.svc"]));
    assert_eq!(
        configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
        "platform-couch/my-couchdiscover-webhook"
    );
    assert_eq!(configuration["webhooks"][0]["clientConfig"]["service"]["namespace"], "platform-couch");

    let example = apply(&plane, &["kustomize", &path("examples/other-namespace")], "").await.join("\n");
    for left in ["- couchdiscover\n", "serviceaccount:couchdiscover:", "'couchdiscover'"] {
        let others = example
            .replace("resourceNames:\n  - couchdiscover\n", "")
            .replace("  resourceNames:\n  - couchdiscover\n", "");
        assert!(!others.contains(left), "{left} is left in\n{others}");
    }
    assert!(example.contains("'system:serviceaccount:platform-couch:couchdiscover-webhook'"));
}

/// The rendered configuration of the webhook, and its certificate.
async fn rendered(plane: &Envtest, folder: &str) -> (Value, Value) {
    let text = apply(plane, &["kustomize", folder], "").await.join("\n");
    let objects = manifest::objects(&text).unwrap();
    let find = |kind: &str, name: &str| {
        let mut named = objects.iter().filter(|one| one["kind"] == kind);
        named.find(|one| one["metadata"]["name"].as_str().unwrap().ends_with(name)).unwrap().clone()
    };
    (find("MutatingWebhookConfiguration", "couchdiscover"), find("Certificate", "couchdiscover-webhook"))
}
