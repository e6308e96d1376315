//! Renders what is added to a pod template.
//!
//! Every field that the API server would default is written out, so that the stored template equals the injected one and
//! a GitOps tool sees no difference.
//!
//! ```text
//! variables    those added to the CouchDB container
//! credentials  the admin credentials, copied for the agent
//! sidecar      the agent's container
//! volumes      those that it mounts
//! ```

mod credentials;
mod sidecar;
mod variables;
mod volumes;

pub(crate) use credentials::Credentials;
pub(crate) use sidecar::{FIELDS, render as sidecar};
pub(crate) use variables::{Variable, additions as variables, cookie_additions as cookie_variables};
pub(crate) use volumes::additions as volumes;
