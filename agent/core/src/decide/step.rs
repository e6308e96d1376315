//! The next step of an agent: a value that contains everything that carrying it out takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::{
    BrokenMaps, Digest, IdentityPart, LostRanges, MaintenanceMode, Release, SystemDatabase, Unseen,
};

/// The one thing to do now. Doing it twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Add a copy of each of these system databases on this node. They have too few.
    AddCopies(BTreeSet<SystemDatabase>),
    /// Copy a part of the cluster's identity to the local CouchDB.
    Adopt(IdentityDifference),
    /// Compare the local shards with the other copies, to detect a volume that came to its cluster empty, and note the
    /// result on the volume.
    CompareVolume {
        /// The members that answer and hold data.
        with: BTreeSet<u32>,
    },
    /// Create a system database that no member of an established cluster has.
    CreateDatabase(SystemDatabase),
    /// Wait, and make the local CouchDB connect to members that answer. On its own it would try every 37 s only.
    Dial {
        /// The members to connect to.
        peers: BTreeSet<u32>,
        /// The condition that the connection may bring about.
        wait: WaitFor,
    },
    /// Make the local CouchDB listen on the network.
    EnableCluster {
        /// The number of founders.
        node_count: u32,
    },
    /// Take the local shards out of reads and writes while they are filled. An empty copy answers as fast as a complete
    /// one, and the other nodes would pass its answers on to their clients.
    EnterMaintenance,
    /// Compare the local shards with the other copies, and end maintenance mode once they are complete.
    Fill {
        /// The members that answer and hold data.
        from: BTreeSet<u32>,
    },
    /// Form the cluster with `finish_cluster`: equal admins, uuid and secret on all nodes, then the system databases.
    Found,
    /// Add this peer to the local `_nodes`.
    Join(u32),
    /// Give the local CouchDB a secret for session cookies.
    MakeSessionSecret,
    /// Move copies between nodes.
    Move {
        /// The purpose.
        task: MoveTask,
        /// The nodes.
        nodes: MoveNodes,
    },
    /// Note on the local volume that it is incomplete.
    NoteFilling,
    /// Add a node to the members again that was removed before, and came back empty.
    Readmit(u32),
    /// Write to Kubernetes that a cluster was formed here.
    RecordFounding {
        /// The number of nodes that formed it.
        size: u32,
        /// The lost cluster that the user gave up for it.
        instead_of: Option<String>,
        /// The digest of the uuid to record. A node that restarts in between has generated another uuid, which must not
        /// be recorded.
        uuid: Option<Digest>,
    },
    /// Do nothing until a person has decided. Every step from this state could lose data.
    Refuse(Refusal),
    /// Remove the local system databases, which contain nothing and which only this node holds: an image or a script has
    /// created them. Without them the node is pristine, and joins the others.
    RemoveEmptyDatabases,
    /// Remove a drained node from the members, after its pod.
    RemoveMember(u32),
    /// Release the Lease for the next agent that needs it.
    ReleaseLease,
    /// Write the zone into the local node's own entry in its `_nodes`.
    SetZone(String),
    /// Nothing is left to do: the cluster is formed, and every node confirms it.
    Settled,
    /// Acquire the Lease, for what at most one agent may do at a time.
    TakeLease,
    /// Do nothing until something changes on its own.
    Wait(WaitFor),
}

/// The purpose of moves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MoveTask {
    /// Take all copies off this node.
    Drain(u32),
    /// Finish moves that were begun for a purpose that is gone.
    Finish,
    /// Give databases with too few copies more.
    Raise {
        /// The number of copies that every database should have.
        copies: u32,
    },
    /// Spread the copies evenly.
    Rebalance,
    /// Let these nodes have new copies again: they are no longer drained.
    Restore(BTreeSet<u32>),
}

/// The nodes that moves of copies concern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MoveNodes {
    /// All members, which answer and are connected.
    pub members: BTreeSet<u32>,
    /// The nodes that get no copies, whatever the task is: they are drained, or will be.
    pub leaving: BTreeSet<u32>,
}

/// The kind of a step, which determines its pace, log level and presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Changes something.
    Act,
    /// Waits, and connects nodes meanwhile.
    Dial,
    /// Does nothing until a person has decided.
    Refuse,
    /// Nothing is left to do.
    Settled,
    /// Does nothing until something changes on its own.
    Wait,
}

