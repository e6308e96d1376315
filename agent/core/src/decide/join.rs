//! Joining the established cluster.

use std::collections::BTreeSet;

use super::step::{Step, WaitFor};
use super::view::View;
use crate::facts::{MaintenanceMode, Observed, VolumeNote};

/// Joins the established group, and waits until the members replicate their shard maps.
///
/// Once the cluster places data on this node, an empty copy answers as fast as a complete one. So the node notes that it
/// is incomplete, and leaves reads, before it joins.
pub(super) fn join(view: &View<'_>, observed: &Observed, established: &BTreeSet<u32>) -> Step {
    if observed.note == VolumeNote::Filling && observed.maintenance == MaintenanceMode::Off {
        return Step::EnterMaintenance;
    }
    // A founder that was present when the cluster was formed lists the others already; only the maps are missing.
    if !view.local.members.is_disjoint(established) {
        return Step::Wait(WaitFor::Adoption(established.clone()));
    }
    let Some(peer) = established.iter().copied().find(|peer| view.may_join(*peer)) else {
        return Step::Wait(WaitFor::JoinedBefore { joined: view.others(), others: established.clone() });
    };
    match observed.maintenance {
        MaintenanceMode::Off => Step::NoteFilling,
        // Maintenance mode that was set manually has the same effect, and is left unchanged.
        MaintenanceMode::On | MaintenanceMode::NoLb => Step::Join(peer),
    }
}
