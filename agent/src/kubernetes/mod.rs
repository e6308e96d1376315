//! The Kubernetes API: the StatefulSet, its Lease and this pod are watched, never polled; Lease and Events are written.
//!
//! | module | contents |
//! |---|---|
//! | [`client`] | the connection, and requests with a time limit |
//! | [`watch`] | the three watches |
//! | [`knowledge`] | the last known state, and its change by each event |
//! | [`holding`] | the holder of the Lease as seen from here |
//! | [`lease`] | the Lease as a lock |
//! | [`record`] | the founding record in the Lease's annotations |
//! | [`role`] | the fix for missing permissions |
//! | [`events`] | Kubernetes Events |

pub(crate) mod client;
pub mod events;
mod holding;
mod knowledge;
mod lease;
mod record;
mod role;
mod watch;

pub use client::{Access, Place, connect};
pub use holding::Holding;
pub use knowledge::Knowledge;
pub use lease::{Claim, LeaseError};
pub(crate) use record::Founding;
pub use record::RecordError;
pub use watch::{Followed, follow};
