//! The agent's container.

use std::fmt::Write as _;

use contract::{env, objects, ports};
use serde_json::value::RawValue;

use crate::json::{self, comma};
use crate::read::annotations::{Readiness, SecretKey, Sidecar, Wishes};
use crate::read::couchdb::CouchDb;
use crate::read::view::{Container, Env};
use crate::render::variables::{Addition, Facts, field_ref, literal};

/// The fields that [`render`] writes: a field beside them was not written here.
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

/// What the agent is told beside the [`Facts`].
#[derive(Debug)]
pub(crate) struct Agent<'v> {
    pub(crate) couchdb: CouchDb<'v>,
    pub(crate) wishes: &'v Wishes<'v>,
    pub(crate) credentials: Credentials<'v>,
    /// The user's own `COUCHDB_CLUSTER_SIZE`, when its value can't be seen here.
    pub(crate) unseen_size: Option<&'v Env<'v>>,
    /// Whether the size is the user's choice, so that it wins over the number of replicas.
    pub(crate) size_pinned: bool,
    pub(crate) pod_management_policy: &'v str,
    /// `spec.ordinals.start`.
    pub(crate) ordinals_start: u32,
    /// Whether the token must be mounted, since Kubernetes won't.
    pub(crate) token: bool,
}

/// Where the agent gets the admin's name and password: as the CouchDB container does.
#[derive(Debug, Default)]
pub(crate) struct Credentials<'v> {
    pub(crate) env: Vec<&'v Env<'v>>,
    pub(crate) env_from: &'v [&'v RawValue],
    /// A name and its password are set, or may come from where nothing can be seen.
    pub(crate) complete: bool,
}

impl<'v> Credentials<'v> {
    /// A pair that the container sets, the preferred family first; else what part of one there is, and the
    /// sources from which the rest may come.
    pub(crate) fn of(container: &'v Container<'v>) -> Self {
        let set = |names: &[&str]| -> Vec<&'v Env<'v>> {
            names.iter().filter_map(|name| container.variable(name)).collect()
        };
        let pairs = env::CREDENTIALS.map(|(user, password)| [user, password]);
        let whole = pairs.iter().map(|pair| set(pair)).find(|pair| pair.len() == 2);
        let parts = || pairs.iter().flat_map(|pair| set(pair)).collect();
        let (found, env_from, complete) = match whole {
            Some(pair) => (pair, &[][..], true),
            None => (parts(), container.env_from(), !container.env_from().is_empty()),
        };
        let mut credentials = Self { env: Vec::with_capacity(found.len()), env_from, complete };
        for variable in found {
            credentials.copy(container, variable);
        }
        credentials
    }

    /// Copies a variable, before it those that its value refers to, and the sources of those that aren't there.
    pub(crate) fn copy(&mut self, container: &'v Container<'v>, variable: &'v Env<'v>) {
        let is_it = |other: &&Env<'_>| other.name == variable.name;
        if self.env.iter().any(is_it) {
            return;
        }
        for name in references(variable.literal().unwrap_or("")) {
            match container.variable(name) {
                // A variable that refers to itself, by whatever way round, can't be expanded anyway.
                Some(other) if precedes(container, other, variable) => self.copy(container, other),
                Some(_) => {}
                None => self.env_from = container.env_from(),
            }
        }
        self.env.push(variable);
    }
}

