//! `status`: the pods of StatefulSets with the states that their agents report, worst first.
//!
//! ```text
//! look    reads StatefulSets, pods and agents' pages
//! view    the result: sorted, as JSON or as a table; pure
//! run     arguments, and one look or one after another
//! ```

mod look;
mod run;
mod view;

pub use run::{Args, StatusError, look, run};
pub use view::{Overview, PodView, SetView};