/// A part of the cluster's identity that the local node must copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdentityDifference {
    /// The part that differs.
    pub part: IdentityPart,
    /// The source to copy it from.
    pub from: IdentitySource,
    /// The digest of the value there. A node that restarts in between has another value, which must not be copied.
    pub digest: Digest,
}

/// The source of the value that counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IdentitySource {
    /// The node with this ordinal, which has the value of the majority.
    Member(u32),
    /// The founding record.
    Record {
        /// The cluster's uuid.
        uuid: String,
    },
}

/// The condition that an agent waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WaitFor {
    /// The established members that this node joined must replicate their shard maps to it.
    Adoption(BTreeSet<u32>),
    /// Shard maps must be repaired. Everything else is in order.
    BrokenMaps(BrokenMaps),
    /// The local node is in maintenance mode, which no agent set, and leaves it only manually.
    ClosedByHand(MaintenanceMode),
    /// Nodes must connect to each other: (node, peers that it is not connected to).
    Connections(BTreeMap<u32, BTreeSet<u32>>),
    /// Members with open ports, where Erlang refuses the connection: the cookies differ.
    CookieMismatch(BTreeSet<u32>),
    /// Other members must add their copies of a system database: one after another, the lowest ordinal first.
    Copies {
        /// The database.
        database: SystemDatabase,
        /// The ordinal that adds the next copy.
        turn: Option<u32>,
        /// The copies of the range with the fewest.
        have: u32,
        /// The number of copies that CouchDB promises.
        want: u32,
    },
    /// Peers with data of their own that are not members. The cluster goes on without them.
    ForeignPeers(BTreeSet<u32>),
    /// The lowest founder must form the cluster.
    Founding(u32),
    /// Nodes that this one joined before must answer again. Until then the established nodes that do answer may be
    /// another cluster.
    JoinedBefore {
        /// The nodes that this one joined.
        joined: BTreeSet<u32>,
        /// The established nodes that answer.
        others: BTreeSet<u32>,
    },
    /// The Kubernetes API must report the number of nodes before a cluster is formed.
    KubernetesApi,
    /// Another agent must release the Lease: the one of this pod.
    Lease(String),
    /// The local CouchDB must answer.
    LocalCouchDb(Unseen),
    /// Nodes must list every member: (node, peers that it does not list).
    Membership(BTreeMap<u32, BTreeSet<u32>>),
    /// Members with ordinals beyond the StatefulSet's size.
    MembersBeyondSize(BTreeSet<u32>),
    /// The local ordinal is not among the expected: the pod must be deleted, or the size must grow.
    NotExpected,
    /// The members must list this node again, which was removed from their `_nodes`.
    NotListed(BTreeSet<u32>),
    /// Names that the Service keeps out of DNS until their pods are ready, while the pods become ready only once their
    /// names are in DNS.
    NotPublished(BTreeSet<u32>),
    /// An update must end: these nodes run more than one release, `None` where it is unknown.
    OneRelease(BTreeMap<Option<Release>, BTreeSet<u32>>),
    /// The cluster of members outside of the StatefulSet must adopt this node, which has joined these of them.
    OtherMembers(BTreeSet<String>),
    /// Peers must answer.
    Peers(BTreeMap<u32, Unseen>),
    /// Erlang's ports must be open on members that answer over HTTP; `None` where no node is registered.
    PortsBlocked(BTreeMap<u32, Option<u16>>),
    /// Resharding jobs must end before a copy is added to a shard map.
    Resharding,
    /// The headless Service must exist and select the pods; these names are missing from DNS.
    Service(BTreeSet<u32>),
    /// The number of nodes must become known.
    Size,
    /// These names must be removed from `_nodes` before a cluster is formed: they belong to no pod, and are not connected.
    Strangers(BTreeSet<String>),
    /// The lowest member must create a system database.
    SystemDatabase {
        /// The lowest member.
        by: u32,
        /// The database.
        database: SystemDatabase,
    },
    /// The system databases, which all nodes have in their maps, must become readable.
    SystemDatabasesOpen,
    /// The shard maps of the system databases must reach these nodes.
    SystemDatabasesSpread(BTreeSet<u32>),
}

