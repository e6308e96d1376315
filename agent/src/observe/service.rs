//! The pods that the headless Service publishes in DNS, read from its EndpointSlices.

use std::collections::BTreeSet;
use std::time::Duration;

pub use agent_core::facts::Publication;
use axum::http::Request;
use contract::error::chain;
use contract::{PodFqdn, PodName};
use kube::Client;
use serde::Deserialize;
use tokio::time::timeout;
use tracing::debug;

/// The headless Service that governs the StatefulSet.
pub struct Service {
    /// Client for the Kubernetes API, where it is used.
    pub client: Option<Client>,
    /// This agent's pod.
    pub me: PodFqdn,
}

impl Service {
    /// The pods that its EndpointSlices publish, and those they withhold.
    pub async fn publication(&self) -> Publication {
        let Self { client: Some(client), me } = self else { return Publication::Unknown };
        match slices(client, me).await {
            Some(slices) => slices.publication(me),
            None => Publication::Unknown,
        }
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("me", &self.me).finish_non_exhaustive()
    }
}

/// The fields of EndpointSlices that are read.
#[derive(Debug, Deserialize)]
struct Slices {
    items: Vec<Slice>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Slice {
    /// `null` in a slice without endpoints.
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Endpoint {
    conditions: Conditions,
    target_ref: Target,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    /// Absent means `true`. With `publishNotReadyAddresses` it is `true` for every pod.
    ready: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    name: String,
}

impl Slices {
    /// A pod that one address family publishes and the other withholds counts as published.
    fn publication(&self, me: &PodFqdn) -> Publication {
        let published = self.pods(me, true);
        let withheld = self.pods(me, false);
        if !withheld.is_empty() {
            // With `publishNotReadyAddresses` every pod counts as ready, so the Service does not set it.
            return Publication::Withheld(&withheld - &published);
        }
        // Not even this pod: the Service is missing or selects others. A pod that alone is missing does not exist yet.
        if published.is_empty() { Publication::NoPods } else { Publication::Unknown }
    }

    /// The ordinals of the StatefulSet's pods among the endpoints that are ready or not.
    fn pods(&self, me: &PodFqdn, ready: bool) -> BTreeSet<u32> {
        let endpoints = self.items.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        endpoints
            .filter(|endpoint| endpoint.conditions.ready.unwrap_or(true) == ready)
            .filter_map(|endpoint| endpoint.target_ref.name.parse::<PodName>().ok())
            .filter(|pod| pod.set() == me.pod().set())
            .map(|pod| pod.ordinal())
            .collect()
    }
}

/// The slices of the governing Service; `None` if they can't be read.
async fn slices(client: &Client, me: &PodFqdn) -> Option<Slices> {
    let path = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{}",
        me.namespace(),
        me.service()
    );
    let request = Request::get(path).body(vec![]).ok()?;
    match timeout(API_TIMEOUT, client.request::<Slices>(request)).await {
        Ok(Ok(slices)) => Some(slices),
        Ok(Err(error)) => {
            debug!(error = chain(&error), "failed to read the Service's EndpointSlices");
            None
        }
        Err(_) => None,
    }
}

/// An API server on the same network answers in milliseconds.
const API_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn publication(slices: Value) -> Publication {
        let me: PodFqdn = "db-0.db.shop.svc.cluster.local".parse().unwrap();
        let slices: Slices = serde_json::from_value(json!({ "items": slices })).unwrap();
        slices.publication(&me)
    }

    fn endpoint(pod: &str, conditions: &Value) -> Value {
        json!({ "addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": { "kind": "Pod", "name": pod } })
    }

    #[test]
    fn what_keeps_a_name_out_of_dns_is_told_from_the_slices() {
        let [ready, waits] = [json!({ "ready": true }), json!({ "ready": false, "serving": false })];
        assert_eq!(publication(json!([])), Publication::NoPods, "there is no Service");
        let empty = json!([{ "endpoints": null }, {}]);
        assert_eq!(publication(empty), Publication::NoPods, "it selects nobody");
        let others = json!([{ "endpoints": [endpoint("web-0", &ready), endpoint("db-other-0", &waits)] }]);
        assert_eq!(publication(others), Publication::NoPods, "it selects others");
        let all = json!([{ "endpoints": [endpoint("db-0", &ready), endpoint("db-1", &json!({}))] }]);
        assert_eq!(publication(all), Publication::Unknown, "all that exist are published");
        let some = json!([
            { "endpoints": [endpoint("db-0", &ready), endpoint("db-1", &waits)] },
            { "endpoints": [endpoint("db-2", &waits), endpoint("db-2", &ready)] },
        ]);
        assert_eq!(publication(some), Publication::Withheld([1].into()));
        let none = json!([{ "endpoints": [endpoint("db-0", &waits), endpoint("db-1", &waits)] }]);
        assert_eq!(publication(none), Publication::Withheld([0, 1].into()));
    }
}
