//! The certificate authority that all replicas share, and its publication to API servers.
//!
//! The authority is in one Secret. Every replica watches it and carries out what is due there with optimistic locking;
//! there is no leader. Each replica issues a certificate for itself, which never leaves the process. The caBundle of
//! the webhook configuration is watched as well, and corrected by server-side apply. [`certs::rotation`] decides what
//! is due and when.
//!
//! ```text
//! keeper           one pass: authority, certificate, caBundle, trust
//!   store          the Secret: last known state, reads and writes
//!     secret       its contents
//!   publication    the webhook configuration: last known state, writes
//!     configuration  its contents
//!   change         changes of the authority, for log and metrics
//! follow           trust only, where another program publishes the caBundle
//! outputs          configuration of the keeper, and the receivers of its results
//! ```

mod change;
mod configuration;
mod follow;
mod keeper;
mod outputs;
mod progress;
mod publication;
mod secret;
mod store;

pub(crate) use follow::follow;
pub(crate) use keeper::keep;
pub(crate) use outputs::{AuthorityConfig, Outputs};
