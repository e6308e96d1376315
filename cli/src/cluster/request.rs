//! Requests to the API server. Objects are read as JSON: only a few fields of each are used, and the types of k8s-openapi
//! for them would make the program 2 MB larger.

use std::time::Duration;

use contract::error::chain;
use contract::moves::Plan;
use contract::status::Page;
use contract::{keys, ports, workload};
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::Client;
use kube::api::{GetParams, ListParams, Patch, PatchParams, PostParams, Request};
use kube::client::Body;
use kube::core::Status;
use serde_json::Value;
use tokio::time::timeout;

use super::lookup::{Lookup, LookupError};

pub(crate) const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
pub(crate) const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";
pub(crate) const COORDINATION: &str = "/apis/coordination.k8s.io/v1";
pub(crate) const CORE: &str = "/api/v1";
pub(crate) const DISCOVERY: &str = "/apis/discovery.k8s.io/v1";
pub(crate) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// The path of the objects of a kind: in one namespace, or without one.
pub(crate) fn path(group: &str, namespace: Option<&str>, kinds: &str) -> String {
    match namespace {
        Some(namespace) => format!("{group}/namespaces/{namespace}/{kinds}"),
        None => format!("{group}/{kinds}"),
    }
}

/// Lists the StatefulSets with the label, in one namespace or in all.
pub(crate) async fn labelled(client: &Client, namespace: Option<&str>) -> Lookup<Vec<Value>> {
    list(client, &stateful_sets(namespace), keys::INJECT).await
}

/// The path of StatefulSets, in one namespace or in all.
pub(crate) fn stateful_sets(namespace: Option<&str>) -> String {
    path(&format!("/apis/{}", workload::API_VERSION), namespace, workload::PLURAL)
}