/// A state that a person has to decide about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Another pod has this pod's name: this one was deleted by force while its machine was cut off.
    Displaced {
        /// The other pod's uid.
        by: String,
    },
    /// This node holds databases that the cluster does not know. If it joined, one side's would vanish.
    ForeignData {
        /// The nodes of the cluster.
        cluster: BTreeSet<u32>,
    },
    /// A cluster was formed here before, and every node is empty: its data is lost, or on volumes that are not mounted.
    FormedBefore {
        /// The lost cluster's uuid; `None` where a newer agent wrote the record.
        uuid: Option<String>,
    },
    /// CouchDB runs under another name than its pod's, under which no peer would find it.
    NodeNameMismatch {
        /// The name that it reports.
        actual: String,
    },
    /// The databases of this node are filed under names that belong to no pod: its volume was used under another name.
    NodeRenamed {
        /// The names.
        strangers: BTreeSet<String>,
    },
    /// The volume of this node was lost, and with it the only copies of some documents.
    ShardsLost {
        /// The ranges.
        lost: LostRanges,
        /// The value of the annotation that accepts the loss.
        token: String,
    },
    /// Two groups hold data and do not list each other.
    SplitCluster {
        /// The groups.
        groups: Vec<BTreeSet<u32>>,
    },
}

impl Step {
    /// The kind of the step.
    pub fn kind(&self) -> StepKind {
        self.properties().0
    }

    /// `true` if at most one agent may do it at a time.
    pub(super) fn needs_the_lease(&self) -> bool {
        self.properties().1 == Lease::Needed
    }

    /// The properties of every step. A new step gets a row here.
    fn properties(&self) -> (StepKind, Lease) {
        match self {
            // CouchDB drops one of two concurrent edits of the same revision of a shard map.
            Self::AddCopies(_) => (StepKind::Act, Lease::Needed),
            // Changes the memory of the local CouchDB only, so two agents cannot conflict.
            Self::Adopt(_) => (StepKind::Act, Lease::NotNeeded),
            Self::CompareVolume { .. } => (StepKind::Act, Lease::NotNeeded),
            // Only the lowest member decides this step, so that none is created twice.
            Self::CreateDatabase(_) => (StepKind::Act, Lease::NotNeeded),
            Self::Dial { .. } => (StepKind::Dial, Lease::NotNeeded),
            Self::EnableCluster { .. } => (StepKind::Act, Lease::NotNeeded),
            Self::EnterMaintenance => (StepKind::Act, Lease::NotNeeded),
            Self::Fill { .. } => (StepKind::Act, Lease::NotNeeded),
            // Two nodes that form at once each create `_users`: one map wins by chance, and hides the other.
            Self::Found => (StepKind::Act, Lease::Needed),
            // A blank document has the same revision on every node, so concurrent writers never conflict.
            Self::Join(_) => (StepKind::Act, Lease::NotNeeded),
            Self::MakeSessionSecret => (StepKind::Act, Lease::NotNeeded),
            // Two leaders with different plans would remove what the other one relies on.
            Self::Move { .. } => (StepKind::Act, Lease::Needed),
            Self::NoteFilling => (StepKind::Act, Lease::NotNeeded),
            // Only the leader decides it, and the entry has the same content at every repeat.
            Self::Readmit(_) => (StepKind::Act, Lease::NotNeeded),
            Self::RemoveMember(_) => (StepKind::Act, Lease::Needed),
            Self::RecordFounding { .. } => (StepKind::Act, Lease::NotNeeded),
            Self::Refuse(_) => (StepKind::Refuse, Lease::NotNeeded),
            // No other node has them in its maps.
            Self::RemoveEmptyDatabases => (StepKind::Act, Lease::NotNeeded),
            Self::ReleaseLease => (StepKind::Act, Lease::NotNeeded),
            // Each agent changes the entry of its own node only.
            Self::SetZone(_) => (StepKind::Act, Lease::NotNeeded),
            Self::Settled => (StepKind::Settled, Lease::NotNeeded),
            Self::TakeLease => (StepKind::Act, Lease::Needed),
            Self::Wait(_) => (StepKind::Wait, Lease::NotNeeded),
        }
    }
}

/// The need for the Lease during a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lease {
    Needed,
    NotNeeded,
}

impl WaitFor {
    /// `true` if the wait ends only after a person has acted, so that it is announced with a warning.
    pub fn needs_a_person(&self) -> bool {
        self.properties().0 == Ends::ByPerson
    }

