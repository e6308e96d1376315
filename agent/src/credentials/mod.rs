//! Credentials that were not injected, read from the environment of the CouchDB container with everything that Kubernetes
//! can put there.
//!
//! | module | contents |
//! |---|---|
//! | [`resolver`] | fetches the pod and the objects that its environment refers to |
//! | [`container`] | the CouchDB container in a pod's spec |
//! | [`env`] | the container's environment as the kubelet makes it; pure |
//! | [`error`] | messages for missing credentials |

mod container;
mod env;
mod error;
mod resolver;

pub use env::{EnvError, Object};
pub use error::ResolveError;
pub use resolver::Resolver;
