//! Decides what one agent does next. Pure: no clock, no network, no log, no memory.
//!
//! Every round starts from facts alone, so an agent that was killed between any two calls decides the same as one
//! that was not. The rules, in the order in which they bind:
//!
//! * a node joins by writing one peer into its **own** `_nodes`; membership then replicates by itself
//! * only the lowest founder founds, and only when every founder answers, lists and is connected to every other,
//!   and none holds a database: a node that lost its volume looks like one that never began
//! * anyone established: nobody founds, the fresh ones join
//! * two groups that hold data are never brought together, and nothing is ever removed

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::heal::difference;
use super::step::{Refusal, Step, WaitFor};
use super::view::View;
use crate::facts::{
    ApiState, IdentityPart, KnownRecord, LeaseState, MaintenanceMode, Node, Observed, PortCheck, Publication,
    Spread, SystemDatabase, Unseen, VolumeNote,
};

/// The one next step. Under the Lease only what needs it, so that nobody waits for longer than that takes.
pub fn next_step(observed: &Observed) -> Step {
    match (wanted(observed), &observed.lease) {
        (step, LeaseState::Mine) if !step.needs_the_lease() => Step::ReleaseLease,
        (
            step,
            LeaseState::Free
            | LeaseState::Held(_)
            | LeaseState::Mine
            | LeaseState::NotUsed
            | LeaseState::Unknown,
        ) => step,
    }
}

/// What the facts call for.
fn wanted(observed: &Observed) -> Step {
    if let Some(by) = &observed.displaced_by {
        return Step::Refuse(Refusal::Displaced { by: by.clone() });
    }
    let Observed { me, expected, founders, local, peers, .. } = observed;
    let node = match local {
        Err(Unseen::Misnamed(actual)) => {
            return Step::Refuse(Refusal::NodeNameMismatch { actual: actual.clone() });
        }
        Err(unseen) => return Step::Wait(WaitFor::LocalCouchDb(unseen.clone())),
        Ok(node) => node,
    };
    if founders.is_empty() {
        let scaled_to_nothing = observed.api == ApiState::Current;
        return Step::Wait(if scaled_to_nothing { WaitFor::NotExpected } else { WaitFor::Size });
    }
    if !observed.enabled {
        return Step::EnableCluster { node_count: count(founders) };
    }
    if !node.strangers.is_empty() {
        return Step::Refuse(Refusal::NodeRenamed { strangers: node.strangers.clone() });
    }
    let view = View { me: *me, local: node, peers };
    let groups = view.groups();
    let established: BTreeSet<u32> = groups.iter().flatten().copied().collect();
    let step = match (node.databases, groups.len()) {
        (0, 0) => found(&view, observed),
        (0, 1) => take_part(&view, observed, &established),
        (0, _) => Step::Refuse(Refusal::SplitCluster { groups }),
        (_, _) => keep(&view, observed, &groups)
            .or_else(|| close(&view, observed))
            // Before anything is waited for: a client may hold a cookie from another node just now.
            .or_else(|| heal(&view, observed, &groups))
            .or_else(|| fill(&view, observed))
            .or_else(|| gather(&view, expected))
            .unwrap_or_else(|| prove(&view, observed)),
    };
    let Step::Wait(wait) = step else { return step };
    let why = if let WaitFor::Peers(unseen) = &wait { unpublished(observed, unseen) } else { None };
    let (wait, peers) = (why.unwrap_or(wait), view.unconnected_members());
    if wait.ends_by_connecting() && !peers.is_empty() {
        let wait = in_the_way(observed, &peers).unwrap_or(wait);
        return Step::Dial { peers, wait };
    }
    Step::Wait(wait)
}

