//! Injected pods under the pod security standards, and as native sidecars.

use contract::keys;
use serde_json::{Value, json};

use crate::namespace::{TestNamespace, agent};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_agent_complies_with_the_restricted_pod_security_standard() {
    let labels = ["enforce", "warn"].map(|mode| (format!("pod-security.kubernetes.io/{mode}"), "restricted"));
    let ns = TestNamespace::labelled("restricted", labels.into_iter().collect()).await;
    let created = ns.admin.create(&ns.example_with(comply)).await;
    assert_eq!(created.warnings, Vec::<String>::new());
    created.accepted();
    assert!(ns.pods("couchdb", 3).await.iter().all(|pod| agent(pod)["image"].is_string()));

    let violating = ns.example_with(|set| set["metadata"]["name"] = json!("violating"));
    let answer = ns.admin.create(&violating).await;
    let [warning] = &*answer.warnings else { panic!("{:?}", answer.warnings) };
    assert!(warning.starts_with("would violate PodSecurity") && warning.contains("couchdb"), "{warning}");
    assert!(!warning.contains(contract::objects::AGENT_CONTAINER), "{warning}");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_native_sidecar_is_an_init_container_of_the_pods() {
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let ns = TestNamespace::labelled("native", labels).await;
    let native = ns.example_with(|set| {
        comply(set);
        set["metadata"]["annotations"] = json!({ keys::SIDECAR: "native" });
    });
    ns.admin.create(&native).await.accepted();
    for pod in ns.pods("couchdb", 3).await {
        let [sidecar] = &**pod["spec"]["initContainers"].as_array().unwrap() else { panic!("{pod}") };
        assert_eq!(sidecar["name"], contract::objects::AGENT_CONTAINER);
        assert_eq!((&sidecar["restartPolicy"], &sidecar["startupProbe"]), (&json!("Always"), &Value::Null));
        assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 1);
    }
}

/// Makes the user's own container comply with the restricted standard.
fn comply(set: &mut Value) {
    set["spec"]["template"]["spec"]["containers"][0]["securityContext"] = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "runAsNonRoot": true,
        "runAsUser": 5984,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
}
