//! The pods of a StatefulSet, and the reason why one is not ready.

use contract::status::{Page, StateReport};
use contract::{objects, workload};
use kube::Client;
use serde_json::Value;

use super::json::{items, string};
use super::lookup::{Lookup, LookupError};
use super::request::{CORE, agent_status, list, path};

/// A pod of a StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodFacts {
    /// `metadata.name`.
    pub(crate) name: String,
    /// `true` if the pod's condition `Ready` is true.
    pub(crate) ready: bool,
    /// `true` if the agent is one of the containers.
    pub(crate) has_agent: bool,
    /// Revision of the template that it was created from.
    pub(crate) revision: String,
    /// Reason why the pod is not ready, if one is known.
    pub(crate) problem: Option<String>,
    /// The page of its agent; `None` if the agent was not asked or does not answer.
    pub(crate) page: Option<Box<Page>>,
}

/// Reads the pods that a StatefulSet owns.
pub(crate) async fn pods(
    client: &Client,
    namespace: &str,
    owner: &str,
    stored: &Value,
) -> Lookup<Vec<PodFacts>> {
    let selector = selector(&stored["spec"]["selector"]["matchLabels"]);
    let mut pods = vec![];
    for pod in list(client, &path(CORE, Some(namespace), "pods"), &selector).await? {
        // Other pods may have the same labels.
        if is_owned_by(&pod, owner) {
            pods.push(look_at(client, namespace, &pod).await);
        }
    }
    // By length first: couchdb-10 follows couchdb-9.
    pods.sort_by_key(|pod| (pod.name.len(), pod.name.clone()));
    Ok(pods)
}

/// `true` if the agent is one of the containers of a pod spec.
pub(crate) fn has_agent(spec: &Value) -> bool {
    containers(spec).any(|container| container["name"] == objects::AGENT_CONTAINER)
}

/// All containers of a pod spec, init containers included.
pub(crate) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    items(&spec["containers"]).chain(items(&spec["initContainers"]))
}

fn selector(labels: &Value) -> String {
    let labels = labels.as_object().into_iter().flatten();
    let terms: Vec<String> = labels.map(|(key, value)| format!("{key}={}", string(value))).collect();
    terms.join(",")
}

fn is_owned_by(pod: &Value, owner: &str) -> bool {
    items(&pod["metadata"]["ownerReferences"])
        .any(|reference| reference["kind"] == workload::KIND && reference["name"] == owner)
}

async fn look_at(client: &Client, namespace: &str, pod: &Value) -> PodFacts {
    let name = string(&pod["metadata"]["name"]);
    let status = &pod["status"];
    let ready = condition(status, "Ready").is_some_and(|ready| ready["status"] == "True");
    let has_agent = has_agent(&pod["spec"]);
    // Agents of ready pods may report conditions as well.
    let page = if has_agent || !ready { agent_status(client, namespace, &name).await } else { Ok(None) };
    let problem = if ready { None } else { problem(page.as_ref(), status) };
    let page = page.ok().flatten().map(Box::new);
    let revision = string(&pod["metadata"]["labels"]["controller-revision-hash"]);
    PodFacts { name, ready, has_agent, revision, problem, page }
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    items(&status["conditions"]).find(|condition| condition["type"] == kind)
}

/// The most precise reason why a pod is not ready.
fn problem(page: Result<&Option<Page>, &LookupError>, status: &Value) -> Option<String> {
    let no_answer = match page {
        Ok(page) => match page.as_ref().and_then(readiness) {
            Some(reason) => return Some(reason),
            None => None,
        },
        Err(error) => Some(format!("its agent does not answer: {error}")),
    };
    // A container that does not run explains why the agent does not answer, so it comes first.
    container_problem(status)
        .or_else(|| unscheduled(status))
        .or(no_answer)
        .or_else(|| status["phase"].as_str().map(str::to_ascii_lowercase))
}

/// The agent's own reason.
fn readiness(page: &Page) -> Option<String> {
    let StateReport { reason, message, .. } = &page.readiness;
    // Another release may not have these fields, which then read as empty.
    if reason.is_empty() || message.is_empty() {
        return None;
    }
    Some(format!("{reason}: {message}"))
}

fn unscheduled(status: &Value) -> Option<String> {
    let scheduled = condition(status, "PodScheduled").filter(|scheduled| scheduled["status"] != "True")?;
    Some(scheduled["message"].as_str()?.to_owned())
}

/// The first container that does not run, with the reason.
fn container_problem(status: &Value) -> Option<String> {
    items(&status["initContainerStatuses"]).chain(items(&status["containerStatuses"])).find_map(waiting)
}

fn waiting(container: &Value) -> Option<String> {
    let waiting = container["state"]["waiting"].as_object()?;
    let reason = waiting.get("reason").and_then(Value::as_str).unwrap_or("waits");
    // The message of the last run names the cause; the current one only the back-off.
    let last_run = container["lastState"]["terminated"]["message"].as_str();
    let message = last_run.or(waiting.get("message").and_then(Value::as_str));
    let message = message.map(|message| format!(": {}", message.trim())).unwrap_or_default();
    Some(format!("container '{}' {reason}{message}", string(&container["name"])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_that_does_not_run_is_reported_with_its_last_message() {
        let problem = |state: Value, last: Value| {
            waiting(&json!({ "name": "couchdb", "state": state, "lastState": last })).unwrap_or_default()
        };
        assert_eq!(problem(json!({ "running": {} }), Value::Null), "");
        assert_eq!(
            problem(
                json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling" } }),
                Value::Null
            ),
            "container 'couchdb' ImagePullBackOff: Back-off pulling"
        );
        let last = json!({ "terminated": { "message": "COUCHDB_USER: missing\n" } });
        assert_eq!(
            problem(json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 5m" } }), last),
            "container 'couchdb' CrashLoopBackOff: COUCHDB_USER: missing"
        );
        assert_eq!(problem(json!({ "waiting": {} }), Value::Null), "container 'couchdb' waits");
    }
}
