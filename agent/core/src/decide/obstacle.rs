//! The cause of a wait, where a check has found it.

use std::collections::{BTreeMap, BTreeSet};

use super::step::WaitFor;
use crate::facts::{Observed, PortCheck, Publication, Unseen};

/// Returns the reason why the headless Service keeps names of the awaited peers out of DNS.
pub(super) fn withheld_names(observed: &Observed, wait: &WaitFor) -> Option<WaitFor> {
    let WaitFor::Peers(unseen) = wait else { return None };
    let missing: BTreeSet<u32> =
        unseen.iter().filter(|(_, reason)| **reason == Unseen::NameUnknown).map(|(peer, _)| *peer).collect();
    match &observed.publication {
        Publication::NoPods if !missing.is_empty() => Some(WaitFor::Service(missing)),
        Publication::Withheld(pods) if !missing.is_disjoint(pods) => {
            Some(WaitFor::NotPublished(missing.intersection(pods).copied().collect()))
        }
        Publication::NoPods | Publication::Unknown | Publication::Withheld(_) => None,
    }
}

/// Returns the reason why Erlang does not connect to `peers`.
pub(super) fn blocked_ports(observed: &Observed, peers: &BTreeSet<u32>) -> Option<WaitFor> {
    let mut blocked: BTreeMap<u32, Option<u16>> = BTreeMap::new();
    let mut open: BTreeSet<u32> = BTreeSet::new();
    for (peer, check) in observed.port_checks.iter().filter(|(peer, _)| peers.contains(peer)) {
        match check {
            PortCheck::Blocked(port) => {
                blocked.insert(*peer, Some(*port));
            }
            PortCheck::Unregistered => {
                blocked.insert(*peer, None);
            }
            PortCheck::Open => {
                open.insert(*peer);
            }
        }
    }
    // A blocked port is certain, a cookie that differs is only the likely cause left when all ports are open.
    if !blocked.is_empty() {
        return Some(WaitFor::PortsBlocked(blocked));
    }
    (!open.is_empty()).then_some(WaitFor::CookieMismatch(open))
}
