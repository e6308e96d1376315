//! Real agents with the token of their pod's service account, with and without the role of the manifests.

use contract::{keys, objects};
use e2e::cluster::TestCluster;
use e2e::envtest::{User, path};
use e2e::manifest::{self, EXAMPLE, companion_secret};
use e2e::until::until;
use reqwest::Method;
use sandbox::couchdb::{CallFilter, Clock};
use serde_json::{Value, json};

use crate::literals::{AGENT_ROLE, yaml};
use crate::namespace::{DEADLINE, TestNamespace};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn with_its_role_an_agent_follows_the_size_and_writes_the_founding_record() {
    let ns = TestNamespace::open("with-role").await;
    bind_role(&ns).await;
    let mut cluster = example_cluster(&ns, 4).await;
    let scale = format!("{}/scale", ns.example_path());
    ns.admin.merge(&scale, &json!({ "spec": { "replicas": 3 } })).await.accepted();
    cluster.node(3).kill();
    cluster.start_agents(0..3).await;
    for i in 0..3 {
        recorded(&cluster, i).await;
    }
    assert_eq!(members(&cluster).await, 3);

    let lease = ns.admin.get(&lease(&ns)).await.accepted();
    let record = &lease["metadata"]["annotations"];
    assert_eq!((&record[keys::FORMED_SIZE], &record[keys::RECORD_SCHEMA]), (&json!("3"), &json!("1")));
    let set = ns.stored().await;
    let formed = event_of(&ns, "Formed").await;
    assert_eq!(formed["regarding"]["uid"], set["metadata"]["uid"], "kubectl describe selects Events by uid");
    assert_eq!(formed["reportingController"], "couchdiscover.io/agent");
    assert_eq!(event_of(&ns, "Joined").await["type"], "Normal");
    assert_eq!(record[keys::FORMED_UUID], cluster.get(1, "/").await["uuid"]);
    assert_eq!(lease["metadata"]["managedFields"][0]["manager"], objects::AGENT_CONTAINER);

    cluster.node(3).start().unwrap();
    ns.admin.merge(&scale, &json!({ "spec": { "replicas": 4 } })).await.accepted();
    cluster.start_agent(3).await;
    for i in 0..4 {
        recorded(&cluster, i).await;
    }
    assert_eq!(members(&cluster).await, 4);
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn without_its_role_an_agent_reports_it_and_uses_the_injected_size() {
    let ns = TestNamespace::open("without-role").await;
    let mut cluster = example_cluster(&ns, 3).await;
    cluster.start_agents(0..3).await;
    for i in 0..3 {
        cluster.until_step(i, "Settled").await;
        assert_eq!(cluster.status(i).await["kubernetes"], "forbidden");
    }
    assert_eq!(members(&cluster).await, 3);
    assert_eq!(
        cluster.net.calls_of(&CallFilter::all().writes().below("/_cluster_setup")).len(),
        1,
        "one founding"
    );
    assert_eq!(ns.admin.get(&lease(&ns)).await.code, 404);

    bind_role(&ns).await;
    for i in 0..3 {
        // The role is used without a restart.
        recorded(&cluster, i).await;
    }
    ns.admin.get(&lease(&ns)).await.accepted();
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_role_grants_only_the_permissions_that_an_agent_needs() {
    let ns = TestNamespace::open("only-this").await;
    bind_role(&ns).await;
    ns.admin.create(&ns.example()).await.accepted();
    let user = ns.plane.user(&token(&ns, 3).await);
    let here = |api: &str, rest: &str| format!("/{api}/namespaces/{}/{rest}", ns.name);
    for path in [
        here("apis/apps/v1", "statefulsets/couchdb"),
        here("apis/apps/v1", "statefulsets"),
        here("api/v1", "pods"),
        here("apis/discovery.k8s.io/v1", "endpointslices"),
        here("apis/coordination.k8s.io/v1", "leases"),
    ] {
        user.get(&path).await.accepted();
    }
    user.create(&event(&ns)).await.accepted();
    for (method, path) in [
        (Method::GET, here("api/v1", "secrets")),
        (Method::GET, here("api/v1", "secrets/couchdb-admin")),
        (Method::GET, here("api/v1", "configmaps")),
        (Method::GET, here("api/v1", "events")),
        (Method::POST, here("api/v1", "events")),
        (Method::PUT, here("apis/coordination.k8s.io/v1", "leases/couchdb-couchdiscover")),
        (Method::GET, here("api/v1", "services")),
        (Method::GET, here("api/v1", "persistentvolumeclaims")),
        (Method::POST, here("api/v1", "pods")),
        (Method::DELETE, here("api/v1", "pods/couchdb-0")),
        (Method::POST, here("api/v1", "pods/couchdb-0/exec")),
        (Method::PATCH, here("apis/apps/v1", "statefulsets/couchdb")),
        (Method::PATCH, here("apis/apps/v1", "statefulsets/couchdb/scale")),
        (Method::DELETE, here("apis/apps/v1", "statefulsets/couchdb")),
        (Method::DELETE, here("apis/coordination.k8s.io/v1", "leases/couchdb-couchdiscover")),
        (Method::POST, here("apis/rbac.authorization.k8s.io/v1", "rolebindings")),
        (Method::GET, "/apis/apps/v1/statefulsets".to_owned()),
        (Method::GET, "/apis/apps/v1/namespaces/default/statefulsets".to_owned()),
        (Method::GET, "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases".to_owned()),
        (Method::GET, "/api/v1/nodes".to_owned()),
    ] {
        is_refused(&user, method, &path).await;
    }
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn with_the_example_role_an_agent_reads_credentials_that_were_not_injected() {
    let ns = TestNamespace::open("reads-secrets").await;
    bind_role(&ns).await;
    let mut cluster = example_cluster(&ns, 2).await;
    for (user, password) in contract::env::CREDENTIALS {
        cluster.set(user, "");
        cluster.set(password, "");
    }
    cluster.start_agents(0..2).await;
    let message = cluster.until_step(0, "CredentialsForbidden").await;
    assert!(message.contains("may not read Secret 'couchdb-admin'"), "{message}");
    for object in manifest::objects(READS_SECRETS).unwrap() {
        let mut object = ns.here(object);
        if object["kind"] == "RoleBinding" {
            object["subjects"][0]["namespace"] = json!(ns.name);
        }
        ns.admin.create(&object).await.accepted();
    }
    for i in 0..2 {
        recorded(&cluster, i).await;
        let source = cluster.status(i).await["admin"]["source"].clone();
        let from = format!("COUCHDB_USER and COUCHDB_PASSWORD of container 'couchdb' of pod 'couchdb-{i}'");
        assert_eq!(source, from);
    }
}

/// Waits for an Event of an agent with this reason.
async fn event_of(ns: &TestNamespace, reason: &str) -> Value {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", ns.name);
    until("an Event", DEADLINE, async || {
        let events = ns.admin.get(&path).await.accepted();
        let mut found = events["items"].as_array().into_iter().flatten();
        let event = found.find(|event| event["reason"] == reason && event["reportingController"] != "");
        event.cloned().ok_or(())
    })
    .await
}

async fn is_refused(user: &User, method: Method, path: &str) {
    let answer = user.send(method.clone(), path, &Value::Null).await;
    assert_eq!(answer.code, 403, "{method} {path}: {}", answer.message());
}

fn event(ns: &TestNamespace) -> Value {
    ns.here(json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": "couchdb-0.formed" },
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "couchdiscover.io/agent",
        "reportingInstance": "couchdb-0",
        "action": "Formed",
        "regarding": { "kind": "Pod", "name": "couchdb-0", "namespace": ns.name },
        "reason": "Formed",
        "note": "formed",
        "type": "Normal",
    }))
}

const READS_SECRETS: &str = include_str!("../../../../manifests/examples/agent-reads-secrets.yaml");

/// Applies the example with this many pods, and starts a stand-in node for each. No agent runs yet.
async fn example_cluster(ns: &TestNamespace, nodes: usize) -> TestCluster {
    let mut secrets = vec![companion_secret(&ns.example(), "ck", "sec")];
    for object in manifest::objects(EXAMPLE).unwrap() {
        let mut object = ns.here(object);
        if object["kind"] == "StatefulSet" {
            object["spec"]["replicas"] = json!(nodes);
        }
        ns.admin.apply(&object).await.accepted();
        secrets.extend((object["kind"] == "Secret").then_some(object));
    }
    let config = ns.plane.config(&token(ns, nodes).await);
    let pods = manifest::pods(&ns.stored().await, secrets).unwrap();
    TestCluster::of(pods, Clock::faster(20.0), Some(config), |settings| settings)
}

/// Binds the role of the manifests, as the webhook's controller does.
pub(crate) async fn bind_role(ns: &TestNamespace) {
    let role = yaml(AGENT_ROLE);
    ns.admin.apply(&role).await.accepted();
    let binding = ns.here(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": objects::companion("couchdb") },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": objects::AGENT_CLUSTER_ROLE },
        "subjects": [{ "kind": "ServiceAccount", "name": "couchdb", "namespace": ns.name }],
    }));
    ns.admin.create(&binding).await.accepted();
}

