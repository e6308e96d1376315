//! Whether it is the headless Service that keeps names out of DNS: asks its EndpointSlices, once names have lacked for a
//! while, and seldom then.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_core::decide::checks_service;
pub use agent_core::facts::Publication;
use agent_core::facts::{Observed, Unseen};
use axum::http::Request;
use contract::{PodFqdn, PodName};
use kube::Client;
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use tracing::debug;

/// The headless Service that governs the StatefulSet.
pub struct Service {
    /// Whom to ask about it, if anybody.
    pub client: Option<Client>,
    /// This agent's pod.
    pub me: PodFqdn,
}

/// Looks out for names that lack.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    lacking_since: Option<Instant>,
    looked: Option<Instant>,
    found: Publication,
}

impl Lookout {
    /// What `service` publishes, if that may be why peers can't be found.
    pub(crate) async fn look(&mut self, service: &Service, observed: &Observed) -> Publication {
        if !observed.peers.values().any(|peer| matches!(peer, Err(Unseen::NameUnknown))) {
            *self = Self::default();
            return Publication::default();
        }
        let since = *self.lacking_since.get_or_insert_with(Instant::now);
        if checks_service(since.elapsed(), self.looked.map(|looked| looked.elapsed())) {
            self.looked = Some(Instant::now());
            self.found = service.publication().await;
        }
        self.found.clone()
    }
}

impl Service {
    /// What its EndpointSlices say.
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

/// The EndpointSlices of a Service, as far as they are read.
#[derive(Debug, Deserialize)]
struct Slices {
    items: Vec<Slice>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Slice {
    /// `null` where there is none.
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
    /// With `publishNotReadyAddresses` it is true whatever the pod is. Absent means true.
    ready: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    name: String,
}

impl Slices {
    /// A pod that is in DNS by one family and not by the other is published.
    fn publication(&self, me: &PodFqdn) -> Publication {
        let endpoints = || self.items.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let ours = |ready: bool| -> BTreeSet<u32> {
            let of = endpoints().filter(|endpoint| endpoint.conditions.ready.unwrap_or(true) == ready);
            let pods = of.filter_map(|endpoint| endpoint.target_ref.name.parse::<PodName>().ok());
            pods.filter(|pod| pod.set() == me.pod().set()).map(|pod| pod.ordinal()).collect()
        };
        let (published, withheld) = (ours(true), ours(false));
        match (published.is_empty(), withheld.is_empty()) {
            (true, true) => Publication::NoPods,
            (false, true) => Publication::Unknown,
            (_, false) => Publication::Withheld(withheld.difference(&published).copied().collect()),
        }
    }
}

/// The slices of the Service that governs the StatefulSet of `me`; `None` where they can't be read.
async fn slices(client: &Client, me: &PodFqdn) -> Option<Slices> {
    let path = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{}",
        me.namespace(),
        me.service()
    );
    let request = Request::get(path).body(vec![]).ok()?;
    match timeout(PATIENCE, client.request::<Slices>(request)).await {
        Ok(Ok(slices)) => Some(slices),
        Ok(Err(error)) => {
            debug!(error = &error as &dyn std::error::Error, "the Service's EndpointSlices can't be read");
            None
        }
        Err(_) => None,
    }
}

/// An API server on the same network answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

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
