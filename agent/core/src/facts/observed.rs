//! What an agent sees: facts, none of them a wish.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::identity::Identity;
use crate::kubernetes::Record;

/// What one agent saw in one round. Every field is a fact, none is a wish.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observed {
    /// My ordinal.
    pub me: u32,
    /// The ordinals that are to be members now. Empty: nobody could tell yet.
    pub expected: BTreeSet<u32>,
    /// The ordinals that must all be there to found the first cluster; differs from `expected` when the user
    /// pinned the size.
    pub founders: BTreeSet<u32>,
    /// How `expected` came to be known.
    pub api: Api,
    /// Whether a cluster was founded here before.
    pub record: Record,
    /// Who may do what only one agent may do at a time.
    pub lock: Lock,
    /// The uid of the pod that has taken this pod's name, and has an address of its own.
    pub displaced_by: Option<String>,
    /// The uuid of a lost cluster that a person gave up, so that a new one may be founded.
    pub form_anew: Option<String>,
    /// The CouchDB beside me.
    pub local: Result<Node, Unseen>,
    /// Whether it has left `cluster_disabled`: it listens to others and has an admin.
    pub enabled: bool,
    /// Whether it says `cluster_finished`: it can open the system databases just now.
    pub finished: bool,
    /// Whether it has a secret to sign sessions with, without which it can't finish a cluster. Asked of a virgin only.
    pub session_secret: bool,
    /// The copies that it makes of a new database, `[cluster] n`. Asked of an established node only.
    pub wanted_copies: u32,
    /// What is written down on its volume of how far the volume is filled.
    pub note: Note,
    /// Whether it takes part in reads and writes just now.
    pub mode: Mode,
    /// Whether its shards have been compared with the other copies since it started.
    pub compared: bool,
    /// Every other ordinal of `expected` and `founders`.
    pub peers: BTreeMap<u32, Result<Node, Unseen>>,
    /// Databases whose maps a person has to look at. Looked for only while all else is well.
    pub ailing: Ailing,
    /// What is in the way to members that answer and that CouchDB hasn't been connected to for a while. It decides
    /// nothing but what is said.
    pub paths: BTreeMap<u32, Path>,
    /// What the headless Service publishes, once names have lacked for a while. It decides nothing but what is said.
    pub publication: Publication,
}

/// Who holds the StatefulSet's Lease, to one agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    /// Nobody, or somebody who has been silent for longer than he promised.
    Free,
    /// The agent of this pod.
    Held(String),
    /// This agent.
    Mine,
    /// There is no lock to be had: Kubernetes is not asked, or refuses. The order that the rules give has to do.
    Unasked,
    /// It has not been read yet.
    Unknown,
}

/// Shard maps that are not as they should be: all of them counted, and the first few named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ailing {
    /// The first few, by database.
    pub named: BTreeMap<String, Ailment>,
    /// How many there are.
    pub count: usize,
}

/// What is wrong with a database's shard map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ailment {
    /// Two databases of one name were made, or the map was changed in two places: CouchDB shows one, and hides the other.
    Conflict,
    /// A part of the documents is nobody's.
    LacksRange,
    /// It names a node that is no member.
    NoMember(String),
}

impl Ailing {
    /// Counts one more.
    pub fn add(&mut self, database: &str, ailment: Ailment) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.insert(database.to_owned(), ailment);
        }
    }
}

/// As many as fit into an Event.
const NAMED: usize = 5;

/// What is found at the ports that Erlang needs on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// Nobody can be reached at this port.
    Blocked(u16),
    /// Both ports answer, so it is the handshake that fails.
    Open,
    /// The port mapper knows no node of CouchDB's name.
    Unregistered,
}

/// What the headless Service publishes, as its EndpointSlices say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Publication {
    /// It has no pod, not even this one: there is no such Service, or it selects others.
    Nobody,
    /// It was not looked for, or can't be read, or doesn't explain why a name lacks.
    #[default]
    Unclear,
    /// It has these pods, and keeps their names out of DNS until they are ready.
    Withheld(BTreeSet<u32>),
}

/// A release series of CouchDB, such as 3.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
}

/// What the Kubernetes API last was to this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// It told the StatefulSet's spec, and a watch keeps it current.
    Current,
    /// It refuses: the role is missing. As [`Api::Off`], with a warning.
    Forbidden,
    /// It answers and knows no such StatefulSet. What was last known counts, and nothing is founded.
    Missing,
    /// It is not asked. The injected size counts.
    Off,
    /// It doesn't answer, now or yet. What was last known counts, and nothing is founded.
    Silent,
}

/// A CouchDB that answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// Our ordinals in its `_nodes`, itself included: whom it expects.
    pub members: BTreeSet<u32>,
    /// Our ordinals that it is connected to just now, itself included.
    pub connected: BTreeSet<u32>,
    /// Names in its `_nodes` that are none of our StatefulSet's pods.
    pub strangers: BTreeSet<String>,
    /// The databases that its `_dbs` has, system databases included. None: it is virgin.
    pub databases: u64,
    /// Whom it takes itself for. Asked of an established node only.
    pub identity: Identity,
    /// How each system database that its `_dbs` has is spread.
    pub system: BTreeMap<SystemDatabase, Spread>,
    /// What it says it is; nothing, where something between here and there keeps that back.
    pub release: Option<Release>,
}

/// How the copies of a database are spread, as one node's map of it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spread {
    /// The copies of the range that has the fewest.
    pub copies: u32,
    /// Our ordinals that hold every range.
    pub holders: BTreeSet<u32>,
}

/// What agents have written down on a node's volume. It goes with the volume, and no other node ever sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Note {
    /// The volume came to its cluster without its share of the data, and may lack some of it still.
    Filling,
    /// Nothing: it is new, or no agent has looked at it.
    #[default]
    None,
    /// It had its share of the data once. What it missed since, CouchDB brings by itself.
    Whole,
}

/// What a node is told about taking part: `[couchdb] maintenance_mode`. No volume keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Its shards are left out of all reads and writes, and `/_up` says so.
    Maintenance,
    /// Only `/_up` says that it is to get no clients.
    NoClients,
    /// It takes part.
    #[default]
    Serving,
}

/// The databases that make a set of nodes a finished cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SystemDatabase {
    /// `_replicator`
    Replicator,
    /// `_users`
    Users,
}

/// Why a CouchDB could not be seen, as far as it can be told from here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unseen {
    /// It answers that it can't answer just now. A fresh CouchDB does for some 100 ms, while it makes `_dbs`.
    Busy,
    /// It answers something that CouchDB does not answer.
    Garbled,
    /// Its name is not in DNS.
    NameUnknown,
    /// It takes the call and does not answer in time.
    NoAnswer,
    /// It has locked the admin out after too many wrong passwords.
    LockedOut,
    /// It calls itself by another name than its pod's.
    Misnamed(String),
    /// It refuses user or password.
    Rejects,
    /// Its certificate is not one that we trust, or it doesn't speak TLS.
    Untrusted,
    /// Nothing listens there, or no way leads there.
    Unreachable,
}

impl Release {
    /// From CouchDB's `Server` header, such as `CouchDB/3.5.0 (Erlang OTP/25)`.
    pub fn from_server(header: &str) -> Option<Self> {
        let mut numbers = header.strip_prefix("CouchDB/")?.split('.').map(str::parse);
        Some(Self { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl SystemDatabase {
    /// All of them. `_global_changes` is made on request only since CouchDB 3.0.
    pub const ALL: [Self; 2] = [Self::Replicator, Self::Users];

    /// The database's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replicator => "_replicator",
            Self::Users => "_users",
        }
    }
}
