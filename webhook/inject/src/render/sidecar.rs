//! The agent's container.

use contract::{env, objects, ports};
use serde::Serialize;
use serde_json::value::RawValue;

use super::credentials::Credentials;
use super::variables::Variable;
use super::volumes::{self, CA_PATH, Mount};
use crate::read::annotations::{Kubernetes, Readiness, Resources, Sidecar};
use crate::read::{Planning, SizeSource, Text};

/// The agent's container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentContainer<'p> {
    name: &'static str,
    image: &'p str,
    image_pull_policy: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_policy: Option<&'static str>,
    ports: [Port; 1],
    env: Vec<Entry<'p>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    env_from: &'p [&'p RawValue],
    resources: ResourceLists<'p>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volume_mounts: Vec<Mount>,
    liveness_probe: Probe,
    #[serde(skip_serializing_if = "Option::is_none")]
    readiness_probe: Option<Probe>,
    termination_message_path: &'static str,
    termination_message_policy: &'static str,
    security_context: SecurityContext,
}

/// The fields of [`AgentContainer`] as they appear in JSON. A field beside them was not injected.
pub(crate) const FIELDS: &[&str] = &[
    "name",
    "image",
    "imagePullPolicy",
    "restartPolicy",
    "ports",
    "env",
    "envFrom",
    "resources",
    "volumeMounts",
    "livenessProbe",
    "readinessProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "securityContext",
];

/// A variable of the agent.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entry<'p> {
    Own(Variable<'p>),
    /// Copied in full from the CouchDB container.
    Copied(&'p RawValue),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: &'static str,
    container_port: u16,
    protocol: &'static str,
}

#[derive(Debug, Serialize)]
struct ResourceLists<'p> {
    limits: ResourceList<'p>,
    requests: ResourceList<'p>,
}

#[derive(Debug, Serialize)]
struct ResourceList<'p> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<&'p str>,
    memory: &'p str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    failure_threshold: u8,
    http_get: HttpGet,
    period_seconds: u8,
    success_threshold: u8,
    timeout_seconds: u8,
}

#[derive(Debug, Serialize)]
struct HttpGet {
    path: &'static str,
    port: &'static str,
    scheme: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    allow_privilege_escalation: bool,
    capabilities: Capabilities,
    read_only_root_filesystem: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_as_group: Option<u32>,
    run_as_non_root: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_as_user: Option<u32>,
    seccomp_profile: SeccompProfile,
}

#[derive(Debug, Serialize)]
struct Capabilities {
    drop: [&'static str; 1],
}

#[derive(Debug, Serialize)]
struct SeccompProfile {
    #[serde(rename = "type")]
    kind: &'static str,
}

/// The uid and gid of the agent's image, which are those of distroless's `nonroot`.
const NON_ROOT: u32 = 65532;

/// The requirements of the `restricted` Pod Security Standard.
fn security_context(planning: &Planning<'_>) -> SecurityContext {
    // Without a uid here, the container has the pod's, that of the namespace's range (OpenShift), or that of its image. A
    // fixed one is refused where a range is prescribed. As root it would not start, since `runAsNonRoot` is set.
    let is_root = planning.view.pod().security_context.is_some_and(|pod| pod.run_as_user == Some(0));
    let user = is_root.then_some(NON_ROOT);
    SecurityContext {
        allow_privilege_escalation: false,
        capabilities: Capabilities { drop: ["ALL"] },
        read_only_root_filesystem: true,
        run_as_group: user,
        run_as_non_root: true,
        run_as_user: user,
        seccomp_profile: SeccompProfile { kind: "RuntimeDefault" },
    }
}

/// A live process answers at once; three misses in a row, 30 s, restart it.
const LIVENESS: Probe = Probe::new(ports::LIVEZ, 10);
/// 5 s is the longest time for which the Service misses a node that has joined.
const READINESS: Probe = Probe::new(ports::READYZ, 5);

/// Variables that are set for the agent by the webhook. A user's variable of one of these names is not copied, even if a
/// copied variable refers to it.
const RESERVED: [&str; 15] = [
    env::POD_NAME,
    env::POD_NAMESPACE,
    env::POD_IP,
    env::POD_UID,
    env::COUCHDISCOVER_SERVICE,
    env::COUCHDISCOVER_CONTAINER,
    env::COUCHDISCOVER_COUCHDB_URL,
    env::COUCHDISCOVER_CA_FILE,
    env::COUCHDISCOVER_KUBERNETES,
    env::COUCHDISCOVER_ORDINALS_START,
    env::COUCHDISCOVER_POD_MANAGEMENT_POLICY,
    env::COUCHDISCOVER_SIZE_PINNED,
    env::COUCHDB_CLUSTER_SIZE,
    env::LOG_LEVEL,
    env::LOG_FORMAT,
];

/// Renders the agent's container.
pub(crate) fn render<'p>(planning: &'p Planning<'p>, credentials: &Credentials<'p>) -> AgentContainer<'p> {
    let annotations = &planning.annotations;
    AgentContainer {
        name: objects::AGENT_CONTAINER,
        image: annotations.image,
        image_pull_policy: annotations.pull_policy,
        restart_policy: match annotations.sidecar {
            Sidecar::Container => None,
            // Without a startupProbe: CouchDB's container would wait for the agent, and the agent waits for CouchDB.
            Sidecar::Native => Some("Always"),
        },
        ports: [Port { name: ports::AGENT_PORT_NAME, container_port: ports::AGENT, protocol: "TCP" }],
        env: variables(planning, credentials),
        env_from: credentials.env_from,
        resources: ResourceLists::of(&annotations.resources),
        volume_mounts: volumes::mounts(planning),
        liveness_probe: LIVENESS,
        readiness_probe: match annotations.readiness {
            Readiness::Joined => Some(READINESS),
            Readiness::Off => None,
        },
        // Defaults of the API server, written out: GitOps tools would show them as drift otherwise.
        termination_message_path: "/dev/termination-log",
        termination_message_policy: "File",
        security_context: security_context(planning),
    }
}