/// Reads one object; `None` if it does not exist.
pub(crate) async fn get(client: &Client, path: &str, name: &str) -> Lookup<Option<Value>> {
    let request = Request::new(path).get(name, &GetParams::default()).map_err(not_sent)?;
    match client.request(request).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if status_of(&error).is_some_and(|status| status.code == 404) => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

/// Reads the objects with a label.
pub(crate) async fn list(client: &Client, path: &str, labels: &str) -> Lookup<Vec<Value>> {
    let params = ListParams::default().labels(labels);
    let request = Request::new(path).list(&params).map_err(not_sent)?;
    let mut list: Value = client.request(request).await.map_err(|error| failed(&error))?;
    let items = list.get_mut("items").and_then(Value::as_array_mut);
    Ok(items.map(std::mem::take).unwrap_or_default())
}

/// Returns an object as it would be stored, without storing it.
pub(crate) async fn create_dry(client: &Client, path: &str, object: &Value) -> Lookup<Value> {
    let params = PostParams { dry_run: true, field_manager: None };
    let request = Request::new(path).create(&params, object.to_string().into_bytes()).map_err(not_sent)?;
    client.request(request).await.map_err(|error| failed(&error))
}

/// Reads the status page of a pod's agent through the API server.
///
/// `Ok(None)`: the user may not ask, or the page is unknown to this release. Error: the agent does not answer.
pub(crate) async fn agent_status(client: &Client, namespace: &str, pod: &str) -> Lookup<Option<Page>> {
    let proxy = format!("{}/{pod}:{}/proxy", path(CORE, Some(namespace), "pods"), ports::AGENT);
    let page = ports::STATUS.trim_start_matches('/');
    // An invalid name cannot occur in a path, and no such pod exists.
    let Ok(request) = Request::new(proxy).get(page, &GetParams::default()) else { return Ok(None) };
    let answer = timeout(PAGE_TIMEOUT, answer(client, request)).await;
    let (status, body) =
        answer.map_err(|_| LookupError::Failed(format!("no complete answer within {PAGE_TIMEOUT:?}")))??;
    match status {
        StatusCode::OK => Ok(serde_json::from_slice(&body).ok()),
        // The API server's status for a pod that it cannot reach. The agent itself always answers this page with 200.
        StatusCode::SERVICE_UNAVAILABLE => {
            let refusal = serde_json::from_slice::<Status>(&body).unwrap_or_default();
            Err(LookupError::Refused(refusal.message))
        }
        // Most often the permission for pods/proxy is missing, which is not a fact about the agent.
        _ => Ok(None),
    }
}

/// Reads a page of a pod's agent through the API server, whatever its status.
pub(crate) async fn agent_page(
    client: &Client,
    namespace: &str,
    pod: &str,
    page: &str,
) -> Lookup<(StatusCode, Vec<u8>)> {
    let proxy = format!("{}/{pod}:{}/proxy{page}", path(CORE, Some(namespace), "pods"), ports::AGENT);
    let request = http::Request::get(proxy).body(vec![]);
    let request = request.map_err(|error| LookupError::Failed(chain(&error)))?;
    let answer = timeout(PAGE_TIMEOUT, answer(client, request)).await;
    let (status, body) =
        answer.map_err(|_| LookupError::Failed(format!("no complete answer within {PAGE_TIMEOUT:?}")))??;
    // The API server's own answers are of this kind; an agent has no such page.
    match serde_json::from_slice::<Status>(&body) {
        Ok(refusal) if !status.is_success() && !refusal.message.is_empty() => {
            Err(LookupError::Refused(refusal.message))
        }
        Ok(_) | Err(_) => Ok((status, body)),
    }
}

/// Asks a pod's agent through the API server for its plan of this size.
pub(crate) async fn agent_plan(client: &Client, namespace: &str, pod: &str, replicas: u32) -> Lookup<Plan> {
    let pod = format!("{}/{pod}:{}/proxy", path(CORE, Some(namespace), "pods"), ports::AGENT);
    let request = http::Request::get(format!("{pod}{}?replicas={replicas}", ports::PLAN)).body(vec![]);
    let request = request.map_err(|error| LookupError::Failed(chain(&error)))?;
    let answer = timeout(PLAN_TIMEOUT, answer(client, request)).await;
    let (status, body) =
        answer.map_err(|_| LookupError::Failed(format!("no complete answer within {PLAN_TIMEOUT:?}")))??;
    if status == StatusCode::OK {
        let plan = serde_json::from_slice(&body);
        return plan.map_err(|error| LookupError::Failed(format!("its plan cannot be read: {error}")));
    }
    // Of the API server, a status; of an agent, a sentence.
    let message = match serde_json::from_slice::<Status>(&body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
    };
    Err(LookupError::Refused(match status {
        StatusCode::NOT_FOUND => {
            "its agent is of a release without plans, or the pod does not exist".to_owned()
        }
        status if message.is_empty() => status.to_string(),
        _ => message,
    }))
}

/// Changes an object, or its subresource, by a merge patch; returns what is stored.
pub(crate) async fn merge(
    client: &Client,
    path: &str,
    name: &str,
    subresource: Option<&str>,
    change: &Value,
) -> Lookup<Value> {
    let (request, patch) = (Request::new(path), Patch::Merge(change));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let request = match subresource {
        Some(subresource) => request.patch_subresource(subresource, name, &params, &patch),
        None => request.patch(name, &params, &patch),
    };
    client.request(request.map_err(not_sent)?).await.map_err(|error| failed(&error))
}

/// Sends a request whose answer comes from a pod. Any program may listen there, so the answer has a limit.
async fn answer(client: &Client, request: http::Request<Vec<u8>>) -> Lookup<(StatusCode, Vec<u8>)> {
    let answer = client.send(request.map(Body::from)).await.map_err(|error| failed(&error))?;
    let status = answer.status();
    match Limited::new(answer.into_body(), PAGE_LIMIT).collect().await {
        Ok(body) => Ok((status, body.to_bytes().into())),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(LookupError::Failed(format!("its page is longer than {PAGE_LIMIT} bytes")))
        }
        Err(error) => Err(LookupError::Failed(chain(&*error))),
    }
}

/// A page of a cluster of 64 nodes has about 60 kB.
const PAGE_LIMIT: usize = 1 << 20;
/// For the whole answer: one that arrives byte by byte would keep the program waiting. An agent answers from memory.
const PAGE_TIMEOUT: Duration = Duration::from_secs(15);

/// A plan of 10,000 databases takes a second.
const PLAN_TIMEOUT: Duration = Duration::from_secs(30);
/// The field manager of the user's changes.
const MANAGER: &str = "couchdiscover";

/// The API server's answer, if the error is one.
pub(crate) fn status_of(error: &kube::Error) -> Option<&Status> {
    if let kube::Error::Api(status) = error { Some(status) } else { None }
}

fn failed(error: &kube::Error) -> LookupError {
    // The API server's message names user, verb and resource; a chain of client errors would only wrap it.
    match status_of(error) {
        Some(status) => LookupError::Refused(status.message.clone()),
        None => LookupError::Failed(chain(error)),
    }
}

fn not_sent(error: kube::core::request::Error) -> LookupError {
    LookupError::Failed(chain(&error))
}
