//! Names and sizes that injected values consist of.

use contract::env;

use super::annotations::{self, Annotations};
use super::couchdb::CouchDb;
use super::view::{Env, View};
use crate::outcome::Problem;

/// Names that injected values consist of.
#[derive(Debug)]
pub(crate) struct Facts<'p> {
    /// Name of the StatefulSet's own Secret.
    pub(crate) companion: String,
    /// Name of the governing Service.
    pub(crate) service: &'p str,
    /// Unknown for a file that does not specify it.
    pub(crate) namespace: Option<&'p str>,
    /// The cluster's DNS domain.
    pub(crate) domain: &'p str,
    /// The version for the record.
    pub(crate) version: &'p str,
}

/// The number of nodes at which the cluster forms, and its source.
#[derive(Debug)]
pub(crate) struct Size<'p> {
    pub(crate) nodes: u32,
    pub(crate) source: SizeSource<'p>,
}

/// The origin of the cluster size.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SizeSource<'p> {
    /// `spec.replicas`, so that the size follows the number of pods until the cluster forms.
    Replicas,
    /// The annotation, or a variable with a visible value.
    Pinned,
    /// A variable with a value that only the pod knows.
    Unseen(&'p Env<'p>),
}

impl<'p> Size<'p> {
    pub(super) fn of(
        view: &View<'_>,
        couchdb: CouchDb<'p>,
        annotations: &Annotations<'_>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let variable = couchdb.container.variable(env::COUCHDB_CLUSTER_SIZE);
        let literal = variable.and_then(|variable| {
            let value = variable.visible()?;
            let size = annotations::parse_size(value);
            if size.is_none() {
                let path = couchdb.value_path(variable);
                problems.push(Problem::Size { path, value: value.to_owned() });
            }
            size
        });
        if let (Some(annotated), Some(variable)) = (annotations.size, literal)
            && annotated != variable
        {
            problems.push(Problem::TwoSizes { annotated, variable });
        }
        // A size that is only visible in the pod is copied to the agent as it is.
        let source = match variable {
            Some(variable) if variable.visible().is_none() => SizeSource::Unseen(variable),
            None if annotations.size.is_none() => SizeSource::Replicas,
            Some(_) | None => SizeSource::Pinned,
        };
        // Without the user's choice, all pods that are requested form the cluster.
        Self { nodes: annotations.size.or(literal).unwrap_or_else(|| view.pods()), source }
    }

    /// `true` if the user chose the size, so that it takes precedence over `spec.replicas`.
    pub(crate) fn is_pinned(&self) -> bool {
        match self.source {
            SizeSource::Replicas => false,
            SizeSource::Pinned | SizeSource::Unseen(_) => true,
        }
    }
}