/// What keeps names of `unseen` out of DNS, once it was looked for.
fn unpublished(observed: &Observed, unseen: &BTreeMap<u32, Unseen>) -> Option<WaitFor> {
    let nameless = unseen.iter().filter(|(_, why)| **why == Unseen::NameUnknown).map(|(peer, _)| *peer);
    let nameless: BTreeSet<u32> = nameless.collect();
    match &observed.publication {
        Publication::NoPods if !nameless.is_empty() => Some(WaitFor::Service(nameless)),
        Publication::Withheld(pods) if !nameless.is_disjoint(pods) => {
            Some(WaitFor::NotPublished(nameless.intersection(pods).copied().collect()))
        }
        Publication::NoPods | Publication::Unknown | Publication::Withheld(_) => None,
    }
}

/// What keeps `peers` from being connected, once it was looked for.
fn in_the_way(observed: &Observed, peers: &BTreeSet<u32>) -> Option<WaitFor> {
    let port_checks = || observed.port_checks.iter().filter(|(peer, _)| peers.contains(peer));
    let blocked = |(peer, path): (&u32, &PortCheck)| match path {
        PortCheck::Blocked(port) => Some((*peer, Some(*port))),
        PortCheck::Unregistered => Some((*peer, None)),
        PortCheck::Open => None,
    };
    let shut: BTreeMap<u32, Option<u16>> = port_checks().filter_map(blocked).collect();
    let open: BTreeSet<u32> =
        port_checks().filter(|(_, path)| **path == PortCheck::Open).map(|(peer, _)| *peer).collect();
    match (shut.is_empty(), open.is_empty()) {
        (false, _) => Some(WaitFor::PortsBlocked(shut)),
        (true, false) => Some(WaitFor::CookieMismatch(open)),
        (true, true) => None,
    }
}

/// Nobody is established: come together, then the lowest founds.
fn found(view: &View<'_>, observed: &Observed) -> Step {
    let Observed { founders, api, session_secret, .. } = observed;
    let Some(lowest) = founders.first().copied().filter(|_| founders.contains(&view.me)) else {
        return Step::Wait(match founders.first() {
            Some(lowest) => WaitFor::Founding(*lowest),
            None => WaitFor::Size,
        });
    };
    if !view.local.members.contains(&lowest) && view.may_join(lowest) {
        return Step::Join(lowest);
    }
    let unseen = view.unseen(founders);
    if !unseen.is_empty() {
        return Step::Wait(WaitFor::Peers(unseen));
    }
    if let Some(uuid) = formed_before(observed) {
        return Step::Refuse(Refusal::FormedBefore { uuid });
    }
    if view.me != lowest {
        return Step::Wait(WaitFor::Founding(lowest));
    }
    match (api, &observed.record) {
        (ApiState::Silent | ApiState::Missing, _) | (ApiState::Current, KnownRecord::Unread) => {
            return Step::Wait(WaitFor::KubernetesApi);
        }
        (ApiState::Current | ApiState::Forbidden | ApiState::Off, _) => {}
    }
    if let Some(wait) = view.incomplete(founders) {
        return Step::Wait(wait);
    }
    // finish_cluster pings whoever is listed and gives up when one of them doesn't answer.
    let outsized = view.outsized(founders);
    if !outsized.is_empty() {
        return Step::Wait(WaitFor::MembersBeyondSize(outsized));
    }
    if let Some(wait) = view.mixed() {
        return Step::Wait(wait);
    }
    if !*session_secret {
        return Step::MakeSessionSecret;
    }
    match &observed.lease {
        LeaseState::Mine | LeaseState::NotUsed => Step::Found,
        LeaseState::Free => Step::TakeLease,
        LeaseState::Held(by) => Step::Wait(WaitFor::Lease(by.clone())),
        LeaseState::Unknown => Step::Wait(WaitFor::KubernetesApi),
    }
}

/// The cluster that was founded here and that nobody gave up.
pub(super) fn formed_before(observed: &Observed) -> Option<Option<String>> {
    match &observed.record {
        record if record.is_given_up(observed.form_anew.as_ref()) => None,
        KnownRecord::Formed { uuid, .. } => Some(Some(uuid.clone())),
        KnownRecord::Newer => Some(None),
        KnownRecord::Absent | KnownRecord::Forbidden | KnownRecord::Unread => None,
    }
}

