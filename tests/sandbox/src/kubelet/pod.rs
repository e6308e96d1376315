//! A StatefulSet's pod: the controller's part (names, labels) and the kubelet's (environment).

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::env::{self, EnvError};
use super::expand::expand;

/// What a pod's environment may refer to.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Secret objects, of any namespace.
    pub secrets: Vec<Value>,
    /// ConfigMap objects, of any namespace.
    pub config_maps: Vec<Value>,
    /// `cluster.local`, mostly.
    pub domain: String,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { secrets: Vec::new(), config_maps: Vec::new(), domain: "cluster.local".to_owned() }
    }
}

/// What a pod is given when it is scheduled and started.
#[derive(Debug, Clone)]
pub struct PodSeen {
    /// `status.podIP`
    pub ip: String,
    /// `metadata.uid`
    pub uid: String,
    /// `spec.nodeName`
    pub node: String,
    /// `status.hostIP`
    pub host_ip: String,
}

impl PodSeen {
    /// A pod with this address; the rest is made up.
    pub fn at(ip: &str) -> Self {
        Self {
            ip: ip.to_owned(),
            uid: format!("00000000-0000-4000-8000-{:0>12}", ip.replace(['.', ':'], "")),
            node: "node-1".to_owned(),
            host_ip: "10.0.0.1".to_owned(),
        }
    }
}

/// A pod, ready to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// `couchdb-0`
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Labels, those of the controller included.
    pub labels: BTreeMap<String, String>,
    /// What `hostname` prints in it.
    pub hostname: String,
    /// What `hostname -f` prints in it; none without a governing Service.
    pub fqdn: Option<String>,
    /// The pod's own line of `/etc/hosts`.
    pub hosts_line: String,
    /// Init containers, then containers, in their order.
    pub containers: Vec<Container>,
}

impl Pod {
    /// The container of this name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }
}

/// One container, ready to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// When it runs.
    pub role: Role,
    /// Command and arguments, expanded; empty where the image's own are used.
    pub command: Vec<String>,
    /// The environment that the pod gives it; the image's own isn't known here.
    pub env: BTreeMap<String, String>,
}

/// When a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To its end, before the others start.
    Init,
    /// An init container with `restartPolicy: Always`: before, beside and after the others.
    Sidecar,
    /// As long as the pod.
    Main,
}

/// The ordinals that a StatefulSet wants: `spec.ordinals.start`, and so many as `spec.replicas`.
pub fn ordinals(statefulset: &Value) -> Range<u64> {
    let spec = &statefulset["spec"];
    let start = spec["ordinals"]["start"].as_u64().unwrap_or(0);
    start..start + spec["replicas"].as_u64().unwrap_or(1)
}

