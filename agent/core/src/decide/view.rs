//! The nodes of one round, and what can be read off them together.

use std::collections::{BTreeMap, BTreeSet};

use super::step::WaitFor;
use crate::facts::{Node, Observed, Release, Unseen};

/// Returns the members that answer and that the local node is not connected to.
pub fn unconnected_members(observed: &Observed) -> BTreeSet<u32> {
    match &observed.local {
        Ok(local) => View { me: observed.me, local, peers: &observed.peers }.unconnected_members(),
        Err(_) => BTreeSet::new(),
    }
}

/// The local node and the peers of one round.
pub(super) struct View<'a> {
    pub(super) me: u32,
    pub(super) local: &'a Node,
    pub(super) peers: &'a BTreeMap<u32, Result<Node, Unseen>>,
}

impl View<'_> {
    /// Every node that was seen, me included, by ordinal.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (u32, &Node)> {
        let peers = self.peers.iter().filter_map(|(ordinal, peer)| Some((*ordinal, peer.as_ref().ok()?)));
        std::iter::once((self.me, self.local)).chain(peers)
    }

    /// Those that hold databases, in groups whose memberships overlap.
    pub(super) fn groups(&self) -> Vec<BTreeSet<u32>> {
        let mut groups: Vec<(BTreeSet<u32>, BTreeSet<u32>)> = vec![];
        for (ordinal, node) in self.nodes().filter(|(_, node)| node.databases > 0) {
            let mut group = BTreeSet::from([ordinal]);
            let mut knows = node.members.clone();
            knows.insert(ordinal);
            let (linked, apart) = groups.into_iter().partition(|(_, theirs)| !theirs.is_disjoint(&knows));
            let linked: Vec<_> = linked;
            for (ordinals, theirs) in linked {
                group.extend(ordinals);
                knows.extend(theirs);
            }
            groups = apart;
            groups.push((group, knows));
        }
        let mut groups: Vec<BTreeSet<u32>> = groups.into_iter().map(|(group, _)| group).collect();
        groups.sort();
        groups
    }

    /// Whether `peer` answers, and joining it brings nobody together who doesn't know of each other: I may have
    /// joined a group before that is silent now, and be the bridge over which it meets another one's data.
    pub(super) fn may_join(&self, peer: u32) -> bool {
        let alone = self.others().is_empty();
        let nobody_is_silent = self.peers.values().all(Result::is_ok);
        let acquainted = |node: &Node| !node.members.is_disjoint(&self.local.members);
        self.nodes().any(|(seen, node)| seen == peer && (alone || nobody_is_silent || acquainted(node)))
    }

    /// Whom I list besides me.
    pub(super) fn others(&self) -> BTreeSet<u32> {
        self.local.members.iter().copied().filter(|member| *member != self.me).collect()
    }

    /// Members that answer and that I am not connected to.
    pub(super) fn unconnected_members(&self) -> BTreeSet<u32> {
        let lonely = |(ordinal, _): &(u32, &Node)| {
            self.local.members.contains(ordinal) && !self.local.connected.contains(ordinal)
        };
        self.nodes().filter(lonely).map(|(ordinal, _)| ordinal).collect()
    }

    pub(super) fn unseen(&self, wanted: &BTreeSet<u32>) -> BTreeMap<u32, Unseen> {
        let failures =
            self.peers.iter().filter_map(|(ordinal, peer)| Some((*ordinal, peer.as_ref().err()?.clone())));
        failures.filter(|(ordinal, _)| wanted.contains(ordinal)).collect()
    }

    /// Who of `wanted` doesn't list, or isn't connected to, someone of `wanted`.
    pub(super) fn incomplete(&self, wanted: &BTreeSet<u32>) -> Option<WaitFor> {
        let lacks = |have: &dyn Fn(&Node) -> BTreeSet<u32>| -> BTreeMap<u32, BTreeSet<u32>> {
            let of =
                |(ordinal, node): (u32, &Node)| (ordinal, wanted.difference(&have(node)).copied().collect());
            let nodes = self.nodes().filter(|(ordinal, _)| wanted.contains(ordinal));
            nodes.map(of).filter(|(_, lacks): &(u32, BTreeSet<u32>)| !lacks.is_empty()).collect()
        };
        let unlisted = lacks(&|node| node.members.clone());
        if !unlisted.is_empty() {
            return Some(WaitFor::Membership(unlisted));
        }
        let unconnected = lacks(&|node| node.connected.clone());
        (!unconnected.is_empty()).then_some(WaitFor::Connections(unconnected))
    }

    /// Members that `wanted` doesn't have.
    pub(super) fn outsized(&self, wanted: &BTreeSet<u32>) -> BTreeSet<u32> {
        self.nodes().flat_map(|(_, node)| node.members.difference(wanted).copied()).collect()
    }

    /// Nodes of more than one release: an update is on its way, and nothing is begun that another release may do
    /// in another way.
    pub(super) fn mixed(&self) -> Option<WaitFor> {
        let mut releases: BTreeMap<Release, BTreeSet<u32>> = BTreeMap::new();
        for (ordinal, node) in self.nodes() {
            if let Some(release) = node.release {
                releases.entry(release).or_default().insert(ordinal);
            }
        }
        (releases.len() > 1).then_some(WaitFor::OneRelease(releases))
    }

    /// Whether this node was started after one of a newer release: no update does that, but going back does, and a
    /// restart in the middle.
    pub(super) fn went_back(&self) -> bool {
        let newer = |node: &Node| node.release > self.local.release && self.local.release.is_some();
        let older = |node: &Node| node.identity.uptime > self.local.identity.uptime;
        self.nodes().any(|(_, node)| newer(node) && older(node))
    }

    /// The nodes of a group.
    pub(super) fn group(&self, group: &BTreeSet<u32>) -> BTreeMap<u32, &Node> {
        self.nodes().filter(|(ordinal, _)| group.contains(ordinal)).collect()
    }

    /// The established members that answer, if there are any and none of them lists me.
    pub(super) fn not_listed_by(&self) -> Option<BTreeSet<u32>> {
        let members = || {
            self.nodes().filter(|(ordinal, node)| {
                *ordinal != self.me && node.databases > 0 && self.local.members.contains(ordinal)
            })
        };
        let deaf: BTreeSet<u32> = members().map(|(ordinal, _)| ordinal).collect();
        let nobody_lists_me = members().all(|(_, node)| !node.members.contains(&self.me));
        (!deaf.is_empty() && nobody_lists_me).then_some(deaf)
    }
}
