//! Details that a round reads only where the nodes' answers call for them: Erlang's ports, the Service's EndpointSlices,
//! the shard maps of all databases.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::decide::{Step, checks_maps, checks_ports, checks_service, unconnected_members};
use agent_core::facts::{BrokenMaps, Observed, PortCheck, Publication, Unseen};
use contract::error::chain;
use futures::StreamExt;
use tokio::time::Instant;
use tracing::debug;

use super::directory::Directory;
use super::ports::probe;
use super::service::Service;
use crate::couch::Couch;

/// The ages of the details, and the results that outlive a round.
#[derive(Debug, Default)]
pub(super) struct Details {
    /// Start of the time in which some member has answered without being connected.
    unconnected_since: Option<Instant>,
    names: Names,
    maps: Maps,
}

/// Pod names that are missing from DNS.
#[derive(Debug, Default)]
struct Names {
    missing_since: Option<Instant>,
    read: Option<Instant>,
    publication: Publication,
}

/// The shard maps of all databases: facts like others, but too many to be read in each round.
#[derive(Debug, Default)]
struct Maps {
    read: Option<Instant>,
    broken: BrokenMaps,
}

impl Details {
    /// Adds the details to `observed`. `before` is the step of the last round.
    pub(super) async fn complete(
        &mut self,
        couch: &Couch,
        directory: &Directory,
        service: &Service,
        mut observed: Observed,
        before: Option<&Step>,
    ) -> Observed {
        observed.port_checks = self.port_checks(directory, &observed).await;
        observed.publication = self.names.publication(service, &observed).await;
        observed.broken_maps = self.maps.broken.clone();
        // 10,000 maps take about 20 calls: read when the cluster has just settled, then every 10 minutes.
        if checks_maps(&observed, before, self.maps.read.map(|read| read.elapsed())) {
            self.maps.read(couch, directory, &observed).await;
            observed.broken_maps = self.maps.broken.clone();
        }
        observed
    }

    /// Checks the Erlang ports of members that have been unconnected for some seconds.
    async fn port_checks(&mut self, directory: &Directory, observed: &Observed) -> BTreeMap<u32, PortCheck> {
        let members = unconnected_members(observed);
        // The time up to this round counts: members that join are connected a moment later.
        let is_due = checks_ports(self.unconnected_since.map(|since| since.elapsed()));
        self.unconnected_since =
            (!members.is_empty()).then(|| self.unconnected_since.unwrap_or_else(Instant::now));
        if is_due { check_ports(directory, members).await } else { BTreeMap::new() }
    }
}

impl Names {
    /// The Service's publication, while names are missing that it may keep out of DNS.
    async fn publication(&mut self, service: &Service, observed: &Observed) -> Publication {
        if !observed.peers.values().any(|peer| matches!(peer, Err(Unseen::NameUnknown))) {
            *self = Self::default();
            return Publication::default();
        }
        let missing_since = *self.missing_since.get_or_insert_with(Instant::now);
        if checks_service(missing_since.elapsed(), self.read.map(|read| read.elapsed())) {
            self.read = Some(Instant::now());
            self.publication = service.publication().await;
        }
        self.publication.clone()
    }
}

impl Maps {
    /// Reads all maps. If that fails, the result of the last time stays.
    async fn read(&mut self, couch: &Couch, directory: &Directory, observed: &Observed) {
        let Ok(local) = &observed.local else { return };
        // Members outside of the StatefulSet may hold copies as well.
        let members = local.members.iter().map(|ordinal| directory.node(*ordinal));
        let members = members.chain(local.strangers.iter().cloned()).collect();
        match couch.broken_maps(&directory.local(), &members).await {
            Ok(broken) => *self = Self { read: Some(Instant::now()), broken },
            Err(error) => {
                debug!(error = chain(&error), "failed to check the shard maps");
            }
        }
    }
}

async fn check_ports(directory: &Directory, members: BTreeSet<u32>) -> BTreeMap<u32, PortCheck> {
    futures::stream::iter(members)
        .map(|ordinal| async move { (ordinal, check_ports_of(directory, ordinal).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn check_ports_of(directory: &Directory, ordinal: u32) -> PortCheck {
    let epmd = directory.erlang(ordinal, contract::ports::EPMD);
    probe(&epmd, directory.naming.name(), |port| directory.erlang(ordinal, port)).await
}

/// Members whose ports are checked at the same time.
const AT_ONCE: usize = 16;
