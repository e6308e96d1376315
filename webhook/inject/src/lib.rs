//! The injection of the couchdiscover agent into a StatefulSet: a pure function of its JSON and the webhook's settings.
//!
//! Nothing in this crate does I/O, logs or reads a clock. The modules from the bottom to the top:
//!
//! ```text
//! outcome/  problems, warnings, and the names of outcomes and reasons
//! read/     the fields that injection looks at: annotations, CouchDB container, Erlang flags
//! render/   the variables, the agent's container and its volumes
//! warn/     warnings about a StatefulSet that is about to be injected
//! digest    a digest that distinguishes changed values
//! record    the annotation that describes an injection, so that it can be removed
//! plan      everything that is added to one StatefulSet
//! edit/     a plan as JSON Patch; removal and restoration of an injection
//! opt_out   the parts that opting out removes and keeps, and the warnings about it
//! guard/    the decision about requests that remove nodes
//! decide    the rules: inject, keep, remove, deny or do nothing
//! files/    the same for YAML and JSON files
//! ```

mod decide;
mod decision;
mod digest;
mod edit;
pub mod files;
pub mod guard;
mod opt_out;
mod outcome;
mod plan;
mod read;
mod record;
mod render;
mod warn;

pub use decide::{Question, StatefulSet, decide, decide_read, uninject};
pub use decision::Decision;
pub use edit::apply;
pub use outcome::{Outcome, Problem, Reason, RemovalRequest, Unresolved, Warning};
pub use read::{Defaults, OnRemoval, ScaleDownMode, Settings, Text, place};
