//! The guard for changes of size: the decision about a request that removes nodes of a labelled StatefulSet.
//!
//! Kubernetes stops a pod the moment `spec.replicas` falls, so the data must have left its node before. The facts that the
//! request does not contain are arguments: the caller reads the Lease, and only for a request that needs it.
//!
//! ```text
//! ordinals    the ordinals that a change removes
//! request     the request and the facts of its StatefulSet, which the request contains
//! evidence    the founding record and the record of copies, from the Lease
//! judge       the verdict
//! denial      the reasons of a denial, and their messages
//! patch       the changes that turn a request into one to drain
//! ```

mod denial;
mod evidence;
mod judge;
mod ordinals;
mod patch;
mod request;

pub use denial::Denial;
pub use evidence::Evidence;
pub use judge::Verdict;
pub use request::{Replicas, ScaleDown};

pub(crate) use patch::without_target;
