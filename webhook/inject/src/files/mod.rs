//! `inject` and `uninject` on files: the webhook's decisions over YAML or JSON, with several documents and Lists.
//!
//! Pure: text in, text and a report out. Documents that do not change are passed through byte for byte.
//!
//! ```text
//! run        the whole stream: decide for each StatefulSet, report, write
//! documents  a stream as documents with their values, and back
//! stream     the boundaries of YAML documents
//! yaml       one document: read as kubectl reads it, written so that no reader misreads it
//! surroundings, configuration, network
//!            the other objects of the files that injected StatefulSets depend on
//! object     the parts of a Kubernetes object that matter here
//! error      the reasons for which there is no result
//! ```

mod configuration;
mod documents;
mod error;
mod network;
mod object;
mod run;
mod stream;
mod surroundings;
mod yaml;

pub use error::Error;
pub use run::{Format, Input, Output, Verb, run, run_all};