/// The container's JSON. Every field that the API server would fill in is written out, so that what is stored is
/// what was injected, and a GitOps tool sees no difference.
pub(crate) fn render(agent: &Agent<'_>, facts: &Facts<'_>) -> String {
    let Agent { wishes, .. } = agent;
    let mut out = String::with_capacity(3072);
    out.push('{');
    json::field(&mut out, "name", objects::AGENT_CONTAINER);
    out.push(',');
    json::field(&mut out, "image", &wishes.image);
    out.push(',');
    json::field(&mut out, "imagePullPolicy", wishes.pull_policy);
    match wishes.sidecar {
        Sidecar::Container => {}
        // No startupProbe: CouchDB's container would wait for the agent, and the agent waits for CouchDB.
        Sidecar::Native => out.push_str(r#","restartPolicy":"Always""#),
    }
    let (name, port) = (ports::AGENT_PORT_NAME, ports::AGENT);
    let _ = write!(out, r#","ports":[{{"name":"{name}","containerPort":{port},"protocol":"TCP"}}]"#);
    variables(&mut out, agent, facts);
    sources(&mut out, agent);
    resources(&mut out, wishes);
    mounts(&mut out, agent);
    probe(&mut out, "livenessProbe", ports::LIVEZ, LIVENESS_PERIOD);
    match wishes.readiness {
        Readiness::Joined => probe(&mut out, "readinessProbe", ports::READYZ, READINESS_PERIOD),
        Readiness::Off => {}
    }
    out.push_str(r#","terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File""#);
    out.push_str(SECURITY);
    out.push('}');
    out
}

/// The volumes that the container mounts.
pub(crate) fn volumes(agent: &Agent<'_>) -> Vec<Addition> {
    let token = agent.token.then(|| Addition { name: TOKEN_VOLUME, json: token_volume() });
    let ca = agent.wishes.couchdb_ca.map(|secret| Addition { name: CA_VOLUME, json: ca_volume(secret) });
    token.into_iter().chain(ca).collect()
}

/// The volume that brings token, CA and namespace where `automountServiceAccountToken` is false: the same three
/// files at the same place as Kubernetes itself would mount.
fn token_volume() -> String {
    format!(
        r#"{{"name":"{TOKEN_VOLUME}","projected":{{"defaultMode":420,"sources":[{{"serviceAccountToken":{{"expirationSeconds":3607,"path":"token"}}}},{{"configMap":{{"name":"kube-root-ca.crt","items":[{{"key":"ca.crt","path":"ca.crt"}}]}}}},{{"downwardAPI":{{"items":[{{"path":"namespace","fieldRef":{{"apiVersion":"v1","fieldPath":"metadata.namespace"}}}}]}}}}]}}}}"#
    )
}

/// The volume that brings the authority of CouchDB's certificates, and of that Secret nothing else: it may hold a key.
fn ca_volume(SecretKey { name, key }: SecretKey<'_>) -> String {
    let mut out = format!(r#"{{"name":"{CA_VOLUME}","secret":{{"defaultMode":420,"items":[{{"#);
    json::field(&mut out, "key", key);
    let _ = write!(out, r#","path":"{}"}}],"#, objects::CA_KEY);
    json::field(&mut out, "secretName", name);
    out.push_str("}}");
    out
}

fn mounts(out: &mut String, agent: &Agent<'_>) {
    let token = agent.token.then_some((TOKEN_VOLUME, TOKEN_PATH));
    let ca = agent.wishes.couchdb_ca.map(|_| (CA_VOLUME, CA_PATH));
    let mut mounts = token.into_iter().chain(ca).peekable();
    if mounts.peek().is_none() {
        return;
    }
    out.push_str(",\"volumeMounts\":[");
    for (name, path) in mounts {
        comma(out);
        let _ = write!(out, r#"{{"name":"{name}","mountPath":"{path}","readOnly":true}}"#);
    }
    out.push(']');
}

/// Name of the volume that brings the API server's token where the pod asks for none.
const TOKEN_VOLUME: &str = "couchdiscover-token";
/// Name of the volume that brings the authority of CouchDB's certificates.
const CA_VOLUME: &str = "couchdiscover-couchdb-ca";
const CA_PATH: &str = "/var/run/couchdiscover/couchdb-ca";
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The process answers or it hangs; three misses in a row, half a minute, restart it.
const LIVENESS_PERIOD: u8 = 10;
/// How long a formed cluster may go unnoticed by the Service.
const READINESS_PERIOD: u8 = 5;
/// What the `restricted` Pod Security Standard asks. The uid is that of distroless's `nonroot`.
const SECURITY: &str = r#","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"readOnlyRootFilesystem":true,"runAsGroup":65532,"runAsNonRoot":true,"runAsUser":65532,"seccompProfile":{"type":"RuntimeDefault"}}"#;
/// What the agent is told under these names is the webhook's to say, whatever the copied variables refer to.
const RESERVED: [&str; 14] = [
    env::POD_NAME,
    env::POD_NAMESPACE,
    env::POD_IP,
    env::POD_UID,
    env::COUCHDISCOVER_SERVICE,
    env::COUCHDISCOVER_CONTAINER,
    env::COUCHDISCOVER_COUCHDB_URL,
    env::COUCHDISCOVER_CA_FILE,
    env::COUCHDISCOVER_ORDINALS_START,
    env::COUCHDISCOVER_POD_MANAGEMENT_POLICY,
    env::COUCHDISCOVER_SIZE_PINNED,
    env::COUCHDB_CLUSTER_SIZE,
    env::LOG_LEVEL,
    env::LOG_FORMAT,
];

fn variables(out: &mut String, agent: &Agent<'_>, facts: &Facts<'_>) {
    out.push_str(",\"env\":[");
    for (name, path) in [
        (env::POD_NAME, "metadata.name"),
        (env::POD_NAMESPACE, "metadata.namespace"),
        (env::POD_IP, "status.podIP"),
        (env::POD_UID, "metadata.uid"),
    ] {
        comma(out);
        field_ref(out, name, path);
    }
    let url = match agent.wishes.couchdb_ca {
        Some(_) => format!("https://127.0.0.1:{}", agent.couchdb.tls_port()),
        None => format!("http://127.0.0.1:{}", agent.couchdb.port()),
    };
    for (name, value) in [
        (env::COUCHDISCOVER_SERVICE, facts.service),
        (env::COUCHDISCOVER_CONTAINER, agent.couchdb.container.name.as_str()),
        (env::COUCHDISCOVER_COUCHDB_URL, &url),
        (env::COUCHDISCOVER_POD_MANAGEMENT_POLICY, agent.pod_management_policy),
        (env::COUCHDISCOVER_SIZE_PINNED, if agent.size_pinned { "true" } else { "false" }),
        (env::LOG_LEVEL, &agent.wishes.log_level),
        (env::LOG_FORMAT, agent.wishes.log_format),
    ] {
        comma(out);
        literal(out, name, value);
    }
    if agent.wishes.couchdb_ca.is_some() {
        comma(out);
        literal(out, env::COUCHDISCOVER_CA_FILE, &format!("{CA_PATH}/{}", objects::CA_KEY));
    }
    if agent.ordinals_start != 0 {
        comma(out);
        literal(out, env::COUCHDISCOVER_ORDINALS_START, &agent.ordinals_start.to_string());
    }
    let copied = |variable: &&&Env<'_>| !RESERVED.contains(&variable.name.as_str());
    let users = agent.credentials.env.iter().filter(copied).map(|variable| variable.raw);
    for raw in users.chain(agent.unseen_size.map(|variable| variable.raw)) {
        comma(out);
        out.push_str(raw);
    }
    if agent.unseen_size.is_none() {
        comma(out);
        literal(out, env::COUCHDB_CLUSTER_SIZE, facts.size_text);
    }
    out.push(']');
}

fn sources(out: &mut String, agent: &Agent<'_>) {
    if agent.credentials.env_from.is_empty() {
        return;
    }
    out.push_str(",\"envFrom\":[");
    for source in agent.credentials.env_from {
        comma(out);
        out.push_str(source.get());
    }
    out.push(']');
}

fn resources(out: &mut String, wishes: &Wishes<'_>) {
    let resources = &wishes.resources;
    out.push_str(",\"resources\":{\"limits\":{");
    if let Some(cpu) = resources.cpu_limit {
        json::field(out, "cpu", cpu);
        out.push(',');
    }
    json::field(out, "memory", resources.memory_limit);
    out.push_str("},\"requests\":{");
    json::field(out, "cpu", resources.cpu_request);
    out.push(',');
    json::field(out, "memory", resources.memory_request);
    out.push_str("}}");
}

fn probe(out: &mut String, kind: &str, path: &str, period: u8) {
    let port = ports::AGENT_PORT_NAME;
    let _ = write!(
        out,
        r#","{kind}":{{"failureThreshold":3,"httpGet":{{"path":"{path}","port":"{port}","scheme":"HTTP"}},"periodSeconds":{period},"successThreshold":1,"timeoutSeconds":2}}"#
    );
}

/// The names in `$(NAME)`; `$$(NAME)` is an escaped dollar.
pub(crate) fn references(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let dollar = rest.find('$')?;
            let after = &rest[dollar + 1..];
            if let Some(escaped) = after.strip_prefix('$') {
                rest = escaped;
            } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|open| open.split_once(')')) {
                rest = tail;
                return Some(name);
            } else {
                rest = after;
            }
        }
    })
}

/// Whether Kubernetes knows `one` when it expands `other`.
fn precedes(container: &Container<'_>, one: &Env<'_>, other: &Env<'_>) -> bool {
    let place = |wanted: &Env<'_>| container.env().iter().position(|env| std::ptr::eq(env.raw, wanted.raw));
    place(one) < place(other)
}
