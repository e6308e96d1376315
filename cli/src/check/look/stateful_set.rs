//! One labelled StatefulSet and the objects that it needs.

use std::collections::{BTreeMap, BTreeSet};

use contract::record::FoundingRecord;
use contract::{keys, objects};
use kube::Client;
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use super::{next_pod, pod_spec};
use crate::check::facts::{
    GoverningService, RecordFacts, RoleBindingFacts, RolloutFacts, Scope, SecretReference, SecretState,
    ServiceFacts, StatefulSetFacts,
};
use crate::cluster::{self, COORDINATION, CORE, Lookup, RBAC, get, items, path, string};

/// Lists the StatefulSets with the label, in one namespace or in all.
///
/// Without the permission to list all namespaces, those of the kubeconfig's namespace are listed.
pub(super) async fn labelled(client: &Client, namespace: Option<&str>) -> (Scope, Lookup<Vec<Value>>) {
    if let Some(namespace) = namespace {
        return (Scope::Namespace(namespace.to_owned()), cluster::labelled(client, Some(namespace)).await);
    }
    match cluster::labelled(client, None).await {
        Ok(stored) => (Scope::All, Ok(stored)),
        Err(error) => {
            // Most often the permission is missing: the admin of one namespace must be able to use `check`.
            let namespace = client.default_namespace().to_owned();
            let stored = cluster::labelled(client, Some(&namespace)).await;
            (Scope::Fallback { namespace, error }, stored)
        }
    }
}

/// Reads what each of the StatefulSets needs.
pub(super) async fn look_at_each(client: &Client, stored: &[Value]) -> Vec<StatefulSetFacts> {
    let mut all = Vec::with_capacity(stored.len());
    // Several at once: each takes a few requests, and clusters have hundreds.
    for some in stored.chunks(AT_ONCE) {
        let mut tasks = JoinSet::new();
        for (index, stateful_set) in some.iter().enumerate() {
            let (client, stateful_set) = (client.clone(), stateful_set.clone());
            tasks.spawn(async move { (index, look(&client, &stateful_set).await) });
        }
        let mut looked = tasks.join_all().await;
        looked.sort_by_key(|(index, _)| *index);
        all.extend(looked.into_iter().map(|(_, facts)| facts));
    }
    all
}

/// StatefulSets that are read at once.
const AT_ONCE: usize = 8;

async fn look(client: &Client, stored: &Value) -> StatefulSetFacts {
    let metadata = &stored["metadata"];
    let (name, namespace) = (string(&metadata["name"]), string(&metadata["namespace"]));
    let account = account(stored);
    let agent = pod_spec::injected_agent(&stored["spec"]["template"]);
    // Concurrently: the six parts do not depend on each other.
    let (next_pod, service, binding, secrets, record, pods) = tokio::join!(
        next_pod(client, &namespace, stored, agent.is_some()),
        service(client, &namespace, stored),
        binding(client, &namespace, &name, &account),
        secrets(client, &namespace, stored),
        record(client, &namespace, &name),
        cluster::pods(client, &namespace, &name, stored),
    );
    StatefulSetFacts {
        label: string(&metadata["labels"][keys::INJECT]),
        replicas: stored["spec"]["replicas"].as_u64().and_then(|count| count.try_into().ok()).unwrap_or(1),
        agent,
        variables: pod_spec::injected_variables(&stored["spec"]["template"]),
        service,
        binding,
        secrets,
        record,
        pods,
        rollout: rollout(stored),
        next_pod,
        account,
        namespace,
        name,
    }
}

async fn next_pod(
    client: &Client,
    namespace: &str,
    stored: &Value,
    is_injected: bool,
) -> Lookup<Option<String>> {
    // Without the agent, the next pod will be another one.
    if is_injected { next_pod::refusal(client, namespace, stored).await } else { Ok(None) }
}

fn rollout(stored: &Value) -> RolloutFacts {
    let (spec, status) = (&stored["spec"], &stored["status"]);
    RolloutFacts {
        // The default of the API.
        in_order: spec["podManagementPolicy"] != "Parallel",
        on_delete: spec["updateStrategy"]["type"] == "OnDelete",
        revision: string(&status["updateRevision"]),
    }
}

fn account(stored: &Value) -> String {
    // The API server does not fill in the name in a template, only in the pods.
    let account = stored["spec"]["template"]["spec"]["serviceAccountName"].as_str();
    account.filter(|account| !account.is_empty()).unwrap_or("default").to_owned()
}

async fn service(client: &Client, namespace: &str, stored: &Value) -> GoverningService {
    let name = string(&stored["spec"]["serviceName"]);
    // spec.serviceName may be empty, and a request for an empty name would list all Services.
    let found = if name.is_empty() {
        Ok(None)
    } else {
        get(client, &path(CORE, Some(namespace), "services"), &name).await
    };
    let labels = &stored["spec"]["template"]["metadata"]["labels"];
    GoverningService {
        found: found.map(|found| found.map(|service| service_facts(&service["spec"], labels))),
        name,
    }
}

