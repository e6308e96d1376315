//! Everything that one round observes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::OtherMembers;

use super::kubernetes::{ApiState, KnownRecord, LeaseState, Publication, ZoneFacts};
use super::maps::{BrokenMaps, LostRanges, NamedDatabases};
use super::moves::MoveFacts;
use super::node::{Login, MaintenanceMode, Node, Unseen, UpAnswer, VolumeNote};

/// The facts of one round. A step follows from them alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The ordinal of this agent's pod.
    pub me: u32,
    /// The ordinals that are members by the current size; empty while the size is unknown.
    pub expected: BTreeSet<u32>,
    /// The ordinals that must all be present before the cluster is formed. Differs from `expected` where the user
    /// pinned the size.
    pub founders: BTreeSet<u32>,
    /// The state of the Kubernetes API, the source of `expected`.
    pub api: ApiState,
    /// The record of a cluster that was formed here before.
    pub record: KnownRecord,
    /// The holder of the StatefulSet's Lease.
    pub lease: LeaseState,
    /// The uid of another running pod that has this pod's name.
    pub displaced_by: Option<String>,
    /// The uuid of a lost cluster that the user gave up by an annotation, so that a new one may be formed.
    pub form_anew: Option<String>,
    /// The members outside of the StatefulSet that the user names by an annotation. Their cluster is the pods' cluster.
    pub other_members: OtherMembers,
    /// The zone of the local node.
    pub zone: ZoneFacts,
    /// The CouchDB in this pod.
    pub local: Result<Node, Unseen>,
    /// The local node's answer to `/_up`, without a login.
    pub up: UpAnswer,
    /// The uuid in the local node's welcome, without a login. Read only where it refuses the agent's login.
    pub welcome_uuid: Option<String>,
    /// The local node's answer to the agent's password.
    pub login: Login,
    /// `true` if the local node has left the state `cluster_disabled`: it listens on the network and has an admin.
    pub enabled: bool,
    /// `true` if the local node reports `cluster_finished`: it can open the system databases.
    pub finished: bool,
    /// `true` if the local node has a secret for session cookies, without which `finish_cluster` fails. Read on a
    /// pristine node only.
    pub session_secret: bool,
    /// The number of copies of a new database, `[cluster] n`. Read on an established node only.
    pub wanted_copies: u32,
    /// `true` if all databases of the local node are system databases that it holds alone and that contain nothing but
    /// design documents. Read only on a node that lists no other.
    pub holds_nothing: bool,
    /// The note about completeness on the local volume.
    pub note: VolumeNote,
    /// `true` if the volume had no note before the present one: it may be another volume than the one that the members
    /// know.
    pub first_note: bool,
    /// The origin of a volume without a note, or with its first one. Read only while the volume is to be compared or
    /// filled.
    pub origin: VolumeOrigin,
    /// The ranges whose only copies were on this node's lost volume. Read only where it was lost.
    pub lost: LostRanges,
    /// The tokens of losses that the user accepted by an annotation.
    pub accept_loss: Option<String>,
    /// Databases whose other copies had different properties when this node was filled, and still have.
    pub disagreeing: NamedDatabases,
    /// Databases with a single copy of some documents, in a cluster of several nodes. Looked for only while everything else
    /// is in order.
    pub single_copies: NamedDatabases,
    /// `true` while a resharding job runs on a node that answers. Read only before a shard map is changed.
    pub resharding: bool,
    /// The standstill while the node is filled, if it has lasted for long.
    pub stalled: Option<Stalled>,
    /// The maintenance mode of the local node.
    pub maintenance: MaintenanceMode,
    /// `true` if the local shards have been compared with the other copies since CouchDB started.
    pub compared: bool,
    /// Every other ordinal of `expected` and `founders`.
    pub peers: BTreeMap<u32, Result<Node, Unseen>>,
    /// Databases with shard maps that need repair. Looked for only while everything else is in order.
    pub broken_maps: BrokenMaps,
    /// Moves of copies: those that are wanted, and those that have been made.
    pub moves: MoveFacts,
    /// The time for which some system database has been on no node that answers.
    pub absent_for: Duration,
    /// The Erlang ports of members that answer but have not been connected for some seconds. Changes only the
    /// explanation, no step.
    pub port_checks: BTreeMap<u32, PortCheck>,
    /// The pods that the headless Service publishes, read once names have been missing for some seconds. Changes only
    /// the explanation, no step.
    pub publication: Publication,
}

/// The origin of the local volume, by the uuid of its `_dbs` file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum VolumeOrigin {
    /// A member remembers another volume of this node: that one was lost or replaced.
    Replaced {
        /// The uuid of the present volume.
        present: String,
    },
    /// Not read, or no member that is connected remembers a volume of this node.
    #[default]
    Unknown,
}

/// A node that is being filled and has got nothing for some minutes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stalled {
    /// The database that is behind.
    pub database: String,
    /// The failure of a write to the local volume, if one was tried and failed.
    pub write_error: Option<WriteFailure>,
}

/// A write to the local volume that CouchDB refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WriteFailure {
    /// The volume is full: CouchDB's disk monitor (507), or the file system (`enospc`). Contains CouchDB's error.
    NoSpace(String),
    /// Another error of CouchDB. A full volume also leads to such ones.
    Other(String),
}

/// The result of a connection attempt to the Erlang ports of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortCheck {
    /// This port does not accept connections.
    Blocked(u16),
    /// Both ports accept connections, so the Erlang handshake fails.
    Open,
    /// The port mapper has no registration under CouchDB's Erlang name.
    Unregistered,
}

impl Observed {
    /// The number of expected nodes.
    pub(crate) fn expected_count(&self) -> u32 {
        count(&self.expected)
    }

    /// The number of founders.
    pub(crate) fn founder_count(&self) -> u32 {
        count(&self.founders)
    }

    /// The number of copies that a system database should have: as many as a new one, but no more than there are nodes.
    pub(crate) fn copies_wanted(&self) -> u32 {
        // Members outside of the StatefulSet hold copies as well.
        let colleagues = self.local.as_ref().map_or(0, |local| local.colleagues.len());
        let staying = self.expected.difference(&self.moves.leaving).count() + colleagues;
        self.wanted_copies.min(u32::try_from(staying).unwrap_or(u32::MAX))
    }
}

fn count(ordinals: &BTreeSet<u32>) -> u32 {
    u32::try_from(ordinals.len()).unwrap_or(u32::MAX)
}
