//! couchdiscover's webhook: injects the discovery agent into labelled StatefulSets that run CouchDB.
//!
//! From the top down:
//!
//! * [`run`]: the program
//! * [`serve`]: the admission server
//! * `authority`: the certificate authority of all replicas, and its publication
//! * `guard`: the facts that requests which remove nodes are judged by
//! * `provide`: the Secrets and RoleBindings that injected pods need
//! * `tls`: the server's certificate
//! * [`admission`]: AdmissionReviews, answered with the decisions of [`inject`]
//! * `metrics`, `settings`, `kubernetes`, `log_once`, `backoff`

pub mod admission;
mod authority;
mod backoff;
mod cli;
mod guard;
mod kubernetes;
mod log_once;
mod metrics;
mod provide;
pub mod serve;
mod settings;
mod tls;

pub use cli::run;
