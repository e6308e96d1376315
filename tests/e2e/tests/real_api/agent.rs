//! A real agent as the service account of its pod, with the role that ships and without.

use contract::{keys, objects};
use e2e::envtest::{User, path};
use e2e::manifest::{self, EXAMPLE, companion_secret};
use e2e::stage::Stage;
use e2e::until::until;
use reqwest::Method;
use sandbox::couchdb::{CallFilter, Clock};
use serde_json::{Value, json};

use crate::literals::{AGENT_ROLE, yaml};
use crate::scene::{DEADLINE, Scene};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn with_its_role_an_agent_follows_the_size_and_records_the_founding() {
    let scene = Scene::open("with-role").await;
    bind_role(&scene).await;
    let mut stage = play(&scene, 4).await;
    let scale = format!("{}/scale", scene.example_path());
    scene.admin.merge(&scale, &json!({ "spec": { "replicas": 3 } })).await.taken();
    stage.node(3).kill();
    stage.start_agents(0..3).await;
    for i in 0..3 {
        recorded(&stage, i).await;
    }
    assert_eq!(members(&stage).await, 3);

    let lease = scene.admin.get(&lease(&scene)).await.taken();
    let record = &lease["metadata"]["annotations"];
    assert_eq!((&record[keys::FORMED_SIZE], &record[keys::RECORD_SCHEMA]), (&json!("3"), &json!("1")));
    let set = scene.stored().await;
    let formed = event_of(&scene, "Formed").await;
    assert_eq!(formed["regarding"]["uid"], set["metadata"]["uid"], "kubectl describe looks for it by uid");
    assert_eq!(formed["reportingController"], "couchdiscover.io/agent");
    assert_eq!(event_of(&scene, "Joined").await["type"], "Normal");
    assert_eq!(record[keys::FORMED_UUID], stage.ask_node(1, "/").await["uuid"]);
    assert_eq!(lease["metadata"]["managedFields"][0]["manager"], objects::AGENT_CONTAINER);

    stage.node(3).start().unwrap();
    scene.admin.merge(&scale, &json!({ "spec": { "replicas": 4 } })).await.taken();
    stage.start_agent(3).await;
    for i in 0..4 {
        recorded(&stage, i).await;
    }
    assert_eq!(members(&stage).await, 4);
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn without_its_role_an_agent_says_so_and_takes_the_injected_size() {
    let scene = Scene::open("without-role").await;
    let mut stage = play(&scene, 3).await;
    stage.start_agents(0..3).await;
    for i in 0..3 {
        stage.says(i, "Settled").await;
        assert_eq!(stage.status(i).await["kubernetes"], "forbidden");
    }
    assert_eq!(members(&stage).await, 3);
    assert_eq!(
        stage.net.calls_of(&CallFilter::all().writes().below("/_cluster_setup")).len(),
        1,
        "one founding"
    );
    assert_eq!(scene.admin.get(&lease(&scene)).await.code, 404);

    bind_role(&scene).await;
    for i in 0..3 {
        // The role is found without a restart.
        recorded(&stage, i).await;
    }
    scene.admin.get(&lease(&scene)).await.taken();
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_role_lets_an_agent_do_nothing_else() {
    let scene = Scene::open("only-this").await;
    bind_role(&scene).await;
    scene.admin.create(&scene.example()).await.taken();
    let user = scene.plane.user(&token(&scene, 3).await);
    let here = |api: &str, rest: &str| format!("/{api}/namespaces/{}/{rest}", scene.namespace);
    for path in [
        here("apis/apps/v1", "statefulsets/couchdb"),
        here("apis/apps/v1", "statefulsets"),
        here("api/v1", "pods"),
        here("apis/discovery.k8s.io/v1", "endpointslices"),
        here("apis/coordination.k8s.io/v1", "leases"),
    ] {
        user.get(&path).await.taken();
    }
    user.create(&event(&scene)).await.taken();
    for (method, path) in [
        (Method::GET, here("api/v1", "secrets")),
        (Method::GET, here("api/v1", "secrets/couchdb-admin")),
        (Method::GET, here("api/v1", "configmaps")),
        (Method::GET, here("api/v1", "events")),
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
async fn with_the_examples_role_an_agent_reads_what_was_not_injected() {
    let scene = Scene::open("reads-secrets").await;
    bind_role(&scene).await;
    let mut stage = play(&scene, 2).await;
    for (user, password) in contract::env::CREDENTIALS {
        stage.set(user, "");
        stage.set(password, "");
    }
    stage.start_agents(0..2).await;
    let says = stage.says(0, "CredentialsForbidden").await;
    assert!(says.contains("may not read Secret 'couchdb-admin'"), "{says}");
    for object in manifest::objects(READS_SECRETS).unwrap() {
        let mut object = scene.here(object);
        if object["kind"] == "RoleBinding" {
            object["subjects"][0]["namespace"] = json!(scene.namespace);
        }
        scene.admin.create(&object).await.taken();
    }
    for i in 0..2 {
        recorded(&stage, i).await;
        let source = stage.status(i).await["admin"]["source"].clone();
        let from = format!("COUCHDB_USER and COUCHDB_PASSWORD of container 'couchdb' of pod 'couchdb-{i}'");
        assert_eq!(source, from);
    }
}

/// Waits for an Event that an agent made.
async fn event_of(scene: &Scene, reason: &str) -> Value {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", scene.namespace);
    until("an Event", DEADLINE, async || {
        let events = scene.admin.get(&path).await.taken();
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

fn event(scene: &Scene) -> Value {
    scene.here(json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": "couchdb-0.formed" },
        "involvedObject": { "kind": "Pod", "name": "couchdb-0", "namespace": scene.namespace },
        "reason": "Formed",
        "message": "formed",
        "type": "Normal",
    }))
}

const READS_SECRETS: &str = include_str!("../../../../manifests/examples/agent-reads-secrets.yaml");

/// The example with so many pods and all that it needs, and a stand-in node for each; no agent runs yet.
async fn play(scene: &Scene, nodes: usize) -> Stage {
    let mut secrets = vec![companion_secret(&scene.example(), "ck", "sec")];
    for object in manifest::objects(EXAMPLE).unwrap() {
        let mut object = scene.here(object);
        if object["kind"] == "StatefulSet" {
            object["spec"]["replicas"] = json!(nodes);
        }
        scene.admin.create(&object).await.taken();
        secrets.extend((object["kind"] == "Secret").then_some(object));
    }
    let config = scene.plane.config(&token(scene, nodes).await);
    let pods = manifest::pods(&scene.stored().await, secrets).unwrap();
    Stage::of(pods, Clock::faster(20.0), Some(config), |settings| settings)
}

/// Binds the role that ships as the webhook's controller does.
pub(crate) async fn bind_role(scene: &Scene) {
    let role = yaml(AGENT_ROLE);
    scene.admin.apply(&role).await.taken();
    let binding = scene.here(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": objects::companion("couchdb") },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": objects::AGENT_CLUSTER_ROLE },
        "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": scene.namespace }],
    }));
    scene.admin.create(&binding).await.taken();
}

