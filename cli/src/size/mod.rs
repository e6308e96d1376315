//! Changes of size: `plan` shows the moves that one takes, `scale` carries it out.
//!
//! ```text
//! run       arguments, and the loop: look, decide, act
//! act       the writes
//! look      reads the StatefulSet, its pods with the agents' pages, the Lease, and plans
//! plan      a plan as table or JSON; pure
//! progress  what is going on, as a line; pure
//! step      what comes next; pure
//! facts     what is read, as values
//! error     failures, each with its exit code
//! bar       the line on a terminal, or lines in a log
//! ```

mod act;
mod bar;
mod error;
mod facts;
mod look;
mod plan;
mod progress;
mod run;
mod step;

pub use error::SizeError;
pub use run::{PlanArgs, ScaleArgs, plan, scale};
