//! Observation: one look at CouchDB and Kubernetes, as facts for the decision.
//!
//! | module | contents |
//! |---|---|
//! | [`observer`] | one round of observation |
//! | [`ways`] | the way in which each peer is asked: where a password may be sent |
//! | [`nodes`] | the answers of a node, read in each round from the local one |
//! | [`peers`] | the answers of peers, each asked in its way |
//! | [`agents`] | peers as their own agents report them |
//! | [`details`] | what is read only when those answers call for it |
//! | [`ports`] | Erlang's ports on a peer |
//! | [`service`] | the Service's EndpointSlices |
//! | [`directory`] | addresses and names of the nodes |
//! | [`restart`] | detects a restart of the local CouchDB between two rounds |

mod agents;
mod details;
mod directory;
pub(crate) mod nodes;
mod observer;
mod peers;
mod ports;
pub(crate) mod restart;
pub mod service;
mod ways;

pub use directory::Directory;
pub use observer::{Inputs, Moves, Observer};
