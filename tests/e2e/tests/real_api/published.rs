//! What the agent makes of the EndpointSlices that real controllers write for a Service.

use agent::observe::service::Publication;
use agent::observe::service::Service;
use e2e::envtest::path;
use e2e::manifest::{self, EXAMPLE};
use e2e::until::until;
use kube::Client;
use reqwest::Method;
use serde_json::{Value, json};

use crate::agent::{bind_role, token};
use crate::scene::{DEADLINE, Scene};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn why_a_name_is_not_in_dns_is_told_by_the_slices_of_its_service() {
    let scene = Scene::open("published").await;
    bind_role(&scene).await;
    for object in manifest::objects(EXAMPLE).unwrap() {
        if object["kind"] != "Service" {
            scene.admin.create(&scene.here(object)).await.taken();
        }
    }
    let client = Client::try_from(scene.plane.config(&token(&scene, 3).await)).unwrap();
    let me = format!("couchdb-0.couchdb.{}.svc.cluster.local", scene.namespace).parse().unwrap();
    let service = Service { client: Some(client), me };
    for (i, ready) in [true, false, false].into_iter().enumerate() {
        run(&scene, i, ready).await;
    }
    told(&service, Publication::NoPods).await;

    let mut headless = headless(&scene);
    headless["spec"]["publishNotReadyAddresses"] = json!(false);
    scene.admin.create(&headless).await.taken();
    told(&service, Publication::Withheld([1, 2].into())).await;

    let publish = json!({ "spec": { "publishNotReadyAddresses": true } });
    scene.admin.merge(&path(&headless), &publish).await.taken();
    told(&service, Publication::Unknown).await;

    let others = json!({ "spec": { "selector": { "app": "another" } } });
    scene.admin.merge(&path(&headless), &others).await.taken();
    told(&service, Publication::NoPods).await;
}

async fn told(service: &Service, what: Publication) {
    until("the controllers", DEADLINE, async || {
        let publication = service.publication().await;
        if publication == what { Ok(()) } else { Err(publication) }
    })
    .await;
}

/// Does to a pod what a scheduler and a kubelet would. Controllers leave pods out whose machine they don't know.
async fn run(scene: &Scene, i: usize, ready: bool) {
    let pod = scene.here(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("couchdb-{i}") }
    }));
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": format!("machine-{i}") } });
    scene.admin.create(&node).await.taken();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": pod["metadata"], "target": { "kind": "Node", "name": format!("machine-{i}") }
    });
    scene.admin.send(Method::POST, &format!("{}/binding", path(&pod)), &binding).await.taken();
    let ip = format!("10.1.2.{}", i + 3);
    let status = json!({ "status": {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{ "ip": ip }],
        "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
    } });
    scene.admin.merge(&format!("{}/status", path(&pod)), &status).await.taken();
}

fn headless(scene: &Scene) -> Value {
    let objects = manifest::objects(EXAMPLE).unwrap();
    scene.here(objects.into_iter().find(|object| object["kind"] == "Service").unwrap())
}
