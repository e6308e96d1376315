//! What a user reads, through the real `kubectl`.

use std::process::Output;

use contract::keys;
use serde_json::{Value, json};

use crate::scene::{Scene, template};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_denial_names_every_problem_and_its_cure() {
    let scene = Scene::open("denied").await;
    let wrong = scene.example_with(|set| {
        set["metadata"]["labels"][keys::INJECT] = json!("yes");
    });
    let answer = scene.admin.create(&wrong).await;
    assert_eq!((answer.code, &answer.body["reason"]), (422, &json!("Invalid")));
    assert_eq!(
        answer.message(),
        "admission webhook \"inject.couchdiscover.io\" denied the request: \
         metadata.labels[couchdiscover.io/inject]: 'yes' is neither 'enabled' nor 'disabled'. Fix: set one of the two, or \
         remove the label"
    );
    let wrong = scene.example_with(|set| {
        set["metadata"]["annotations"] = json!({ keys::CLUSTER_SIZE: "0", keys::SIDECAR: "motorcycle" });
    });
    assert_eq!(
        kubectl(&scene, &["create", "-f", "-"], &wrong).await,
        (
            Some(1),
            String::new(),
            "The request is invalid: error when creating \"STDIN\": admission webhook \"inject.couchdiscover.io\" denied \
             the request: 2 problems:\n\
             - metadata.annotations[couchdiscover.io/cluster-size]: '0' is not a cluster size. Fix: use a whole number from 1\n\
             - metadata.annotations[couchdiscover.io/sidecar]: 'motorcycle' is invalid. Fix: use 'container' or 'native'\n"
                .to_owned()
        )
    );
    assert_eq!(scene.admin.get(&scene.example_path()).await.code, 404);
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn warnings_are_printed_and_stop_nobody() {
    let scene = Scene::open("warned").await;
    let doubtful = scene.example_with(|set| {
        set["spec"]["replicas"] = json!(2);
        set["spec"]["volumeClaimTemplates"] = json!([]);
        set["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["httpGet"]["path"] = json!("/_up");
        set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([]);
    });
    assert_eq!(
        kubectl(&scene, &["create", "-f", "-"], &doubtful).await,
        (
            Some(0),
            "statefulset.apps/couchdb created\n".to_owned(),
            "Warning: spec.volumeClaimTemplates: missing, so a pod that is moved or deleted loses its databases unless \
             another volume holds them. Fix: add a claim template for CouchDB's data\n\
             Warning: spec.replicas: of 2 nodes, the loss of either leaves no majority. Fix: use 1, or 3 and more\n\
             Warning: spec.template.spec.containers[0].livenessProbe.httpGet.path: '/_up' returns 404 in maintenance \
             mode, so Kubernetes would kill a node that is being maintained. Fix: probe '/' for liveness\n"
                .to_owned()
        )
    );
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn applying_the_same_file_again_changes_nothing() {
    let scene = Scene::open("applied").await;
    let example = scene.example();
    let apply = &["apply", "-f", "-"];
    let said = |text: &str| (Some(0), format!("statefulset.apps/couchdb {text}\n"), String::new());
    assert_eq!(kubectl(&scene, apply, &example).await, said("created"));
    let created = template(&scene.stored().await);
    // That is what it says of every StatefulSet with volumeClaimTemplates, whose defaults it doesn't know.
    assert_eq!(kubectl(&scene, apply, &example).await, said("configured"));
    let nothing = (Some(0), String::new(), String::new());
    assert_eq!(kubectl(&scene, &["diff", "-f", "-"], &example).await, nothing);
    let stored = scene.stored().await;
    assert_eq!((&stored["metadata"]["generation"], template(&stored)), (&json!(1), created));
}

/// The exit code, what goes to stdout, and what goes to stderr.
async fn kubectl(scene: &Scene, arguments: &[&str], object: &Value) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = scene.plane.kubectl(arguments, &object.to_string()).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}
