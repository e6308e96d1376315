//! Looking at one labelled StatefulSet and what it needs.

use std::collections::{BTreeMap, BTreeSet};

use contract::{keys, objects, ports};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{self as core, ContainerStatus, PodSpec};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ListParams, Request};
use kube::{Api, Client};
use serde_json::Value;

use super::facts::{Agent, Binding, Found, Headless, Pod, Record, Reference, Seen, Service, Set};
use super::gather::seen;

/// All that is to be known of it.
pub(super) async fn set(client: &Client, stored: &StatefulSet) -> Set {
    let name = stored.metadata.name.clone().unwrap_or_default();
    let namespace = stored.metadata.namespace.clone().unwrap_or_default();
    let labels = stored.metadata.labels.as_ref();
    let account = pod_spec(stored).and_then(|spec| spec.service_account_name.clone());
    let account = account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
    let replicas = stored.spec.replicas.unwrap_or(1);
    let (service, binding, references, record, pods) = tokio::join!(
        service(client, &namespace, stored),
        binding(client, &namespace, &name, &account),
        references(client, &namespace, stored),
        record(client, &namespace, &name),
        pods(client, &namespace, &name, stored),
    );
    Set {
        label: labels.and_then(|labels| labels.get(keys::INJECT)).cloned().unwrap_or_default(),
        replicas: usize::try_from(replicas).unwrap_or(0),
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
pub(super) fn agent(stored: &StatefulSet) -> Option<Agent> {
    if !has_agent(pod_spec(stored)?) {
        return None;
    }
    let metadata = stored.spec.template.metadata.as_ref();
    let record = metadata.and_then(|metadata| metadata.annotations.as_ref()?.get(keys::INJECTED));
    let record: Option<Value> = record.and_then(|record| serde_json::from_str(record).ok());
    Some(Agent { version: record.and_then(|record| Some(record["version"].as_str()?.to_owned())) })
}

fn has_agent(spec: &PodSpec) -> bool {
    containers(spec).any(|container| container.name == objects::AGENT_CONTAINER)
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &core::Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

fn pod_spec(stored: &StatefulSet) -> Option<&PodSpec> {
    stored.spec.template.spec.as_ref()
}

async fn service(client: &Client, namespace: &str, stored: &StatefulSet) -> Service {
    let name = stored.spec.service_name.clone().unwrap_or_default();
    let services: Api<core::Service> = Api::namespaced(client.clone(), namespace);
    let template = stored.spec.template.metadata.as_ref();
    let labels = template.and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
    let read = |service: core::Service| headless(&service.spec.unwrap_or_default(), &labels);
    let found = match name.as_str() {
        // Nothing has this name, and asking for it would list all.
        "" => Ok(None),
        name => seen(services.get_opt(name).await),
    };
    Service { seen: found.map(|found| found.map(read)), name }
}

fn headless(spec: &core::ServiceSpec, labels: &BTreeMap<String, String>) -> Headless {
    let selector = spec.selector.clone().unwrap_or_default();
    Headless {
        headless: spec.cluster_ip.as_deref() == Some("None"),
        publishes_not_ready: spec.publish_not_ready_addresses == Some(true),
        selects: !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value)),
    }
}

async fn binding(client: &Client, namespace: &str, name: &str, account: &str) -> Seen<Option<Binding>> {
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    let stored = seen(bindings.get_opt(&objects::companion(name)).await)?;
    Ok(stored.map(|stored| Binding {
        role: format!("{}/{}", stored.role_ref.kind, stored.role_ref.name),
        names_account: stored.subjects.iter().flatten().any(|subject| {
            let here = subject.namespace.as_deref() == Some(namespace);
            subject.kind == "ServiceAccount" && subject.name == account && here
        }),
    }))
}

/// What the containers take from Secrets, each once, and whether it is there.
async fn references(client: &Client, namespace: &str, stored: &StatefulSet) -> Vec<Reference> {
    let secrets: Api<core::Secret> = Api::namespaced(client.clone(), namespace);
    let mut keys_of: BTreeMap<String, Seen<Option<BTreeSet<String>>>> = BTreeMap::new();
    let mut references = vec![];
    for (secret, key) in pod_spec(stored).map(needed).unwrap_or_default() {
        if !keys_of.contains_key(&secret) {
            let found = seen(secrets.get_opt(&secret).await);
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
fn keys_only(secret: core::Secret) -> BTreeSet<String> {
    secret.data.unwrap_or_default().into_keys().collect()
}

/// The Secrets and keys without which no container starts, in order.
fn needed(spec: &PodSpec) -> BTreeSet<(String, Option<String>)> {
    let env = containers(spec).flat_map(|container| container.env.iter().flatten());
    let refs = env.filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
    let refs = refs.filter(|reference| reference.optional != Some(true));
    let keys = refs.map(|reference| (reference.name.clone(), Some(reference.key.clone())));
    let sources = containers(spec).flat_map(|container| container.env_from.iter().flatten());
    let sources = sources.filter_map(|source| source.secret_ref.as_ref());
    let sources = sources.filter(|source| source.optional != Some(true));
    keys.chain(sources.map(|source| (source.name.clone(), None))).collect()
}

async fn record(client: &Client, namespace: &str, name: &str) -> Seen<Record> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let lease = seen(leases.get_opt(&objects::companion(name)).await)?;
    let annotations = lease.and_then(|lease| lease.metadata.annotations).unwrap_or_default();
    let said = |key: &str| annotations.get(key).cloned();
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

async fn pods(client: &Client, namespace: &str, set: &str, stored: &StatefulSet) -> Seen<Vec<Pod>> {
    let labels = stored.spec.selector.match_labels.clone().unwrap_or_default();
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pods: Api<core::Pod> = Api::namespaced(client.clone(), namespace);
    let list = seen(pods.list(&ListParams::default().labels(&labels.join(","))).await)?;
    let mut found = vec![];
    for pod in list.items.iter().filter(|pod| is_owned_by(pod, set)) {
        found.push(look_at(client, namespace, pod).await);
    }
    // couchdb-10 comes after couchdb-9.
    found.sort_by_key(|pod| (pod.name.len(), pod.name.clone()));
    Ok(found)
}

fn is_owned_by(pod: &core::Pod, set: &str) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.kind == "StatefulSet" && owner.name == set)
}

async fn look_at(client: &Client, namespace: &str, pod: &core::Pod) -> Pod {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().flatten().find(|one| one.type_ == kind);
    let ready = condition("Ready").is_some_and(|ready| ready.status == "True");
    let trouble = match ready {
        true => None,
        false => {
            let of_kubernetes = containers_trouble(&status);
            let unscheduled = condition("PodScheduled").filter(|scheduled| scheduled.status != "True");
            let unscheduled = unscheduled.and_then(|scheduled| scheduled.message.clone());
            let phase = status.phase.clone().map(|phase| phase.to_ascii_lowercase());
            agent_says(client, namespace, &name).await.or(of_kubernetes).or(unscheduled).or(phase)
        }
    };
    Pod { name, ready, has_agent: pod.spec.as_ref().is_some_and(has_agent), trouble }
}

/// The first container that doesn't run, and why.
fn containers_trouble(status: &core::PodStatus) -> Option<String> {
    let all =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    all.into_iter().find_map(trouble)
}

fn trouble(ContainerStatus { name, state, last_state, .. }: &ContainerStatus) -> Option<String> {
    let waiting = state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or("waiting");
    let last = last_state.as_ref().and_then(|last| last.terminated.as_ref()?.message.as_deref());
    let more = last.or(waiting.message.as_deref()).map(|more| format!(": {}", more.trim()));
    Some(format!("container '{name}' {reason}{}", more.unwrap_or_default()))
}

/// The agent's own reason, where the user may ask it through the API server.
async fn agent_says(client: &Client, namespace: &str, pod: &str) -> Option<String> {
    let url = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{}/proxy", ports::AGENT);
    let request = Request::new(url).get(ports::STATUS.trim_start_matches('/'), &Default::default()).ok()?;
    let page: Value = client.request(request).await.ok()?;
    let readiness = &page["readiness"];
    Some(format!("{}: {}", readiness["reason"].as_str()?, readiness["message"].as_str()?))
}
