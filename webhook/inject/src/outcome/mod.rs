//! Results of a decision: what was done and for which reason, the problems that deny a request, and the warnings.

mod explanation;
mod path;
mod problem;
mod warning;

pub use explanation::{Outcome, Reason};
pub use problem::Problem;
pub use warning::{RemovalRequest, Unresolved, Warning};

pub(crate) use path::annotation_path;
