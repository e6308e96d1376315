//! What is to be done to a StatefulSet: a pure function of the request and the settings.
//!
//! ```text
//! view       the few fields that are looked at, borrowed from the JSON
//! wishes     the annotations, parsed
//! container, variables, sidecar    what is found, what is added
//! flags, naming                    how Erlang reads its flags, and what it calls the nodes
//! concerns                         what goes through, with a warning
//! plan       all of it for one StatefulSet, or all that stands in the way
//! patch      the plan as JSON Patch, for a template without injection
//! record     what was added, to be taken out again
//! template   a template with an injection: strip it, restore it, render it anew
//! decide     which of these, for this request
//! ```

mod concerns;
mod container;
mod decide;
mod flags;
mod json;
mod naming;
mod patch;
mod plan;
mod problem;
mod quantity;
mod record;
mod sidecar;
mod template;
mod variables;
mod view;
mod warning;
mod wishes;
mod words;

pub use decide::{Decision, Question, decide, uninject};
pub(crate) use decide::{Seen, decide_seen};
pub use problem::Problem;
pub use template::apply;
pub use warning::Warning;
pub use wishes::Settings;
pub use words::{Outcome, Reason};
