//! couchdiscover's webhook: injects the discovery agent into labelled StatefulSets that run CouchDB.
//!
//! * [`admission`]: what [`inject`] decides, for an AdmissionReview
//! * [`serve`]: the admission server
//! * [`run`]: the program

pub mod admission;
mod authority;
mod cli;
mod error;
mod kubernetes;
mod metrics;
mod provide;
pub mod serve;
mod settings;
mod tls;

pub use cli::run;
