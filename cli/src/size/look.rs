//! Reads what a change of size depends on.

use contract::keys;
use contract::moves::Plan;
use kube::Client;
use serde_json::Value;

use super::error::SizeError;
use super::facts::SizeFacts;
use super::plan::PlanView;
use crate::cluster::{agent_plan, evidence, get, labelled, pods, stateful_sets, string};

/// Reads a labelled StatefulSet, its pods with their agents' pages, and its Lease.
pub(super) async fn facts(client: &Client, namespace: &str, name: &str) -> Result<SizeFacts, SizeError> {
    let read = |what: &str, error: &dyn std::fmt::Display| SizeError::Read {
        what: format!("{what} '{name}'"),
        reason: error.to_string(),
    };
    let stored = get(client, &stateful_sets(Some(namespace)), name).await;
    let Some(stored) = stored.map_err(|error| read("StatefulSet", &error))? else {
        return Err(SizeError::NotFound { namespace: namespace.to_owned(), name: name.to_owned() });
    };
    if stored["metadata"]["labels"][keys::INJECT] != keys::INJECT_ENABLED {
        return Err(SizeError::NotLabelled { name: name.to_owned() });
    }
    let evidence = evidence(client, namespace, name).await.map_err(|error| read("the Lease of", &error))?;
    let pods = pods(client, namespace, name, &stored).await.map_err(|error| read("the pods of", &error))?;
    Ok(SizeFacts::of(&stored, pods, evidence))
}

/// The names of the labelled StatefulSets, with their namespaces.
pub(super) async fn sets(client: &Client, namespace: &str) -> Result<Vec<(String, String)>, SizeError> {
    let found = labelled(client, Some(namespace)).await;
    let found = found.map_err(|error| SizeError::Read {
        what: "the StatefulSets".to_owned(),
        reason: error.to_string(),
    })?;
    let key = |stored: &Value| {
        let metadata = &stored["metadata"];
        (string(&metadata["namespace"]), string(&metadata["name"]))
    };
    Ok(found.iter().map(key).collect())
}

/// Asks the agents one after another for the plan of a size, until one answers.
pub(super) async fn plan(client: &Client, facts: &SizeFacts, replicas: u32) -> Result<PlanView, SizeError> {
    let mut reason = "it has no pods".to_owned();
    for pod in facts.pods.iter().filter(|pod| pod.has_agent) {
        match agent_plan(client, &facts.namespace, &pod.name, replicas).await {
            Ok(plan) => return Ok(view(facts, plan)),
            Err(error) => reason = format!("{}: {error}", pod.name),
        }
    }
    Err(SizeError::NoPlan { namespace: facts.namespace.clone(), name: facts.name.clone(), reason })
}

fn view(facts: &SizeFacts, plan: Plan) -> PlanView {
    PlanView { namespace: facts.namespace.clone(), name: facts.name.clone(), current: facts.replicas, plan }
}
