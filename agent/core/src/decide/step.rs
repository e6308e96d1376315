//! What an agent does next, waits for or refuses: values, with everything in them that carrying them out takes.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Ailing, Mode, Release, SystemDatabase, Unseen};
use super::identity::{Difference, Digest};

/// The one thing to do now. Doing it twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Give this node a copy of each of these system databases, which have too few.
    AddCopies(BTreeSet<SystemDatabase>),
    /// Take a part of the cluster's identity over into the local CouchDB.
    Adopt(Difference),
    /// Make a system database that no member has, on an established cluster.
    CreateDatabase(SystemDatabase),
    /// Wait, and make the local CouchDB dial members that answer and that it isn't connected to. By itself it would
    /// dial them every 37 s only.
    Dial {
        /// Whom.
        peers: BTreeSet<u32>,
        /// What is waited for.
        wait: WaitFor,
    },
    /// Let the local CouchDB listen to others.
    EnableCluster {
        /// The size to tell it.
        node_count: u32,
    },
    /// Leave the local shards out of reads and writes while they are filled: an empty copy answers as readily as a full
    /// one, and healthy nodes would give its answers to their clients.
    EnterMaintenance,
    /// Compare the local shards with the other copies, and let them take part when they lack nothing.
    Fill {
        /// The members that answer and hold data.
        from: BTreeSet<u32>,
    },
    /// Finish the cluster: equal admins, uuid and secret everywhere, then the system databases.
    Found,
    /// Write this peer into the local `_nodes`.
    Join(u32),
    /// Give the local CouchDB a secret to sign sessions with.
    MakeSessionSecret,
    /// Write down on the local volume that it has to be filled.
    NoteFilling,
    /// See whether the local volume came to its cluster empty, and write down what it is.
    ProveWhole {
        /// The members that answer and hold data.
        by: BTreeSet<u32>,
    },
    /// Give the Lease back to whoever needs it next.
    ReleaseLease,
    /// Write down in Kubernetes that a cluster was founded here.
    RecordFounding {
        /// By so many nodes.
        size: u32,
        /// In place of this lost cluster, which a person gave up.
        instead_of: Option<String>,
        /// What the uuid is that is to be written down. Who restarts in between has made another one up.
        uuid: Option<Digest>,
    },
    /// Do nothing until a person has looked: every step from here could lose data.
    Refuse(Refusal),
    /// All is as it should be: formed, and proven on every node.
    Settled,
    /// Take the Lease, for what only one agent may do at a time.
    TakeLease,
    /// Do nothing until something changes by itself.
    Wait(WaitFor),
}

/// What sort of step it is, for whoever paces, logs and shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// It changes something.
    Act,
    /// It waits, and dials.
    Dial,
    /// It does nothing until a person has looked.
    Refuse,
    /// There is nothing to do.
    Settled,
    /// It does nothing until something changes by itself.
    Wait,
}

/// What is waited for. None of these needs a person unless it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WaitFor {
    /// Established members that I joined, to send me their databases' maps.
    Adoption(BTreeSet<u32>),
    /// Members whose ports answer, and whose Erlang refuses us: the cookies differ.
    CookieMismatch(BTreeSet<u32>),
    /// Other members, to give themselves a copy of a system database: one after another, the lowest first.
    Copies {
        /// Which.
        database: SystemDatabase,
        /// Whose turn it is.
        turn: Option<u32>,
        /// The copies of its thinnest range.
        have: u32,
        /// The least that would survive what CouchDB promises.
        want: u32,
    },
    /// Whoever put the local node into maintenance mode, which was no agent, to let it out again.
    ClosedByHand(Mode),
    /// Members to connect to each other: (who, to whom it isn't connected).
    Connections(BTreeMap<u32, BTreeSet<u32>>),
    /// Peers with data of their own that are no members; the cluster goes on without them.
    ForeignPeers(BTreeSet<u32>),
    /// The lowest founder, to found the cluster.
    Founding(u32),
    /// The Kubernetes API, to say how many nodes to expect before anything is founded.
    KubernetesApi,
    /// Another agent to do what only one may do at a time: this pod's holds the Lease.
    Lease(String),
    /// The nodes that I joined before and that are silent now: until one of them speaks, nobody knows whether the
    /// established nodes that do answer are the same cluster.
    JoinedBefore {
        /// Whom I joined.
        joined: BTreeSet<u32>,
        /// Who answers and is established.
        others: BTreeSet<u32>,
    },
    /// The CouchDB beside me.
    LocalCouchDb(Unseen),
    /// A person, to look at databases' maps. All else is well.
    MapsAiling(Ailing),
    /// Nodes to list every member: (who, whom it doesn't list).
    Membership(BTreeMap<u32, BTreeSet<u32>>),
    /// This pod to be taken away, or the size to grow: its ordinal is not among those expected.
    NotExpected,
    /// The members to list me again: somebody took me out of their `_nodes`.
    NotListed(BTreeSet<u32>),
    /// Names that the Service keeps out of DNS until their pods are ready, which they become by being found.
    NotPublished(BTreeSet<u32>),
    /// An update to end: these nodes are of more than one release.
    OneRelease(BTreeMap<Release, BTreeSet<u32>>),
    /// Pods beyond the StatefulSet's size that are still members.
    Outsized(BTreeSet<u32>),
    /// Peers that can't be seen.
    Peers(BTreeMap<u32, Unseen>),
    /// Ports that Erlang needs on members whose CouchDB answers; none where no CouchDB is registered there.
    PortsBlocked(BTreeMap<u32, Option<u16>>),
    /// The headless Service, without which these names are in no DNS: there is none, or it selects other pods.
    Service(BTreeSet<u32>),
    /// Anything that tells how many nodes to expect.
    Size,
    /// The lowest member, to make a system database.
    SystemDatabase {
        /// Who will.
        by: u32,
        /// Which.
        database: SystemDatabase,
    },
    /// A system database that all have in their maps, to be readable.
    SystemDatabasesOpen,
    /// The maps of the system databases, to reach these nodes.
    SystemDatabasesSpread(BTreeSet<u32>),
}

