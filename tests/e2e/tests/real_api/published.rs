//! The agent's reading of the EndpointSlices that real controllers write for a Service.

use agent::observe::service::Publication;
use agent::observe::service::Service;
use e2e::envtest::path;
use e2e::manifest::{self, EXAMPLE};
use e2e::until::until;
use kube::Client;
use reqwest::Method;
use serde_json::{Value, json};

use crate::agent::{bind_role, token};
use crate::namespace::{DEADLINE, TestNamespace};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn endpoint_slices_show_the_reason_of_names_that_are_missing_from_dns() {
    let ns = TestNamespace::open("published").await;
    bind_role(&ns).await;
    for object in manifest::objects(EXAMPLE).unwrap() {
        if object["kind"] != "Service" {
            ns.admin.apply(&ns.here(object)).await.accepted();
        }
    }
    let client = Client::try_from(ns.plane.config(&token(&ns, 3).await)).unwrap();
    let me = format!("couchdb-0.couchdb.{}.svc.cluster.local", ns.name).parse().unwrap();
    let service = Service { client: Some(client), me };
    for (i, ready) in [true, false, false].into_iter().enumerate() {
        run(&ns, i, ready).await;
    }
    until_published(&service, Publication::NoPods).await;

    let mut headless = headless(&ns);
    headless["spec"]["publishNotReadyAddresses"] = json!(false);
    ns.admin.create(&headless).await.accepted();
    until_published(&service, Publication::Withheld([1, 2].into())).await;

    let publish = json!({ "spec": { "publishNotReadyAddresses": true } });
    ns.admin.merge(&path(&headless), &publish).await.accepted();
    until_published(&service, Publication::Unknown).await;

    let others = json!({ "spec": { "selector": { "app": "another" } } });
    ns.admin.merge(&path(&headless), &others).await.accepted();
    until_published(&service, Publication::NoPods).await;
}

/// Waits until the controllers have written these EndpointSlices.
async fn until_published(service: &Service, expected: Publication) {
    until("the EndpointSlices", DEADLINE, async || {
        let publication = service.publication().await;
        if publication == expected { Ok(()) } else { Err(publication) }
    })
    .await;
}

/// Binds a pod to a node and sets its status, as a scheduler and a kubelet do. The node must exist: controllers ignore
/// pods on unknown nodes.
async fn run(ns: &TestNamespace, i: usize, ready: bool) {
    let pod = ns.here(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("couchdb-{i}") }
    }));
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": format!("machine-{i}") } });
    ns.admin.create(&node).await.accepted();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": pod["metadata"], "target": { "kind": "Node", "name": format!("machine-{i}") }
    });
    ns.admin.send(Method::POST, &format!("{}/binding", path(&pod)), &binding).await.accepted();
    let ip = format!("10.1.2.{}", i + 3);
    let status = json!({ "status": {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{ "ip": ip }],
        "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
    } });
    ns.admin.merge(&format!("{}/status", path(&pod)), &status).await.accepted();
}

fn headless(ns: &TestNamespace) -> Value {
    let objects = manifest::objects(EXAMPLE).unwrap();
    ns.here(objects.into_iter().find(|object| object["kind"] == "Service").unwrap())
}
