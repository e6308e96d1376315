//! Messages for missing credentials.

use thiserror::Error;

use super::env::{EnvError, Object};
use crate::settings::Mistake;

/// No credentials could be read.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// No pair of variables has a value.
    #[error(
        "container '{container}' of {workload} has neither COUCHDB_ADMIN_USER and COUCHDB_ADMIN_PASS nor COUCHDB_USER and \
         COUCHDB_PASSWORD in its env or envFrom{}",
        objects_read(.objects)
    )]
    Absent {
        /// The container's name.
        container: String,
        /// The pod or StatefulSet.
        workload: String,
        /// Every object that was read for them.
        objects: Vec<Object>,
    },
    /// The CouchDB container cannot be distinguished from the others.
    #[error(
        "it is unknown which container of {workload} is CouchDB's: {}. Fix: set COUCHDISCOVER_CONTAINER on the agent",
        quoted(.candidates)
    )]
    Container {
        /// The pod or StatefulSet.
        workload: String,
        /// The names of its containers.
        candidates: Vec<String>,
    },
    /// The container's environment cannot be resolved.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The API server refused the request, or the connection failed.
    #[error("failed to read {what}")]
    Failed {
        /// The object.
        what: String,
        /// The error of the client.
        source: Box<kube::Error>,
    },
    /// The agent's role does not allow it.
    #[error(
        "the pod's service account may not read {what}. Fix: allow it by a Role (apiGroups [\"\"], resources [{plural}], \
         verbs [get]; manifests/examples/agent-reads-secrets.yaml is one), or let the webhook inject the credentials"
    )]
    Forbidden {
        /// The object.
        what: String,
        /// Its resource.
        plural: &'static str,
    },
    /// The answer cannot be parsed.
    #[error("the Kubernetes API's answer about {what} cannot be parsed")]
    Garbled {
        /// The object.
        what: String,
    },
    /// The credentials that were found cannot be used.
    #[error(transparent)]
    Mistake(#[from] Mistake),
    /// No answer within the time limit.
    #[error("the Kubernetes API did not answer in time about {what}")]
    NoAnswer {
        /// The object.
        what: String,
    },
    /// No Kubernetes API.
    #[error("no Kubernetes API was found from which the CouchDB container's environment could be read")]
    NoApi,
    /// Neither the pod nor its StatefulSet exists.
    #[error("neither pod '{pod}' nor StatefulSet '{set}' exists in namespace '{namespace}'")]
    NoWorkload {
        /// The pod.
        pod: String,
        /// The StatefulSet.
        set: String,
        /// Their namespace.
        namespace: String,
    },
}

fn objects_read(objects: &[Object]) -> String {
    if objects.is_empty() {
        return String::new();
    }
    let names: Vec<_> = objects.iter().map(ToString::to_string).collect();
    format!(" (read: {})", names.join(", "))
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