/// I hold nothing and one established group answers: join it, then wait to be adopted. Once it places data here, an
/// empty copy would answer as readily as a full one, so this node stays out of reads until it is filled.
fn take_part(view: &View<'_>, observed: &Observed, established: &BTreeSet<u32>) -> Step {
    // Whoever took part in the founding lists them from before it, and lacks nothing but the maps.
    let joined = !view.local.members.is_disjoint(established);
    let peer = established.iter().find(|peer| view.may_join(**peer));
    match (observed.note, observed.maintenance, peer) {
        (VolumeNote::Filling, MaintenanceMode::Off, _) => Step::EnterMaintenance,
        (_, _, _) if joined => Step::Wait(WaitFor::Adoption(established.clone())),
        (_, _, None) => {
            Step::Wait(WaitFor::JoinedBefore { joined: view.others(), others: established.clone() })
        }
        (VolumeNote::None | VolumeNote::Complete, MaintenanceMode::Off, Some(_)) => Step::NoteFilling,
        // Where it is closed by somebody's hand that has the same effect, and stays theirs.
        (_, MaintenanceMode::On | MaintenanceMode::NoLb, Some(peer)) => Step::Join(*peer),
    }
}

/// I hold data: what forbids that anything is done, and what can't wait.
fn keep(view: &View<'_>, observed: &Observed, groups: &[BTreeSet<u32>]) -> Option<Step> {
    let (mine, others): (Vec<_>, Vec<_>) = groups.iter().cloned().partition(|group| group.contains(&view.me));
    let mine: BTreeSet<u32> = mine.into_iter().flatten().collect();
    let larger = others.iter().find(|group| group.len() > 1);
    match (mine.len(), larger, others.is_empty()) {
        (_, _, true) => {}
        (1, Some(cluster), false) => {
            return Some(Step::Refuse(Refusal::ForeignData { cluster: cluster.clone() }));
        }
        (1, None, false) | (_, Some(_), false) => {
            return Some(Step::Refuse(Refusal::SplitCluster { groups: groups.to_vec() }));
        }
        // Many of us against single nodes: it is they who must not come in, and they say so themselves.
        (_, None, false) => {
            return Some(Step::Wait(WaitFor::ForeignPeers(others.into_iter().flatten().collect())));
        }
    }
    if !observed.expected.contains(&view.me) {
        return Some(Step::Wait(WaitFor::NotExpected));
    }
    view.not_listed_by().map(|deaf| Step::Wait(WaitFor::NotListed(deaf)))
}

/// A node that came empty has to be kept out of reads, the sooner the better: the others fill it from the moment in
/// which they meet it, and hand out what it lacks meanwhile.
fn close(view: &View<'_>, observed: &Observed) -> Option<Step> {
    let others = holders(view);
    // Not while somebody is silent: what only he could prove would stay closed for as long.
    let may_close = || view.unseen(&observed.expected).is_empty();
    match (observed.note, observed.maintenance) {
        // Alone there is nobody to compare with, and nobody else to ask.
        (_, _) if others.is_empty() => None,
        // To see what it has takes a while where there are many databases; a full one opens again at once.
        (VolumeNote::None, MaintenanceMode::Off) if just_started(view) && may_close() => {
            Some(Step::NoteFilling)
        }
        // This one went back. CouchDB before 3.4 can't read what 3.5 wrote, and silently takes each file for what it was
        // before that, the one with the note among them.
        (VolumeNote::Complete, MaintenanceMode::Off)
            if !observed.compared && view.went_back() && may_close() =>
        {
            Some(Step::NoteFilling)
        }
        (VolumeNote::None, MaintenanceMode::Off) => Some(Step::CompareVolume { with: others }),
        (VolumeNote::Filling, MaintenanceMode::Off) => Some(Step::EnterMaintenance),
        (VolumeNote::None | VolumeNote::Filling, MaintenanceMode::On | MaintenanceMode::NoLb)
        | (VolumeNote::Complete, _) => None,
    }
}

