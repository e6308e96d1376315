//! Rolling updates of CouchDB, of the agent and of the password, and more nodes.

use std::time::Duration;

use contract::keys;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::set::{NAME, Set, example};

#[tokio::test]
#[ignore = "needs a cluster"]
async fn no_acknowledged_write_is_lost_while_couchdb_and_agent_are_updated() {
    let set = Set::formed("updates", &example()).await;
    set.write("shop", 0..5).await;

    // A change of CouchDB's container restarts the pods one by one.
    let variable = json!([{ "op": "add", "path": "/spec/template/spec/containers/0/env/-",
        "value": { "name": "UPDATED", "value": "1" } }]);
    set.kubectl.run(&["patch", "statefulset", NAME, "--type=json", "--patch", &variable.to_string()]).await;
    let acknowledged = write_until_settled(&set, 100).await;
    read_all(&set, &acknowledged).await;

    // The annotation alone takes effect with the next change of the pods; `refresh` is that change.
    let image = format!("couchdiscover-agent:{}-next", env!("CARGO_PKG_VERSION"));
    set.patch(&json!({ "metadata": { "annotations": { keys::AGENT_IMAGE: image, keys::REFRESH: "1" } } }))
        .await;
    let acknowledged = write_until_settled(&set, 1000).await;
    read_all(&set, &acknowledged).await;
    set.read("shop", 0..5).await;
    for pod in set.pods().await {
        let containers = pod["spec"]["containers"].as_array().unwrap();
        let agent = containers.iter().find(|c| c["name"] == contract::objects::AGENT_CONTAINER).unwrap();
        assert_eq!(agent["image"], json!(image));
    }
    set.delete().await;
}

/// The time for a write: the address of a pod that is gone does not refuse, it is silent.
const WRITE: Duration = Duration::from_secs(2);

/// Writes until the set is settled. Returns the ids that a majority has acknowledged.
async fn write_until_settled(set: &Set, first: u32) -> Vec<u32> {
    let mut acknowledged = Vec::new();
    let writer = async {
        for id in first.. {
            let pods = set.pods().await;
            let Some(pod) = pods.get(id as usize % pods.len().max(1)) else { continue };
            let path = format!("/shop/{id}");
            let call = set.call(pod, Method::PUT, &path, json!({ "id": id }));
            let answer = timeout(WRITE, call).await.unwrap_or_else(|late| Err(late.to_string()));
            // A pod that is being replaced does not answer: then the client must write again.
            if answer.is_ok_and(|(status, _)| status == 201) {
                acknowledged.push(id);
            }
        }
    };
    tokio::select! {
        () = writer => {}
        () = set.until_settled(3) => {}
    }
    // A machine that is busy with three restarts may not find time for many.
    assert!(acknowledged.len() >= 3, "only {acknowledged:?} were written during the update");
    acknowledged
}

async fn read_all(set: &Set, ids: &[u32]) {
    for pod in set.pods().await {
        for id in ids {
            let (status, body) =
                set.call(&pod, Method::GET, &format!("/shop/{id}"), Value::Null).await.unwrap();
            assert_eq!(status, 200, "/shop/{id} on {}: {body}", pod["metadata"]["name"]);
        }
    }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_changed_password_is_rolled_out_and_a_larger_set_grows() {
    let set = Set::formed("password", &example()).await;
    set.write("shop", 0..5).await;
    let secret = json!({ "stringData": { "password": "another" } }).to_string();
    set.kubectl.run(&["patch", "secret", "couchdb-admin", "--patch", &secret]).await;
    set.kubectl.run(&["rollout", "restart", "statefulset", NAME]).await;
    set.until_settled(3).await;
    set.read("shop", 0..5).await;

    let before: Vec<String> = [set.uid("couchdb-0").await, set.uid("couchdb-2").await].into();
    set.kubectl.run(&["scale", "statefulset", NAME, "--replicas=5"]).await;
    set.until_settled(5).await;
    set.read("shop", 0..5).await;
    assert_eq!(before, [set.uid("couchdb-0").await, set.uid("couchdb-2").await], "a pod was restarted");
    set.delete().await;
}
