//! The services of a node, and the callers that reach them.

use super::settings::Host;
use super::world::{Cut, World};

/// A service of a node that listens on a port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// CouchDB's HTTP API, port 5984 in a pod.
    Http,
    /// Erlang's port mapper, port 4369 in a pod.
    Epmd,
    /// Erlang's distribution, port 9100 in a pod.
    Distribution,
}

impl Service {
    /// `true` if the port of a running node accepts connections of this caller.
    pub(crate) fn listens(self, world: &World, host: &Host, source: &Source) -> bool {
        match self {
            Self::Http => true,
            Self::Epmd | Self::Distribution => {
                let is_distributed = world.node(host.as_str()).and_then(|n| n.name()).is_some();
                // Only a reset is a refusal; behind a silent cut the port accepts and answers nothing.
                let is_refused = match source {
                    Source::Any => false,
                    Source::Named(name) => {
                        world.cut_between(&Host::from(name.as_str()), host) == Some(Cut::Reset)
                    }
                };
                is_distributed && !is_refused
            }
        }
    }
}

/// The callers that a port is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Any caller; it is known by its IP address.
    Any,
    /// One caller, known by this name.
    Named(String),
}
