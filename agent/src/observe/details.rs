//! Details that a round reads only where the nodes' answers call for them: Erlang's ports, the Service's EndpointSlices,
//! the shard maps of all databases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::decide::{
    Step, checks_maps, checks_origin, checks_ports, checks_resharding, checks_service, leads_moves,
    misses_database, unconnected_members,
};
use agent_core::facts::{
    CountedCopies, LostRanges, MapDemands, MoveFacts, NamedDatabases, Observed, PortCheck, Publication,
    Rebalance, Unseen, VolumeOrigin, ZoneFacts,
};
use agent_core::moves::{Aim, Demands, Found, Planner, Roster};
use agent_core::shards::ShardMap;
use contract::error::chain;
use futures::StreamExt;
use tokio::time::Instant;
use tracing::debug;

use super::directory::Directory;
use super::ports::probe;
use super::service::Service;
use crate::couch::{Couch, CouchError, FileAt, MapFindings};

/// The ages of the details, and the results that outlive a round.
#[derive(Debug, Default)]
pub(super) struct Details {
    /// Start of the time in which some member has answered without being connected.
    unconnected_since: Option<Instant>,
    /// Start of the time in which some system database is on no node.
    absent_since: Option<Instant>,
    names: Names,
    /// The time at which the round began, RFC 3339.
    now: String,
    maps: Maps,
    lost: Lost,
    properties: Disagreements,
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
    found: MapFindings,
    /// The moves that the maps call for. Read by the agent that leads moves.
    demands: MapDemands,
    /// The copies on each node. Counted by the agent that leads moves.
    counted: Option<CountedCopies>,
    /// When the copies were last written into the record.
    recorded: Option<Instant>,
    /// The user's wishes when the maps were read: the number of copies, the pods that leave, and the databases to spread.
    wanted: (Option<u32>, BTreeSet<u32>, Rebalance),
    /// The number of tasks of moves that this process had ended when the maps were read. Each verifies moves that the maps
    /// show as done.
    moves_ended: u64,
}

/// The ranges of which this node is the only holder.
#[derive(Debug, Default)]
struct Lost {
    read: Option<Instant>,
    found: LostRanges,
}

