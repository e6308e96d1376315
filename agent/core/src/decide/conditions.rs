//! Conditions: problems that are reported beside the step. None stops a step or makes a pod unready by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::heal::admins_on_some_nodes;
use super::moves;
use super::strangers::stray;
use super::view::View;
use crate::facts::{
    ApiState, Login, MaintenanceMode, NamedDatabases, Node, Observed, Pause, Stalled, Unseen, VolumeNote,
};

/// A problem that a person has to solve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// These members reject the password that the local node accepts.
    AdminPasswordsDiffer(BTreeSet<u32>),
    /// Admins that exist on some members only and are copied to no other, each with the members that have it.
    AdminsOnSomeNodes(BTreeMap<String, BTreeSet<u32>>),
    /// The local CouchDB ignores basic authentication.
    BasicAuthenticationOff,
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
    /// The agent runs in Kubernetes and has no token for its API.
    KubernetesTokenMissing,
    /// Members with ordinals beyond the StatefulSet's size.
    MembersBeyondSize(BTreeSet<u32>),
    /// Copies should be moved, and may not be for this reason.
    MovesPaused(Pause),
    /// Databases with a single copy of some documents, in a cluster of several nodes.
    SingleCopies(NamedDatabases),
    /// Names in the local `_nodes` that belong to no pod, are not connected and hold no system database.
    StrangersListed(BTreeSet<String>),
    /// The node should get the zone of its Kubernetes node, which is unknown.
    ZoneUnknown,
}

/// Returns the conditions of a round, in a fixed order. While the local node does not answer, those that its answers would
/// show are unknown, and missing.
pub(super) fn conditions(observed: &Observed) -> Vec<Condition> {
    let mut conditions = Vec::from_iter(login(observed));
    if observed.api == ApiState::NoToken {
        conditions.push(Condition::KubernetesTokenMissing);
    }
    if let Ok(local) = &observed.local {
        conditions.extend(conditions_of(local, observed));
    }
    conditions
}

/// The problem with the agent's login, which a session may hide from everything else.
fn login(observed: &Observed) -> Option<Condition> {
    match (&observed.local, observed.login) {
        (Err(Unseen::LoginIgnored), _) | (_, Login::Ignored) => Some(Condition::BasicAuthenticationOff),
        (Err(Unseen::LockedOut), _) | (_, Login::LockedOut) => Some(Condition::CredentialsLockedOut),
        (Err(Unseen::Rejects), _) | (_, Login::Rejected) => Some(Condition::CredentialsRejected),
        (Ok(_) | Err(_), Login::Accepted) => None,
    }
}

fn conditions_of(local: &Node, observed: &Observed) -> Vec<Condition> {
    let mut conditions = vec![];
    let mut rejecting = local.members.clone();
    rejecting.retain(|peer| observed.peers.get(peer) == Some(&Err(Unseen::Rejects)));
    if !rejecting.is_empty() {
        conditions.push(Condition::AdminPasswordsDiffer(rejecting));
    }
    let partial = admins_on_some_nodes(&View { me: observed.me, local, peers: &observed.peers });
    if !partial.is_empty() {
        conditions.push(Condition::AdminsOnSomeNodes(partial));
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
    let beyond = local.members.difference(&observed.expected).copied();
    // A drained node loses nothing, and is removed when its pod has ended.
    let beyond: BTreeSet<u32> =
        beyond.filter(|ordinal| !observed.moves.state(*ordinal).is_removable()).collect();
    if local.databases > 0 && !observed.expected.is_empty() && !beyond.is_empty() {
        conditions.push(Condition::MembersBeyondSize(beyond));
    }
    conditions.extend(moves::pause(observed).map(Condition::MovesPaused));
    // A single node has no place for a second copy.
    if observed.single_copies.count > 0 && local.members.len() > 1 {
        conditions.push(Condition::SingleCopies(observed.single_copies.clone()));
    }
    let strangers = stray(local);
    if !strangers.is_empty() {
        conditions.push(Condition::StrangersListed(strangers));
    }
    if observed.zone.rule.is_some() && observed.zone.wanted().is_none() {
        conditions.push(Condition::ZoneUnknown);
    }
    conditions
}
