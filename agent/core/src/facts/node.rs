//! One CouchDB node, as its HTTP API reports it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::identity::Identity;

/// A node that answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// The ordinals in its `_nodes`, its own included.
    pub members: BTreeSet<u32>,
    /// The ordinals that it is connected to, its own included: `all_nodes` of `_membership`.
    pub connected: BTreeSet<u32>,
    /// Names in its `_nodes` of members outside of the StatefulSet, which the user has named.
    pub colleagues: BTreeSet<String>,
    /// Those of them that it is connected to.
    pub connected_colleagues: BTreeSet<String>,
    /// Names in its `_nodes` that belong to no pod of the StatefulSet, and that the user has not named.
    pub strangers: BTreeSet<String>,
    /// Nodes that it is connected to, that belong to no pod and that the user has not named.
    pub connected_strangers: BTreeSet<String>,
    /// Nodes that hold every range of a system database, by its maps, that belong to no pod and that the user has
    /// not named.
    pub holding_strangers: BTreeSet<String>,
    /// The number of databases in its `_dbs`, system databases included; 0 means that the node is pristine.
    pub databases: u64,
    /// The identity-bearing part of its configuration. Read on an established node only.
    pub identity: Identity,
    /// The spread of each system database in its `_dbs`.
    pub system: BTreeMap<SystemDatabase, Spread>,
    /// The release in its welcome; `None` where the version has another form than CouchDB's. Counts as another one than
    /// every known release.
    pub release: Option<Release>,
}

impl Node {
    /// Returns `true` if the node holds more than system databases.
    pub fn holds_user_databases(&self) -> bool {
        usize::try_from(self.databases).is_ok_and(|all| all > self.system.len())
    }
}

/// The distribution of a database's copies, by one node's shard map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spread {
    /// The copies of the range with the fewest.
    pub copies: u32,
    /// The ordinals that hold every range.
    pub holders: BTreeSet<u32>,
}

/// A system database that every formed cluster has. `_global_changes` is created on request only since CouchDB 3.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SystemDatabase {
    /// `_replicator`
    Replicator,
    /// `_users`
    Users,
}

/// The agents' note on a node's volume about its completeness. The note stays with the volume, and CouchDB does
/// not replicate it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VolumeNote {
    /// The volume had its share of the data once. Internal replication brings what it missed since.
    Complete,
    /// The volume came to its cluster without its share of the data, and may still be incomplete.
    Filling,
    /// No note: the volume is new, or no agent has looked at it.
    #[default]
    None,
}

/// The option `[couchdb] maintenance_mode`. It is set in memory only, so a restart resets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MaintenanceMode {
    /// `nolb`: the node takes part in reads and writes, and only `/_up` fails.
    NoLb,
    /// `false`: the node takes part in reads and writes.
    #[default]
    Off,
    /// `true`: the node's shards are left out of all reads and writes, and `/_up` fails.
    On,
}

/// The answer of `/_up` to a client without credentials, as load balancers and probes ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpAnswer {
    /// 404: maintenance mode, `nolb`, or a node that still pulls from its seeds.
    Closed,
    /// 200, or 401 where every path requires a login.
    Serving,
    /// No answer, or another one.
    #[default]
    Silent,
}

/// The answer of the local node to the agent's password. The node may be observed by a session all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Login {
    /// It accepts the password, as far as that is known.
    #[default]
    Accepted,
    /// It ignores basic authentication.
    Ignored,
    /// It has locked the admin out.
    LockedOut,
    /// It rejects the user or the password.
    Rejected,
}

/// A release series of CouchDB, such as 3.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// The first number of the version.
    pub major: u16,
    /// The second number of the version.
    pub minor: u16,
}

/// The reason why a node could not be observed, as far as the caller can determine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unseen {
    /// It answers with a server error. A new CouchDB does so for about 100 ms, while it creates `_dbs`.
    Busy,
    /// Its answer is not one that CouchDB gives.
    Garbled,
    /// It has locked the admin out after too many wrong passwords.
    LockedOut,
    /// It ignores basic authentication and session cookies.
    LoginIgnored,
    /// It runs under another name than its pod's.
    Misnamed(String),
    /// Its name is not in DNS.
    NameUnknown,
    /// It answers, and Erlang is not connected to it. A member is asked over Erlang only, because any host may answer at its
    /// name.
    NotConnected,
    /// It answers, and no password is sent to it. Its agent, which is asked instead, does not report on it.
    NotReported,
    /// It accepts the connection and does not answer in time.
    NoAnswer,
    /// It rejects the user or the password.
    Rejects,
    /// Nothing listens at its address, or there is no route to it.
    Unreachable,
    /// Its certificate is not trusted, or it does not speak TLS.
    Untrusted,
}

impl SystemDatabase {
    /// All system databases.
    pub const ALL: [Self; 2] = [Self::Replicator, Self::Users];

    /// The database's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replicator => "_replicator",
            Self::Users => "_users",
        }
    }
}

impl Release {
    /// Parses CouchDB's version, such as `3.5.0` or `3.5.0-RC1`.
    pub fn from_version(version: &str) -> Option<Self> {
        let mut numbers = version.split('.').map(str::parse);
        Some(Self { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
