//! Results of a decision: what was done and for which reason, the problems that deny a request, and the warnings.

mod explanation;
mod problem;
mod warning;

pub use explanation::{Outcome, Reason};
pub use problem::Problem;
pub use warning::{Unresolved, Warning};

/// Field path of one of our annotations on the StatefulSet.
pub(crate) fn annotation_path(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}
