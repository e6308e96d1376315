//! A pod of a StatefulSet: the controller's part (names, labels) and the kubelet's (environment).

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::env::{self, EnvError};
use super::expand::expand;
use super::facts::{Cluster, PodFacts, PodPlacement};
use crate::json::{items, string_map, strings, text};

/// A pod with all values that its processes see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// `couchdb-0`
    pub name: String,
    /// The namespace of the StatefulSet.
    pub namespace: String,
    /// Labels of the template and of the StatefulSet controller.
    pub labels: BTreeMap<String, String>,
    /// The output of `hostname` in a container.
    pub hostname: String,
    /// The output of `hostname -f` in a container; `None` without a governing Service.
    pub fqdn: Option<String>,
    /// The pod's own line of `/etc/hosts`.
    pub hosts_line: String,
    /// Init containers, then containers, each in the order of the template.
    pub containers: Vec<Container>,
}

impl Pod {
    /// The container with this name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }
}

/// A container with its command line and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The name, unique in the pod.
    pub name: String,
    /// The image reference, as the template has it.
    pub image: String,
    /// The time during which it runs.
    pub role: Role,
    /// Command and arguments, expanded; empty if those of the image are used.
    pub command: Vec<String>,
    /// The environment from the pod's spec, without that of the image.
    pub env: BTreeMap<String, String>,
}

/// The time during which a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to completion before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: starts before the main containers and ends after them.
    Sidecar,
    /// Runs as long as the pod.
    Main,
}

impl Role {
    fn of_init_container(container: &Value) -> Self {
        if container["restartPolicy"] == "Always" { Self::Sidecar } else { Self::Init }
    }
}

/// The ordinals of a StatefulSet's pods: `spec.replicas` many, from `spec.ordinals.start`.
pub fn ordinals(statefulset: &Value) -> Range<u64> {
    let spec = &statefulset["spec"];
    let start = spec["ordinals"]["start"].as_u64().unwrap_or(0);
    start..start + spec["replicas"].as_u64().unwrap_or(1)
}

impl Cluster {
    /// Computes the StatefulSet's pod with this ordinal.
    ///
    /// # Errors
    ///
    /// If the kubelet would not start a container, because a Secret, ConfigMap or key is missing.
    pub fn pod(&self, statefulset: &Value, ordinal: u64, placement: &PodPlacement) -> Result<Pod, EnvError> {
        let meta = &statefulset["metadata"];
        let template = &statefulset["spec"]["template"];
        let name = format!("{}-{ordinal}", text(&meta["name"]));
        let namespace = meta["namespace"].as_str().unwrap_or("default");
        let service = text(&statefulset["spec"]["serviceName"]);
        let fqdn = (!service.is_empty()).then(|| format!("{name}.{service}.{namespace}.svc.{}", self.domain));
        // With this field, the host name is the full name.
        let as_fqdn = template["spec"]["setHostnameAsFQDN"] == true;
        let hostname = fqdn.clone().filter(|_| as_fqdn).unwrap_or_else(|| name.clone());
        let labels = labels(template, &name, ordinal);
        let facts = PodFacts {
            name: &name,
            namespace,
            hostname: &hostname,
            labels: &labels,
            annotations: string_map(&template["metadata"]["annotations"]),
            account: template["spec"]["serviceAccountName"].as_str().unwrap_or("default"),
            placement,
        };
        let mut containers = Vec::new();
        for init in items(&template["spec"]["initContainers"]) {
            containers.push(self.container(&facts, init, Role::of_init_container(init))?);
        }
        for main in items(&template["spec"]["containers"]) {
            containers.push(self.container(&facts, main, Role::Main)?);
        }
        // The first name of a line is the canonical one, which `hostname -f` prints.
        let names = fqdn.iter().map(String::as_str).chain([name.as_str()]).collect::<Vec<_>>().join("\t");
        Ok(Pod {
            hosts_line: format!("{}\t{names}", placement.ip),
            namespace: namespace.to_owned(),
            containers,
            hostname,
            fqdn,
            labels,
            name,
        })
    }

    fn container(&self, facts: &PodFacts<'_>, container: &Value, role: Role) -> Result<Container, EnvError> {
        let mut env = env::environment(self, facts, container)?;
        let words = ["command", "args"].into_iter().flat_map(|key| strings(&container[key]));
        let command = words.map(|word| expand(word, |name| env.get(name).cloned())).collect();
        // HOSTNAME is set by the runtime, not by the kubelet: `$(HOSTNAME)` isn't expanded, and a variable of the
        // spec takes precedence.
        env.entry("HOSTNAME".to_owned()).or_insert_with(|| facts.hostname.to_owned());
        Ok(Container {
            name: text(&container["name"]).to_owned(),
            image: text(&container["image"]).to_owned(),
            role,
            command,
            env,
        })
    }
}

/// The template's labels and the two that the StatefulSet controller adds.
fn labels(template: &Value, pod: &str, ordinal: u64) -> BTreeMap<String, String> {
    let mut labels = string_map(&template["metadata"]["labels"]);
    labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), pod.to_owned());
    labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string());
    labels
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_has_its_names_labels_and_container_roles() {
        let statefulset = json!({
            "metadata": {"name": "my-db", "namespace": "prod"},
            "spec": {"serviceName": "hl", "replicas": 2, "ordinals": {"start": 5}, "template": {"spec": {
                "initContainers": [{"name": "agent", "restartPolicy": "Always"}, {"name": "once"}],
                "containers": [{"name": "couchdb", "env": [{"name": "A", "value": "a"}], "args": ["--name", "$(A)"]}],
            }}},
        });
        assert_eq!(ordinals(&statefulset), 5..7);
        let cluster = Cluster { domain: "corp.local".to_owned(), ..Cluster::default() };
        let pod = cluster.pod(&statefulset, 5, &PodPlacement::at("10.42.0.15")).unwrap();
        assert_eq!(pod.hosts_line, "10.42.0.15\tmy-db-5.hl.prod.svc.corp.local\tmy-db-5");
        assert_eq!(pod.hostname, "my-db-5");
        assert_eq!(pod.labels["apps.kubernetes.io/pod-index"], "5");
        let roles: Vec<Role> = pod.containers.iter().map(|c| c.role).collect();
        assert_eq!(roles, [Role::Sidecar, Role::Init, Role::Main]);
        assert_eq!(pod.container("couchdb").unwrap().command, ["--name", "a"]);
    }

    #[test]
    fn without_a_service_there_is_no_fqdn() {
        let statefulset =
            json!({"metadata": {"name": "db"}, "spec": {"template": {"spec": {"containers": []}}}});
        let pod = Cluster::default().pod(&statefulset, 0, &PodPlacement::at("10.0.0.1")).unwrap();
        assert_eq!((pod.fqdn, pod.hosts_line.as_str()), (None, "10.0.0.1\tdb-0"));
        assert_eq!(ordinals(&statefulset), 0..1);
    }
}
