//! The nodes that answered in one round, and what follows from them together.

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

/// The local node and its peers.
pub(super) struct View<'a> {
    pub(super) me: u32,
    pub(super) local: &'a Node,
    pub(super) peers: &'a BTreeMap<u32, Result<Node, Unseen>>,
}

impl View<'_> {
    /// Every node that answered, the local one included, by ordinal.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (u32, &Node)> {
        let peers = self.peers.iter().filter_map(|(ordinal, peer)| Some((*ordinal, peer.as_ref().ok()?)));
        std::iter::once((self.me, self.local)).chain(peers)
    }

    /// The established nodes, in groups with overlapping members.
    pub(super) fn groups(&self) -> Vec<BTreeSet<u32>> {
        let mut groups: Vec<Group> = vec![];
        for (ordinal, node) in self.nodes().filter(|(_, node)| node.databases > 0) {
            let colleagues = node.colleagues.clone();
            let mut group = Group { nodes: [ordinal].into(), members: node.members.clone(), colleagues };
            group.members.insert(ordinal);
            // A node may link groups that were separate until now.
            let (linked, separate): (Vec<Group>, Vec<Group>) =
                groups.into_iter().partition(|other| other.overlaps(&group));
            for linked in linked {
                group.nodes.extend(linked.nodes);
                group.members.extend(linked.members);
                group.colleagues.extend(linked.colleagues);
            }
            groups = separate;
            groups.push(group);
        }
        let mut groups: Vec<BTreeSet<u32>> = groups.into_iter().map(|group| group.nodes).collect();
        groups.sort();
        groups
    }

    /// The local node, and the peers that it lists and is connected to. A connection proves that the peer has the
    /// cluster's Erlang cookie; the peer's own reports prove nothing.
    pub(super) fn connected_nodes(&self) -> impl Iterator<Item = (u32, &Node)> {
        let Node { members, connected, .. } = self.local;
        self.nodes().filter(|(ordinal, _)| {
            *ordinal == self.me || (members.contains(ordinal) && connected.contains(ordinal))
        })
    }

    /// Returns `true` if `holds` is true for a node of the group.
    pub(super) fn any_in(&self, group: &BTreeSet<u32>, holds: impl Fn(&Node) -> bool) -> bool {
        self.nodes().any(|(ordinal, node)| group.contains(&ordinal) && holds(node))
    }

    /// The established members that answer, apart from the local node. A node that the local one does not list holds no copy
    /// of its shards, and its report may be one that any host makes.
    pub(super) fn holders(&self) -> BTreeSet<u32> {
        let listed = |ordinal: u32| ordinal != self.me && self.local.members.contains(&ordinal);
        let holders = self.nodes().filter(|(ordinal, node)| listed(*ordinal) && node.databases > 0);
        holders.map(|(ordinal, _)| ordinal).collect()
    }

    /// Returns `true` if another node may hold copies that those of this node can be compared with: an established peer, or
    /// a member outside of the StatefulSet.
    pub(super) fn has_holders(&self) -> bool {
        !self.holders().is_empty() || !self.local.connected_colleagues.is_empty()
    }

    /// The members in the local `_nodes`, apart from the local node.
    pub(super) fn others(&self) -> BTreeSet<u32> {
        self.local.members.iter().copied().filter(|member| *member != self.me).collect()
    }

    /// Returns `true` if the local node lists no other member.
    pub(super) fn is_alone(&self) -> bool {
        self.others().is_empty() && self.local.colleagues.is_empty()
    }

    /// Returns `true` if `peer` answers, and joining it connects no two groups that don't list each other. The local
    /// node may have joined a group before that doesn't answer now, and would be the bridge over which it meets the data
    /// of another one.
    pub(super) fn may_join(&self, peer: u32) -> bool {
        // The local node is no peer, and always reaches itself.
        let Some(Ok(node)) = self.peers.get(&peer) else { return peer == self.me };
        let joined_none = self.is_alone();
        let all_answer = self.peers.values().all(Result::is_ok);
        // A member that both list proves that they are one cluster.
        let shares_members = !node.members.is_disjoint(&self.local.members)
            || !node.colleagues.is_disjoint(&self.local.colleagues);
        joined_none || all_answer || shares_members
    }

    /// The nodes of `wanted` that could not be observed.
    pub(super) fn unseen(&self, wanted: &BTreeSet<u32>) -> BTreeMap<u32, Unseen> {
        let failures =
            self.peers.iter().filter_map(|(ordinal, peer)| Some((*ordinal, peer.as_ref().err()?.clone())));
        failures.filter(|(ordinal, _)| wanted.contains(ordinal)).collect()
    }

    /// The wait until all of `wanted` answer, list each other and are connected, if they don't yet.
    pub(super) fn wait_until_gathered(&self, wanted: &BTreeSet<u32>) -> Option<WaitFor> {
        let unseen = self.unseen(wanted);
        if unseen.is_empty() {
            return self.incomplete(wanted);
        }
        // What a member without a connection lists is unknown.
        let only_unconnected = unseen.values().all(|reason| *reason == Unseen::NotConnected);
        Some(if only_unconnected {
            WaitFor::Connections([(self.me, unseen.into_keys().collect())].into())
        } else {
            WaitFor::Peers(unseen)
        })
    }

    /// The wait until all of `wanted` that answer list each other and are connected, if they don't yet.
    pub(super) fn incomplete(&self, wanted: &BTreeSet<u32>) -> Option<WaitFor> {
        let unlisted = self.missing_from(wanted, |node| &node.members);
        if !unlisted.is_empty() {
            return Some(WaitFor::Membership(unlisted));
        }
        let unconnected = self.missing_from(wanted, |node| &node.connected);
        (!unconnected.is_empty()).then_some(WaitFor::Connections(unconnected))
    }

    /// The ordinals of `wanted` that are missing from a list of each node of `wanted`, for nodes that miss any.
    fn missing_from(
        &self,
        wanted: &BTreeSet<u32>,
        list: fn(&Node) -> &BTreeSet<u32>,
    ) -> BTreeMap<u32, BTreeSet<u32>> {
        self.nodes()
            .filter(|(ordinal, _)| wanted.contains(ordinal))
            .map(|(ordinal, node)| (ordinal, wanted.difference(list(node)).copied().collect()))
            .filter(|(_, missing): &(u32, BTreeSet<u32>)| !missing.is_empty())
            .collect()
    }

    /// Members that answer and that the local node is not connected to.
    pub(super) fn unconnected_members(&self) -> BTreeSet<u32> {
        let Node { members, connected, .. } = self.local;
        let answers = |peer: &Result<Node, Unseen>| matches!(peer, Ok(_) | Err(Unseen::NotConnected));
        let peers = self.peers.iter().filter(|(_, peer)| answers(peer)).map(|(ordinal, _)| *ordinal);
        peers.filter(|ordinal| members.contains(ordinal) && !connected.contains(ordinal)).collect()
    }

    /// Members that are not among `wanted`.
    pub(super) fn members_beyond(&self, wanted: &BTreeSet<u32>) -> BTreeSet<u32> {
        self.nodes().flat_map(|(_, node)| node.members.difference(wanted).copied()).collect()
    }

    /// The established members that answer, if there are any and none of them lists the local node.
    pub(super) fn not_listed_by(&self) -> Option<BTreeSet<u32>> {
        let mut members = BTreeSet::new();
        for ordinal in self.holders().intersection(&self.local.members) {
            let Some(Ok(node)) = self.peers.get(ordinal) else { continue };
            // One member that lists it is enough: `_nodes` replicates to the others.
            if node.members.contains(&self.me) {
                return None;
            }
            members.insert(*ordinal);
        }
        (!members.is_empty()).then_some(members)
    }

    /// The wait for the end of an update, while nodes run more than one release. Nothing is started meanwhile that
    /// another release may do differently.
    pub(super) fn mixed_releases(&self) -> Option<WaitFor> {
        let mut releases: BTreeMap<Option<Release>, BTreeSet<u32>> = BTreeMap::new();
        for (ordinal, node) in self.nodes() {
            // An unknown release counts as another one than every known.
            releases.entry(node.release).or_default().insert(ordinal);
        }
        (releases.len() > 1).then_some(WaitFor::OneRelease(releases))
    }

    /// Returns `true` if this node was started after a node of a newer release, or may have been, where one of the two is
    /// unknown. A downgrade does that, and so does a restart in the middle of an update; an update itself does not.
    pub(super) fn was_downgraded(&self) -> bool {
        let Node { release, identity, .. } = self.local;
        let may_be_newer = |other: Option<Release>| match (other, release) {
            (Some(other), Some(own)) => other > *own,
            (other, own) => other != *own,
        };
        self.connected_nodes()
            .any(|(_, node)| may_be_newer(node.release) && node.identity.uptime > identity.uptime)
    }
}

/// Established nodes, and the members that they list.
struct Group {
    nodes: BTreeSet<u32>,
    members: BTreeSet<u32>,
    colleagues: BTreeSet<String>,
}

impl Group {
    fn overlaps(&self, other: &Self) -> bool {
        !self.members.is_disjoint(&other.members) || !self.colleagues.is_disjoint(&other.colleagues)
    }
}
