//! The state behind the port: objects, access rules, routes, faults and the log of calls.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::access::{Access, User};
use super::admission::Hook;
use super::hooks::{Address, Admission, Endpoint, Services};
use super::path::{Key, Resource, Target};
use super::rbac;
use super::request::Request;
use super::status::ApiError;
use super::store::Store;
use crate::json::text;

/// The addresses that stand for the ports of pods, by the address in `status.podIPs` and the port.
pub(crate) type PodPorts = BTreeMap<(IpAddr, u16), SocketAddr>;

/// The parts of a server that all its connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// The latest resource version; a change wakes up the watches.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) addr: SocketAddr,
    pub(crate) ca_pem: String,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) stop: CancellationToken,
    /// Keeps the port reserved while the server is down.
    pub(crate) _reserved: TcpSocket,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) access: Access,
    pub(crate) services: Services,
    pub(crate) pod_ports: PodPorts,
    pub(crate) endpoints: BTreeMap<Address, Endpoint>,
    pub(crate) admissions: Vec<Admission>,
    pub(crate) calls: Vec<Call>,
    pub(crate) delay: Duration,
    pub(crate) failures: Vec<Failure>,
    /// `None` while the server is down.
    pub(crate) listening: Option<Listening>,
}

/// An open listener with its connections; dropping it closes all of them.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) listener: Arc<Mutex<Option<TcpListener>>>,
    pub(crate) _stop: DropGuard,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // The task that accepts ends later; the port must refuse connections from now on.
        *lock(&self.listener) = None;
    }
}

/// An error that a test injects into the next calls.
#[derive(Debug)]
pub(crate) struct Failure {
    /// A verb, or `*`.
    pub(crate) verb: String,
    /// A resource, or `*`.
    pub(crate) plural: String,
    pub(crate) remaining: u32,
    pub(crate) code: u16,
}

/// An answered call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `GET`, `POST`, ..
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query without its `?`.
    pub query: String,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The status of the answer. A watch is recorded when it starts.
    pub status: u16,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            store: Store::new(7),
            access: Access::default(),
            services: Services::new(),
            pod_ports: PodPorts::new(),
            endpoints: BTreeMap::new(),
            admissions: Vec::new(),
            calls: Vec::new(),
            delay: Duration::ZERO,
            failures: Vec::new(),
            listening: None,
        }
    }

    /// The error that a test injected for this call, if any; counts down its remaining calls.
    pub(crate) fn injected(&mut self, verb: &str, target: &Target) -> Option<ApiError> {
        // The first matching failure applies; an exhausted one is skipped.
        let failure = self.failures.iter_mut().find(|failure| failure.applies_to(verb, target))?;
        failure.remaining -= 1;
        Some(ApiError::Injected { code: failure.code, message: "injected by the test".to_owned() })
    }

    /// The entries of all webhook configurations, in the order of the configurations' names.
    pub(crate) fn hooks(&self) -> Vec<Hook> {
        let objects = self.store.all();
        let configurations = objects.filter(|(key, _)| key.plural == "mutatingwebhookconfigurations");
        configurations.flat_map(|(_, object)| Hook::all_of(object)).collect()
    }

    /// The labels that a namespace selector is matched against.
    pub(crate) fn namespace_labels(&self, namespace: Option<&str>) -> Value {
        let Some(namespace) = namespace else { return Value::Null };
        let key = Key {
            group: String::new(),
            plural: "namespaces".to_owned(),
            namespace: None,
            name: namespace.to_owned(),
        };
        match self.store.get(&key) {
            Some(object) => object["metadata"]["labels"].clone(),
            // Tests need not create the namespaces that they use; a real one always has this label.
            None => json!({"kubernetes.io/metadata.name": namespace}),
        }
    }

    /// Checks that the user may use this verb on this target.
    pub(crate) fn authorize(&self, user: &User, verb: &str, target: &Target) -> Result<(), ApiError> {
        self.access.check(user, verb, target)?;
        if self.access.rbac && !rbac::allows(&self.store, user, verb, target) {
            return Err(Access::refusal(user, verb, target));
        }
        Ok(())
    }

    /// Checks that the user may grant the role of a binding. A real server requires all permissions of the role, or the
    /// verb `bind` on it; only the latter is imitated.
    pub(crate) fn authorize_grant(
        &self,
        user: &User,
        target: &Target,
        request: &Request,
    ) -> Result<(), ApiError> {
        let is_binding = matches!(target.resource.plural.as_str(), "rolebindings" | "clusterrolebindings");
        if !self.access.rbac || !is_binding {
            return Ok(());
        }
        let binding = request.object()?;
        let Some(role) = rbac::role_of(&binding, target) else { return Ok(()) };
        if rbac::allows(&self.store, user, "bind", &role) {
            return Ok(());
        }
        Err(ApiError::Forbidden {
            message: format!(
                "{} {:?} is forbidden: user {:?} (groups={:?}) is attempting to grant RBAC permissions not \
                 currently held",
                target.resource,
                text(&binding["metadata"]["name"]),
                user.name,
                user.groups
            ),
        })
    }

    /// Answers a SelfSubjectAccessReview.
    pub(crate) fn review_access(&self, user: &User, mut review: Value) -> Value {
        let wanted = &review["spec"]["resourceAttributes"];
        let target = Target {
            // The review names a resource by its parts instead of a path.
            resource: Resource {
                group: text(&wanted["group"]).to_owned(),
                version: text(&wanted["version"]).to_owned(),
                plural: text(&wanted["resource"]).to_owned(),
            },
            namespace: wanted["namespace"].as_str().map(str::to_owned),
            name: wanted["name"].as_str().map(str::to_owned),
            subresource: wanted["subresource"].as_str().map(str::to_owned),
        };
        let allowed = self.authorize(user, text(&wanted["verb"]), &target).is_ok();
        review["status"] = json!({"allowed": allowed});
        review
    }
}

impl Failure {
    fn applies_to(&self, verb: &str, target: &Target) -> bool {
        self.remaining > 0
            && (self.verb == "*" || self.verb == verb)
            && (self.plural == "*" || self.plural == target.resource.plural)
    }
}
