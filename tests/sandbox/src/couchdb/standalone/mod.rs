//! One node in a process of its own, which forms a cluster with other such processes over the network.
//!
//! The rules of a cluster are those of [`World`](super::World). For each call the process assembles a world of its own
//! node and of every peer that it has a link to, handles the call in it, and sends the changed peers their new state:
//!
//! | part | |
//! |---|---|
//! | `wire` | messages between two nodes on the distribution port, after a handshake that proves the cookie |
//! | `links` | the links that this node has opened, found by name, through DNS and EPMD |
//! | `joint` | the world of one call: locked in the order of the host names, so that no two calls wait for each other |
//! | `listen` | the three ports |
//! | `disk` | the data volume, and the ini files of the container |
//!
//! A peer without a link is a node that is down. Differences from real nodes, beyond those of the crate: the messages
//! are not Erlang's; a call holds all connected nodes for its duration; a peer that does not answer for 10 s is
//! disconnected, not after `net_ticktime`.

mod disk;
mod joint;
mod links;
mod listen;
mod wire;

pub use disk::Home;
pub use listen::{Standalone, StandaloneError};
