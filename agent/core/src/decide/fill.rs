//! Keeping an incomplete node out of reads, and filling it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lease::may_take_lease;
use super::loss::{is_replaced, lost_shards};
use super::step::Step;
use super::view::View;
use crate::facts::{LeaseState, MaintenanceMode, Node, Observed, SystemDatabase, VolumeNote};

/// Closes a node with a volume that may be incomplete, as early as possible: from the moment in which its peers meet it, they
/// fill it, and pass its answers on to their clients.
pub(super) fn close(view: &View<'_>, observed: &Observed) -> Option<Step> {
    // Without another holder there is no copy to compare with, and no other node that would answer.
    if !view.has_holders() || observed.maintenance != MaintenanceMode::Off {
        return None;
    }
    // Not while a peer is unreachable: the node could not be reopened until it returns.
    let may_close = view.unseen(&observed.expected).is_empty();
    if lost_shards(observed).is_some() {
        return Some(if observed.note == VolumeNote::Filling {
            Step::EnterMaintenance
        } else {
            Step::NoteFilling
        });
    }
    match observed.note {
        // The data of a lost volume is missing, however few documents it was.
        VolumeNote::None if may_close && is_replaced(observed) => Some(Step::NoteFilling),
        // The comparison takes a while where there are many databases. A complete node reopens right after it.
        VolumeNote::None if may_close && just_started(view) => Some(Step::NoteFilling),
        // By an older map the node may hold no copy that could be compared, and would seem complete.
        VolumeNote::None if maps_are_arriving(view) => None,
        VolumeNote::None => Some(Step::CompareVolume { with: view.holders() }),
        VolumeNote::Filling => Some(Step::EnterMaintenance),
        // CouchDB before 3.4 can't read what 3.5 wrote, and silently serves each file in its state before the upgrade,
        // the one with the note included.
        VolumeNote::Complete if may_close && !observed.compared && view.was_downgraded() => {
            Some(Step::NoteFilling)
        }
        VolumeNote::Complete => None,
    }
}

/// Returns `true` if the node holds more than system databases and started so recently that peers may have given it
/// empty copies before an agent looked. The node that has been up longest got nothing from peers, and may hold the only
/// copy.
fn just_started(view: &View<'_>) -> bool {
    let node = view.local;
    let oldest = view.connected_nodes().all(|(_, other)| other.identity.uptime <= node.identity.uptime);
    node.holds_user_databases() && node.identity.uptime < RECENTLY && !oldest
}

/// Returns `true` if a connected member has other maps of the system databases than the local node.
fn maps_are_arriving(view: &View<'_>) -> bool {
    view.connected_nodes().any(|(_, node)| node.databases > 0 && node.system != view.local.system)
}

/// Agents look within a second after a start; the rest is for slow machines.
const RECENTLY: Duration = Duration::from_secs(30);

/// Adds the copies that this node should have, and fills them. No rule here depends on nodes that are missing.
pub(super) fn fill(view: &View<'_>, observed: &Observed) -> Option<Step> {
    if observed.note != VolumeNote::Filling || observed.maintenance == MaintenanceMode::Off {
        return None;
    }
    if let Some(refusal) = lost_shards(observed) {
        return Some(Step::Refuse(refusal));
    }
    let fill = Step::Fill { from: view.holders() };
    let Some((_, databases)) = next_copy(view, observed).filter(|(ordinal, _)| *ordinal == view.me) else {
        return Some(fill);
    };
    Some(match &observed.lease {
        LeaseState::Mine | LeaseState::NotUsed => Step::AddCopies(databases),
        LeaseState::Free if may_take_lease(observed) => Step::TakeLease,
        // The node does not stay out of reads for a copy that can be added later.
        LeaseState::Free | LeaseState::Held(_) | LeaseState::Unknown => fill,
    })
}

/// Returns the member that adds the next copies of system databases, and these databases: one member at a time, the
/// lowest ordinal first.
///
/// Only while all members see the same maps, because CouchDB drops one of two concurrent edits of a shard map, and only
/// while they run one release.
pub(super) fn next_copy(view: &View<'_>, observed: &Observed) -> Option<(u32, BTreeSet<SystemDatabase>)> {
    let maps_differ = view.nodes().any(|(_, node)| node.system != view.local.system);
    if view.wait_until_gathered(&observed.expected).is_some()
        || maps_differ
        || view.mixed_releases().is_some()
        || observed.resharding
    {
        return None;
    }
    // A node that is drained gets no copy that it would lose again.
    for &ordinal in observed.expected.difference(&observed.moves.leaving) {
        let missing = missing_copies(view.local, ordinal, observed.copies_wanted());
        if !missing.is_empty() {
            return Some((ordinal, missing));
        }
    }
    None
}

/// The system databases that have too few copies, none of them on this node.
fn missing_copies(node: &Node, ordinal: u32, wanted: u32) -> BTreeSet<SystemDatabase> {
    node.system
        .iter()
        .filter(|(_, spread)| spread.copies < wanted && !spread.holders.contains(&ordinal))
        .map(|(database, _)| *database)
        .collect()
}
