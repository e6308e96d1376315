//! What a cluster thinks of the injected container.

use contract::keys;
use serde_json::{Value, json};

use crate::scene::{Scene, agent};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_agent_obeys_the_restricted_pod_security_standard() {
    let labels = ["enforce", "warn"].map(|mode| (format!("pod-security.kubernetes.io/{mode}"), "restricted"));
    let scene = Scene::labelled("restricted", labels.into_iter().collect()).await;
    let created = scene.admin.create(&scene.example_with(comply)).await;
    assert_eq!(created.warnings, Vec::<String>::new());
    created.taken();
    assert!(scene.pods("couchdb", 3).await.iter().all(|pod| agent(pod)["image"].is_string()));

    let careless = scene.example_with(|set| set["metadata"]["name"] = json!("careless"));
    let answer = scene.admin.create(&careless).await;
    let [warning] = &*answer.warnings else { panic!("{:?}", answer.warnings) };
    assert!(warning.starts_with("would violate PodSecurity") && warning.contains("couchdb"), "{warning}");
    assert!(!warning.contains(contract::objects::AGENT_CONTAINER), "{warning}");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_native_sidecar_is_one_in_the_pods() {
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let scene = Scene::labelled("native", labels).await;
    let native = scene.example_with(|set| {
        comply(set);
        set["metadata"]["annotations"] = json!({ keys::SIDECAR: "native" });
    });
    scene.admin.create(&native).await.taken();
    for pod in scene.pods("couchdb", 3).await {
        let [sidecar] = &**pod["spec"]["initContainers"].as_array().unwrap() else { panic!("{pod}") };
        assert_eq!(sidecar["name"], contract::objects::AGENT_CONTAINER);
        assert_eq!((&sidecar["restartPolicy"], &sidecar["startupProbe"]), (&json!("Always"), &Value::Null));
        assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 1);
    }
}

/// Makes the user's own container one that the standard takes.
fn comply(set: &mut Value) {
    set["spec"]["template"]["spec"]["containers"][0]["securityContext"] = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "runAsNonRoot": true,
        "runAsUser": 5984,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
}
