//! One node: its memory and its volume.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::decide::Step;
use agent_core::facts::{Digest, Identity, IdentityPart, SystemDatabase, VolumeNote};
use agent_core::shards::FileState;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Couch {
    pub(crate) up: bool,
    pub(crate) enabled: bool,
    pub(crate) secret: bool,
    pub(crate) incarnation: u8,
    /// The value that stands for uuid, secret and admin hashes.
    pub(crate) identity: u8,
    /// The identity that the founding gave it, if it has not lost it since.
    pub(crate) remembers: Option<u8>,
    /// The number of its last restart: of two nodes, the one with the greater number has restarted later.
    pub(crate) started: u8,
    pub(crate) members: BTreeSet<u8>,
    /// Each database, with its maker: two makers of one name are a conflict, and the data of one is lost.
    pub(crate) databases: BTreeMap<(SystemDatabase, Maker), Map>,
    /// `true` if it holds another database, which is in no other node's map.
    pub(crate) orders: bool,
    /// `true` if its system databases contain documents.
    pub(crate) has_users: bool,
    /// The note on its volume.
    pub(crate) note: VolumeNote,
    /// `true` if it is in maintenance mode, which a crash ends.
    pub(crate) maintenance: bool,
    /// `true` if its copies are complete.
    pub(crate) filled: bool,
    /// `true` if its volume was compared since it started.
    pub(crate) compared: bool,
}

/// The holders of a database. CouchDB drops one of two edits of the same revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Map {
    pub(crate) revision: u8,
    pub(crate) holders: BTreeSet<u8>,
}

/// The creator of a database: the node, its incarnation, and the number of its members then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Maker {
    pub(crate) node: u8,
    pub(crate) incarnation: u8,
    pub(crate) copies: u8,
}

impl Couch {
    pub(crate) fn pristine(i: u8) -> Self {
        Self {
            up: true,
            enabled: true,
            secret: true,
            incarnation: 0,
            identity: i,
            remembers: None,
            started: 0,
            members: [i].into(),
            databases: BTreeMap::new(),
            orders: false,
            has_users: true,
            note: VolumeNote::Complete,
            maintenance: false,
            filled: true,
            compared: true,
        }
    }

    /// A node whose system databases were created by a node that is not part of this cluster.
    pub(crate) fn foreign(i: u8, maker: u8, members: &[u8]) -> Self {
        let maker =
            Maker { node: FOREIGN + maker, incarnation: 0, copies: u8::try_from(members.len()).unwrap() };
        let map = Map { revision: 0, holders: members.iter().copied().chain([i]).collect() };
        let databases = SystemDatabase::ALL.map(|database| ((database, maker), map.clone())).into();
        let (identity, members) = (maker.node, members.iter().copied().chain([i]).collect());
        Self { identity, members, databases, ..Self::pristine(i) }
    }

    pub(crate) fn identity(&self) -> Identity {
        let uptime = Duration::from_secs(1000 - 10 * u64::from(self.started));
        Identity { uptime, ..Self::with_identity(self.identity) }
    }

    /// This value as an identity.
    pub(crate) fn with_identity(value: u8) -> Identity {
        let uuid = Digest::of([value.to_string()]);
        Identity { parts: [(IdentityPart::Uuid, uuid)].into(), ..Identity::default() }
    }

    /// `true` if a shard map assigns it a copy.
    pub(crate) fn holds_a_copy(&self, me: u8) -> bool {
        self.databases.values().any(|map| map.holders.contains(&me))
    }

    /// `true` if it lists no other node, and its databases are its own and contain nothing.
    pub(crate) fn holds_nothing(&self, me: u8) -> bool {
        let alone =
            self.members.iter().eq([&me]) && self.databases.values().all(|map| map.holders.iter().eq([&me]));
        alone && !self.databases.is_empty() && !self.orders && !self.has_users
    }

    /// The documents in each of its copies: more than the few that would not count as a lost volume.
    pub(crate) fn documents(&self) -> u64 {
        if self.filled { 1000 } else { 0 }
    }

    /// The file of each of its copies.
    pub(crate) fn file(&self) -> FileState {
        let documents = self.documents();
        let uuid = Some(format!("{}-{}", self.identity, self.incarnation));
        FileState { uuid, documents, update_seq: documents, ..FileState::default() }
    }

    pub(crate) fn make(&mut self, me: u8, database: SystemDatabase) {
        if self.databases.keys().all(|(name, _)| *name != database) {
            let copies = u8::try_from(self.members.len()).unwrap();
            let maker = Maker { node: me, incarnation: self.incarnation, copies };
            let map = Map { revision: 0, holders: self.members.iter().copied().take(3).collect() };
            self.databases.insert((database, maker), map);
        }
    }

    /// Carries out a step that changes this node alone.
    pub(crate) fn act(&mut self, me: u8, step: &Step) {
        match step {
            Step::AddCopies(databases) => self.add_copies(me, databases),
            Step::EnterMaintenance => self.maintenance = true,
            Step::NoteFilling => self.note = VolumeNote::Filling,
            Step::EnableCluster { .. } => self.enabled = true,
            Step::Join(peer) => {
                self.members.insert(u8::try_from(*peer).unwrap());
            }
            Step::MakeSessionSecret => self.secret = true,
            Step::CreateDatabase(database) => self.make(me, *database),
            Step::ReleaseLease | Step::SetZone(_) | Step::TakeLease => {}
            Step::Adopt(_)
            | Step::CompareVolume { .. }
            | Step::Fill { .. }
            | Step::Found
            | Step::Move { .. }
            | Step::Readmit(_)
            | Step::RemoveMember(_)
            | Step::RemoveEmptyDatabases
            | Step::RecordFounding { .. } => unreachable!("depends on other nodes"),
            Step::Dial { .. } | Step::Refuse(_) | Step::Settled | Step::Wait(_) => unreachable!("not an act"),
        }
    }

    pub(crate) fn add_copies(&mut self, me: u8, to: &BTreeSet<SystemDatabase>) {
        for ((database, _), map) in &mut self.databases {
            if to.contains(database) && map.holders.insert(me) {
                map.revision += 1;
                self.filled = false;
            }
        }
    }
}

/// Makers from here on are not part of this cluster.
pub(crate) const FOREIGN: u8 = 100;
/// The identity that an impostor reports.
pub(crate) const IMPOSTOR: u8 = 200;
/// Identities from here on were generated by a node that had lost its own.
pub(crate) const RESTARTED: u8 = 50;