impl Cluster {
    /// The pod of this ordinal.
    ///
    /// # Errors
    ///
    /// When kubelet would not start a container: a Secret, ConfigMap or key lacks.
    pub fn pod(&self, statefulset: &Value, ordinal: u64, seen: &PodSeen) -> Result<Pod, EnvError> {
        let meta = &statefulset["metadata"];
        let template = &statefulset["spec"]["template"];
        let name = format!("{}-{ordinal}", meta["name"].as_str().unwrap_or_default());
        let namespace = meta["namespace"].as_str().unwrap_or("default");
        let service = statefulset["spec"]["serviceName"].as_str().unwrap_or_default();
        let fqdn = (!service.is_empty()).then(|| format!("{name}.{service}.{namespace}.svc.{}", self.domain));
        let as_fqdn = template["spec"]["setHostnameAsFQDN"] == true;
        let hostname = fqdn.clone().filter(|_| as_fqdn).unwrap_or_else(|| name.clone());
        let mut labels = strings(&template["metadata"]["labels"]);
        labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.clone());
        labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string());
        let facts = Facts {
            name: &name,
            namespace,
            hostname: &hostname,
            labels: &labels,
            annotations: strings(&template["metadata"]["annotations"]),
            account: template["spec"]["serviceAccountName"].as_str().unwrap_or("default"),
            seen,
        };
        let inits = env::list(&template["spec"]["initContainers"]).map(|c| (c, init_role(c)));
        let mains = env::list(&template["spec"]["containers"]).map(|c| (c, Role::Main));
        let containers =
            inits.chain(mains).map(|(c, role)| self.container(&facts, c, role)).collect::<Result<_, _>>()?;
        let names = fqdn.iter().map(String::as_str).chain([name.as_str()]).collect::<Vec<_>>().join("\t");
        Ok(Pod {
            hosts_line: format!("{}\t{names}", seen.ip),
            namespace: namespace.to_owned(),
            containers,
            hostname,
            fqdn,
            labels,
            name,
        })
    }

    fn container(&self, facts: &Facts<'_>, container: &Value, role: Role) -> Result<Container, EnvError> {
        let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
        let mut env = env::environment(self, facts, container)?;
        let words = ["command", "args"].into_iter().flat_map(|key| env::list(&container[key]));
        let command = words.filter_map(Value::as_str).map(|word| expand(word, |name| env.get(name).cloned()));
        let command = command.collect();
        // The runtime sets HOSTNAME, not kubelet: `$(HOSTNAME)` isn't expanded, and a variable of the spec wins.
        env.entry("HOSTNAME".to_owned()).or_insert_with(|| facts.hostname.to_owned());
        Ok(Container { name: text("name"), image: text("image"), role, command, env })
    }
}

fn init_role(container: &Value) -> Role {
    if container["restartPolicy"] == "Always" { Role::Sidecar } else { Role::Init }
}

/// What the downward API tells.
pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) hostname: &'a str,
    labels: &'a BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    account: &'a str,
    seen: &'a PodSeen,
}

impl Facts<'_> {
    pub(super) fn field(&self, path: &str) -> Option<String> {
        let subscript = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
        if let Some(key) = subscript("metadata.labels['") {
            return Some(self.labels.get(key).cloned().unwrap_or_default());
        }
        if let Some(key) = subscript("metadata.annotations['") {
            return Some(self.annotations.get(key).cloned().unwrap_or_default());
        }
        let value = match path {
            "metadata.name" => self.name,
            "metadata.namespace" => self.namespace,
            "metadata.uid" => &self.seen.uid,
            "spec.nodeName" => &self.seen.node,
            "spec.serviceAccountName" => self.account,
            "status.podIP" | "status.podIPs" => &self.seen.ip,
            "status.hostIP" | "status.hostIPs" => &self.seen.host_ip,
            _ => return None,
        };
        Some(value.to_owned())
    }
}

fn strings(map: &Value) -> BTreeMap<String, String> {
    let map = map.as_object().into_iter().flatten();
    map.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_a_pod() {
        let statefulset = json!({
            "metadata": {"name": "my-db", "namespace": "prod"},
            "spec": {"serviceName": "hl", "replicas": 2, "ordinals": {"start": 5}, "template": {"spec": {
                "initContainers": [{"name": "agent", "restartPolicy": "Always"}, {"name": "once"}],
                "containers": [{"name": "couchdb", "env": [{"name": "A", "value": "a"}], "args": ["--name", "$(A)"]}],
            }}},
        });
        assert_eq!(ordinals(&statefulset), 5..7);
        let cluster = Cluster { domain: "corp.local".to_owned(), ..Cluster::default() };
        let pod = cluster.pod(&statefulset, 5, &PodSeen::at("10.42.0.15")).unwrap();
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
        let pod = Cluster::default().pod(&statefulset, 0, &PodSeen::at("10.0.0.1")).unwrap();
        assert_eq!((pod.fqdn, pod.hosts_line.as_str()), (None, "10.0.0.1\tdb-0"));
        assert_eq!(ordinals(&statefulset), 0..1);
    }
}
