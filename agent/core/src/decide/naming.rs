//! What the nodes are called, by what they say of themselves. Pure.

use std::collections::BTreeMap;

use contract::Naming;

/// What the nodes are called, or what that depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Agreed {
    /// By this.
    On(Naming),
    /// By this, if DNS knows the host; else by the pods' full names.
    IfFound {
        /// This.
        naming: Naming,
        /// A peer's.
        host: String,
    },
}

/// What the local node says of its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    /// What it tells of the others'.
    pub(crate) naming: &'a Naming,
    /// Whether the node has no data yet, so that the name could still be changed.
    pub(crate) virgin: bool,
}

/// The local node's word counts. But a fresh one that isn't called by its pod's full name must have that in common with
/// those who answer, and must be found by it: otherwise it would wait for ever, and nobody would say for what.
pub(crate) fn agree(usual: Naming, local: Option<Own<'_>>, others: &BTreeMap<u32, &Naming>) -> Agreed {
    let Some(Own { naming, virgin }) = local else {
        return Agreed::On(others.values().next().map_or(usual, |theirs| (*theirs).clone()));
    };
    if !virgin || *naming == usual {
        return Agreed::On(naming.clone());
    }
    if let Some(theirs) = others.values().find(|theirs| **theirs != naming) {
        return Agreed::On((*theirs).clone());
    }
    match others.keys().next() {
        Some(peer) => Agreed::IfFound { naming: naming.clone(), host: naming.node(*peer).host().to_owned() },
        None => Agreed::On(naming.clone()),
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

    fn told(local: Option<(&Naming, bool)>, others: &[(u32, &Naming)]) -> Agreed {
        let own = local.map(|(naming, virgin)| Own { naming, virgin });
        agree(usual(), own, &others.iter().copied().collect())
    }

    #[test]
    fn the_usual_name_needs_nobody() {
        assert_eq!(told(Some((&usual(), true)), &[(1, &naming("couchdb@db-0.db"))]), Agreed::On(usual()));
    }

    #[test]
    fn a_fresh_node_of_another_name_must_share_it_and_be_found_by_it() {
        let (short, other) = (naming("couchdb@db-0.db"), naming("bigcouch@db-0.db"));
        let if_found = Agreed::IfFound { naming: short.clone(), host: "db-2.db".to_owned() };
        assert_eq!(told(Some((&short, true)), &[(2, &short)]), if_found);
        assert_eq!(told(Some((&short, true)), &[(1, &short), (2, &other)]), Agreed::On(other));
        assert_eq!(told(Some((&short, true)), &[]), Agreed::On(short));
    }

    #[test]
    fn a_node_with_data_keeps_its_name_whatever_dns_and_others_say() {
        let short = naming("couchdb@db-0.db");
        assert_eq!(told(Some((&short, false)), &[(1, &usual())]), Agreed::On(short.clone()));
        assert_eq!(told(Some((&short, false)), &[(1, &short)]), Agreed::On(short));
    }

    #[test]
    fn where_the_local_node_is_silent_the_others_tell() {
        let short = naming("couchdb@db-0.db");
        assert_eq!(told(None, &[(1, &short)]), Agreed::On(short));
        assert_eq!(told(None, &[]), Agreed::On(usual()));
    }
}