/// Whether the node has more than the system databases, and was started so recently that peers who were there before it
/// may have handed it empty copies before any agent looked. The oldest got nothing from anybody, and may hold the only copy.
fn just_started(view: &View<'_>) -> bool {
    let node = view.local;
    let system = u64::try_from(node.system.len()).unwrap_or(u64::MAX);
    let oldest = view.nodes().all(|(_, other)| other.identity.uptime <= node.identity.uptime);
    node.databases > system && node.identity.uptime < RECENTLY && !oldest
}

/// Agents look within a second; the rest is for slow machines.
const RECENTLY: Duration = Duration::from_secs(30);

/// What makes this node another one to clients than the cluster is.
fn heal(view: &View<'_>, observed: &Observed, groups: &[BTreeSet<u32>]) -> Option<Step> {
    let mine = groups.iter().find(|group| group.contains(&view.me))?;
    let recorded = formed_before(observed).flatten();
    difference(view.me, &view.group(mine), recorded.as_ref()).map(Step::Adopt)
}

/// What is to be done for a node that was kept out of reads to have its share of the data, whoever else is silent.
fn fill(view: &View<'_>, observed: &Observed) -> Option<Step> {
    match (observed.note, observed.maintenance) {
        (VolumeNote::Filling, MaintenanceMode::On | MaintenanceMode::NoLb) => {
            let mine = turn(view, observed).filter(|(ordinal, _)| *ordinal == view.me);
            Some(match (mine, &observed.lease) {
                (Some((_, databases)), LeaseState::Mine | LeaseState::NotUsed) => Step::AddCopies(databases),
                (Some(_), LeaseState::Free) if observed.may_have_the_lease() => Step::TakeLease,
                // Nobody waits outside for a copy that can as well come later.
                (Some(_), LeaseState::Free | LeaseState::Held(_) | LeaseState::Unknown) | (None, _) => {
                    Step::Fill { from: holders(view) }
                }
            })
        }
        (VolumeNote::Filling, MaintenanceMode::Off) | (VolumeNote::None | VolumeNote::Complete, _) => None,
    }
}

/// The other members that answer and hold data.
fn holders(view: &View<'_>) -> BTreeSet<u32> {
    let holds = |(ordinal, node): &(u32, &Node)| *ordinal != view.me && node.databases > 0;
    view.nodes().filter(holds).map(|(ordinal, _)| ordinal).collect()
}

/// Everybody who is expected must be there, list everybody, and be connected to everybody.
fn gather(view: &View<'_>, expected: &BTreeSet<u32>) -> Option<Step> {
    let unseen = view.unseen(expected);
    if !unseen.is_empty() {
        return Some(Step::Wait(WaitFor::Peers(unseen)));
    }
    view.incomplete(expected).map(Step::Wait)
}

/// Who is to be given copies of which system databases: one member at a time, the lowest first, and only while all
/// members see the same, because of two changes to one map CouchDB forgets one, and are of one release.
fn turn(view: &View<'_>, observed: &Observed) -> Option<(u32, BTreeSet<SystemDatabase>)> {
    let Observed { expected, wanted_copies, .. } = observed;
    let apart = gather(view, expected).is_some()
        || view.nodes().any(|(_, node)| node.system != view.local.system)
        || view.mixed().is_some();
    let want = (*wanted_copies).min(count(expected));
    let thin = |ordinal: u32| -> BTreeSet<SystemDatabase> {
        let lacks = |spread: &Spread| spread.copies < want && !spread.holders.contains(&ordinal);
        let lacking = view.local.system.iter().filter(|(_, spread)| lacks(spread));
        lacking.map(|(database, _)| *database).collect()
    };
    let mut turns = expected.iter().map(|ordinal| (*ordinal, thin(*ordinal)));
    turns.find(|(_, databases)| !databases.is_empty()).filter(|_| !apart)
}

