//! Why a StatefulSet is refused: where, what, and what to do about it.

use std::fmt::Write as _;

use contract::{NameError, env, keys};
use thiserror::Error;

/// One reason to refuse a StatefulSet. Each message names the field, quotes the value and says the cure.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// A field that injection needs is not what Kubernetes says it is.
    #[error("unable to read the StatefulSet: {0}")]
    Shape(String),
    /// The label says something that is no answer.
    #[error(
        "metadata.labels[{key}]: '{0}' is neither '{on}' nor '{off}': use one of these, or remove the label",
        key = keys::INJECT, on = keys::INJECT_ENABLED, off = keys::INJECT_DISABLED
    )]
    Label(String),
    /// The name is not known yet.
    #[error(
        "metadata.name: missing: name the StatefulSet, since its pods' DNS names and its Secret are made from it (generateName can't be used here)"
    )]
    NoName,
    /// Without a governing Service the pods have no DNS names.
    #[error(
        "spec.serviceName: missing: name the headless Service that gives the pods their DNS names, with publishNotReadyAddresses: true"
    )]
    NoService,
    /// The pods would have names that DNS refuses.
    #[error("{field}: {why}: choose another name")]
    PodName {
        /// The field that makes it so.
        field: &'static str,
        /// The rule that is broken.
        why: NameError,
    },
    /// The template overrides the names that CouchDB's nodes are known by.
    #[error(
        "spec.template.spec.{field}: '{value}' would change the pods' DNS names: remove it, since the StatefulSet names its pods"
    )]
    PodDns {
        /// `hostname` or `subdomain`.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// The container that the annotation names isn't there.
    #[error("{path}: there is no container '{wanted}': name one of {candidates}", path = annotation(keys::CONTAINER), candidates = list(candidates))]
    NoSuchContainer {
        /// The name that was asked for.
        wanted: String,
        /// The names there are.
        candidates: Vec<String>,
    },
    /// Nothing tells which container is CouchDB.
    #[error(
        "spec.template.spec.containers: unable to tell which one is CouchDB: name one of {candidates} in the annotation '{key}'",
        candidates = list(candidates), key = keys::CONTAINER
    )]
    WhichContainer {
        /// The names there are.
        candidates: Vec<String>,
    },
    /// A size that is no number of pods.
    #[error("{path}: '{value}' is not a cluster size: use a whole number from 1")]
    Size {
        /// The field.
        path: String,
        /// Its value.
        value: String,
    },
    /// Two sizes that can't both be meant.
    #[error(
        "{path}: '{annotated}' differs from the '{variable}' of the variable {name}: keep one of the two",
        path = annotation(keys::CLUSTER_SIZE), name = env::COUCHDB_CLUSTER_SIZE
    )]
    TwoSizes {
        /// The annotation's.
        annotated: u32,
        /// The variable's.
        variable: u32,
    },
    /// The cookie that every Erlang programmer knows.
    #[error(
        "{path}: the Erlang cookie 'monster' is known to everyone, and CouchDB since 3.2.1 refuses to start with it: take another one from a Secret, or remove it and one is made"
    )]
    Monster {
        /// The field.
        path: String,
    },
    /// An annotation whose value is none that it takes.
    #[error("{path}: '{value}' is not {expected}", path = annotation(key))]
    Annotation {
        /// Which one.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A variable in `keep` that is never injected.
    #[error("{path}: '{name}' is never injected: name only variables among {known}", path = annotation(keys::KEEP))]
    Keep {
        /// The name.
        name: String,
        /// The names that may be injected.
        known: String,
    },
    /// The API server would refuse the agent's container.
    #[error("{path}: '{request}' is more than the limit '{limit}': raise {limit_key} or lower {key}", path = annotation(key))]
    RequestOverLimit {
        /// The request's annotation.
        key: &'static str,
        /// The request.
        request: String,
        /// The limit's annotation.
        limit_key: &'static str,
        /// The limit.
        limit: String,
    },
}

impl Problem {
    /// All problems in one message: alone on a line, several as a list.
    pub fn message(problems: &[Self]) -> String {
        match problems {
            [one] => one.to_string(),
            many => {
                let mut message = format!("{} problems:", many.len());
                for problem in many {
                    let _ = write!(message, "\n- {problem}");
                }
                message
            }
        }
    }
}

/// The field path of one of our annotations.
pub(crate) fn annotation(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

fn list(names: &[String]) -> String {
    let mut list = String::new();
    for (index, name) in names.iter().enumerate() {
        let _ = write!(list, "{}'{name}'", if index == 0 { "" } else { ", " });
    }
    list
}
