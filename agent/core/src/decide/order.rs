//! The order of the rules.
//!
//! * A node joins by writing one peer into its **own** `_nodes`. CouchDB replicates membership from there.
//! * Only the lowest founder forms the cluster, and only while every founder answers, lists every other, is connected to
//!   every other, and is pristine. A node that lost its volume looks like one that never joined.
//! * Once a node is established, no cluster is formed: the pristine nodes join.
//! * Two groups that hold data are never connected, and no node or database is ever removed.

use super::fill::{close, fill};
use super::found::found;
use super::guard::guard;
use super::heal::heal;
use super::join::join;
use super::moves::readmit;
use super::obstacle::{blocked_ports, withheld_names};
use super::prove::prove;
use super::step::{Refusal, Step, StepKind, WaitFor};
use super::strangers::former_names;
use super::view::View;
use crate::facts::{ApiState, LeaseState, Observed, Unseen};

/// Decides the one next step.
///
/// An agent that holds the Lease releases it before any step that doesn't need it, so that no other agent waits longer
/// than the step under the Lease takes.
pub fn next_step(observed: &Observed) -> Step {
    let step = wanted(observed);
    if observed.lease == LeaseState::Mine && !step.needs_the_lease() {
        return Step::ReleaseLease;
    }
    step
}

fn wanted(observed: &Observed) -> Step {
    let view = match preconditions(observed) {
        Ok(view) => view,
        Err(step) => return step,
    };
    let step =
        if view.local.databases == 0 { pristine(&view, observed) } else { established(&view, observed) };
    if let Some(zone) = missing_zone(observed)
        && step.kind() != StepKind::Refuse
    {
        return Step::SetZone(zone);
    }
    let Step::Wait(wait) = step else { return step };
    connect_meanwhile(&view, observed, wait)
}

/// The zone that the local node's entry should have and has not. Written before the founding, which already places copies.
fn missing_zone(observed: &Observed) -> Option<String> {
    let wanted = observed.zone.wanted()?;
    (observed.zone.own.as_ref() != Some(wanted)).then(|| wanted.clone())
}

/// The conditions that must hold before the other nodes are taken into account.
fn preconditions(observed: &Observed) -> Result<View<'_>, Step> {
    if let Some(by) = &observed.displaced_by {
        return Err(Step::Refuse(Refusal::Displaced { by: by.clone() }));
    }
    let local = match &observed.local {
        Ok(local) => local,
        Err(Unseen::Misnamed(actual)) => {
            return Err(Step::Refuse(Refusal::NodeNameMismatch { actual: actual.clone() }));
        }
        Err(unseen) => return Err(Step::Wait(WaitFor::LocalCouchDb(unseen.clone()))),
    };
    if observed.founders.is_empty() {
        // A StatefulSet that was read and has no replicas was scaled to 0.
        let scaled_to_zero = observed.api == ApiState::Current;
        return Err(Step::Wait(if scaled_to_zero { WaitFor::NotExpected } else { WaitFor::Size }));
    }
    if !observed.enabled {
        return Err(Step::EnableCluster { node_count: observed.founder_count() });
    }
    // Shard maps list node names, so a renamed node no longer finds its own shards.
    if let Some(strangers) = former_names(observed.me, local) {
        return Err(Step::Refuse(Refusal::NodeRenamed { strangers }));
    }
    Ok(View { me: observed.me, local, peers: &observed.peers })
}

/// The rules for a node without data: form a cluster, or join the established one.
fn pristine(view: &View<'_>, observed: &Observed) -> Step {
    let groups = view.groups();
    match groups.as_slice() {
        [] => found(view, observed),
        [established] => join(view, observed, established),
        // Joining one of them would make this node a bridge to the others.
        [_, ..] => Step::Refuse(Refusal::SplitCluster { groups }),
    }
}

/// The rules for a node that holds data.
fn established(view: &View<'_>, observed: &Observed) -> Step {
    let groups = view.groups();
    guard(view, observed, &groups)
        .map(|step| without_empty_databases(view, observed, step))
        .or_else(|| close(view, observed))
        // Before every wait: a client may already use a session cookie that another node signed.
        .or_else(|| heal(view, observed))
        // A node that is kept out of reads is filled even while other nodes are missing.
        .or_else(|| fill(view, observed))
        .or_else(|| readmit(view, observed))
        .or_else(|| view.wait_until_gathered(&observed.expected).map(Step::Wait))
        .unwrap_or_else(|| prove(view, observed))
}

/// Replaces the refusal of a node that is no member of the other groups, and holds nothing that could be lost.
fn without_empty_databases(view: &View<'_>, observed: &Observed, step: Step) -> Step {
    let is_outside = matches!(step, Step::Refuse(Refusal::ForeignData { .. } | Refusal::SplitCluster { .. }));
    if is_outside && observed.holds_nothing && view.is_alone() {
        return Step::RemoveEmptyDatabases;
    }
    step
}

/// Replaces a wait by its cause where that has been found, and connects members meanwhile.
fn connect_meanwhile(view: &View<'_>, observed: &Observed, wait: WaitFor) -> Step {
    let wait = withheld_names(observed, &wait).unwrap_or(wait);
    // CouchDB itself retries every 37 s only.
    let peers = view.unconnected_members();
    if peers.is_empty() || !wait.ends_by_connecting() {
        return Step::Wait(wait);
    }
    let wait = blocked_ports(observed, &peers).unwrap_or(wait);
    Step::Dial { peers, wait }
}
