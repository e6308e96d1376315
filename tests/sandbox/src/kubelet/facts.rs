//! The inputs that a pod's environment is computed from.

use std::collections::BTreeMap;

use serde_json::Value;

/// The objects of the cluster that a pod's environment may refer to.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Secret objects, of any namespace.
    pub secrets: Vec<Value>,
    /// ConfigMap objects, of any namespace.
    pub config_maps: Vec<Value>,
    /// The domain of the cluster's DNS, `cluster.local` by default.
    pub domain: String,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { secrets: Vec::new(), config_maps: Vec::new(), domain: "cluster.local".to_owned() }
    }
}

/// The values that a pod gets when it is created, scheduled and started.
#[derive(Debug, Clone)]
pub struct PodPlacement {
    /// `status.podIP`
    pub ip: String,
    /// `metadata.uid`
    pub uid: String,
    /// `spec.nodeName`
    pub node: String,
    /// `status.hostIP`
    pub host_ip: String,
}

impl PodPlacement {
    /// A pod with this IP address, a UID derived from it, and a fixed node.
    pub fn at(ip: &str) -> Self {
        Self {
            ip: ip.to_owned(),
            uid: format!("00000000-0000-4000-8000-{:0>12}", ip.replace(['.', ':'], "")),
            node: "node-1".to_owned(),
            host_ip: "10.0.0.1".to_owned(),
        }
    }
}

/// The fields of a pod that the downward API exposes.
pub(super) struct PodFacts<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) hostname: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) account: &'a str,
    pub(super) placement: &'a PodPlacement,
}

impl PodFacts<'_> {
    /// The value of a `fieldPath`; `None` if the downward API does not support it.
    pub(super) fn field(&self, path: &str) -> Option<String> {
        // A label or annotation that is not set is empty, not an error.
        if let Some(key) = subscript(path, "metadata.labels['") {
            return Some(self.labels.get(key).cloned().unwrap_or_default());
        }
        if let Some(key) = subscript(path, "metadata.annotations['") {
            return Some(self.annotations.get(key).cloned().unwrap_or_default());
        }
        let value = match path {
            "metadata.name" => self.name,
            "metadata.namespace" => self.namespace,
            "metadata.uid" => &self.placement.uid,
            "spec.nodeName" => &self.placement.node,
            "spec.serviceAccountName" => self.account,
            "status.podIP" | "status.podIPs" => &self.placement.ip,
            "status.hostIP" | "status.hostIPs" => &self.placement.host_ip,
            _ => return None,
        };
        Some(value.to_owned())
    }
}

fn subscript<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)?.strip_suffix("']")
}
