//! couchdiscover's webhook: injects the discovery agent into labelled StatefulSets that run CouchDB.
//!
//! * [`inject`]: what is to be done to a StatefulSet, as a pure function
//! * [`admit`]: the same for an AdmissionReview
//! * [`files`]: the same for YAML and JSON files
//! * [`check`]: what is right and wrong in a live cluster
//! * [`review`]: what the API server asks, and what it is answered
//! * [`serve`]: the admission server
//! * [`run`]: the program

pub mod admit;
pub mod check;
mod cli;
pub mod files;
pub mod inject;
mod kubernetes;
mod provide;
mod publish;
pub mod review;
pub mod serve;

pub use cli::run;
