//! Fetches the pod and the objects that its environment refers to.
//!
//! Only objects that the admin's name and password need are read, so that a Role may be as narrow as `resourceNames` with
//! one Secret.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::http::Request;
use contract::PodFqdn;
use k8s_openapi::ByteString;
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::container;
use super::env::{self, Data, Object, Objects};
use super::error::ResolveError;
use crate::kubernetes::client::{RequestError, answer};
use crate::settings::{Credentials, credentials_from};

/// Reads the credentials of one pod's CouchDB container.
#[derive(Clone)]
pub struct Resolver {
    client: Option<Client>,
    me: PodFqdn,
    /// The name of the CouchDB container, if it is known.
    container: Option<String>,
    /// The pod's address, in case the pod itself cannot be read.
    ip: Option<String>,
}

impl Resolver {
    /// A resolver for the pod `me`, with the address `ip` and, if it is known, the name of its CouchDB container.
    pub fn new(client: Option<Client>, me: PodFqdn, container: Option<String>, ip: Option<String>) -> Self {
        Self { client, me, container, ip }
    }

    /// Reads the admin credentials that the CouchDB container would get now.
    pub async fn credentials(&self) -> Result<Credentials, ResolveError> {
        let client = self.client.as_ref().ok_or(ResolveError::NoApi)?;
        let (workload, pod) = self.pod(client).await?;
        let container = container::find(&pod, self.container.as_deref(), self.me.pod().set().as_str())
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

    /// Returns the pod as it was started, with its name for messages. If it cannot be read, the pod that its StatefulSet
    /// would create now.
    async fn pod(&self, client: &Client) -> Result<(String, Value), ResolveError> {
        let name = self.me.pod().to_string();
        // The pod first: CouchDB was started with its environment, and an update of the StatefulSet may not have
        // reached this pod yet.
        let pod = ObjectRequest {
            what: format!("pod '{name}'"),
            plural: "pods",
            path: self.path("/api/v1", "pods", &name),
        };
        match pod.get(client).await {
            Ok(Some(found)) => return Ok((pod.what, found)),
            Ok(None) | Err(ResolveError::Forbidden { .. }) => {}
            Err(error) => return Err(error),
        }
        let name = self.me.pod().set().to_string();
        let set = ObjectRequest {
            what: format!("StatefulSet '{name}'"),
            plural: "statefulsets",
            path: self.path("/apis/apps/v1", "statefulsets", &name),
        };
        match set.get(client).await? {
            Some(found) => Ok((set.what, self.pod_of(&found))),
            None => Err(ResolveError::NoWorkload {
                pod: self.me.pod().to_string(),
                set: name,
                namespace: self.me.namespace().to_string(),
            }),
        }
    }

    /// The known part of the pod that a StatefulSet creates.
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

    /// Returns the data of an object; `None` if it does not exist.
    async fn data(&self, client: &Client, object: &Object) -> Result<Option<Data>, ResolveError> {
        let request = ObjectRequest {
            what: object.to_string(),
            plural: object.plural(),
            path: self.path("/api/v1", object.plural(), object.name()),
        };
        Ok(match object {
            Object::ConfigMap(_) => {
                let map = request.get::<WithData<String>>(client).await?;
                map.map(|map| map.data.into_iter().map(|(key, text)| (key, text.into_bytes())).collect())
            }
            Object::Secret(_) => {
                let secret = request.get::<WithData<ByteString>>(client).await?;
                secret.map(|secret| secret.data.into_iter().map(|(key, bytes)| (key, bytes.0)).collect())
            }
        })
    }

    fn path(&self, api: &str, plural: &str, name: &str) -> String {
        format!("{api}/namespaces/{}/{plural}/{name}", self.me.namespace())
    }
}

/// The fields of a ConfigMap or Secret that are used.
#[derive(Deserialize)]
struct WithData<T> {
    #[serde(default = "BTreeMap::new")]
    data: BTreeMap<String, T>,
}

/// A request for one object.
struct ObjectRequest {
    /// Kind and name, for messages.
    what: String,
    plural: &'static str,
    path: String,
}

impl ObjectRequest {
    /// Returns the object; `None` if it does not exist.
    async fn get<T: DeserializeOwned>(&self, client: &Client) -> Result<Option<T>, ResolveError> {
        // A name that is invalid in a URL is no object's name.
        let Ok(request) = Request::get(&self.path).body(vec![]) else { return Ok(None) };
        let error = match answer(TIMEOUT, client.request(request)).await {
            Ok(object) => return Ok(Some(object)),
            Err(error) => error,
        };
        let what = self.what.clone();
        match error.status() {
            Some(404) => return Ok(None),
            Some(403) => return Err(ResolveError::Forbidden { what, plural: self.plural }),
            Some(_) | None => {}
        }
        Err(match error {
            RequestError::NoAnswer => ResolveError::NoAnswer { what },
            // The text that failed to parse may contain a secret, and the error would print it.
            RequestError::Failed(kube::Error::SerdeError(_)) => ResolveError::Garbled { what },
            RequestError::Failed(source) => ResolveError::Failed { what, source: Box::new(source) },
        })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("me", &self.me).finish_non_exhaustive()
    }
}

/// An API server answers a read of one object within about 10 ms.
const TIMEOUT: Duration = Duration::from_secs(10);
