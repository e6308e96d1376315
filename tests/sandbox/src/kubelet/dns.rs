//! The records that the cluster's DNS has for a Service.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pod::Pod;

/// A pod with the state that the endpoints controller reads.
#[derive(Debug, Clone, Copy)]
pub struct PodState<'a> {
    /// Names and labels.
    pub pod: &'a Pod,
    /// `status.podIP`
    pub ip: &'a str,
    /// `true` if its readiness probes and gates pass.
    pub ready: bool,
}

/// The names that resolve, with their addresses: the FQDN of each published pod, and the Service's own name with the
/// addresses of all of them. A pod that isn't ready is published only with `publishNotReadyAddresses`.
pub fn names(service: &Value, pods: &[PodState<'_>], domain: &str) -> BTreeMap<String, Vec<String>> {
    let meta = &service["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    let namespace = meta["namespace"].as_str().unwrap_or("default");
    let own = format!("{name}.{namespace}.svc.{domain}");
    let unready_too = service["spec"]["publishNotReadyAddresses"] == true;
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for state in pods.iter().filter(|state| state.ready || unready_too) {
        // A Service selects pods only in its own namespace.
        if state.pod.namespace != namespace || !selects(service, state.pod) {
            continue;
        }
        answers.entry(own.clone()).or_default().push(state.ip.to_owned());
        // A pod gets a host name only from the Service that it names as its subdomain.
        if let Some(fqdn) = state.pod.fqdn.as_ref().filter(|f| f.ends_with(&format!(".{own}"))) {
            answers.insert(fqdn.clone(), vec![state.ip.to_owned()]);
        }
    }
    if service["spec"]["clusterIP"] == "None" {
        return answers;
    }
    // A Service with a cluster IP resolves to that, regardless of its pods, and gives them no host names.
    let address = service["spec"]["clusterIP"].as_str().map(str::to_owned);
    address.map(|ip| BTreeMap::from([(own, vec![ip])])).unwrap_or_default()
}

fn selects(service: &Value, pod: &Pod) -> bool {
    let selector = service["spec"]["selector"].as_object();
    selector.is_some_and(|s| {
        // A Service without a selector selects no pod.
        !s.is_empty()
            && s.iter().all(|(key, value)| pod.labels.get(key).map(String::as_str) == value.as_str())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::facts::{Cluster, PodPlacement};
    use super::*;

    #[test]
    fn pods_that_are_not_ready_resolve_only_if_the_service_publishes_them() {
        let statefulset = json!({
            "metadata": {"name": "couchdb"},
            "spec": {"serviceName": "couchdb", "template": {
                "metadata": {"labels": {"app": "couchdb"}}, "spec": {"containers": []}}},
        });
        let pods: Vec<Pod> = (0..2)
            .map(|n| Cluster::default().pod(&statefulset, n, &PodPlacement::at("10.0.0.1")).unwrap())
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
