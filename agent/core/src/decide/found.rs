//! Forming the cluster, while no node is established.

use std::collections::BTreeSet;

use super::record::former_cluster;
use super::step::{Refusal, Step, WaitFor};
use super::view::View;
use crate::facts::{ApiState, KnownRecord, LeaseState, Observed};

/// Brings the founders together under the lowest, which then forms the cluster.
pub(super) fn found(view: &View<'_>, observed: &Observed) -> Step {
    let founders = &observed.founders;
    let Some(&lowest) = founders.first() else { return Step::Wait(WaitFor::Size) };
    // With a pinned size, pods beyond it join once the cluster is formed.
    if !founders.contains(&view.me) {
        return Step::Wait(WaitFor::Founding(lowest));
    }
    // One entry is enough: membership replicates from there.
    if !view.local.members.contains(&lowest) && view.may_join(lowest) {
        return Step::Join(lowest);
    }
    // The cluster of these pods exists elsewhere. A second one would be another cluster, and could never join it.
    if !observed.other_members.is_empty() {
        return Step::Wait(WaitFor::OtherMembers(view.local.colleagues.clone()));
    }
    // A founder that does not answer may hold data.
    let unseen = view.unseen(founders);
    if !unseen.is_empty() {
        return Step::Wait(WaitFor::Peers(unseen));
    }
    // Only now, when every founder has answered, is it certain that none of them holds the recorded data.
    if let Some(cluster) = former_cluster(observed) {
        return Step::Refuse(Refusal::FormedBefore { uuid: cluster.uuid });
    }
    if view.me != lowest {
        return Step::Wait(WaitFor::Founding(lowest));
    }
    form(view, observed)
}

/// The lowest founder's part.
fn form(view: &View<'_>, observed: &Observed) -> Step {
    if let Some(wait) = hindrance(view, observed, &observed.founders) {
        return Step::Wait(wait);
    }
    // finish_cluster distributes the secret, and fails without one.
    if !observed.session_secret {
        return Step::MakeSessionSecret;
    }
    match &observed.lease {
        // The order of the rules keeps founders apart without the Lease, too.
        LeaseState::Mine | LeaseState::NotUsed => Step::Found,
        LeaseState::Free => Step::TakeLease,
        LeaseState::Held(by) => Step::Wait(WaitFor::Lease(by.clone())),
        // While the API server does not answer, no step begins that needs the Lease.
        LeaseState::Unknown => Step::Wait(WaitFor::KubernetesApi),
    }
}

/// The condition that must hold first, if any does not.
fn hindrance(view: &View<'_>, observed: &Observed, founders: &BTreeSet<u32>) -> Option<WaitFor> {
    if size_is_uncertain(observed) {
        return Some(WaitFor::KubernetesApi);
    }
    if let Some(wait) = view.incomplete(founders) {
        return Some(wait);
    }
    // finish_cluster pings every member and fails if one does not answer.
    let strangers: BTreeSet<String> = view.nodes().flat_map(|(_, node)| node.strangers.clone()).collect();
    if !strangers.is_empty() {
        return Some(WaitFor::Strangers(strangers));
    }
    let beyond = view.members_beyond(founders);
    if !beyond.is_empty() {
        return Some(WaitFor::MembersBeyondSize(beyond));
    }
    view.mixed_releases()
}

/// A cluster that is formed with a wrong size, or over a record that was not read, can't be taken back.
fn size_is_uncertain(observed: &Observed) -> bool {
    match observed.api {
        ApiState::Silent | ApiState::Missing => true,
        ApiState::Current => observed.record == KnownRecord::Unread,
        // No better answer will come: the injected size counts.
        ApiState::Forbidden | ApiState::NoToken | ApiState::Off => false,
    }
}
