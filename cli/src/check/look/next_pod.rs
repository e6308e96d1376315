//! A pod of the stored template, created as a dry run: quotas, limits, Pod Security and uid ranges refuse pods, not
//! StatefulSets.

use kube::Client;
use serde_json::{Map, Value, json};

use crate::cluster::{CORE, Lookup, LookupError, create_dry, items, path, string};

/// Returns the API server's refusal; `None` if it would create the pod.
pub(super) async fn refusal(client: &Client, namespace: &str, stored: &Value) -> Lookup<Option<String>> {
    match create_dry(client, &path(CORE, Some(namespace), "pods"), &pod(stored)).await {
        Ok(_) => Ok(None),
        Err(LookupError::Refused(message)) if !concerns_the_caller(&message) => Ok(Some(message)),
        Err(error) => Err(error),
    }
}

/// `true` if the refusal shows nothing about the pods: the user may not create any, or a webhook of another program
/// supports no dry run.
fn concerns_the_caller(message: &str) -> bool {
    message.contains("cannot create resource \"pods\"") || message.contains("does not support dry run")
}

/// The pod that the controller would create next, under a name of its own.
fn pod(stored: &Value) -> Value {
    let set = string(&stored["metadata"]["name"]);
    let template = &stored["spec"]["template"];
    let mut spec = template["spec"].as_object().cloned().unwrap_or_else(Map::new);
    let mut volumes: Vec<Value> = items(&template["spec"]["volumes"]).cloned().collect();
    // The controller adds a volume for each claim template. Mounts of unknown volumes would be refused.
    for claim in items(&stored["spec"]["volumeClaimTemplates"]) {
        let name = string(&claim["metadata"]["name"]);
        volumes.retain(|volume| volume["name"] != name.as_str());
        let source = json!({ "claimName": format!("{name}-{set}-0") });
        volumes.push(json!({ "name": name, "persistentVolumeClaim": source }));
    }
    spec.insert("volumes".to_owned(), Value::Array(volumes));
    let metadata = json!({
        "generateName": format!("{set}-check-"),
        "labels": template["metadata"]["labels"],
        "annotations": template["metadata"]["annotations"],
    });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_has_the_volumes_of_the_claim_templates() {
        let stored = json!({
            "metadata": { "name": "db" },
            "spec": {
                "template": { "metadata": { "labels": { "a": "b" } }, "spec": {
                    "containers": [{ "name": "couchdb" }], "volumes": [{ "name": "ini", "emptyDir": {} }],
                } },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
            },
        });
        let pod = pod(&stored);
        assert_eq!(pod["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"], "data-db-0");
        assert_eq!(
            (&pod["metadata"]["labels"]["a"], &pod["spec"]["volumes"][0]["name"]),
            (&json!("b"), &json!("ini"))
        );
    }

    #[test]
    fn a_refusal_of_the_user_is_none_of_the_pod() {
        assert!(concerns_the_caller(
            "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group \"\""
        ));
        assert!(!concerns_the_caller(
            "pods \"db-0\" is forbidden: exceeded quota: most, requested: limits.cpu=1"
        ));
    }
}
