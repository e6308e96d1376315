//! The reasons for which there is no result.

use contract::{keys, workload};
use thiserror::Error;

/// The reason for which a command on a file has no result.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A document cannot be parsed.
    #[error("{place}: not {syntax}: {why}")]
    Syntax {
        /// Number and line of the document.
        place: String,
        /// The format that was expected, YAML or JSON.
        syntax: &'static str,
        /// The parser's message.
        why: String,
    },
    /// A document is a template of a Helm chart.
    #[error(
        "{place}: not YAML: it contains '{{{{', as a Helm template that is not rendered. Fix: helm template RELEASE CHART | couchdiscover inject -f -"
    )]
    Template {
        /// Number and line of the document.
        place: String,
    },
    /// Several problems; a line for each.
    #[error("{} problems:\n{}", .0.len(), .0.join("\n"))]
    Several(Vec<String>),
    /// A document is not a Kubernetes object.
    #[error(
        "{place}: no 'kind', so it is not a Kubernetes object. Fix: check that the input is a manifest; every object has apiVersion and kind"
    )]
    NoKind {
        /// Number and line of the document.
        place: String,
    },
    /// StatefulSets are denied; a line for each.
    #[error("{}", .0.join("\n"))]
    Denied(Vec<String>),
    /// The input contains no StatefulSet.
    #[error("no {kind} of {version} in the input: nothing to inject{hint}", kind = workload::KIND, version = workload::API_VERSION)]
    NoStatefulSet {
        /// Objects that resemble a StatefulSet, with advice.
        hint: String,
    },
    /// The input contains StatefulSets, but none is labelled.
    #[error(
        "no StatefulSet is labelled: nothing to inject. Fix: add the label '{key}: {on}' to metadata.labels of {names}{hint}",
        key = keys::INJECT, on = keys::INJECT_ENABLED
    )]
    NotLabelled {
        /// The StatefulSets in the input.
        names: String,
        /// Misplaced labels, with advice.
        hint: String,
    },
}
