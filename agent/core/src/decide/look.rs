//! The checks of the next round besides the nodes. They follow from the last step and from how long something has lasted.

use std::time::Duration;

use super::loss::may_be_new;
use super::order::next_step;
use super::step::{MoveTask, Step, WaitFor};
use crate::facts::{Observed, SystemDatabase, VolumeNote};

/// Returns `true` if the Erlang ports of unconnected members must be checked; `unconnected_for` is the time since a
/// member first answered without being connected.
pub fn checks_ports(unconnected_for: Option<Duration>) -> bool {
    unconnected_for.is_some_and(|time| time > CONNECTED_WITHIN)
}

/// Returns `true` if a system database of the established cluster is on no node that answers.
pub fn misses_database(observed: &Observed) -> bool {
    let Some(local) = observed.local.as_ref().ok().filter(|local| local.databases > 0) else { return false };
    let nodes = || std::iter::once(local).chain(observed.peers.values().flatten());
    SystemDatabase::ALL.iter().any(|database| nodes().all(|node| !node.system.contains_key(database)))
}

/// Returns `true` if the Service's EndpointSlices must be read, which may explain that names are missing from DNS.
pub fn checks_service(missing_for: Duration, since_last_look: Option<Duration>) -> bool {
    missing_for > PUBLISHED_WITHIN && since_last_look.is_none_or(|time| time > BETWEEN_SERVICE_LOOKS)
}

/// Returns `true` if the shard maps of all databases must be checked in this round, given the facts without them and
/// the step of the round `before`.
///
/// Everything else must be in order: a broken map matters less than a node that is missing. When a cluster has just
/// become settled, members may have met again that changed one map in two places.
pub fn checks_maps(observed: &Observed, before: Option<&Step>, since_last_look: Option<Duration>) -> bool {
    let step = &next_step(observed);
    let older_than = |age| since_last_look.is_none_or(|time| time > age);
    // All maps of 10,000 databases are about 20 calls, so they are not read in every round.
    if *step == Step::Settled {
        return before != Some(step) || older_than(BETWEEN_MAP_LOOKS);
    }
    // A step that the maps call for ends when they no longer do.
    let follows_from_maps = matches!(
        step,
        Step::Wait(WaitFor::BrokenMaps(_))
            | Step::Move { task: MoveTask::Finish | MoveTask::Raise { .. } | MoveTask::Rebalance, .. }
    );
    follows_from_maps && older_than(BETWEEN_BROKEN_MAP_LOOKS)
}

/// Returns `true` if the origin of the local volume must be read in this round, given the facts without it: the volume is
/// about to be compared or filled, and no agent has found it complete.
pub fn checks_origin(observed: &Observed) -> bool {
    let step = next_step(observed);
    may_be_new(observed) && matches!(step, Step::CompareVolume { .. } | Step::Fill { .. })
}

/// Returns `true` if the resharding jobs must be read in this round, given the facts without them: a copy is about to be
/// added to a shard map, which a job changes by its own picture of the map.
pub fn checks_resharding(observed: &Observed) -> bool {
    let step = next_step(observed);
    let begins_to_add = step == Step::NoteFilling && observed.note == VolumeNote::Complete;
    begins_to_add || matches!(step, Step::AddCopies(_))
}

/// Returns `true` if a node that is being filled has got nothing for so long that a person must know.
pub fn is_stalled(since_progress: Duration) -> bool {
    since_progress >= STALLED_AFTER
}

/// A node under load may need a minute for one batch of large documents.
const STALLED_AFTER: Duration = Duration::from_secs(180);
/// Members that join are connected within a second, and so are those that are dialled.
const CONNECTED_WITHIN: Duration = Duration::from_secs(4);
/// Endpoints follow their pods within about a second.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(10);
/// Between two reads of the EndpointSlices.
const BETWEEN_SERVICE_LOOKS: Duration = Duration::from_secs(30);
/// While all maps are in order. Shorter than the 10 minutes between two full rounds of a settled cluster.
const BETWEEN_MAP_LOOKS: Duration = Duration::from_secs(540);
/// While a map is broken or copies are moved, so that the state disappears soon after its end.
const BETWEEN_BROKEN_MAP_LOOKS: Duration = Duration::from_secs(10);