/// Everyone is in: the system databases must be there, everywhere, and readable.
fn prove(view: &View<'_>, observed: &Observed) -> Step {
    let Observed { expected, wanted_copies, finished, .. } = observed;
    for database in SystemDatabase::ALL {
        let lacking: BTreeSet<u32> =
            view.nodes().filter(|(_, node)| !node.system.contains_key(&database)).map(|(o, _)| o).collect();
        let nobody_has_it = lacking.len() == view.nodes().count();
        match expected.first() {
            Some(lowest) if nobody_has_it && *lowest == view.me => return Step::CreateDatabase(database),
            Some(lowest) if nobody_has_it => {
                return Step::Wait(WaitFor::SystemDatabase { by: *lowest, database });
            }
            Some(_) | None if !lacking.is_empty() => {
                return Step::Wait(WaitFor::SystemDatabasesSpread(lacking));
            }
            Some(_) | None => {}
        }
    }
    let want = (*wanted_copies).min(count(expected));
    let turn = turn(view, observed);
    for database in SystemDatabase::ALL {
        let copies = |(_, node): (u32, &Node)| node.system.get(&database).map(|spread| spread.copies);
        if let Some(have) = view.nodes().filter_map(copies).min().filter(|have| *have < want) {
            if let Some(wait) = view.mixed() {
                return Step::Wait(wait);
            }
            let turn = turn.map(|(ordinal, _)| ordinal);
            return match (observed.maintenance, &observed.lease) {
                (MaintenanceMode::Off, _) if turn == Some(view.me) && observed.may_have_the_lease() => {
                    Step::NoteFilling
                }
                (MaintenanceMode::Off, LeaseState::Held(by)) if turn == Some(view.me) => {
                    Step::Wait(WaitFor::Lease(by.clone()))
                }
                (_, _) => Step::Wait(WaitFor::Copies { database, turn, have, want }),
            };
        }
    }
    let outsized = view.outsized(expected);
    if !outsized.is_empty() {
        return Step::Wait(WaitFor::MembersBeyondSize(outsized));
    }
    if !finished {
        return Step::Wait(WaitFor::SystemDatabasesOpen);
    }
    if expected.first() == Some(&view.me) && lacks_a_record(observed) {
        let instead_of = observed.form_anew.clone().filter(|_| observed.record != KnownRecord::Absent);
        let uuid = view.local.identity.parts.get(&IdentityPart::Uuid).copied();
        return Step::RecordFounding { size: count(expected), instead_of, uuid };
    }
    if observed.broken_maps.count > 0 {
        return Step::Wait(WaitFor::BrokenMaps(observed.broken_maps.clone()));
    }
    let others = holders(view);
    match observed.maintenance {
        // A note says what a volume was. It may have come back from a snapshot since, or without some of its files.
        MaintenanceMode::Off if !observed.compared && !others.is_empty() => {
            Step::CompareVolume { with: others }
        }
        MaintenanceMode::Off => Step::Settled,
        mode @ (MaintenanceMode::On | MaintenanceMode::NoLb) => Step::Wait(WaitFor::ClosedByHand(mode)),
    }
}

/// Whether the founding is still to be written down: it never was, or what was is of a cluster that was given up.
fn lacks_a_record(observed: &Observed) -> bool {
    let given_up = observed.record.is_given_up(observed.form_anew.as_ref());
    observed.api == ApiState::Current && (observed.record == KnownRecord::Absent || given_up)
}

impl Observed {
    /// Whether the Lease is this agent's for the asking, or isn't needed.
    fn may_have_the_lease(&self) -> bool {
        match (&self.lease, self.api) {
            (LeaseState::Mine | LeaseState::NotUsed, _) => true,
            (
                LeaseState::Free,
                ApiState::Current | ApiState::Forbidden | ApiState::Missing | ApiState::Off,
            ) => true,
            (LeaseState::Free, ApiState::Silent) | (LeaseState::Held(_) | LeaseState::Unknown, _) => false,
        }
    }
}

fn count(ordinals: &BTreeSet<u32>) -> u32 {
    u32::try_from(ordinals.len()).unwrap_or(u32::MAX)
}
