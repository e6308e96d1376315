//! Conditions: problems that are reported beside the step. None stops a step or makes a pod unready by itself.

use std::collections::BTreeSet;

use super::strangers::stray;
use crate::facts::{MaintenanceMode, NamedDatabases, Node, Observed, Stalled, Unseen, VolumeNote};

/// A problem that a person has to solve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// These members reject the password that the local node accepts.
    AdminPasswordsDiffer(BTreeSet<u32>),
    /// The local node is in a maintenance mode that no agent set.
    ClosedByHand(MaintenanceMode),
    /// The local CouchDB has locked the admin out.
    CredentialsLockedOut,
    /// The local CouchDB rejects the agent's credentials.
    CredentialsRejected,
    /// The copies of these databases on the other nodes have different properties, so this node's copies were left as they
    /// were.
    CopiesDisagree(NamedDatabases),
    /// The node is being filled, and nothing has arrived for some minutes.
    FillingStalled(Stalled),
    /// Members with ordinals beyond the StatefulSet's size.
    MembersBeyondSize(BTreeSet<u32>),
    /// Databases with a single copy of some documents, in a cluster of several nodes.
    SingleCopies(NamedDatabases),
    /// Names in the local `_nodes` that belong to no pod, are not connected and hold no system database.
    StrangersListed(BTreeSet<String>),
}

/// Returns the conditions of a round, in a fixed order. While the local node does not answer, those that its answers would
/// show are unknown, and missing.
pub(super) fn conditions(observed: &Observed) -> Vec<Condition> {
    match &observed.local {
        Ok(local) => conditions_of(local, observed),
        Err(Unseen::LockedOut) => vec![Condition::CredentialsLockedOut],
        Err(Unseen::Rejects) => vec![Condition::CredentialsRejected],
        Err(_) => vec![],
    }
}

fn conditions_of(local: &Node, observed: &Observed) -> Vec<Condition> {
    let mut conditions = vec![];
    let mut rejecting = local.members.clone();
    rejecting.retain(|peer| observed.peers.get(peer) == Some(&Err(Unseen::Rejects)));
    if !rejecting.is_empty() {
        conditions.push(Condition::AdminPasswordsDiffer(rejecting));
    }
    // Agents close a node only under a note on its volume.
    if observed.maintenance != MaintenanceMode::Off && observed.note != VolumeNote::Filling {
        conditions.push(Condition::ClosedByHand(observed.maintenance));
    }
    if observed.disagreeing.count > 0 {
        conditions.push(Condition::CopiesDisagree(observed.disagreeing.clone()));
    }
    if observed.note == VolumeNote::Filling
        && let Some(stalled) = &observed.stalled
    {
        conditions.push(Condition::FillingStalled(stalled.clone()));
    }
    // By the local `_nodes` only: a host that answers at a pod's name may list anything. No size, no members beyond it.
    let beyond: BTreeSet<u32> = local.members.difference(&observed.expected).copied().collect();
    if local.databases > 0 && !observed.expected.is_empty() && !beyond.is_empty() {
        conditions.push(Condition::MembersBeyondSize(beyond));
    }
    // A single node has no place for a second copy.
    if observed.single_copies.count > 0 && local.members.len() > 1 {
        conditions.push(Condition::SingleCopies(observed.single_copies.clone()));
    }
    let strangers = stray(local);
    if !strangers.is_empty() {
        conditions.push(Condition::StrangersListed(strangers));
    }
    conditions
}
