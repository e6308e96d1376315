//! The Services in a file that give injected StatefulSets' pods their DNS names. The webhook does not see them.

use contract::keys;
use serde_json::Value;

use super::object::label;

/// The Services of a file, and its labelled StatefulSets.
#[derive(Debug, Default)]
pub(super) struct Services {
    services: Vec<Value>,
    governed: Vec<Governed>,
}

/// A StatefulSet's namespace, and the name of its governing Service.
#[derive(Debug)]
struct Governed {
    namespace: Value,
    service: Value,
}

impl Services {
    /// Adds an object of the file, if it is a Service or a labelled StatefulSet.
    pub(super) fn add(&mut self, object: &Value) {
        let is_enabled = label(object) == Some(keys::INJECT_ENABLED);
        match object["kind"].as_str() {
            Some("Service") => self.services.push(object.clone()),
            // Compared as JSON values: two absent namespaces are the same one.
            Some("StatefulSet") if is_enabled => {
                let namespace = object["metadata"]["namespace"].clone();
                self.governed.push(Governed { namespace, service: object["spec"]["serviceName"].clone() });
            }
            Some(_) | None => {}
        }
    }

    /// Lines about governing Services that do not give every pod a DNS name.
    pub(super) fn report(&self) -> impl Iterator<Item = String> {
        self.services.iter().filter(|service| self.is_governing(service)).filter_map(problem)
    }

    fn is_governing(&self, service: &Value) -> bool {
        let metadata = &service["metadata"];
        self.governed
            .iter()
            .any(|set| set.service == metadata["name"] && set.namespace == metadata["namespace"])
    }
}

fn problem(service: &Value) -> Option<String> {
    let (name, spec) = (service["metadata"]["name"].as_str()?, &service["spec"]);
    let problem = if spec["clusterIP"] != "None" {
        "spec.clusterIP: not 'None', so the pods have no DNS names. Fix: name a headless Service in the StatefulSet's spec.serviceName"
    } else if spec["publishNotReadyAddresses"] != true {
        // Pods find each other by DNS, and become ready only after that.
        "spec.publishNotReadyAddresses: not true, so pods can find each other only when they are ready, which they become only after finding each other. Fix: set it to true"
    } else {
        return None;
    };
    Some(format!("service/{name}: warning: {problem}"))
}
