//! The containers of a pod spec: the agent among them, and the Secrets that they read.

use std::collections::BTreeSet;

use contract::keys;
use serde_json::Value;

use crate::check::facts::InjectedAgent;
use crate::cluster::{containers, has_agent, items, string};

/// The agent in a pod template, if there is one.
pub(super) fn injected_agent(template: &Value) -> Option<InjectedAgent> {
    if !has_agent(&template["spec"]) {
        return None;
    }
    // The webhook adds the record with the agent. An agent of the user's own manifest has none.
    let version = record(template).and_then(|record| Some(record["version"].as_str()?.to_owned()));
    Some(InjectedAgent { version })
}

/// The names of the injected variables. They stay in the template when the user opts out.
pub(super) fn injected_variables(template: &Value) -> Vec<String> {
    let record = record(template).unwrap_or_default();
    let containers = record["env"].as_object().into_iter().flatten();
    containers
        .flat_map(|(_, variables)| variables.as_object().into_iter().flatten())
        .map(|(name, _)| name.clone())
        .collect()
}

/// The record of the injection.
fn record(template: &Value) -> Option<Value> {
    let annotation = template["metadata"]["annotations"][keys::INJECTED].as_str()?;
    serde_json::from_str(annotation).ok()
}

/// The Secrets and keys without which a container does not start, in order.
pub(super) fn needed_secrets(spec: &Value) -> BTreeSet<(String, Option<String>)> {
    let env = containers(spec).flat_map(|container| items(&container["env"]));
    let by_key = env.map(|variable| &variable["valueFrom"]["secretKeyRef"]);
    let sources = containers(spec).flat_map(|container| items(&container["envFrom"]));
    by_key
        .chain(sources.map(|source| &source["secretRef"]))
        // A container starts without an optional reference.
        .filter(|reference| reference.is_object() && reference["optional"] != true)
        .map(|reference| (string(&reference["name"]), reference["key"].as_str().map(str::to_owned)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_secrets_that_a_container_needs_to_start_are_read() {
        let spec = json!({
            "initContainers": [{ "name": "a", "envFrom": [
                { "secretRef": { "name": "all" } }, { "secretRef": { "name": "maybe", "optional": true } },
                { "configMapRef": { "name": "other" } },
            ] }],
            "containers": [{ "name": "b", "env": [
                { "name": "P", "valueFrom": { "secretKeyRef": { "name": "one", "key": "k" } } },
                { "name": "Q", "valueFrom": { "secretKeyRef": { "name": "one", "key": "k" } } },
                { "name": "R", "valueFrom": { "secretKeyRef": { "name": "one", "key": "m", "optional": true } } },
                { "name": "S", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                { "name": "T", "value": "x" },
            ] }],
        });
        let expected = [("all".to_owned(), None), ("one".to_owned(), Some("k".to_owned()))];
        assert_eq!(needed_secrets(&spec), expected.into());
    }
}