/// A token as the kubelet requests it for the first of this many pods.
pub(crate) async fn token(ns: &TestNamespace, nodes: usize) -> String {
    let pods = ns.pods("couchdb", nodes).await;
    let pod = &pods[0];
    let account = ns.here(json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": pod["spec"]["serviceAccountName"] }
    }));
    let bound = json!({
        "apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]
    });
    let request = json!({ "spec": { "boundObjectRef": bound } });
    let answer = ns.admin.send(Method::POST, &format!("{}/token", path(&account)), &request).await;
    answer.accepted()["status"]["token"].as_str().unwrap().to_owned()
}

/// Waits until the agent of pod `i` watches its StatefulSet, has settled, and has read the founding record.
async fn recorded(cluster: &TestCluster, i: usize) {
    until("a founding record", DEADLINE, async || {
        let status = cluster.status(i).await;
        let found = [&status["kubernetes"], &status["record"], &status["step"]["reason"]];
        if found == ["current", "formed", "Settled"] { Ok(()) } else { Err(status) }
    })
    .await;
}

async fn members(cluster: &TestCluster) -> usize {
    cluster.get(0, "/_membership").await["cluster_nodes"].as_array().unwrap().len()
}

fn lease(ns: &TestNamespace) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}", ns.name, objects::companion("couchdb"))
}
