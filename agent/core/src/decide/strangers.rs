//! Names in `_nodes` that belong to no pod of the StatefulSet: members outside of it, wrong entries, or the former names
//! of its own pods.

use std::collections::BTreeSet;

use contract::{NodeName, PodName};

use crate::facts::Node;

/// Returns the names that are neither connected nor hold a system database: wrong entries, which serve nothing.
pub(super) fn stray(node: &Node) -> BTreeSet<String> {
    let Node { strangers, connected_strangers, holding_strangers, .. } = node;
    let colleagues = connected_strangers | holding_strangers;
    strangers - &colleagues
}

/// Returns the names under which the databases of the local node, with ordinal `me`, are filed, if it runs under another
/// name than before. It would not find its own shards.
///
/// In a cluster that is wider than the StatefulSet other members hold the databases. They are connected.
pub(super) fn former_names(me: u32, node: &Node) -> Option<BTreeSet<String>> {
    let former: BTreeSet<String> = node.holding_strangers.intersection(&node.strangers).cloned().collect();
    if former.is_empty() || !former.is_disjoint(&node.connected_strangers) {
        return None;
    }
    let holders: BTreeSet<u32> = node.system.values().flat_map(|spread| &spread.holders).copied().collect();
    let held_by_no_pod = holders.is_empty();
    let are_own = !holders.contains(&me) && former.iter().any(|name| former_ordinal(name) == Some(me));
    (held_by_no_pod || are_own).then_some(former)
}

/// The ordinal of the pod in a former node name, such as 1 in `couchdb@db-1.old-service`.
pub(crate) fn former_ordinal(name: &str) -> Option<u32> {
    let node: NodeName = name.parse().ok()?;
    // The old host may be short or a full DNS name; its first label is the pod's name.
    let pod: PodName = node.host().split('.').next()?.parse().ok()?;
    Some(pod.ordinal())
}
