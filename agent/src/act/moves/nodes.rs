//! The nodes between which copies are moved, and the calls to them.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::decide::MoveNodes;
use agent_core::facts::{MaintenanceMode, Pause};
use agent_core::moves::Roster;
use futures::future::try_join_all;

use crate::couch::{Couch, CouchError};
use crate::observe::Directory;

/// The nodes of one task.
pub(super) struct Nodes<'a> {
    pub(super) couch: &'a Couch,
    pub(super) roster: Roster,
    /// The local node's base URL.
    pub(super) local: String,
    /// The base URL of each member by ordinal, the local one included. Calls about members go through the local node.
    bases: BTreeMap<u32, String>,
}

impl<'a> Nodes<'a> {
    /// The members, of which some may get no copies.
    pub(super) fn new(couch: &'a Couch, directory: &Directory, nodes: &MoveNodes) -> Self {
        let MoveNodes { members, leaving } = nodes;
        let me = directory.me.pod().ordinal();
        let local = directory.local();
        let mut bases = BTreeMap::new();
        for &ordinal in members {
            let Ok(peer) = directory.me.sibling(ordinal) else { continue };
            bases.insert(ordinal, if ordinal == me { local.clone() } else { directory.peer(&peer) });
        }
        let roster = Roster::new(directory.nodes(members), leaving.clone());
        Self { couch, roster, local, bases }
    }

    /// The roster with the zones of the nodes, which a plan respects.
    pub(super) async fn roster_with_zones(&self) -> Result<Roster, CouchError> {
        let zones = self.couch.zones(&self.local, self.roster.all()).await?;
        Ok(self.roster.clone().with_zones(zones))
    }

    /// The base URL of the node with this ordinal.
    pub(super) fn base(&self, ordinal: u32) -> Option<&str> {
        self.bases.get(&ordinal).map(String::as_str)
    }

    /// The base URLs of all nodes, each with its ordinal.
    pub(super) fn bases(&self) -> impl Iterator<Item = (u32, &str)> {
        self.bases.iter().map(|(ordinal, base)| (*ordinal, base.as_str()))
    }

    /// The reason why no copy may be moved now, if there is one. The nodes answer and are connected: other steps come first
    /// where they are not.
    pub(super) async fn pause(&self) -> Result<Option<Pause>, CouchError> {
        if self.couch.has_begun_jobs(&self.local).await? {
            return Ok(Some(Pause::Resharding));
        }
        for (ordinal, base) in self.bases() {
            let name = self.roster.name(ordinal).unwrap_or_default();
            if self.couch.standing(base).await?.mode != MaintenanceMode::Off {
                return Ok(Some(Pause::Maintenance(name.to_owned())));
            }
            if self.couch.has_foreign_redirects(base).await? {
                return Ok(Some(Pause::ForeignRedirects(name.to_owned())));
            }
        }
        Ok(None)
    }

    /// Keeps resharding from changing maps by its own picture of them. Returns a reason to pause where a job was faster.
    pub(super) async fn hold_resharding(&self) -> Result<Option<Pause>, CouchError> {
        // One that a person has stopped stays as it is.
        if !self.couch.resharding(&self.local).await?.may_start {
            return Ok(None);
        }
        self.couch.hold_resharding(&self.local, true).await?;
        if self.couch.has_begun_jobs(&self.local).await? {
            self.couch.hold_resharding(&self.local, false).await?;
            return Ok(Some(Pause::Resharding));
        }
        Ok(None)
    }

    /// Starts resharding again if agents have stopped it.
    pub(super) async fn release_resharding(&self) -> Result<(), CouchError> {
        if self.couch.resharding(&self.local).await?.held {
            self.couch.hold_resharding(&self.local, false).await?;
        }
        Ok(())
    }

    /// Sets the redirects on all nodes: any of them may hold a copy and be asked to fill another.
    pub(super) async fn redirect(&self, wanted: &BTreeMap<String, String>) -> Result<(), CouchError> {
        let set = self.bases().map(|(_, base)| self.couch.set_redirects(base, wanted));
        try_join_all(set).await.map(drop)
    }

    /// The revisions of these maps, on every node but the local one.
    pub(super) async fn revisions(
        &self,
        databases: &[&str],
    ) -> Result<Vec<BTreeMap<String, String>>, CouchError> {
        let others = self.bases().map(|(_, base)| base).filter(|base| *base != self.local);
        try_join_all(others.map(|base| self.couch.map_revisions(base, databases))).await
    }

    /// Makes sure that the nodes in `leaving` get no new copies. Returns `true` once every node knows.
    pub(super) async fn mark_leaving(&self, leaving: &BTreeSet<u32>) -> Result<bool, CouchError> {
        let mut known = true;
        for name in leaving.iter().filter_map(|ordinal| self.roster.name(*ordinal)) {
            self.couch.set_leaving(&self.local, name, true).await?;
            let lists = self.bases().map(|(_, base)| self.couch.is_leaving(base, name));
            known &= try_join_all(lists).await?.into_iter().all(|leaving| leaving);
        }
        Ok(known)
    }
}
