//! Credentials that nobody injected, read from where CouchDB itself has them: the environment of its container, with
//! all that Kubernetes can put there.
//!
//! What an environment means is decided in [`env`], which is pure; here the objects are fetched. Only those that the
//! admin's name and password need are asked for, so that a Role may be as narrow as `resourceNames` with one Secret.

mod container;
mod env;
pub mod secret;

use std::collections::BTreeMap;

use axum::http::Request;
use contract::PodFqdn;
use k8s_openapi::ByteString;
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::timeout;

pub use env::{EnvError, Object};

use crate::settings::{Credentials, Mistake, credentials_from};
use env::Objects;

/// Reads credentials for one pod.
#[derive(Clone)]
pub struct Resolver {
    client: Option<Client>,
    me: PodFqdn,
    /// The CouchDB container, where it is known.
    container: Option<String>,
    /// The pod's address, for when the pod itself can't be read.
    ip: Option<String>,
}

/// Why there are no credentials.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// Neither pair of names has a value.
    #[error(
        "container '{container}' of {workload} has neither COUCHDB_ADMIN_USER and COUCHDB_ADMIN_PASS nor COUCHDB_USER and \
         COUCHDB_PASSWORD in its env or envFrom{}",
        looked_into(.objects)
    )]
    Absent {
        /// The container.
        container: String,
        /// The pod or StatefulSet.
        workload: String,
        /// Every object that was read for them.
        objects: Vec<Object>,
    },
    /// The container isn't one that can be told from the others.
    #[error(
        "{workload} has no container that is CouchDB's for certain (it has {}): set COUCHDISCOVER_CONTAINER on the agent",
        quoted(.candidates)
    )]
    Container {
        /// The pod or StatefulSet.
        workload: String,
        /// Those that it has.
        candidates: Vec<String>,
    },
    /// The environment can't be made.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The role is missing.
    #[error(
        "may not read {what}: allow the pod's service account 'get' on it by a Role (rule: apiGroups [\"\"], resources \
         [{plural}], verbs [get]; manifests/examples/agent-reads-secrets.yaml is one), or let the webhook inject the credentials"
    )]
    Forbidden {
        /// The object.
        what: String,
        /// Its resource.
        plural: &'static str,
    },
    /// The answer is none that an API server gives.
    #[error("Kubernetes answered something unclear about {what}")]
    Garbled {
        /// The object.
        what: String,
    },
    /// What was found can't be used.
    #[error(transparent)]
    Mistake(#[from] Mistake),
    /// There is nobody to ask.
    #[error("no Kubernetes API was found to read the CouchDB container's environment from")]
    NoApi,
    /// Neither the pod nor its StatefulSet is known.
    #[error("Kubernetes knows neither pod '{pod}' nor StatefulSet '{set}' in namespace '{namespace}'")]
    NoWorkload {
        /// The pod.
        pod: String,
        /// The StatefulSet.
        set: String,
        /// Their namespace.
        namespace: String,
    },
    /// No answer in time.
    #[error("Kubernetes didn't answer in time about {what}")]
    Silent {
        /// The object.
        what: String,
    },
    /// No answer.
    #[error("failed to read {what}")]
    Unanswered {
        /// The object.
        what: String,
        /// What the client says.
        source: Box<kube::Error>,
    },
}

impl Resolver {
    /// For the pod `me`, whose CouchDB container may be known by name.
    pub fn new(client: Option<Client>, me: PodFqdn, container: Option<String>, ip: Option<String>) -> Self {
        Self { client, me, container, ip }
    }

    /// The admin that CouchDB's container is given, as of now.
    pub async fn credentials(&self) -> Result<Credentials, ResolveError> {
        let client = self.client.as_ref().ok_or(ResolveError::NoApi)?;
        let (workload, pod) = self.pod(client).await?;
        let set = self.me.pod().set().to_string();
        let container = container::find(&pod, self.container.as_deref(), &set)
            .map_err(|candidates| ResolveError::Container { workload: workload.clone(), candidates })?;
        let names = contract::env::CREDENTIALS.map(|(user, password)| [user, password]);
        let names = names.as_flattened();
        let mut objects = Objects::new();
        for object in env::objects_of(&container, names) {
            let data = self.data(client, &object).await?;
            objects.insert(object, data);
        }
        let env = env::resolve(&pod, &container, names, &objects)?;
        let found = credentials_from(&|name| env.get(name).cloned())?;
        let found = found.ok_or_else(|| ResolveError::Absent {
            container: container.name.clone(),
            workload: workload.clone(),
            objects: objects.into_keys().collect(),
        })?;
        let source = format!("{} of container '{}' of {workload}", found.source, container.name);
        Ok(Credentials { source, ..found })
    }

