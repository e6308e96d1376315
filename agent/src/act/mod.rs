//! Carries a step out, on the local CouchDB or the Lease.

mod actor;
mod compare;
mod comparison;
mod copies;
mod error;
mod moves;
mod step;

pub use actor::Actor;
pub use comparison::Comparison;
pub use error::{ActError, Progress};
pub use moves::{Mover, PlanInputs};
pub use step::act;
