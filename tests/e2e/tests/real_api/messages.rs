//! The messages that a user of the real `kubectl` gets.

use std::process::Output;

use contract::keys;
use serde_json::{Value, json};

use crate::namespace::{TestNamespace, template};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_denial_names_every_problem_and_its_fix() {
    let ns = TestNamespace::open("denied").await;
    let invalid = ns.example_with(|set| {
        set["metadata"]["labels"][keys::INJECT] = json!("yes");
    });
    let answer = ns.admin.create(&invalid).await;
    assert_eq!((answer.code, &answer.body["reason"]), (422, &json!("Invalid")));
    assert_eq!(
        answer.message(),
        "admission webhook \"inject.couchdiscover.io\" denied the request: \
         metadata.labels[couchdiscover.io/inject]: 'yes' is neither 'enabled' nor 'disabled'. Fix: set one of the two, or \
         remove the label"
    );
    let invalid = ns.example_with(|set| {
        set["metadata"]["annotations"] = json!({ keys::CLUSTER_SIZE: "0", keys::SIDECAR: "motorcycle" });
    });
    assert_eq!(
        kubectl(&ns, &["create", "-f", "-"], &invalid).await,
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
    assert_eq!(ns.admin.get(&ns.example_path()).await.code, 404);
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn warnings_are_printed_and_the_object_is_created() {
    let ns = TestNamespace::open("warned").await;
    let doubtful = ns.example_with(|set| {
        set["spec"]["replicas"] = json!(2);
        set["spec"]["volumeClaimTemplates"] = json!([]);
        set["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["httpGet"]["path"] = json!("/_up");
        set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([]);
    });
    assert_eq!(
        kubectl(&ns, &["create", "-f", "-"], &doubtful).await,
        (
            Some(0),
            "statefulset.apps/couchdb created\n".to_owned(),
            "Warning: spec.volumeClaimTemplates: missing, so a pod that is moved or deleted loses its databases unless \
             another volume holds them. Fix: add a claim template for CouchDB's data\n\
             Warning: spec.replicas: of 2 nodes, the loss of either leaves no majority. Fix: use 1, or 3 and more\n\
             Warning: spec.template.spec.containers[0].livenessProbe.httpGet.path: '/_up' returns 404 in maintenance \
             mode, so Kubernetes kills a node that is being maintained or filled. Fix: replace it by 'tcpSocket: \
             {port: 5984}'\n"
                .to_owned()
        )
    );
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn applying_the_same_file_again_changes_nothing() {
    let ns = TestNamespace::open("applied").await;
    let example = ns.example();
    let apply = &["apply", "-f", "-"];
    let output = |verb: &str| (Some(0), format!("statefulset.apps/couchdb {verb}\n"), String::new());
    assert_eq!(kubectl(&ns, apply, &example).await, output("created"));
    let created = template(&ns.stored().await);
    // kubectl prints this for every StatefulSet with volumeClaimTemplates, because it doesn't know their defaults.
    assert_eq!(kubectl(&ns, apply, &example).await, output("configured"));
    let nothing = (Some(0), String::new(), String::new());
    assert_eq!(kubectl(&ns, &["diff", "-f", "-"], &example).await, nothing);
    let stored = ns.stored().await;
    assert_eq!((&stored["metadata"]["generation"], template(&stored)), (&json!(1), created));
}

/// Runs `kubectl` with an object as its input. Returns exit code, stdout and stderr.
async fn kubectl(ns: &TestNamespace, arguments: &[&str], object: &Value) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = ns.plane.kubectl(arguments, &object.to_string()).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}
