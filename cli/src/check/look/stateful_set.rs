//! Looking at one labelled StatefulSet and what it needs.

use std::collections::{BTreeMap, BTreeSet};

use contract::{keys, objects};
use kube::Client;
use serde_json::Value;

use super::ask::{self, COORDINATION, CORE, RBAC, at, get, items, list, string};
use super::facts::{Agent, Binding, Found, Headless, Pod, Record, Reference, Seen, Service, Set, Unseen};

/// All that is to be known of it.
pub(super) async fn set(client: &Client, stored: &Value) -> Set {
    let metadata = &stored["metadata"];
    let (name, namespace) = (string(&metadata["name"]), string(&metadata["namespace"]));
    let account = match stored["spec"]["template"]["spec"]["serviceAccountName"].as_str() {
        None | Some("") => "default".to_owned(),
        Some(account) => account.to_owned(),
    };
    let (service, binding, references, record, pods) = tokio::join!(
        service(client, &namespace, stored),
        binding(client, &namespace, &name, &account),
        references(client, &namespace, stored),
        record(client, &namespace, &name),
        pods(client, &namespace, &name, stored),
    );
    Set {
        label: string(&metadata["labels"][keys::INJECT]),
        replicas: stored["spec"]["replicas"].as_u64().and_then(|count| count.try_into().ok()).unwrap_or(1),
        agent: agent(stored),
        service,
        binding,
        references,
        record,
        pods,
        account,
        namespace,
        name,
    }
}

/// The agent in its template, if there is one.
pub(super) fn agent(stored: &Value) -> Option<Agent> {
    let template = &stored["spec"]["template"];
    if !has_agent(&template["spec"]) {
        return None;
    }
    let record = template["metadata"]["annotations"][keys::INJECTED].as_str();
    let record: Option<Value> = record.and_then(|record| serde_json::from_str(record).ok());
    Some(Agent { version: record.and_then(|record| Some(record["version"].as_str()?.to_owned())) })
}

fn has_agent(spec: &Value) -> bool {
    containers(spec).any(|container| container["name"] == objects::AGENT_CONTAINER)
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    items(&spec["containers"]).chain(items(&spec["initContainers"]))
}

async fn service(client: &Client, namespace: &str, stored: &Value) -> Service {
    let name = string(&stored["spec"]["serviceName"]);
    let labels = &stored["spec"]["template"]["metadata"]["labels"];
    let found = match name.as_str() {
        // Nothing has this name, and asking for it would list all.
        "" => Ok(None),
        name => get(client, &at(CORE, Some(namespace), "services"), name).await,
    };
    Service { seen: found.map(|found| found.map(|service| headless(&service["spec"], labels))), name }
}

fn headless(spec: &Value, labels: &Value) -> Headless {
    let selector = spec["selector"].as_object();
    let selects = |selector: &serde_json::Map<String, Value>| {
        !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
    };
    Headless {
        headless: spec["clusterIP"] == "None",
        publishes_not_ready: spec["publishNotReadyAddresses"] == true,
        selects: selector.is_some_and(selects),
    }
}

async fn binding(client: &Client, namespace: &str, name: &str, account: &str) -> Seen<Option<Binding>> {
    let stored = get(client, &at(RBAC, Some(namespace), "rolebindings"), &objects::companion(name)).await?;
    let is_account = |subject: &Value| {
        subject["kind"] == "ServiceAccount" && subject["name"] == account && subject["namespace"] == namespace
    };
    Ok(stored.map(|stored| Binding {
        role: format!("{}/{}", string(&stored["roleRef"]["kind"]), string(&stored["roleRef"]["name"])),
        names_account: items(&stored["subjects"]).any(is_account),
    }))
}

/// What the containers take from Secrets, each once, and whether it is there.
async fn references(client: &Client, namespace: &str, stored: &Value) -> Vec<Reference> {
    let mut keys_of: BTreeMap<String, Seen<Option<BTreeSet<String>>>> = BTreeMap::new();
    let mut references = vec![];
    for (secret, key) in needed(&stored["spec"]["template"]["spec"]) {
        if !keys_of.contains_key(&secret) {
            let found = get(client, &at(CORE, Some(namespace), "secrets"), &secret).await;
            keys_of.insert(secret.clone(), found.map(|found| found.map(keys_only)));
        }
        let found = match &keys_of[&secret] {
            Ok(None) => Ok(Found::NoSecret),
            Ok(Some(keys)) if key.as_ref().is_none_or(|key| keys.contains(key)) => Ok(Found::Here),
            Ok(Some(_)) => Ok(Found::NoKey),
            Err(why) => Err(why.clone()),
        };
        references.push(Reference { secret, key, found });
    }
    references
}

/// Drops the values.
fn keys_only(secret: Value) -> BTreeSet<String> {
    secret["data"].as_object().into_iter().flat_map(|data| data.keys().cloned()).collect()
}

/// The Secrets and keys without which no container starts, in order.
fn needed(spec: &Value) -> BTreeSet<(String, Option<String>)> {
    let env = containers(spec).flat_map(|container| items(&container["env"]));
    let keys = env.map(|variable| &variable["valueFrom"]["secretKeyRef"]);
    let sources = containers(spec).flat_map(|container| items(&container["envFrom"]));
    let all = keys.chain(sources.map(|source| &source["secretRef"]));
    let all = all.filter(|reference| reference.is_object() && reference["optional"] != true);
    all.map(|reference| (string(&reference["name"]), reference["key"].as_str().map(str::to_owned))).collect()
}

