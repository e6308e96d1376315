//! Problems that deny a StatefulSet.

use std::fmt::Write as _;

use contract::text::{MESSAGE_LIMIT, one_line};
use contract::{NameError, env, keys};
use thiserror::Error;

use super::path::annotation_path;

/// A reason to deny a StatefulSet. Each message names the field, quotes its value, and ends with a fix.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// A field that injection reads does not have the type that Kubernetes defines.
    #[error("the StatefulSet is malformed: {place}{fix}", place = .0, fix = other_quotes(.0))]
    Malformed(String),
    /// The label has a value other than `enabled` and `disabled`.
    #[error(
        "metadata.labels[{key}]: '{0}' is neither '{on}' nor '{off}'. Fix: set one of the two, or remove the label",
        key = keys::INJECT, on = keys::INJECT_ENABLED, off = keys::INJECT_DISABLED
    )]
    Label(String),
    /// The object has no name, for example because it uses generateName.
    #[error(
        "metadata.name: missing, but the DNS names of the pods and the name of the Secret derive from it. Fix: set metadata.name; generateName is not supported"
    )]
    NoName,
    /// The object names no governing Service, which gives the pods their DNS names.
    #[error(
        "spec.serviceName: missing, so the pods have no DNS names. Fix: set it to a headless Service that has publishNotReadyAddresses: true"
    )]
    NoService,
    /// The pods' DNS names would be invalid.
    #[error("{field}: {why}. Fix: choose another name")]
    PodName {
        /// Path of the field that makes them invalid.
        field: &'static str,
        /// The violated rule.
        why: NameError,
    },
    /// The template overrides the DNS names by which the CouchDB nodes are known.
    #[error(
        "spec.template.spec.{field}: '{value}' overrides the DNS names that the StatefulSet gives its pods. Fix: remove it"
    )]
    PodDns {
        /// `hostname` or `subdomain`.
        field: &'static str,
        /// The field's value.
        value: String,
    },
    /// The annotation names a container that does not exist.
    #[error("{path}: container '{wanted}' does not exist. Fix: set it to one of {candidates}", path = annotation_path(keys::CONTAINER), candidates = list(candidates))]
    NoSuchContainer {
        /// The annotation's value.
        wanted: String,
        /// Names of the containers in the template.
        candidates: Vec<String>,
    },
    /// The annotation names a container that does not exist, or CouchDB's own.
    #[error(
        "{path}: '{wanted}' is not another container of the pod. Fix: {}",
        if candidates.is_empty() { "remove the annotation".to_owned() } else { format!("list only names among {}", list(candidates)) },
        path = annotation_path(keys::COOKIE_CONTAINERS)
    )]
    CookieContainer {
        /// The name in the annotation.
        wanted: String,
        /// Names of the other containers in the template.
        candidates: Vec<String>,
    },
    /// Each pod has a database of its own by design.
    #[error(
        "spec.replicas: container '{peer}' is the peer of a ledger, whose database is separate in each pod by design; one cluster of them would mix the peers' states. Fix: remove the label {label}; if these are to be one cluster, confirm with the annotation '{size}'",
        label = keys::INJECT, size = keys::CLUSTER_SIZE
    )]
    SeparateDatabases {
        /// Name of the peer's container.
        peer: String,
    },
    /// No container is recognised as CouchDB.
    #[error(
        "spec.template.spec.containers: none is recognised as CouchDB. Fix: set the annotation '{key}' to one of {candidates}",
        candidates = list(candidates), key = keys::CONTAINER
    )]
    WhichContainer {
        /// Names of the containers in the template.
        candidates: Vec<String>,
    },
    /// A cluster size is not a positive number.
    #[error("{path}: '{value}' is not a cluster size. Fix: use a whole number from 1")]
    Size {
        /// Path of the annotation or variable.
        path: String,
        /// Its value.
        value: String,
    },
    /// Annotation and variable give different cluster sizes.
    #[error(
        "{path}: '{annotated}' contradicts '{variable}' in the variable {name}. Fix: remove one of the two",
        path = annotation_path(keys::CLUSTER_SIZE), name = env::COUCHDB_CLUSTER_SIZE
    )]
    TwoSizes {
        /// The annotation's size.
        annotated: u32,
        /// The variable's size.
        variable: u32,
    },
    /// The Erlang cookie is the publicly known default, `monster`.
    #[error(
        "{path}: the Erlang cookie 'monster' is publicly known, and CouchDB 3.2.1 and later do not start with it. Fix: take another cookie from a Secret, or remove it to have one generated"
    )]
    DefaultCookie {
        /// Path of the variable's value.
        path: String,
    },
    /// An annotation has an invalid value.
    #[error("{path}: '{value}' is invalid. Fix: use {expected}", path = annotation_path(key))]
    Annotation {
        /// The annotation's key.
        key: &'static str,
        /// Its value.
        value: String,
        /// The values that are valid, as part of a sentence.
        expected: &'static str,
    },
    /// The annotation `keep` lists a variable that is never injected.
    #[error("{path}: '{name}' is never injected. Fix: list only variables among {known}", path = annotation_path(keys::KEEP))]
    Keep {
        /// The listed name.
        name: String,
        /// The injectable names, separated by commas.
        known: String,
    },
    /// A resource request of the agent exceeds its limit, so the API server would reject the container.
    #[error("{path}: the request '{request}' exceeds the limit '{limit}'. Fix: raise {limit_key} or lower {key}", path = annotation_path(key))]
    RequestOverLimit {
        /// Key of the request's annotation.
        key: &'static str,
        /// The requested quantity.
        request: String,
        /// Key of the limit's annotation.
        limit_key: &'static str,
        /// The limit.
        limit: String,
    },
}

impl Problem {
    /// The message of a denial: a single problem on one line, several as a list.
    ///
    /// Problems quote values, and the message is printed on terminals, also on those of other people than the author.
    pub fn message(problems: &[Self]) -> String {
        if let [one] = problems {
            return one_line(&one.to_string(), MESSAGE_LIMIT).into_owned();
        }
        let mut message = format!("{} problems:", problems.len());
        for problem in problems {
            let _ = write!(message, "\n- {}", one_line(&problem.to_string(), MESSAGE_LIMIT));
        }
        message
    }
}

/// The fix for a value that YAML reads as another type.
fn other_quotes(place: &str) -> &'static str {
    let is_bare =
        ["found boolean", "found integer", "found floating point"].iter().any(|found| place.contains(found));
    if is_bare && place.ends_with("expected a string") {
        return ". Fix: write the value in quotes";
    }
    let is_quoted = place.contains("found string") && place.contains("expected a whole number");
    if is_quoted { ". Fix: write the number without quotes" } else { "" }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
