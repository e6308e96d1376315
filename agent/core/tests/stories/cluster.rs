//! Clusters, as one of their agents observes them: `cluster(3).me(2).pristine(0..3)`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::facts::{
    Digest, Identity, IdentityPart, Node, Observed, Release, Spread, SystemDatabase, Unseen,
};

use crate::support::round;

/// A StatefulSet of `size` pods. The agent is the one of pod 0, and no node answers yet.
pub(crate) fn cluster(size: u32) -> Cluster {
    let nodes = (0..size).map(|ordinal| (ordinal, Err(Unseen::Unreachable))).collect();
    Cluster { me: 0, size, nodes }
}

#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    me: u32,
    size: u32,
    nodes: BTreeMap<u32, Result<Node, Unseen>>,
}

impl Cluster {
    /// The agent is the one of this pod.
    pub(crate) fn me(self, me: u32) -> Self {
        Self { me, ..self }
    }

    /// These nodes hold no data, and list only themselves.
    pub(crate) fn pristine(self, ordinals: impl IntoIterator<Item = u32>) -> Self {
        ordinals.into_iter().fold(self, |cluster, ordinal| cluster.node(ordinal, pristine([ordinal])))
    }

    /// These nodes hold no data, list each other, and are connected.
    pub(crate) fn joined(self, ordinals: impl IntoIterator<Item = u32>) -> Self {
        let ordinals: BTreeSet<u32> = ordinals.into_iter().collect();
        self.all(ordinals.clone(), &pristine(ordinals))
    }

    /// These nodes are the members of a formed cluster.
    pub(crate) fn members(self, ordinals: impl IntoIterator<Item = u32>) -> Self {
        let ordinals: BTreeSet<u32> = ordinals.into_iter().collect();
        self.all(ordinals.clone(), &member(ordinals))
    }

    /// These nodes all report the same.
    pub(crate) fn all(self, ordinals: impl IntoIterator<Item = u32>, node: &Node) -> Self {
        ordinals.into_iter().fold(self, |cluster, ordinal| cluster.node(ordinal, node.clone()))
    }

    /// This node reports this.
    pub(crate) fn node(mut self, ordinal: u32, node: Node) -> Self {
        self.nodes.insert(ordinal, Ok(node));
        self
    }

    /// This node can't be observed.
    pub(crate) fn unseen(mut self, ordinal: u32, reason: Unseen) -> Self {
        self.nodes.insert(ordinal, Err(reason));
        self
    }

    /// The observations of the agent. The expected nodes are those of the size.
    pub(crate) fn observed(self) -> Observed {
        let size: BTreeSet<u32> = (0..self.size).collect();
        Observed { expected: size.clone(), founders: size, ..round(self.me, self.nodes) }
    }
}

/// A node without data, which lists these members and is connected to them.
pub(crate) fn pristine(members: impl IntoIterator<Item = u32>) -> Node {
    let members: BTreeSet<u32> = members.into_iter().collect();
    Node { connected: members.clone(), members, ..Node::default() }
}

/// A node that holds the system databases, in as many copies as there are members, up to three.
pub(crate) fn member(members: impl IntoIterator<Item = u32>) -> Node {
    let node = pristine(members);
    let system = SystemDatabase::ALL.map(|database| (database, copies_on(node.members.iter().copied())));
    Node { databases: 2, system: system.into(), ..node }
}

/// A member of a cluster whose system databases have one copy, on node 0.
pub(crate) fn member_with_one_copy(members: impl IntoIterator<Item = u32>) -> Node {
    Node { system: SystemDatabase::ALL.map(|database| (database, copies_on([0]))).into(), ..member(members) }
}

/// A database with complete copies on the first three of `members`.
pub(crate) fn copies_on(members: impl IntoIterator<Item = u32>) -> Spread {
    let holders: BTreeSet<u32> = members.into_iter().take(3).collect();
    Spread { copies: u32::try_from(holders.len()).unwrap(), holders }
}

/// The node with this uptime, in seconds, and this uuid.
pub(crate) fn with_uuid(uuid: &str, uptime: u64, node: Node) -> Node {
    let parts = [(IdentityPart::Uuid, Digest::of([uuid]))].into();
    let uptime = Duration::from_secs(uptime);
    Node { identity: Identity { parts, uptime, ..Identity::default() }, ..node }
}

/// The node with this uptime, in seconds.
pub(crate) fn up(uptime: u64, node: Node) -> Node {
    let uptime = Duration::from_secs(uptime);
    Node { identity: Identity { uptime, ..node.identity }, ..node }
}

/// The node with this release of CouchDB 3.
pub(crate) fn release(minor: u16, node: Node) -> Node {
    Node { release: Some(Release { major: 3, minor }), ..node }
}

/// The node with these admins, which have the same hash wherever they exist.
pub(crate) fn with_admins(names: &[&str], mut node: Node) -> Node {
    for name in names {
        node.identity.parts.insert(IdentityPart::Admin((*name).to_owned()), Digest::of([name]));
    }
    node
}
