//! Asking an API server for objects as they are, in JSON. Of each only a few fields are looked at; the types of
//! k8s-openapi for them would make the program 2 MB larger.

use contract::ports;
use kube::Client;
use kube::api::{GetParams, ListParams, PostParams, Request};
use kube::core::Status;
use serde_json::Value;

use super::facts::{Seen, Unseen};
use crate::error::chain;

pub(super) const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
pub(super) const APPS: &str = "/apis/apps/v1";
pub(super) const COORDINATION: &str = "/apis/coordination.k8s.io/v1";
pub(super) const CORE: &str = "/api/v1";
pub(super) const DISCOVERY: &str = "/apis/discovery.k8s.io/v1";
pub(super) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Where objects of a kind are: in a namespace, or in all of them, or in none.
pub(super) fn at(group: &str, namespace: Option<&str>, kinds: &str) -> String {
    match namespace {
        Some(namespace) => format!("{group}/namespaces/{namespace}/{kinds}"),
        None => format!("{group}/{kinds}"),
    }
}

/// One object; `None` where there is none of this name.
pub(super) async fn get(client: &Client, place: &str, name: &str) -> Seen<Option<Value>> {
    let request = Request::new(place).get(name, &GetParams::default());
    let request = request.map_err(|error| Unseen(chain(&error)))?;
    match client.request(request).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if api_says(&error).is_some_and(|status| status.code == 404) => Ok(None),
        Err(error) => Err(unseen(&error)),
    }
}

/// What a pod's agent answers, asked through the API server. `Ok(None)`: it can't be asked, or says nothing that is known
/// here; the error: it doesn't answer.
pub(super) async fn agent(client: &Client, namespace: &str, pod: &str) -> Seen<Option<Value>> {
    let proxy = format!("{}/{pod}:{}/proxy", at(CORE, Some(namespace), "pods"), ports::AGENT);
    let page = ports::STATUS.trim_start_matches('/');
    let Ok(request) = Request::new(proxy).get(page, &GetParams::default()) else { return Ok(None) };
    match client.request(request).await {
        Ok(page) => Ok(Some(page)),
        // In these words API servers say that they could not reach a pod; what the pod itself answers isn't like that.
        Err(error) if api_says(&error).is_some_and(|status| status.code == 503) => Err(unseen(&error)),
        Err(_) => Ok(None),
    }
}

/// Those with this label.
pub(super) async fn list(client: &Client, place: &str, labels: &str) -> Seen<Vec<Value>> {
    let request = Request::new(place).list(&ListParams::default().labels(labels));
    let request = request.map_err(|error| Unseen(chain(&error)))?;
    let mut list: Value = client.request(request).await.map_err(|error| unseen(&error))?;
    Ok(match list["items"].take() {
        Value::Array(items) => items,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![],
    })
}

/// What would be stored, if this were created.
pub(super) async fn create_dry(client: &Client, place: &str, object: &Value) -> Seen<Value> {
    let params = PostParams { dry_run: true, field_manager: None };
    let request = Request::new(place).create(&params, object.to_string().into_bytes());
    let request = request.map_err(|error| Unseen(chain(&error)))?;
    client.request(request).await.map_err(|error| unseen(&error))
}

/// The API server's own words, if it was the one to say no.
pub(super) fn api_says(error: &kube::Error) -> Option<&Status> {
    if let kube::Error::Api(status) = error { Some(status) } else { None }
}

/// The entries of a list; none where there is no list.
pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The texts of a list.
pub(super) fn strings(list: &Value) -> impl Iterator<Item = &str> {
    items(list).filter_map(Value::as_str)
}

/// A text; empty where there is none.
pub(super) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn unseen(error: &kube::Error) -> Unseen {
    Unseen(api_says(error).map_or_else(|| chain(error), |status| status.message.clone()))
}
