//! `inject` and `uninject` on files: the webhook's decisions over YAML or JSON, with several documents and Lists.
//!
//! Pure: text in, text and a report out. Documents that do not change are passed through byte for byte.
//!
//! ```text
//! run        the whole stream: decide for each StatefulSet, report, write
//! documents  a stream as documents with their values, and back
//! stream     the boundaries of YAML documents
//! yaml       one document: read as kubectl reads it, written so that no reader misreads it
//! object     the parts of a Kubernetes object that matter here
//! services   the Services of the injected StatefulSets
//! error      the reasons for which there is no result
//! ```

mod documents;
mod error;
mod object;
mod run;
mod services;
mod stream;
mod yaml;

pub use error::Error;
pub use run::{Format, Output, Verb, run};