    /// `true` if a missing connection between members could be the cause. Where data of two groups might meet, no
    /// connection is opened.
    pub(super) fn ends_by_connecting(&self) -> bool {
        self.properties().1 == Connect::Yes
    }

    /// The observations that the wait is based on.
    pub(crate) fn evidence(&self) -> Evidence {
        self.properties().2
    }

    /// The properties of every wait. A new wait gets a row here.
    fn properties(&self) -> (Ends, Connect, Evidence) {
        match self {
            Self::Adoption(_) => (Ends::ByItself, Connect::Yes, Evidence::Message),
            // No step of the agent could repair a map: each revision may name data that another one hides.
            Self::BrokenMaps(_) => (Ends::ByPerson, Connect::No, Evidence::Particulars),
            Self::ClosedByHand(_) => (Ends::ByItself, Connect::No, Evidence::Message),
            // CouchDB itself dials the members that it lost only every 37 s.
            Self::Connections(_) => (Ends::ByItself, Connect::Yes, Evidence::Nodes),
            Self::CookieMismatch(_) => (Ends::ByPerson, Connect::Yes, Evidence::Ports),
            Self::Copies { .. } => (Ends::ByItself, Connect::No, Evidence::Particulars),
            Self::ForeignPeers(_) => (Ends::ByItself, Connect::No, Evidence::Nodes),
            Self::Founding(_) => (Ends::ByItself, Connect::Yes, Evidence::Message),
            Self::JoinedBefore { .. } => (Ends::ByItself, Connect::No, Evidence::Nodes),
            Self::KubernetesApi => (Ends::ByItself, Connect::No, Evidence::Message),
            Self::Lease(_) => (Ends::ByItself, Connect::No, Evidence::Message),
            // Wrong credentials stay wrong; a CouchDB that ended is restarted by the kubelet.
            Self::LocalCouchDb(Unseen::LockedOut | Unseen::LoginIgnored | Unseen::Rejects) => {
                (Ends::ByPerson, Connect::No, Evidence::Particulars)
            }
            Self::LocalCouchDb(_) => (Ends::ByItself, Connect::No, Evidence::Message),
            Self::Membership(_) => (Ends::ByItself, Connect::Yes, Evidence::Nodes),
            Self::MembersBeyondSize(_) => (Ends::ByPerson, Connect::No, Evidence::Nodes),
            Self::NotExpected => (Ends::ByItself, Connect::No, Evidence::Message),
            Self::NotListed(_) => (Ends::ByPerson, Connect::No, Evidence::Nodes),
            Self::NotPublished(_) => (Ends::ByPerson, Connect::Yes, Evidence::Nodes),
            // An update is in progress, and will end.
            Self::OneRelease(_) => (Ends::ByItself, Connect::No, Evidence::Message),
            // The agent has no address of them, and sends them no password.
            Self::OtherMembers(_) => (Ends::ByPerson, Connect::No, Evidence::Message),
            Self::Peers(_) => (Ends::ByItself, Connect::Yes, Evidence::Message),
            Self::PortsBlocked(_) => (Ends::ByPerson, Connect::Yes, Evidence::Ports),
            Self::Resharding => (Ends::ByItself, Connect::No, Evidence::Message),
            Self::Service(_) => (Ends::ByPerson, Connect::Yes, Evidence::Nodes),
            Self::Size => (Ends::ByItself, Connect::No, Evidence::Message),
            Self::Strangers(_) => (Ends::ByPerson, Connect::No, Evidence::Particulars),
            Self::SystemDatabase { .. } => (Ends::ByItself, Connect::Yes, Evidence::Message),
            // The copies may be on members that are not connected.
            Self::SystemDatabasesOpen => (Ends::ByItself, Connect::Yes, Evidence::Message),
            Self::SystemDatabasesSpread(_) => (Ends::ByItself, Connect::Yes, Evidence::Message),
        }
    }
}

/// The observations that a wait is based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The message contains all of them.
    Message,
    /// The reports of all nodes.
    Nodes,
    /// Observations that only this wait has.
    Particulars,
    /// The Erlang ports of peers.
    Ports,
}

/// The end of a wait: by itself as a rule, or only by a person.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    ByItself,
    ByPerson,
}

/// The connection of members during a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connect {
    No,
    Yes,
}
