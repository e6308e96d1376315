//! Readiness: whether the pod receives clients, and whether Kubernetes creates the next pod.
//!
//! A peer, an API server or a DNS server that fails never makes a ready member unready: CouchDB alone would have gone on
//! serving.

use super::record::former_cluster;
use super::step::{Refusal, Step, WaitFor};
use super::view::View;
use crate::facts::{Node, Observed, PodManagement, SystemDatabase, Unseen, VolumeNote};

/// The answer to the readiness probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The pod is a member, or must seem ready under `OrderedReady` so that the next pod is created.
    Ready,
    /// The pod is not, or no longer, ready.
    NotReady(NotReady),
}

/// The reason why a pod is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// The agent has not completed a round.
    FirstLook,
    /// The volume is incomplete and being filled, and the node is out of reads.
    Filling,
    /// The cluster is not formed, or this node has not joined it.
    Joining,
    /// The local CouchDB does not answer, or rejects the credentials.
    LocalCouchDb,
    /// The members that answer do not list this node.
    NotListed,
    /// A person has to decide first.
    Refused(Refusal),
}

/// Decides the readiness from the facts of a round and the step that follows from them.
pub fn readiness(observed: &Observed, step: &Step, policy: PodManagement) -> Readiness {
    match reason_against(observed, step, policy) {
        Some(reason) => Readiness::NotReady(reason),
        None => Readiness::Ready,
    }
}

fn reason_against(observed: &Observed, step: &Step, policy: PodManagement) -> Option<NotReady> {
    if let Step::Refuse(refusal) = step {
        return Some(NotReady::Refused(refusal.clone()));
    }
    let Ok(local) = &observed.local else { return Some(NotReady::LocalCouchDb) };
    let view = View { me: observed.me, local, peers: &observed.peers };
    let established = SystemDatabase::ALL.iter().all(|database| local.system.contains_key(database));
    if !established {
        let ready = match policy {
            PodManagement::OrderedReady => next_pod_may_come(observed, step, &view),
            // All pods are created at once, so none must seem ready for the next one.
            PodManagement::Parallel => false,
        };
        return (!ready).then_some(NotReady::Joining);
    }
    // A removed node receives no changes of the others any more.
    if view.not_listed_by().is_some() {
        return Some(NotReady::NotListed);
    }
    // A node that is about to leave reads is unready already: Kubernetes would go on to the next pod meanwhile.
    let is_closing = matches!(step, Step::NoteFilling | Step::EnterMaintenance);
    (observed.note == VolumeNote::Filling || is_closing).then_some(NotReady::Filling)
}

/// Under `OrderedReady` Kubernetes creates the next pod when this one is ready, so that requiring a formed cluster would
/// wait for ever. Before the cluster is formed, it is enough that CouchDB is up and every lower ordinal lists it.
fn next_pod_may_come(observed: &Observed, step: &Step, view: &View<'_>) -> bool {
    let forming = view.groups().is_empty() && observed.enabled;
    if !forming || *step == Step::Wait(WaitFor::Size) || !observed.expected.contains(&observed.me) {
        return false;
    }
    // This volume may be the one that was lost, while the others exist and only don't answer.
    if former_cluster(observed).is_some() && observed.peers.values().any(exists_without_answer) {
        return false;
    }
    observed.expected.range(..observed.me).all(|lower| {
        let peer = observed.peers.get(lower).and_then(|peer| peer.as_ref().ok());
        peer.is_some_and(|node| node.members.contains(&observed.me))
    })
}

/// Returns `true` if the peer's pod exists and could not be observed. A pod that does not exist has no name in DNS.
fn exists_without_answer(peer: &Result<Node, Unseen>) -> bool {
    !matches!(peer, Ok(_) | Err(Unseen::NameUnknown))
}