/// What a person has to decide, or to see to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Another pod has this pod's name now: this one was deleted by force while its machine was cut off.
    Displaced {
        /// The other pod's uid.
        by: String,
    },
    /// This node holds databases that the cluster doesn't know; joining would make one side's vanish.
    ForeignData {
        /// The nodes of the cluster.
        cluster: BTreeSet<u32>,
    },
    /// A cluster was founded here before, and every node is empty: its data is gone, or not here.
    FormedBefore {
        /// The lost cluster's uuid; none when a newer agent wrote it down.
        uuid: Option<String>,
    },
    /// CouchDB calls itself by another name than its pod's, so that no peer would find it.
    NodeNameMismatch {
        /// What it calls itself.
        actual: String,
    },
    /// `_nodes` holds names that are none of ours: a renamed volume, or ghosts.
    NodeRenamed {
        /// Those names.
        strangers: BTreeSet<String>,
    },
    /// Two groups hold data and don't know each other.
    SplitCluster {
        /// The groups.
        groups: Vec<BTreeSet<u32>>,
    },
}

impl Step {
    /// Whether no two agents may do it at a time.
    pub(super) fn needs_the_lease(&self) -> bool {
        match self {
            Self::AddCopies(_) | Self::Found | Self::TakeLease => true,
            Self::Adopt(_)
            | Self::CreateDatabase(_)
            | Self::Dial { .. }
            | Self::EnableCluster { .. }
            | Self::EnterMaintenance
            | Self::Fill { .. }
            | Self::Join(_)
            | Self::MakeSessionSecret
            | Self::NoteFilling
            | Self::ProveWhole { .. }
            | Self::RecordFounding { .. }
            | Self::Refuse(_)
            | Self::ReleaseLease
            | Self::Settled
            | Self::Wait(_) => false,
        }
    }

    /// What sort of step it is.
    pub fn sort(&self) -> Sort {
        match self {
            Self::AddCopies(_)
            | Self::Adopt(_)
            | Self::CreateDatabase(_)
            | Self::EnableCluster { .. }
            | Self::EnterMaintenance
            | Self::Fill { .. }
            | Self::Found
            | Self::Join(_)
            | Self::MakeSessionSecret
            | Self::NoteFilling
            | Self::ProveWhole { .. }
            | Self::RecordFounding { .. }
            | Self::ReleaseLease
            | Self::TakeLease => Sort::Act,
            Self::Dial { .. } => Sort::Dial,
            Self::Refuse(_) => Sort::Refuse,
            Self::Settled => Sort::Settled,
            Self::Wait(_) => Sort::Wait,
        }
    }
}

impl WaitFor {
    /// Whether a connection between members could be what is missing. Where data of two groups might meet, it is not.
    pub(super) fn ends_by_connecting(&self) -> bool {
        match self {
            Self::Adoption(_)
            | Self::Connections(_)
            | Self::CookieMismatch(_)
            | Self::Founding(_)
            | Self::Membership(_)
            | Self::NotPublished(_)
            | Self::Peers(_)
            | Self::PortsBlocked(_)
            | Self::Service(_)
            | Self::SystemDatabase { .. }
            | Self::SystemDatabasesOpen
            | Self::SystemDatabasesSpread(_) => true,
            Self::ClosedByHand(_)
            | Self::Copies { .. }
            | Self::ForeignPeers(_)
            | Self::JoinedBefore { .. }
            | Self::KubernetesApi
            | Self::Lease(_)
            | Self::LocalCouchDb(_)
            | Self::MapsAiling(_)
            | Self::NotExpected
            | Self::NotListed(_)
            | Self::OneRelease(_)
            | Self::Outsized(_)
            | Self::Size => false,
        }
    }
}