/// Databases with different properties on other nodes, which are looked at again from time to time.
#[derive(Debug, Default)]
struct Disagreements {
    read: Option<Instant>,
    left: NamedDatabases,
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
        if observed.zone.rule.is_some() {
            observed.zone = zone(couch, directory, observed.zone).await;
        }
        observed.port_checks = self.port_checks(directory, &observed).await;
        self.absent_since =
            misses_database(&observed).then(|| self.absent_since.unwrap_or_else(Instant::now));
        observed.absent_for = self.absent_since.map(|since| since.elapsed()).unwrap_or_default();
        observed.publication = self.names.publication(service, &observed).await;
        observed.resharding = checks_resharding(&observed) && resharding(couch, directory).await;
        if checks_origin(&observed) {
            observed.origin = origin(couch, directory, &observed).await;
        }
        if observed.origin != VolumeOrigin::Unknown {
            observed.lost = self.lost.read(couch, directory).await;
        }
        if observed.disagreeing.count > 0 {
            observed.disagreeing = self.properties.read(couch, directory, &observed).await;
        }
        let MoveFacts { copies, leaving, rebalance, .. } = &observed.moves;
        self.maps.want((*copies, leaving.clone(), *rebalance));
        // Another agent may have moved copies since they were counted.
        if !leads_moves(&observed) {
            self.maps.counted = None;
        }
        self.maps.show(&mut observed);
        // 10,000 maps take about 20 calls: read when the cluster has just settled, then every 10 minutes.
        if checks_maps(&observed, before, self.maps.read.map(|read| read.elapsed())) {
            self.maps.read(couch, directory, &observed, &self.now).await;
            self.maps.show(&mut observed);
        }
        observed
    }

    /// Begins a round at this time, RFC 3339.
    pub(super) fn begin(&mut self, now: String) {
        self.now = now;
    }

    /// Notes that the copies were written into the record.
    pub(super) fn copies_recorded(&mut self) {
        self.maps.recorded = Some(Instant::now());
    }

    /// Forgets the copies until the maps are read again.
    pub(super) fn forget_copies(&mut self) {
        self.maps.counted = None;
    }

    /// Takes the number of tasks of moves that were ended: after each the maps are read again.
    pub(super) fn moves_ended(&mut self, ended: u64) {
        if self.maps.moves_ended != ended {
            self.maps.moves_ended = ended;
            self.maps.read = None;
        }
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
    /// Takes what the user wants now. The maps are read again where it has changed.
    fn want(&mut self, wanted: (Option<u32>, BTreeSet<u32>, Rebalance)) {
        if self.wanted != wanted {
            *self = Self { read: None, wanted, ..std::mem::take(self) };
        }
    }

    /// Reads all maps. If that fails, the result of the last time stays.
    async fn read(&mut self, couch: &Couch, directory: &Directory, observed: &Observed, now: &str) {
        let Ok(local) = &observed.local else { return };
        // Members outside of the StatefulSet may hold copies as well.
        let members = local.members.iter().map(|ordinal| directory.node(*ordinal));
        let members = members.chain(&local.colleagues | &local.strangers).collect();
        let names = directory.nodes(&local.members);
        let roster = Roster::new(names, observed.moves.leaving.clone());
        // Only the agent that leads moves needs to know which ones the maps call for.
        let mut demands = leads_moves(observed).then(|| Demands::new(&roster, observed.moves.copies));
        match couch.check_maps(&directory.local(), &members, demands.as_mut()).await {
            Ok(found) => {
                self.read = Some(Instant::now());
                self.found = found;
                let maps = demands.map(Demands::found);
                self.demands = maps.as_ref().map(|maps| maps.demands).unwrap_or_default();
                // Without the wish for it, no rebalance is planned.
                let wanted = maps.as_ref().filter(|_| observed.moves.rebalance == Rebalance::All);
                self.demands.unbalanced = movable(couch, &directory.local(), &roster, wanted).await;
                let copies = maps.map(|maps| maps.copies);
                self.counted = copies.map(|mut nodes| {
                    // Those beyond the size are gone already: no request can remove them.
                    nodes.retain(|ordinal, _| observed.expected.contains(ordinal));
                    CountedCopies { as_of: now.to_owned(), nodes }
                });
                // A leader that ended in the middle may have left it stopped.
                self.demands.resharding_held = leads_moves(observed)
                    && couch.resharding(&directory.local()).await.is_ok_and(|resharding| resharding.held);
            }
            Err(error) => {
                debug!(error = chain(&error), "failed to check the shard maps");
            }
        }
    }

    /// Adds what was found last.
    fn show(&self, observed: &mut Observed) {
        observed.broken_maps = self.found.broken.clone();
        observed.single_copies = self.found.single_copies.clone();
        observed.moves.maps = self.demands;
        observed.moves.counted = self.counted.clone();
        observed.moves.recorded_for = self.recorded.map(|recorded| recorded.elapsed());
    }
}

impl Lost {
    /// Reads the ranges, at most every 10 s. If that fails, the result of the last time stays.
    async fn read(&mut self, couch: &Couch, directory: &Directory) -> LostRanges {
        if self.read.is_none_or(|read| read.elapsed() > BETWEEN_LOOKS) {
            let me = directory.node(directory.me.pod().ordinal());
            match couch.ranges_held_only_by(&directory.local(), &me).await {
                Ok(found) => *self = Self { read: Some(Instant::now()), found },
                Err(error) => {
                    debug!(error = chain(&error), "failed to read which ranges only this node holds")
                }
            }
        }
        self.found.clone()
    }
}

