//! The way in which each peer is asked: where a password may be sent, and where it may not.

use std::collections::{BTreeMap, BTreeSet};

use super::directory::Directory;
use super::nodes::{Connected, Introduction};
use crate::couch::Couch;
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

/// What the local node shows about its membership, where it accepts the agent's login.
pub(super) struct Membership<'a> {
    pub(super) introduction: &'a Introduction,
    pub(super) connected: &'a Connected,
}

impl Ways {
    /// Decides the ways. Without `membership` the local node does not answer, or refuses the login: it may be a member, and
    /// its password may not be the cluster's, so no peer gets it.
    pub(super) async fn choose(
        couch: &Couch,
        directory: &Directory,
        membership: Option<Membership<'_>>,
        peers: &BTreeSet<u32>,
    ) -> Self {
        let Some(Membership { introduction, connected: Connected { pods, .. } }) = membership else {
            return Self(peers.iter().map(|peer| (*peer, Way::Agent)).collect());
        };
        let others: BTreeSet<u32> = peers.iter().copied().filter(|peer| !pods.contains_key(peer)).collect();
        let joined = !others.is_empty() && has_joined(couch, directory, introduction).await;
        let listed = introduction.listed(&others);
        let way_to = |peer: &u32| match pods.get(peer) {
            Some(name) => Way::Member(name.clone()),
            None if !joined => Way::Address,
            None if listed.contains(peer) => Way::Unconnected,
            // A certificate proves the pod's name before the password is sent.
            None if directory.endpoint.scheme == Scheme::Https => Way::Address,
            None => Way::Agent,
        };
        Self(peers.iter().map(|peer| (*peer, way_to(peer))).collect())
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

/// Returns `true` if the local node holds data and lists another one. A pristine node joins its peers before it is connected to
/// them, and one that lists only itself may still have to join.
async fn has_joined(couch: &Couch, directory: &Directory, introduction: &Introduction) -> bool {
    if introduction.is_alone() {
        return false;
    }
    // While it is unknown, no password is sent.
    let pristine = couch.databases(&directory.local()).await.is_ok_and(|databases| databases.count == 0);
    !pristine
}
