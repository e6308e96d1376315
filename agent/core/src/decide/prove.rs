//! Confirming that the cluster is formed: the last rules, when every expected node is a member.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fill::next_copy;
use super::lease::may_take_lease;
use super::moves::{moves, remove};
use super::record::record_is_missing;
use super::step::{Step, WaitFor};
use super::view::View;
use crate::facts::{IdentityPart, KnownRecord, LeaseState, MaintenanceMode, Observed, SystemDatabase};

/// Requires the system databases with all their copies, a size without leftovers, and the founding record.
pub(super) fn prove(view: &View<'_>, observed: &Observed) -> Step {
    existence(view, observed)
        .or_else(|| copies(view, observed))
        .or_else(|| remove(view, observed))
        .or_else(|| size(view, observed))
        .or_else(|| readability(observed))
        .or_else(|| record(view, observed))
        .or_else(|| maps(observed))
        .or_else(|| service(view, observed))
        .or_else(|| moves(view, observed))
        .unwrap_or(Step::Settled)
}

/// Every node has every system database. The lowest member creates what no node has, so that none is created twice.
fn existence(view: &View<'_>, observed: &Observed) -> Option<Step> {
    for database in SystemDatabase::ALL {
        let missing_on: BTreeSet<u32> = view
            .nodes()
            .filter(|(_, node)| !node.system.contains_key(&database))
            .map(|(ordinal, _)| ordinal)
            .collect();
        let on_no_node = missing_on.len() == view.nodes().count();
        if on_no_node && let Some(&lowest) = observed.expected.first() {
            // Its creation is left to the person who has deleted it, for a moment: two maps of one name would conflict.
            return Some(if lowest == view.me && observed.absent_for >= LEFT_TO_A_PERSON {
                Step::CreateDatabase(database)
            } else {
                Step::Wait(WaitFor::SystemDatabase { by: lowest, database })
            });
        }
        // Another node has it, and its map replicates.
        if !missing_on.is_empty() {
            return Some(Step::Wait(WaitFor::SystemDatabasesSpread(missing_on)));
        }
    }
    None
}

/// Every system database has as many copies as CouchDB gives a new one. A database of a cluster that grew has fewer.
fn copies(view: &View<'_>, observed: &Observed) -> Option<Step> {
    let want = observed.copies_wanted();
    for database in SystemDatabase::ALL {
        let spreads = view.nodes().filter_map(|(_, node)| node.system.get(&database));
        let Some(have) = spreads.map(|spread| spread.copies).min().filter(|have| *have < want) else {
            continue;
        };
        // Only pods add copies. Where each of them has one, more are up to the members outside of the StatefulSet.
        if !pods_without_copy(view, observed, database) {
            continue;
        }
        // Another release may add copies by other rules.
        if let Some(wait) = view.mixed_releases() {
            return Some(Step::Wait(wait));
        }
        if observed.resharding {
            return Some(Step::Wait(WaitFor::Resharding));
        }
        let turn = next_copy(view, observed).map(|(ordinal, _)| ordinal);
        // A node that is closed manually gets no copy.
        let my_turn = turn == Some(view.me) && observed.maintenance == MaintenanceMode::Off;
        if my_turn && may_take_lease(observed) {
            return Some(Step::NoteFilling);
        }
        if my_turn && let LeaseState::Held(by) = &observed.lease {
            return Some(Step::Wait(WaitFor::Lease(by.clone())));
        }
        return Some(Step::Wait(WaitFor::Copies { database, turn, have, want }));
    }
    None
}

/// Returns `true` if some pod that stays holds no copy of the database.
fn pods_without_copy(view: &View<'_>, observed: &Observed, database: SystemDatabase) -> bool {
    let holders = view.local.system.get(&database).map(|spread| &spread.holders);
    let mut staying = observed.expected.difference(&observed.moves.leaving);
    staying.any(|ordinal| holders.is_none_or(|holders| !holders.contains(ordinal)))
}

/// No node lists a member beyond the size.
fn size(view: &View<'_>, observed: &Observed) -> Option<Step> {
    let beyond = view.members_beyond(&observed.expected);
    (!beyond.is_empty()).then_some(Step::Wait(WaitFor::MembersBeyondSize(beyond)))
}

/// The local node can open the system databases.
fn readability(observed: &Observed) -> Option<Step> {
    (!observed.finished).then_some(Step::Wait(WaitFor::SystemDatabasesOpen))
}

/// The founding is recorded. The lowest member writes the record.
fn record(view: &View<'_>, observed: &Observed) -> Option<Step> {
    if observed.expected.first() != Some(&view.me) || !record_is_missing(observed) {
        return None;
    }
    // Without a record, the annotation gives up nothing.
    let instead_of = observed.form_anew.clone().filter(|_| observed.record != KnownRecord::Absent);
    let uuid = view.local.identity.parts.get(&IdentityPart::Uuid).copied();
    Some(Step::RecordFounding { size: observed.expected_count(), instead_of, uuid })
}

/// The shard maps of all databases are in order, as far as they have been checked.
fn maps(observed: &Observed) -> Option<Step> {
    let broken = &observed.broken_maps;
    (broken.count > 0).then(|| Step::Wait(WaitFor::BrokenMaps(broken.clone())))
}

/// The local node takes part in reads and writes, and its volume has been compared.
fn service(view: &View<'_>, observed: &Observed) -> Option<Step> {
    match observed.maintenance {
        // The note describes the volume of an earlier start. It may have been restored from a snapshot since, or have
        // lost files.
        MaintenanceMode::Off if !observed.compared && view.has_holders() => {
            Some(Step::CompareVolume { with: view.holders() })
        }
        MaintenanceMode::Off => None,
        mode @ (MaintenanceMode::On | MaintenanceMode::NoLb) => Some(Step::Wait(WaitFor::ClosedByHand(mode))),
    }
}

/// Scripts that replace a database create it again at once.
const LEFT_TO_A_PERSON: Duration = Duration::from_secs(5);
