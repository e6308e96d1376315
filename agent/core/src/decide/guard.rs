//! The conditions that forbid every further step on a node that holds data.

use std::collections::BTreeSet;

use super::record::former_cluster;
use super::step::{Refusal, Step, WaitFor};
use super::view::View;
use crate::facts::{Digest, IdentityPart, Node, Observed};

/// Stops where data of two clusters might meet, and where this node is not, or no longer, a member.
pub(super) fn guard(view: &View<'_>, observed: &Observed, groups: &[BTreeSet<u32>]) -> Option<Step> {
    if let Some(step) = foreign_group(view, observed, groups) {
        return Some(step);
    }
    // Scaled down: the pod is about to be deleted. Its copies must be moved away by a person.
    if !observed.expected.contains(&view.me) {
        return Some(Step::Wait(WaitFor::NotExpected));
    }
    view.not_listed_by().map(|members| Step::Wait(WaitFor::NotListed(members)))
}

fn foreign_group(view: &View<'_>, observed: &Observed, groups: &[BTreeSet<u32>]) -> Option<Step> {
    if groups.len() < 2 {
        return None;
    }
    Some(match the_cluster(view, observed, groups) {
        // The others must not join this cluster; their own agents refuse that. This one goes on.
        Some(cluster) if cluster.contains(&view.me) => {
            let others = groups.iter().flatten().copied().filter(|node| !cluster.contains(node));
            Step::Wait(WaitFor::ForeignPeers(others.collect()))
        }
        Some(cluster) => Step::Refuse(Refusal::ForeignData { cluster: cluster.clone() }),
        // No rule can decide which of them is right.
        None => Step::Refuse(Refusal::SplitCluster { groups: groups.to_vec() }),
    })
}

/// Returns the group that is the cluster, where that can be decided. All agents that observe the same decide the same.
fn the_cluster<'g>(
    view: &View<'_>,
    observed: &Observed,
    groups: &'g [BTreeSet<u32>],
) -> Option<&'g BTreeSet<u32>> {
    let recorded = former_cluster(observed).and_then(|cluster| cluster.uuid);
    let recorded = recorded.map(|uuid| Digest::of([uuid]));
    // One that keeps members which do not answer now is larger than one that never had any.
    let size = |group: &BTreeSet<u32>| {
        let nodes = view.nodes().filter(|(ordinal, _)| group.contains(ordinal));
        let (mut members, mut colleagues) = (BTreeSet::new(), BTreeSet::new());
        for (_, node) in nodes {
            members.extend(&node.members);
            colleagues.extend(&node.colleagues);
        }
        members.intersection(&observed.expected).count() + colleagues.len()
    };
    let largest = groups.iter().map(size).max();
    only(groups, |group| view.any_in(group, |node| has_uuid(node, recorded)))
        .or_else(|| only(groups, |group| Some(size(group)) == largest))
        .or_else(|| only(groups, |group| view.any_in(group, Node::holds_user_databases)))
}

/// Returns `true` if the node has the recorded uuid; never where none is recorded.
fn has_uuid(node: &Node, recorded: Option<Digest>) -> bool {
    recorded.is_some() && node.identity.parts.get(&IdentityPart::Uuid).copied() == recorded
}

/// Returns the one group for which `holds` is true; `None` where it is true for none or several.
fn only(groups: &[BTreeSet<u32>], holds: impl Fn(&BTreeSet<u32>) -> bool) -> Option<&BTreeSet<u32>> {
    let mut matching = groups.iter().filter(|group| holds(group));
    matching.next().filter(|_| matching.next().is_none())
}