fn service_facts(spec: &Value, pod_labels: &Value) -> ServiceFacts {
    ServiceFacts {
        headless: spec["clusterIP"] == "None",
        publishes_not_ready: spec["publishNotReadyAddresses"] == true,
        selects_pods: spec["selector"].as_object().is_some_and(|selector| selects(selector, pod_labels)),
    }
}

/// An empty selector selects nothing.
fn selects(selector: &Map<String, Value>, labels: &Value) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
}

async fn binding(
    client: &Client,
    namespace: &str,
    name: &str,
    account: &str,
) -> Lookup<Option<RoleBindingFacts>> {
    let bindings = path(RBAC, Some(namespace), "rolebindings");
    let Some(stored) = get(client, &bindings, &objects::companion(name)).await? else { return Ok(None) };
    let role = &stored["roleRef"];
    let names_account = items(&stored["subjects"]).any(|subject| {
        subject["kind"] == "ServiceAccount" && subject["name"] == account && subject["namespace"] == namespace
    });
    Ok(Some(RoleBindingFacts {
        role: format!("{}/{}", string(&role["kind"]), string(&role["name"])),
        names_account,
    }))
}

/// Reads each Secret of the containers once.
async fn secrets(client: &Client, namespace: &str, stored: &Value) -> Vec<SecretReference> {
    let mut keys_of: BTreeMap<String, Lookup<Option<BTreeSet<String>>>> = BTreeMap::new();
    let mut references = vec![];
    for (secret, key) in pod_spec::needed_secrets(&stored["spec"]["template"]["spec"]) {
        // Several variables often read keys of the same Secret.
        if !keys_of.contains_key(&secret) {
            let found = get(client, &path(CORE, Some(namespace), "secrets"), &secret).await;
            keys_of.insert(secret.clone(), found.map(|found| found.map(keys_only)));
        }
        let found = match &keys_of[&secret] {
            Ok(keys) => Ok(secret_state(keys.as_ref(), key.as_deref())),
            Err(error) => Err(error.clone()),
        };
        references.push(SecretReference { secret, key, found });
    }
    references
}

fn secret_state(keys: Option<&BTreeSet<String>>, wanted: Option<&str>) -> SecretState {
    match keys {
        None => SecretState::SecretMissing,
        Some(keys) if wanted.is_none_or(|key| keys.contains(key)) => SecretState::Present,
        Some(_) => SecretState::KeyMissing,
    }
}

/// The keys of a Secret; its values are dropped here.
fn keys_only(secret: Value) -> BTreeSet<String> {
    secret["data"].as_object().into_iter().flat_map(|data| data.keys().cloned()).collect()
}

async fn record(client: &Client, namespace: &str, name: &str) -> Lookup<RecordFacts> {
    let leases = path(COORDINATION, Some(namespace), "leases");
    let lease = get(client, &leases, &objects::companion(name)).await?;
    Ok(record_facts(&lease.unwrap_or_default()["metadata"]["annotations"]))
}

fn record_facts(annotations: &Value) -> RecordFacts {
    match FoundingRecord::read(|key| annotations[key].as_str()) {
        FoundingRecord::Absent => RecordFacts::Absent,
        FoundingRecord::Formed { uuid, at, size, .. } => RecordFacts::Formed {
            at: at.unwrap_or(UNKNOWN).to_owned(),
            uuid: uuid.to_owned(),
            size: size.unwrap_or(UNKNOWN).to_owned(),
        },
        FoundingRecord::Newer { schema } => {
            RecordFacts::Newer { schema: schema.unwrap_or(UNKNOWN).to_owned() }
        }
    }
}

/// Shown for a missing annotation of the record.
const UNKNOWN: &str = "?";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_selector_selects_nothing() {
        let good =
            json!({ "clusterIP": "None", "publishNotReadyAddresses": true, "selector": { "app": "a" } });
        let labels = json!({ "app": "a", "more": "b" });
        let all = ServiceFacts { headless: true, publishes_not_ready: true, selects_pods: true };
        assert_eq!(service_facts(&good, &labels), all);
        for selector in [json!({}), Value::Null, json!({ "app": "b" }), json!({ "app": "a", "x": "y" })] {
            let mut other = good.clone();
            other["selector"] = selector;
            assert_eq!(service_facts(&other, &labels), ServiceFacts { selects_pods: false, ..all });
        }
        let none = ServiceFacts { headless: false, publishes_not_ready: false, selects_pods: false };
        assert_eq!(service_facts(&json!({ "clusterIP": "10.0.0.1" }), &labels), none);
    }
}
