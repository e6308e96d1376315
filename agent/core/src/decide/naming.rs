//! The Erlang names of the nodes, by the names that the nodes report.

use std::collections::{BTreeMap, BTreeSet};

use contract::moves::NodeCopies;
use contract::{Naming, NodeName, OtherMembers};

use super::expectation::Expectation;

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

/// The rule that assigns a node's name to a pod, to a member outside of the StatefulSet, or to neither.
#[derive(Clone, Debug, Default)]
pub struct NameRule {
    /// The ordinals that are pods of the StatefulSet, whatever the user names.
    pub own: BTreeSet<u32>,
    /// The members outside of the StatefulSet, as the user names them.
    pub others: OtherMembers,
}

/// Node names by what they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The ordinals of pods.
    pub pods: BTreeSet<u32>,
    /// The members outside of the StatefulSet that the user has named.
    pub colleagues: BTreeSet<String>,
    /// The names that belong to no pod and that the user has not named.
    pub strangers: BTreeSet<String>,
}

impl NameRule {
    /// The rule for the agent of pod `me`.
    pub fn new(
        me: u32,
        expectation: &Expectation,
        recorded: &BTreeMap<u32, NodeCopies>,
        others: OtherMembers,
    ) -> Self {
        let mut own = &expectation.expected | &expectation.founders;
        own.insert(me);
        // A pod that was drained stays one when the StatefulSet gets smaller: its entry in `_nodes` must be removed.
        own.extend(recorded.iter().filter(|(_, node)| node.state.is_removable()).map(|(ordinal, _)| ordinal));
        Self { own, others }
    }

    /// Sorts node names, where the pods' nodes are named by `naming`.
    pub fn sort<'n>(&self, naming: &Naming, names: impl IntoIterator<Item = &'n String>) -> Names {
        let mut sorted = Names::default();
        for name in names {
            let node = name.parse::<NodeName>().ok();
            match node.and_then(|node| naming.ordinal_of(&node)) {
                // Another StatefulSet, or another Kubernetes cluster, may give its nodes names of the same form.
                Some(ordinal) if self.own.contains(&ordinal) || !self.others.contains(name) => {
                    sorted.pods.insert(ordinal);
                }
                Some(_) | None if self.others.contains(name) => {
                    sorted.colleagues.insert(name.clone());
                }
                Some(_) | None => {
                    sorted.strangers.insert(name.clone());
                }
            }
        }
        sorted
    }
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
    fn names_belong_to_pods_to_named_members_or_to_neither() {
        let naming = Naming::usual(&"db-0.db.shop.svc.cluster.local".parse().unwrap());
        let names = [
            "couchdb@db-0.db.shop.svc.cluster.local",
            "couchdb@db-12.db.shop.svc.cluster.local",
            "couchdb@10.42.0.11",
            "couchdb@machine-1",
            "garbage",
        ]
        .map(str::to_owned);
        let sorted = |others: &str| {
            let others = OtherMembers::parse(others).0;
            let Names { pods, colleagues, strangers } =
                NameRule { own: [0].into(), others }.sort(&naming, &names);
            (Vec::from_iter(pods), Vec::from_iter(colleagues), Vec::from_iter(strangers))
        };
        let [_, twelve, address, machine, garbage] = names.clone();
        assert_eq!(
            sorted(""),
            (vec![0, 12], vec![], vec![address.clone(), machine.clone(), garbage.clone()])
        );
        assert_eq!(
            sorted("couchdb@machine-*"),
            (vec![0, 12], vec![machine.clone()], vec![address.clone(), garbage.clone()])
        );
        // Another set's pods may be named like this one's; its own pods stay its own under any pattern.
        assert_eq!(sorted("couchdb@*"), (vec![0], vec![address, twelve, machine], vec![garbage]));
    }
}