fn variables<'p>(planning: &'p Planning<'p>, credentials: &Credentials<'p>) -> Vec<Entry<'p>> {
    let Planning { view, couchdb, annotations, size, facts } = planning;
    // Containers of a pod share the loopback interface.
    let url = match annotations.couchdb_ca {
        Some(_) => format!("https://127.0.0.1:{}", couchdb.tls_port()),
        None => format!("http://127.0.0.1:{}", couchdb.port()),
    };
    // `OrderedReady` is Kubernetes' default.
    let policy = view.spec.pod_management_policy.as_ref().map_or("OrderedReady", Text::as_str);
    let mut env = Vec::with_capacity(16);
    env.extend(
        [
            Variable::of_field(env::POD_NAME, "metadata.name"),
            Variable::of_field(env::POD_NAMESPACE, "metadata.namespace"),
            Variable::of_field(env::POD_IP, "status.podIP"),
            Variable::of_field(env::POD_UID, "metadata.uid"),
            Variable::literal(env::COUCHDISCOVER_SERVICE, facts.service),
            Variable::literal(env::COUCHDISCOVER_CONTAINER, couchdb.name()),
            Variable::literal(env::COUCHDISCOVER_COUCHDB_URL, url),
            Variable::literal(env::COUCHDISCOVER_POD_MANAGEMENT_POLICY, policy),
            Variable::literal(
                env::COUCHDISCOVER_SIZE_PINNED,
                if size.is_pinned() { "true" } else { "false" },
            ),
            Variable::literal(env::LOG_LEVEL, &*annotations.log_level),
            Variable::literal(env::LOG_FORMAT, annotations.log_format),
        ]
        .map(Entry::Own),
    );
    if annotations.couchdb_ca.is_some() {
        let file = format!("{CA_PATH}/{}", objects::CA_KEY);
        env.push(Entry::Own(Variable::literal(env::COUCHDISCOVER_CA_FILE, file)));
    }
    // `auto` is the default of the agent.
    if annotations.kubernetes == Kubernetes::Off {
        env.push(Entry::Own(Variable::literal(env::COUCHDISCOVER_KUBERNETES, "off")));
    }
    // 0 is the default of the agent.
    if view.first_ordinal() != 0 {
        let first = view.first_ordinal().to_string();
        env.push(Entry::Own(Variable::literal(env::COUCHDISCOVER_ORDINALS_START, first)));
    }
    // Behind our own, so that references to POD_NAME and the like are expanded.
    let copied = credentials.env.iter().filter(|it| !RESERVED.contains(&it.name.as_str()));
    env.extend(copied.map(|variable| Entry::Copied(variable.raw)));
    env.push(match size.source {
        SizeSource::Unseen(variable) => Entry::Copied(variable.raw),
        SizeSource::Pinned | SizeSource::Replicas => {
            Entry::Own(Variable::literal(env::COUCHDB_CLUSTER_SIZE, size.nodes.to_string()))
        }
    });
    env
}

impl<'p> ResourceLists<'p> {
    fn of(resources: &Resources<'p>) -> Self {
        let limits = ResourceList { cpu: resources.cpu_limit, memory: resources.memory_limit };
        let requests = ResourceList { cpu: Some(resources.cpu_request), memory: resources.memory_request };
        Self { limits, requests }
    }
}

impl Probe {
    const fn new(path: &'static str, period_seconds: u8) -> Self {
        let http_get = HttpGet { path, port: ports::AGENT_PORT_NAME, scheme: "HTTP" };
        Self { failure_threshold: 3, http_get, period_seconds, success_threshold: 1, timeout_seconds: 2 }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::read::Settings;
    use crate::read::view::View;

    #[test]
    fn the_list_of_fields_is_that_of_the_rendered_container() {
        let settings = Settings {
            agent_image: "agent".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            version: "0".to_owned(),
            defaults: crate::read::Defaults::default(),
        };
        // With everything that adds an optional field.
        let object = json!({
            "metadata": {"name": "db", "annotations": {
                "couchdiscover.io/sidecar": "native",
                "couchdiscover.io/couchdb-ca-secret": "authority",
            }},
            "spec": {"serviceName": "dbs", "template": {"spec": {"containers": [
                {"name": "couchdb", "image": "couchdb", "envFrom": [{"secretRef": {"name": "admin"}}]},
            ]}}},
        })
        .to_string();
        let view = View::parse(&object).unwrap();
        let planning = Planning::read(&view, None, &settings, &mut Vec::new()).unwrap();
        let credentials = Credentials::of(planning.couchdb.container);
        let rendered = serde_json::to_value(render(&planning, &credentials)).unwrap();
        let fields: Vec<&str> = rendered.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, FIELDS);
        assert_eq!(rendered["readinessProbe"]["periodSeconds"], Value::from(5));
    }
}
