//! Whether the pod may be given clients, and whether Kubernetes may make the next pod. Pure.
//!
//! A failing peer, API server or DNS never turns a ready member unready: CouchDB alone would have survived it.

use super::order::formed_before;
use super::step::{Refusal, Step, WaitFor};
use super::view::View;
use crate::facts::{Node, Observed, PodManagement, SystemDatabase, Unseen, VolumeNote};

/// The answer to the readiness probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// This pod is a member, or under `OrderedReady` must seem ready for the next pod to be made.
    Ready,
    /// Not yet, or not any more.
    NotReady(NotReady),
}

/// Why a pod is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// Nothing has been looked at since the agent started.
    FirstLook,
    /// Its volume came empty to its cluster and is being filled; until then it is out of all reads.
    Filling,
    /// The cluster is not founded, or this node is not yet taken into it.
    Joining,
    /// The local CouchDB doesn't answer, or not to our credentials.
    LocalCouchDb,
    /// The members that answer don't list this node.
    NotListed,
    /// A person has to decide something first.
    Refused(Refusal),
}

/// Decides it from the facts of one round and the step that follows from them.
pub fn readiness(observed: &Observed, step: &Step, policy: PodManagement) -> Readiness {
    if let Step::Refuse(refusal) = step {
        return Readiness::NotReady(NotReady::Refused(refusal.clone()));
    }
    let Ok(local) = &observed.local else {
        return Readiness::NotReady(NotReady::LocalCouchDb);
    };
    let view = View { me: observed.me, local, peers: &observed.peers };
    let established = SystemDatabase::ALL.iter().all(|database| local.system.contains_key(database));
    let ready = match (established, policy) {
        (true, _) if view.not_listed_by().is_some() => return Readiness::NotReady(NotReady::NotListed),
        (true, _) if observed.note == VolumeNote::Filling || about_to_close(step) => {
            return Readiness::NotReady(NotReady::Filling);
        }
        (true, _) => true,
        (false, PodManagement::OrderedReady) => lets_the_next_pod_come(observed, step, &view),
        (false, PodManagement::Parallel) => false,
    };
    match ready {
        true => Readiness::Ready,
        false => Readiness::NotReady(NotReady::Joining),
    }
}

/// Whether the node leaves reads in a moment: who takes it for ready goes on to the next pod meanwhile.
fn about_to_close(step: &Step) -> bool {
    matches!(step, Step::NoteFilling | Step::EnterMaintenance)
}

/// Under `OrderedReady` the next pod is made when this one is ready, so a strict gate would wait for ever. Before the
/// first founding it is enough that CouchDB is up and that every lower ordinal lists it.
fn lets_the_next_pod_come(observed: &Observed, step: &Step, view: &View<'_>) -> bool {
    let founding = view.groups().is_empty() && observed.enabled;
    let mut lower = observed.expected.iter().filter(|ordinal| **ordinal < observed.me);
    let listed = |ordinal: &u32| {
        observed
            .peers
            .get(ordinal)
            .is_some_and(|peer| peer.as_ref().is_ok_and(|node| node.members.contains(&observed.me)))
    };
    let sized = *step != Step::Wait(WaitFor::Size);
    // This volume may be the one that was lost, and who keeps the others is there and can't be asked.
    let there = |peer: &Result<Node, Unseen>| !matches!(peer, Ok(_) | Err(Unseen::NameUnknown));
    let lost = formed_before(observed).is_some() && observed.peers.values().any(there);
    founding && sized && !lost && observed.expected.contains(&observed.me) && lower.all(listed)
}
