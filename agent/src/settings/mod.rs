//! The agent's settings: its environment, read once, through a function from name to value.
//!
//! | module | contents |
//! |---|---|
//! | [`environment`] | all variables, and the settings that they make |
//! | [`admin`] | CouchDB's admin user and password |
//! | [`endpoint`] | CouchDB's URL |
//! | [`pod_name`] | the pod's DNS name |
//! | [`mistake`] | messages for variables that cannot be used |

mod admin;
mod endpoint;
mod environment;
mod mistake;
pub mod pod_name;
mod secret;
mod values;

pub use admin::Credentials;
pub(crate) use admin::credentials_from;
pub use agent_core::facts::{PodManagement, Size};
pub use endpoint::{Endpoint, Scheme};
pub use environment::{Log, Pod, Settings};
pub use mistake::{Mistake, Mistakes};
pub use secret::Secret;
pub use values::Kubernetes;
