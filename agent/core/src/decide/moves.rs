//! Moves of copies: the last rules, when everything else is in order. Any problem of the cluster therefore pauses them.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::moves::NodeState;

use super::lease::may_take_lease;
use super::step::{MoveNodes, MoveTask, Step, WaitFor};
use super::view::View;
use crate::facts::{CountedCopies, LeaseState, MaintenanceMode, MoveFacts, Observed, Pause, Rebalance};
use crate::moves::recorded_after;

/// Carries out what the user wants to be moved, on the agent that leads: the one of the lowest pod that stays.
pub(super) fn moves(view: &View<'_>, observed: &Observed) -> Option<Step> {
    if !leads_moves(observed) || observed.maintenance != MaintenanceMode::Off {
        return None;
    }
    let task = task(observed)?;
    if untried_release(observed).is_some() && !matches!(task, MoveTask::Restore(_)) {
        return None;
    }
    if let Some(wait) = view.mixed_releases() {
        return Some(Step::Wait(wait));
    }
    Some(match &observed.lease {
        LeaseState::Mine | LeaseState::NotUsed => {
            let (members, leaving) = (view.local.members.clone(), observed.moves.leaving.clone());
            Step::Move { task, nodes: MoveNodes { members, leaving } }
        }
        LeaseState::Free if may_take_lease(observed) => Step::TakeLease,
        LeaseState::Held(by) => Step::Wait(WaitFor::Lease(by.clone())),
        LeaseState::Free | LeaseState::Unknown => return None,
    })
}

/// The reason why copies that should be moved are not.
pub(super) fn pause(observed: &Observed) -> Option<Pause> {
    let wanted = leads_moves(observed) && task(observed).is_some();
    observed.moves.paused.clone().or_else(|| untried_release(observed).filter(|_| wanted))
}

/// The release of the local CouchDB, if moves were not tried on it.
pub fn untried_release(observed: &Observed) -> Option<Pause> {
    let release = observed.local.as_ref().ok()?.release;
    let tried = release.is_some_and(|release| TRIED.contains(&(release.major, release.minor)));
    (!tried).then_some(Pause::UntriedRelease(release))
}

/// Removes a drained node from the members, once the StatefulSet is smaller and the node is gone.
pub(super) fn remove(view: &View<'_>, observed: &Observed) -> Option<Step> {
    let gone = view.members_beyond(&observed.expected).into_iter().find(|ordinal| {
        // A node that still runs could write its own entry again.
        observed.moves.state(*ordinal).is_removable() && !view.local.connected.contains(ordinal)
    })?;
    if !leads_moves(observed) || !may_take_lease(observed) {
        return None;
    }
    Some(if observed.lease == LeaseState::Free { Step::TakeLease } else { Step::RemoveMember(gone) })
}

/// Adds a node to the members again that was removed when the StatefulSet was smaller, and that has come back empty: its entry
/// was deleted, and the deletion would win against the blank entry that the node writes itself.
pub(super) fn readmit(view: &View<'_>, observed: &Observed) -> Option<Step> {
    if !leads_moves(observed) {
        return None;
    }
    let pristine = view.nodes().filter(|(_, node)| node.databases == 0).map(|(ordinal, _)| ordinal);
    let mut removed = pristine.filter(|ordinal| {
        observed.moves.state(*ordinal) == NodeState::Removed && !view.local.members.contains(ordinal)
    });
    removed.find(|ordinal| observed.expected.contains(ordinal)).map(Step::Readmit)
}

/// The copies to write into the record, from which the webhook answers requests to remove nodes: they have changed, or the record
/// is so old that its reader would doubt it.
pub(super) fn copies_to_record(observed: &Observed, step: &Step) -> Option<CountedCopies> {
    let MoveFacts { counted, recorded, recorded_for, .. } = &observed.moves;
    // Moves change the copies, and record them themselves.
    let is_moving = matches!(step, Step::Move { .. });
    let counted = counted.as_ref().filter(|_| leads_moves(observed) && !is_moving)?;
    // The holder of the Lease writes it often, and each write makes that of another agent fail.
    if !matches!(observed.lease, LeaseState::Free | LeaseState::Mine) {
        return None;
    }
    let is_old = recorded_for.is_none_or(|age| age >= RECORDED_AGAIN_AFTER);
    (is_old || recorded_after(&counted.nodes, recorded) != *recorded).then(|| counted.clone())
}

/// What is to be done, the most urgent first.
fn task(observed: &Observed) -> Option<MoveTask> {
    let moves = &observed.moves;
    // A node that stays, and that the record or its own entry still marks as leaving.
    let restored: BTreeSet<u32> = observed
        .expected
        .difference(&moves.leaving)
        .copied()
        .filter(|ordinal| {
            matches!(moves.state(*ordinal), NodeState::Draining | NodeState::Drained | NodeState::Removed)
        })
        .collect();
    if !restored.is_empty() {
        return Some(MoveTask::Restore(restored));
    }
    // The highest ordinal first: Kubernetes removes pods in this order.
    if let Some(node) = moves.leaving.iter().rev().find(|ordinal| !moves.state(**ordinal).is_removable()) {
        return Some(MoveTask::Drain(*node));
    }
    // Every task continues what was begun. One that took turns with another would begin from the start each time.
    let begun = moves.maps.begun > 0;
    if let Some(copies) = moves.copies.filter(|_| begun || moves.maps.too_few > 0) {
        return Some(MoveTask::Raise { copies });
    }
    if moves.rebalance == Rebalance::All && (begun || moves.maps.unbalanced > 0) {
        return Some(MoveTask::Rebalance);
    }
    (begun || moves.maps.resharding_held).then_some(MoveTask::Finish)
}

/// `true` if this agent leads moves.
pub fn leads_moves(observed: &Observed) -> bool {
    leader(observed) == Some(observed.me)
}

/// The pod whose agent leads moves.
fn leader(observed: &Observed) -> Option<u32> {
    observed.expected.difference(&observed.moves.leaving).next().copied()
}

/// A record without a change is written again after this time.
const RECORDED_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// The release series on whose nodes moves lost no document and showed no reader an incomplete copy (3.4.3, 3.5.0). Replication
/// and redirects are not documented, so another series may differ.
const TRIED: [(u16, u16); 2] = [(3, 4), (3, 5)];
