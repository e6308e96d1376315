//! Readiness: whether a client that is sent to this pod now gets the right answer, and whether Kubernetes creates the
//! next pod.
//!
//! Neither the failure of a peer, of the API server or of DNS makes a ready member unready, nor a problem of the agent
//! itself, such as a password that CouchDB rejects: CouchDB alone would have gone on serving.

use super::record::former_cluster;
use super::step::{Refusal, Step, WaitFor};
use super::view::View;
use crate::facts::{MaintenanceMode, Node, Observed, PodManagement, Unseen, UpAnswer, VolumeNote};

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
    /// `/_up` answers 404, in a maintenance mode that no agent set, or for another reason.
    Closed(MaintenanceMode),
    /// The agent has not completed a round.
    FirstLook,
    /// The volume is incomplete and being filled, and the node is out of reads.
    Filling,
    /// The cluster is not formed, or this node has not joined it.
    Joining,
    /// The local CouchDB does not answer, or rejects the credentials while nothing else shows that it is a member.
    LocalCouchDb,
    /// The members that answer do not list this node.
    NotListed,
    /// `/_up` does not answer, or with an error.
    NotServing,
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
    let local = match &observed.local {
        Ok(local) => local,
        Err(Unseen::LockedOut | Unseen::LoginIgnored | Unseen::Rejects)
            if is_member_without_login(observed) =>
        {
            return reason_against_serving(observed);
        }
        Err(_) => return Some(NotReady::LocalCouchDb),
    };
    let view = View { me: observed.me, local, peers: &observed.peers };
    // A member from which a system database was deleted still has the shard maps of all others.
    if local.databases == 0 {
        let ready = match policy {
            PodManagement::OrderedReady => next_pod_may_come(observed, step, &view),
            // All pods are created at once, so none must seem ready for the next one.
            PodManagement::Parallel => false,
        };
        return (!ready).then_some(NotReady::Joining);
    }
    // Clients would get the answers of an empty CouchDB.
    if *step == Step::RemoveEmptyDatabases {
        return Some(NotReady::Joining);
    }
    // A removed node receives no changes of the others any more.
    if view.not_listed_by().is_some() {
        return Some(NotReady::NotListed);
    }
    // A node that is about to leave reads is unready already: Kubernetes would go on to the next pod meanwhile.
    let is_closing = matches!(step, Step::NoteFilling | Step::EnterMaintenance);
    if observed.note == VolumeNote::Filling || is_closing {
        return Some(NotReady::Filling);
    }
    reason_against_serving(observed)
}

/// Load balancers that ask `/_up` leave the node out, so the pod's Service must do the same.
fn reason_against_serving(observed: &Observed) -> Option<NotReady> {
    // Where `/_up` requires a login, only the configuration shows the mode.
    if observed.maintenance != MaintenanceMode::Off || observed.up == UpAnswer::Closed {
        return Some(NotReady::Closed(observed.maintenance));
    }
    (observed.up == UpAnswer::Silent).then_some(NotReady::NotServing)
}

/// Returns `true` if the local node, which refuses the agent's login, is a member by other evidence: an established peer
/// lists it, or it has the uuid of the recorded cluster.
fn is_member_without_login(observed: &Observed) -> bool {
    let established = observed.peers.values().flatten().filter(|node| node.databases > 0);
    let (listing, others): (Vec<&Node>, Vec<&Node>) =
        established.partition(|node| node.members.contains(&observed.me));
    if !listing.is_empty() {
        return true;
    }
    // These reports come from the peers' agents. A single one may be that of any host at a pod's name.
    if others.len() > 1 {
        return false;
    }
    let recorded = former_cluster(observed).and_then(|cluster| cluster.uuid);
    recorded.is_some() && recorded == observed.welcome_uuid
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
