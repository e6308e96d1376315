//! `check`: the state of couchdiscover in a live cluster, read with the user's kubeconfig.
//!
//! ```text
//! look      reads the cluster; a part that cannot be read is a value with the reason
//! facts     the values that were read
//! judge     derives the findings from the facts; pure
//! pre       the requirements of an installation
//! finding   one result, with its level and fix
//! report    table and JSON
//! run       arguments, and a run of all checks
//! ```

mod facts;
mod finding;
mod judge;
mod look;
mod pre;
mod report;
mod run;
#[cfg(test)]
mod tests;

pub use finding::{Finding, Level};
pub use report::{Report, Summary};
pub use run::{Args, Output, check, run};
