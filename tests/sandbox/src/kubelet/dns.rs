//! What the cluster's DNS answers for a headless Service.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pod::Pod;

/// A pod as the endpoints controller sees it.
#[derive(Debug, Clone, Copy)]
pub struct PodState<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its address.
    pub ip: &'a str,
    /// Its readiness gates and probes.
    pub ready: bool,
}

/// The names that resolve, and to what: each published pod's FQDN, and the Service's own name with all of them.
/// A pod that isn't ready is published only under `publishNotReadyAddresses`.
pub fn names(service: &Value, pods: &[PodState<'_>], domain: &str) -> BTreeMap<String, Vec<String>> {
    let meta = &service["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    let namespace = meta["namespace"].as_str().unwrap_or("default");
    let own = format!("{name}.{namespace}.svc.{domain}");
    let unready_too = service["spec"]["publishNotReadyAddresses"] == true;
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for state in pods.iter().filter(|state| state.ready || unready_too) {
        if state.pod.namespace != namespace || !selects(service, state.pod) {
            continue;
        }
        answers.entry(own.clone()).or_default().push(state.ip.to_owned());
        // Only the Service that the pod names as its subdomain gives it a host name.
        if let Some(fqdn) = state.pod.fqdn.as_ref().filter(|f| f.ends_with(&format!(".{own}"))) {
            answers.insert(fqdn.clone(), vec![state.ip.to_owned()]);
        }
    }
    if service["spec"]["clusterIP"] == "None" {
        return answers;
    }
    // A Service with an address of its own answers with that, whatever the pods are.
    let address = service["spec"]["clusterIP"].as_str().map(str::to_owned);
    address.map(|ip| BTreeMap::from([(own, vec![ip])])).unwrap_or_default()
}

fn selects(service: &Value, pod: &Pod) -> bool {
    let selector = service["spec"]["selector"].as_object();
    selector.is_some_and(|s| {
        !s.is_empty()
            && s.iter().all(|(key, value)| pod.labels.get(key).map(String::as_str) == value.as_str())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::pod::{Cluster, PodSeen};
    use super::*;

    #[test]
    fn unready_pods_need_the_service_to_say_so() {
        let statefulset = json!({
            "metadata": {"name": "couchdb"},
            "spec": {"serviceName": "couchdb", "template": {
                "metadata": {"labels": {"app": "couchdb"}}, "spec": {"containers": []}}},
        });
        let pods: Vec<Pod> = (0..2)
            .map(|n| Cluster::default().pod(&statefulset, n, &PodSeen::at("10.0.0.1")).unwrap())
            .collect();
        let states = [
            PodState { pod: &pods[0], ip: "10.0.0.1", ready: true },
            PodState { pod: &pods[1], ip: "10.0.0.2", ready: false },
        ];
        let service = |publish: bool, selector: Value| {
            json!({"metadata": {"name": "couchdb"},
                   "spec": {"clusterIP": "None", "publishNotReadyAddresses": publish, "selector": selector}})
        };
        let fqdn = |n: u32| format!("couchdb-{n}.couchdb.default.svc.cluster.local");
        let strict = names(&service(false, json!({"app": "couchdb"})), &states, "cluster.local");
        assert!(strict.contains_key(&fqdn(0)) && !strict.contains_key(&fqdn(1)));
        let all = names(&service(true, json!({"app": "couchdb"})), &states, "cluster.local");
        assert_eq!(all[&fqdn(1)], ["10.0.0.2"]);
        assert_eq!(all["couchdb.default.svc.cluster.local"], ["10.0.0.1", "10.0.0.2"]);
        assert!(names(&service(true, json!({"app": "other"})), &states, "cluster.local").is_empty());
    }
}
