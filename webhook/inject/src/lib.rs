//! What is to be done to a StatefulSet: a pure function of the request and the settings.
//!
//! ```text
//! read/     the few fields that are looked at, the annotations, the CouchDB container, Erlang's flags
//! render/   the variables and the sidecar that are added
//! warn/     what goes through, with a warning
//! plan      all of it for one StatefulSet, or all that stands in the way
//! record    what was added, to be taken out again
//! edit/     the plan as JSON Patch; a template with an injection: strip it, restore it, render it anew
//! decide    which of these, for this request
//! outcome/  what came of it: problems, warnings, and the words in logs and metrics
//! files/    the same for YAML and JSON files
//! ```

mod decide;
mod edit;
pub mod files;
mod json;
mod outcome;
mod plan;
mod read;
mod record;
mod render;
mod warn;

pub use decide::{Decision, Question, Seen, decide, decide_seen, uninject};
pub use edit::template::apply;
pub use outcome::explanation::{Outcome, Reason};
pub use outcome::problem::Problem;
pub use outcome::warning::Warning;
pub use read::annotations::Settings;
pub use read::text::{Text, place};
