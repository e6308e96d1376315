//! Completion scripts and man pages, generated from the arguments of the program.
//!
//! ```text
//! completion  the script for a shell
//! candidates  the answer to kubectl, which completes its plugins through a program of their own
//! man         a page for the program and one for each subcommand
//! ```

mod candidates;
mod completion;
mod man;

pub(crate) use candidates::CandidateArgs;
pub(crate) use completion::CompletionArgs;
pub(crate) use man::ManArgs;

pub(crate) use candidates::candidates;
pub(crate) use completion::completion;
pub(crate) use man::{ManError, man};