/// A token such as the kubelet gets for the first of so many pods.
pub(crate) async fn token(scene: &Scene, nodes: usize) -> String {
    let pods = scene.pods("couchdb", nodes).await;
    let pod = &pods[0];
    let account = scene.here(json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": pod["spec"]["serviceAccountName"] }
    }));
    let bound = json!({
        "apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]
    });
    let request = json!({ "spec": { "boundObjectRef": bound } });
    let answer = scene.admin.send(Method::POST, &format!("{}/token", path(&account)), &request).await;
    answer.taken()["status"]["token"].as_str().unwrap().to_owned()
}

/// Waits until the agent of pod `i` follows its StatefulSet, has settled, and has seen the founding written down.
async fn recorded(stage: &Stage, i: usize) {
    until("a founding record", DEADLINE, async || {
        let status = stage.status(i).await;
        let found = [&status["kubernetes"], &status["record"], &status["step"]["reason"]];
        match found == ["current", "formed", "Settled"] {
            true => Ok(()),
            false => Err(status),
        }
    })
    .await;
}

async fn members(stage: &Stage) -> usize {
    stage.ask_node(0, "/_membership").await["cluster_nodes"].as_array().unwrap().len()
}

fn lease(scene: &Scene) -> String {
    format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}",
        scene.namespace,
        objects::companion("couchdb")
    )
}
