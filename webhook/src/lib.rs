//! couchdiscover's webhook: injects the discovery agent into labelled StatefulSets that run CouchDB.
//!
//! * [`admit`]: what [`inject`] decides, for an AdmissionReview
//! * [`check`]: what is right and wrong in a live cluster
//! * [`review`]: what the API server asks, and what it is answered
//! * [`serve`]: the admission server
//! * [`run`]: the program

pub mod admit;
pub mod check;
mod cli;
mod kubernetes;
mod provide;
mod publish;
pub mod review;
pub mod serve;

pub use cli::run;
