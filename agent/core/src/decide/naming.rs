//! The Erlang names of the nodes, by the names that the nodes report.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Naming, NodeName};

/// The naming of the cluster's nodes, or the DNS lookup that it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreed {
    /// All nodes are named like this.
    On(Naming),
    /// All nodes are named like this if `host` is in DNS; otherwise by the pods' full names.
    IfFound {
        /// The naming that the nodes report.
        naming: Naming,
        /// The host name of a peer, by this naming.
        host: String,
    },
}

/// The name that the local node reports.
#[derive(Clone, Copy, Debug)]
pub struct LocalName<'a> {
    /// The naming that its name implies for all nodes.
    pub naming: &'a Naming,
    /// `true` if the node is pristine, so that its name could still be changed.
    pub pristine: bool,
}

/// Decides the naming of all nodes. The local node's name decides, with one exception: a pristine node that is not named
/// by its pod's full name must share its naming with the nodes that answer, and be in DNS under it. Otherwise it would
/// wait for ever without an explanation.
pub fn agree(usual: Naming, local: Option<LocalName<'_>>, others: &BTreeMap<u32, &Naming>) -> Agreed {
    let Some(LocalName { naming, pristine }) = local else {
        // The agent can still tell the peers apart while its own CouchDB does not answer.
        return Agreed::On(others.values().next().map_or(usual, |theirs| (*theirs).clone()));
    };
    // A node with data can't be renamed, and the usual name is in DNS.
    if !pristine || *naming == usual {
        return Agreed::On(naming.clone());
    }
    // A peer that differs is right: the pristine node is then refused under the peer's naming, with an explanation.
    if let Some(theirs) = others.values().find(|theirs| **theirs != naming) {
        return Agreed::On((*theirs).clone());
    }
    match others.keys().next() {
        Some(peer) => Agreed::IfFound { naming: naming.clone(), host: naming.node(*peer).host().to_owned() },
        None => Agreed::On(naming.clone()),
    }
}

/// Splits node names into the ordinals of the StatefulSet's pods and the names that belong to no pod.
pub fn ours_and_strangers<'n>(
    naming: &Naming,
    names: impl IntoIterator<Item = &'n String>,
) -> (BTreeSet<u32>, BTreeSet<String>) {
    let mut ours = BTreeSet::new();
    let mut strangers = BTreeSet::new();
    for name in names {
        let node = name.parse::<NodeName>().ok();
        if let Some(ordinal) = node.and_then(|node| naming.ordinal_of(&node)) {
            ours.insert(ordinal);
        } else {
            strangers.insert(name.clone());
        }
    }
    (ours, strangers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(node: &str) -> Naming {
        Naming::of(&node.parse().unwrap(), &"db-0".parse().unwrap()).unwrap()
    }

    fn usual() -> Naming {
        naming("couchdb@db-0.db.shop.svc.corp")
    }

    fn agreed(local: Option<(&Naming, bool)>, others: &[(u32, &Naming)]) -> Agreed {
        let local = local.map(|(naming, pristine)| LocalName { naming, pristine });
        agree(usual(), local, &others.iter().copied().collect())
    }

    #[test]
    fn the_usual_name_depends_on_no_other_node() {
        assert_eq!(agreed(Some((&usual(), true)), &[(1, &naming("couchdb@db-0.db"))]), Agreed::On(usual()));
    }

    #[test]
    fn a_pristine_node_of_another_name_must_share_it_and_be_found_by_it() {
        let (short, other) = (naming("couchdb@db-0.db"), naming("bigcouch@db-0.db"));
        let if_found = Agreed::IfFound { naming: short.clone(), host: "db-2.db".to_owned() };
        assert_eq!(agreed(Some((&short, true)), &[(2, &short)]), if_found);
        assert_eq!(agreed(Some((&short, true)), &[(1, &short), (2, &other)]), Agreed::On(other));
        assert_eq!(agreed(Some((&short, true)), &[]), Agreed::On(short));
    }

    #[test]
    fn an_established_node_keeps_its_name_whatever_dns_and_peers_report() {
        let short = naming("couchdb@db-0.db");
        assert_eq!(agreed(Some((&short, false)), &[(1, &usual())]), Agreed::On(short.clone()));
        assert_eq!(agreed(Some((&short, false)), &[(1, &short)]), Agreed::On(short));
    }

    #[test]
    fn without_an_answer_of_the_local_node_the_peers_decide() {
        let short = naming("couchdb@db-0.db");
        assert_eq!(agreed(None, &[(1, &short)]), Agreed::On(short));
        assert_eq!(agreed(None, &[]), Agreed::On(usual()));
    }

    #[test]
    fn names_are_split_into_ordinals_and_strangers() {
        let naming = Naming::usual(&"db-0.db.shop.svc.cluster.local".parse().unwrap());
        let names = [
            "couchdb@db-0.db.shop.svc.cluster.local",
            "couchdb@db-12.db.shop.svc.cluster.local",
            "couchdb@10.42.0.11",
            "garbage",
        ];
        let (ours, strangers) = ours_and_strangers(&naming, &names.map(str::to_owned));
        assert_eq!(Vec::from_iter(ours), [0, 12]);
        assert_eq!(Vec::from_iter(strangers), ["couchdb@10.42.0.11", "garbage"]);
    }
}
