//! One node: what it holds in memory and on its volume.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::facts::{Digest, Identity, IdentityPart, SystemDatabase, VolumeNote};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Couch {
    pub(crate) up: bool,
    pub(crate) enabled: bool,
    pub(crate) secret: bool,
    pub(crate) incarnation: u8,
    /// Whom it takes itself for.
    pub(crate) identity: u8,
    /// What the founding made it take itself for, if it has not forgotten that since.
    pub(crate) remembers: Option<u8>,
    /// Of two the one with the greater number has restarted later.
    pub(crate) started: u8,
    pub(crate) members: BTreeSet<u8>,
    /// Each database, with whoever made it: two makers of one name are a conflict, and one side's data is gone.
    pub(crate) databases: BTreeMap<(SystemDatabase, Maker), Map>,
    /// What is written down on its volume.
    pub(crate) note: VolumeNote,
    /// Whether it is kept out of reads. A crash forgets it.
    pub(crate) maintenance: bool,
    /// Whether it has all documents of the copies that it is said to hold.
    pub(crate) filled: bool,
}

/// Who holds a database. Of two changes that follow one revision CouchDB keeps one and forgets the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Map {
    pub(crate) revision: u8,
    pub(crate) holders: BTreeSet<u8>,
}

/// Who made a database: the node, its incarnation, and the members that it then had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Maker {
    pub(crate) node: u8,
    pub(crate) incarnation: u8,
    pub(crate) copies: u8,
}

impl Couch {
    pub(crate) fn fresh(i: u8) -> Self {
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
            note: VolumeNote::Complete,
            maintenance: false,
            filled: true,
        }
    }

    /// With data of another life: its system databases were made by someone who is not here.
    pub(crate) fn foreign(i: u8, maker: u8, members: &[u8]) -> Self {
        let maker =
            Maker { node: FOREIGN + maker, incarnation: 0, copies: u8::try_from(members.len()).unwrap() };
        let map = Map { revision: 0, holders: members.iter().copied().chain([i]).collect() };
        let databases = SystemDatabase::ALL.map(|database| ((database, maker), map.clone())).into();
        let (identity, members) = (maker.node, members.iter().copied().chain([i]).collect());
        Self { identity, members, databases, ..Self::fresh(i) }
    }

    pub(crate) fn identity(&self) -> Identity {
        let uuid = Digest::of([self.identity.to_string()]);
        Identity {
            parts: [(IdentityPart::Uuid, uuid)].into(),
            uptime: Duration::from_secs(1000 - 10 * u64::from(self.started)),
            ..Identity::default()
        }
    }

    pub(crate) fn make(&mut self, me: u8, database: SystemDatabase) {
        if self.databases.keys().all(|(name, _)| *name != database) {
            let copies = u8::try_from(self.members.len()).unwrap();
            let maker = Maker { node: me, incarnation: self.incarnation, copies };
            let map = Map { revision: 0, holders: self.members.iter().copied().take(3).collect() };
            self.databases.insert((database, maker), map);
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

/// Makers from here on are of another life.
pub(crate) const FOREIGN: u8 = 100;
/// Identities from here on were made up by a node that had lost its own.
pub(crate) const RESTARTED: u8 = 50;