async fn record(client: &Client, namespace: &str, name: &str) -> Seen<Record> {
    let lease = get(client, &at(COORDINATION, Some(namespace), "leases"), &objects::companion(name)).await?;
    let annotations = lease.map(|lease| lease["metadata"]["annotations"].clone()).unwrap_or_default();
    let said = |key: &str| annotations[key].as_str().map(str::to_owned);
    let unsaid = || "?".to_owned();
    Ok(match (said(keys::FORMED_UUID), said(keys::RECORD_SCHEMA)) {
        (None, _) => Record::Absent,
        (Some(uuid), Some(schema)) if schema == "1" => Record::Formed {
            at: said(keys::FORMED_AT).unwrap_or_else(unsaid),
            uuid,
            size: said(keys::FORMED_SIZE).unwrap_or_else(unsaid),
        },
        (Some(_), schema) => Record::Newer(schema.unwrap_or_else(unsaid)),
    })
}

async fn pods(client: &Client, namespace: &str, set: &str, stored: &Value) -> Seen<Vec<Pod>> {
    let labels = stored["spec"]["selector"]["matchLabels"].as_object();
    let labels = labels.into_iter().flatten().map(|(key, value)| format!("{key}={}", string(value)));
    let selector = labels.collect::<Vec<_>>().join(",");
    let mut found = vec![];
    for pod in list(client, &at(CORE, Some(namespace), "pods"), &selector).await? {
        if items(&pod["metadata"]["ownerReferences"])
            .any(|owner| owner["kind"] == "StatefulSet" && owner["name"] == set)
        {
            found.push(look_at(client, namespace, &pod).await);
        }
    }
    // couchdb-10 comes after couchdb-9.
    found.sort_by_key(|pod| (pod.name.len(), pod.name.clone()));
    Ok(found)
}

async fn look_at(client: &Client, namespace: &str, pod: &Value) -> Pod {
    let (name, status) = (string(&pod["metadata"]["name"]), &pod["status"]);
    let condition = |kind: &str| items(&status["conditions"]).find(|one| one["type"] == kind);
    let ready = condition("Ready").is_some_and(|ready| ready["status"] == "True");
    let trouble = match ready {
        true => None,
        false => {
            let unscheduled = condition("PodScheduled").filter(|scheduled| scheduled["status"] != "True");
            let unscheduled =
                unscheduled.and_then(|scheduled| Some(scheduled["message"].as_str()?.to_owned()));
            let phase = status["phase"].as_str().map(str::to_ascii_lowercase);
            let agent = agent_says(client, namespace, &name).await;
            let (said, silent) = agent.map_or_else(|why| (None, Some(why)), |said| (said, None));
            // A container that doesn't run explains why its agent is silent.
            said.or(containers_trouble(status)).or(unscheduled).or(silent).or(phase)
        }
    };
    Pod { name, ready, has_agent: has_agent(&pod["spec"]), trouble }
}

/// The first container that doesn't run, and why.
fn containers_trouble(status: &Value) -> Option<String> {
    items(&status["initContainerStatuses"]).chain(items(&status["containerStatuses"])).find_map(trouble)
}

fn trouble(container: &Value) -> Option<String> {
    let waiting = container["state"]["waiting"].as_object()?;
    let reason = waiting.get("reason").and_then(Value::as_str).unwrap_or("waits");
    let last = container["lastState"]["terminated"]["message"].as_str();
    let more = last.or(waiting.get("message").and_then(Value::as_str));
    let more = more.map(|more| format!(": {}", more.trim())).unwrap_or_default();
    Some(format!("container '{}' {reason}{more}", string(&container["name"])))
}

/// The agent's own reason, where the user may ask it through the API server; the error: it doesn't answer.
async fn agent_says(client: &Client, namespace: &str, pod: &str) -> Result<Option<String>, String> {
    let page = ask::agent(client, namespace, pod).await;
    let page = page.map_err(|Unseen(why)| format!("its agent doesn't answer: {why}"))?;
    Ok(page.and_then(|page| {
        let readiness = &page["readiness"];
        Some(format!("{}: {}", readiness["reason"].as_str()?, readiness["message"].as_str()?))
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_container_cannot_start_without_is_needed() {
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
        assert_eq!(needed(&spec), expected.into());
    }

    #[test]
    fn a_container_that_does_not_run_says_why() {
        let said = |state: Value, last: Value| {
            trouble(&json!({ "name": "couchdb", "state": state, "lastState": last })).unwrap_or_default()
        };
        assert_eq!(said(json!({ "running": {} }), Value::Null), "");
        assert_eq!(
            said(
                json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling" } }),
                Value::Null
            ),
            "container 'couchdb' ImagePullBackOff: Back-off pulling"
        );
        let last = json!({ "terminated": { "message": "COUCHDB_USER: missing\n" } });
        assert_eq!(
            said(json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 5m" } }), last),
            "container 'couchdb' CrashLoopBackOff: COUCHDB_USER: missing"
        );
        assert_eq!(said(json!({ "waiting": {} }), Value::Null), "container 'couchdb' waits");
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let good =
            json!({ "clusterIP": "None", "publishNotReadyAddresses": true, "selector": { "app": "a" } });
        let labels = json!({ "app": "a", "more": "b" });
        let all = Headless { headless: true, publishes_not_ready: true, selects: true };
        assert_eq!(headless(&good, &labels), all);
        for selector in [json!({}), Value::Null, json!({ "app": "b" }), json!({ "app": "a", "x": "y" })] {
            let mut other = good.clone();
            other["selector"] = selector;
            assert_eq!(headless(&other, &labels), Headless { selects: false, ..all });
        }
        let bare = Headless { headless: false, publishes_not_ready: false, selects: false };
        assert_eq!(headless(&json!({ "clusterIP": "10.0.0.1" }), &labels), bare);
    }
}
