//! What a file says of the Service that gives an injected StatefulSet's pods their names. A webhook isn't shown it.

use contract::keys;
use serde_json::Value;

/// The Services of a file, and the StatefulSets that are looked after.
#[derive(Debug, Default)]
pub(super) struct Services {
    services: Vec<Value>,
    governed: Vec<Governed>,
}

/// A StatefulSet's namespace, and the Service that it names.
#[derive(Debug)]
struct Governed {
    namespace: Value,
    service: Value,
}

impl Services {
    /// Takes notice of an object.
    pub(super) fn meet(&mut self, object: &Value) {
        let namespace = object["metadata"]["namespace"].clone();
        let enabled = super::label(object) == Some(keys::INJECT_ENABLED);
        match object["kind"].as_str() {
            Some("Service") => self.services.push(object.clone()),
            Some("StatefulSet") if enabled => {
                self.governed.push(Governed { namespace, service: object["spec"]["serviceName"].clone() });
            }
            Some(_) | None => {}
        }
    }

    /// What is wrong with those that there are: lines for the report.
    pub(super) fn report(&self) -> impl Iterator<Item = String> {
        let governs = |service: &&Value| {
            let metadata = &service["metadata"];
            self.governed
                .iter()
                .any(|set| set.service == metadata["name"] && set.namespace == metadata["namespace"])
        };
        self.services.iter().filter(governs).filter_map(|service| {
            let (name, spec) = (service["metadata"]["name"].as_str()?, &service["spec"]);
            if spec["clusterIP"] != "None" {
                Some(format!("service/{name}: warning: spec.clusterIP: not 'None', so no pod has a DNS name: name a headless Service in the StatefulSet's spec.serviceName"))
            } else if spec["publishNotReadyAddresses"] != true {
                Some(format!("service/{name}: warning: spec.publishNotReadyAddresses: not true, so pods find each other only when they are ready, and become ready only when they have found each other: set it"))
            } else {
                None
            }
        })
    }
}