    /// The pod, as it was started. Where it can't be read, what its StatefulSet would make now.
    async fn pod(&self, client: &Client) -> Result<(String, Value), ResolveError> {
        let name = self.me.pod().to_string();
        let (what, path) = (format!("pod '{name}'"), self.path("/api/v1", "pods", &name));
        match get::<Value>(client, &what, "pods", path).await {
            Ok(Some(pod)) => return Ok((what, pod)),
            Ok(None) | Err(ResolveError::Forbidden { .. }) => {}
            Err(error) => return Err(error),
        }
        let set = self.me.pod().set().to_string();
        let (what, path) = (format!("StatefulSet '{set}'"), self.path("/apis/apps/v1", "statefulsets", &set));
        match get::<Value>(client, &what, "statefulsets", path).await? {
            Some(stored) => Ok((what, self.pod_of(&stored))),
            None => {
                Err(ResolveError::NoWorkload { pod: name, set, namespace: self.me.namespace().to_string() })
            }
        }
    }

    /// What is known of the pod that a StatefulSet makes.
    fn pod_of(&self, set: &Value) -> Value {
        let template = &set["spec"]["template"];
        json!({
            "metadata": {
                "name": self.me.pod().to_string(),
                "namespace": self.me.namespace().to_string(),
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"]["annotations"],
            },
            "spec": template["spec"],
            "status": { "podIP": self.ip },
        })
    }

    /// What an object holds; `None` where there is none.
    async fn data(
        &self,
        client: &Client,
        object: &Object,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, ResolveError> {
        #[derive(Deserialize)]
        struct Holds<T> {
            #[serde(default = "BTreeMap::new")]
            data: BTreeMap<String, T>,
        }
        let path = self.path("/api/v1", object.plural(), object.name());
        let what = object.to_string();
        Ok(match object {
            Object::ConfigMap(_) => get::<Holds<String>>(client, &what, object.plural(), path)
                .await?
                .map(|map| map.data.into_iter().map(|(key, text)| (key, text.into_bytes())).collect()),
            Object::Secret(_) => get::<Holds<ByteString>>(client, &what, object.plural(), path)
                .await?
                .map(|secret| secret.data.into_iter().map(|(key, ByteString(bytes))| (key, bytes)).collect()),
        })
    }

    fn path(&self, api: &str, plural: &str, name: &str) -> String {
        format!("{api}/namespaces/{}/{plural}/{name}", self.me.namespace())
    }
}

/// The object, or `None` where there is none.
async fn get<T: DeserializeOwned>(
    client: &Client,
    what: &str,
    plural: &'static str,
    path: String,
) -> Result<Option<T>, ResolveError> {
    let what = || what.to_owned();
    // Only what no object can be called makes no path; so there is none.
    let Ok(request) = Request::get(path).body(vec![]) else { return Ok(None) };
    match timeout(PATIENCE, client.request::<T>(request)).await {
        Ok(Ok(object)) => Ok(Some(object)),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            Err(ResolveError::Forbidden { what: what(), plural })
        }
        // What doesn't parse may hold a secret, and the error would show it.
        Ok(Err(kube::Error::SerdeError(_))) => Err(ResolveError::Garbled { what: what() }),
        Ok(Err(source)) => Err(ResolveError::Unanswered { what: what(), source: Box::new(source) }),
        Err(_) => Err(ResolveError::Silent { what: what() }),
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("me", &self.me).finish_non_exhaustive()
    }
}

fn looked_into(objects: &[Object]) -> String {
    match objects {
        [] => String::new(),
        objects => {
            let names: Vec<_> = objects.iter().map(ToString::to_string).collect();
            format!(" (looked into {})", names.join(", "))
        }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

/// An API server answers a read of one object in some 10 ms.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
