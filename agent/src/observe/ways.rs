//! The way in which each peer is asked: where a password may be sent, and where it may not.

use std::collections::{BTreeMap, BTreeSet};

use super::nodes::{Connected, Introduction};
use crate::settings::Scheme;

/// The way in which one peer is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// At its own address, with the password: one of the two nodes has not joined, and there is no other way.
    Address,
    /// Its agent is asked instead, without a login.
    Agent,
    /// The local node is asked about this Erlang name, of a member that it is connected to.
    Member(String),
    /// A member that the local node is not connected to: it is only looked whether anything answers.
    Unconnected,
}

/// The ways in which peers are asked, by ordinal.
#[derive(Debug, Default)]
pub(super) struct Ways(BTreeMap<u32, Way>);

impl Ways {
    /// Decides the ways. Without `introduction` the local node does not answer, or refuses the login: it may be a member, and its
    /// password may not be the cluster's, so no peer gets it. `connected` are its members that Erlang is connected to.
    pub(super) fn choose(
        scheme: Scheme,
        introduction: Option<&Introduction>,
        connected: &Connected,
        peers: &BTreeSet<u32>,
    ) -> Self {
        let Some(introduction) = introduction else {
            return Self(peers.iter().map(|peer| (*peer, Way::Agent)).collect());
        };
        let listed = introduction.listed(peers);
        let mut ways = BTreeMap::new();
        for peer in peers {
            let way = match connected.pods.get(peer) {
                Some(name) => Way::Member(name.clone()),
                None if !introduction.has_joined() => Way::Address,
                None if listed.contains(peer) => Way::Unconnected,
                // A certificate proves the pod's name before the password is sent.
                None if scheme == Scheme::Https => Way::Address,
                None => Way::Agent,
            };
            ways.insert(*peer, way);
        }
        Self(ways)
    }

    /// The way to a peer.
    pub(super) fn to(&self, peer: u32) -> &Way {
        self.0.get(&peer).unwrap_or(&Way::Agent)
    }

    /// The peers whose agents are asked.
    pub(super) fn agents(&self) -> BTreeSet<u32> {
        self.0.iter().filter(|(_, way)| **way == Way::Agent).map(|(peer, _)| *peer).collect()
    }

    /// The peers that get the password at their own address.
    pub(super) fn addresses(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter(|(_, way)| **way == Way::Address).map(|(peer, _)| *peer)
    }

    /// The Erlang names of the members that the local node is asked about.
    pub(super) fn members(&self) -> impl Iterator<Item = (u32, &String)> {
        self.0.iter().filter_map(|(peer, way)| match way {
            Way::Member(name) => Some((*peer, name)),
            Way::Address | Way::Agent | Way::Unconnected => None,
        })
    }
}
