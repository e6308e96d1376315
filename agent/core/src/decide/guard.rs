//! The conditions that forbid every further step on a node that holds data.

use std::collections::BTreeSet;

use super::step::{Refusal, Step, WaitFor};
use super::view::View;
use crate::facts::Observed;

/// Stops where data of two clusters might meet, and where this node is not, or no longer, a member.
pub(super) fn guard(view: &View<'_>, observed: &Observed, groups: &[BTreeSet<u32>]) -> Option<Step> {
    if let Some(step) = foreign_group(view, groups) {
        return Some(step);
    }
    // Scaled down: the pod is about to be deleted. Its copies must be moved away by a person.
    if !observed.expected.contains(&view.me) {
        return Some(Step::Wait(WaitFor::NotExpected));
    }
    view.not_listed_by().map(|members| Step::Wait(WaitFor::NotListed(members)))
}

fn foreign_group(view: &View<'_>, groups: &[BTreeSet<u32>]) -> Option<Step> {
    let (mine, others): (Vec<_>, Vec<_>) = groups.iter().cloned().partition(|group| group.contains(&view.me));
    if others.is_empty() {
        return None;
    }
    let alone = mine.iter().flatten().count() == 1;
    let cluster = others.iter().find(|group| group.len() > 1);
    Some(match cluster {
        // A single node stays outside with its data, and the cluster goes on without it.
        Some(cluster) if alone => Step::Refuse(Refusal::ForeignData { cluster: cluster.clone() }),
        // The single nodes must not join this cluster; their own agents refuse that. This one goes on.
        None if !alone => Step::Wait(WaitFor::ForeignPeers(others.into_iter().flatten().collect())),
        // Two clusters, or two single nodes: no rule can decide which of them is right.
        Some(_) | None => Step::Refuse(Refusal::SplitCluster { groups: groups.to_vec() }),
    })
}