impl Disagreements {
    /// The databases among those of the note that still have different properties. If they can't be read, all of them.
    async fn read(&mut self, couch: &Couch, directory: &Directory, observed: &Observed) -> NamedDatabases {
        if self.read.is_none_or(|read| read.elapsed() > BETWEEN_LOOKS) {
            let mut left = observed.disagreeing.clone();
            for database in &observed.disagreeing.named {
                if agree(couch, directory, database).await.is_ok_and(|agree| agree) {
                    left.named.remove(database);
                    left.count = left.count.saturating_sub(1);
                }
            }
            *self = Self { read: Some(Instant::now()), left };
        }
        self.left.clone()
    }
}

/// The number of moves of the first pass of a rebalance: zones may forbid those that would make the loads equal, and a task that
/// could move nothing would begin again without an end. 0 without `maps`, or if the maps can't be read again.
async fn movable(couch: &Couch, local: &str, roster: &Roster, maps: Option<&Found>) -> u64 {
    let Some(maps) = maps.filter(|maps| maps.demands.unbalanced > 0) else { return 0 };
    let counted = async {
        let roster = roster.clone().with_zones(couch.zones(local, roster.all()).await?);
        let mut planner = Planner::new(Aim::Rebalance, maps.loads.clone(), &roster);
        let mut moves = 0;
        couch.for_each_movable(local, |document| moves += planner.moves(document).len()).await?;
        Ok::<_, CouchError>(moves)
    };
    let counted =
        counted.await.inspect_err(|error| debug!(error = chain(error), "failed to plan the rebalance"));
    counted.map_or(0, |moves| u64::try_from(moves).unwrap_or(u64::MAX))
}

/// Returns `true` if all copies of each local shard have the same properties.
async fn agree(couch: &Couch, directory: &Directory, database: &str) -> Result<bool, CouchError> {
    let base = directory.local();
    let document = couch.map(&base, database).await?;
    let Ok(map) = serde_json::from_value::<ShardMap>(document.into()) else { return Ok(false) };
    let me = directory.node(directory.me.pod().ordinal());
    for shard in map.local_shards(database, &me) {
        let mine = couch.properties(FileAt { base: &base, node: "_local", file: &shard.file }).await?;
        for other in &shard.others {
            let theirs =
                couch.properties(FileAt { base: &base, node: &other.node, file: &other.file }).await?;
            if theirs != mine {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The origin of the local volume, by what the members remember that this node lists and is connected to.
async fn origin(couch: &Couch, directory: &Directory, observed: &Observed) -> VolumeOrigin {
    let (Ok(local), Ok(Some(present))) = (&observed.local, couch.volume(&directory.local()).await) else {
        return VolumeOrigin::Unknown;
    };
    let me = directory.node(observed.me);
    for ordinal in local.members.intersection(&local.connected).filter(|ordinal| **ordinal != observed.me) {
        let Ok(peer) = directory.me.sibling(*ordinal) else { continue };
        // A member that does not answer, or has forgotten, proves nothing.
        let remembered = couch.remembered_volumes(&directory.peer(&peer)).await.unwrap_or_default();
        if remembered.get(&me).is_some_and(|volume| *volume != present) {
            return VolumeOrigin::Replaced { present };
        }
    }
    VolumeOrigin::Unknown
}

/// Adds the zone in the local node's entry. Without it nothing is known to be wrong.
async fn zone(couch: &Couch, directory: &Directory, wanted: ZoneFacts) -> ZoneFacts {
    let me = directory.node(directory.me.pod().ordinal());
    match couch.zone(&directory.local(), &me).await {
        Ok(own) => ZoneFacts { own, ..wanted },
        Err(error) => {
            debug!(error = chain(&error), "failed to read the zone of the node");
            ZoneFacts::default()
        }
    }
}

/// Returns `true` if a resharding job runs in the cluster. The local node answers for all members.
async fn resharding(couch: &Couch, directory: &Directory) -> bool {
    // A release without resharding answers 404.
    couch.resharding(&directory.local()).await.is_ok_and(|resharding| resharding.running > 0)
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

/// Between two looks at what only a person can change, so that the message disappears soon after the repair.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);
/// Members whose ports are checked at the same time.
const AT_ONCE: usize = 16;
