//! What Erlang calls the nodes of one StatefulSet: the same for all but for each pod's own name in the middle.
//!
//! ```text
//! couchdb@my-db-12.my-db.shop.svc.cluster.local          the usual: the pod's full DNS name
//! bigcouch@my-db-12.my-db                                another one that DNS may know, given by NODENAME or ERL_FLAGS
//! ```

use super::name::{COUCHDB, Label, NodeName, PodFqdn, PodName};

/// The parts of node names that the pods of a StatefulSet share. Who knows the name of one knows those of all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Naming {
    name: String,
    set: Label,
    /// What follows the pod's name in the host: nothing, or a dot and more.
    rest: String,
}

impl Naming {
    /// How nodes are called by the official image with `-name couchdb`: `couchdb@<fqdn>`.
    pub fn usual(me: &PodFqdn) -> Self {
        let rest = me.to_string().split_off(me.pod().to_string().len());
        Self { name: COUCHDB.to_owned(), set: me.pod().set().clone(), rest }
    }

    /// What the name of `pod`'s node tells of all others. `None` when it doesn't hold the pod's name, so that it tells
    /// nothing: an address, another pod's name, `nonode@nohost`.
    ///
    /// ```
    /// # use contract::Naming;
    /// let naming = Naming::of(&"couchdb@db-0.db".parse()?, &"db-0".parse()?).unwrap();
    /// assert_eq!(naming.node(12).to_string(), "couchdb@db-12.db");
    /// assert_eq!(naming.ordinal_of(&"couchdb@db-2.db".parse()?), Some(2));
    /// assert_eq!(Naming::of(&"couchdb@10.0.0.7".parse()?, &"db-0".parse()?), None);
    /// # Ok::<(), contract::NameError>(())
    /// ```
    pub fn of(node: &NodeName, pod: &PodName) -> Option<Self> {
        let rest = node.host().strip_prefix(&pod.to_string())?;
        let whole = rest.is_empty() || (rest.starts_with('.') && rest.len() > 1);
        whole.then(|| Self { name: node.name().to_owned(), set: pod.set().clone(), rest: rest.to_owned() })
    }

    /// The part before the `@`, by which Erlang's port mapper knows each node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the node of the pod with this ordinal is called.
    pub fn node(&self, ordinal: u32) -> NodeName {
        let Self { name, set, rest } = self;
        NodeName { name: name.clone(), host: format!("{set}-{ordinal}{rest}") }
    }

    /// The ordinal that `node` has if it is one of this StatefulSet's, else `None`.
    pub fn ordinal_of(&self, node: &NodeName) -> Option<u32> {
        let pod: PodName = node.host().strip_suffix(&self.rest)?.parse().ok()?;
        (node.name() == self.name && *pod.set() == self.set).then_some(pod.ordinal())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_node_is_ours_only_when_every_part_but_the_ordinal_is_the_same() {
        let naming = Naming::usual(&"db-0.db.shop.svc.cluster.local".parse().unwrap());
        let ordinal = |node: &str| naming.ordinal_of(&node.parse().unwrap());
        assert_eq!(ordinal("couchdb@db-7.db.shop.svc.cluster.local"), Some(7));
        for stranger in [
            "wrongname@db-7.db.shop.svc.cluster.local",
            "couchdb@db-7.other.shop.svc.cluster.local",
            "couchdb@db-7.db.other.svc.cluster.local",
            "couchdb@db-7.db.shop.svc.cluster.other",
            "couchdb@other-7.db.shop.svc.cluster.local",
            "couchdb@db-07.db.shop.svc.cluster.local",
            "couchdb@x.db-7.db.shop.svc.cluster.local",
            "couchdb@10.42.0.11",
            "couchdb@db-7.db",
            "nonode@nohost",
            "garbage@x",
        ] {
            assert_eq!(ordinal(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_name_tells_of_the_others_only_with_its_pods_own_in_it() {
        let pod: PodName = "db-1".parse().unwrap();
        let other = |node: &str| Naming::of(&node.parse().unwrap(), &pod).map(|it| it.node(2).to_string());
        for (node, expected) in [
            ("couchdb@db-1.db.shop.svc.corp", Some("couchdb@db-2.db.shop.svc.corp")),
            ("bigcouch@db-1.db", Some("bigcouch@db-2.db")),
            ("couchdb@db-1", Some("couchdb@db-2")),
            ("couchdb@db-10.db", None),
            ("couchdb@db-0.db", None),
            ("couchdb@db-1.", None),
            ("couchdb@10.42.0.11", None),
            ("nonode@nohost", None),
        ] {
            assert_eq!(other(node).as_deref(), expected, "{node}");
        }
    }

    proptest! {
        #[test]
        fn each_nodes_name_tells_the_same_of_all(
            name in "[a-z]{1,8}",
            set in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?",
            rest in "(\\.[a-z0-9]{1,8}){0,4}",
            one: u32,
            other: u32,
        ) {
            let pod = PodName::new(set.parse().unwrap(), one).unwrap();
            let node: NodeName = format!("{name}@{pod}{rest}").parse().unwrap();
            let naming = Naming::of(&node, &pod).unwrap();
            prop_assert_eq!(naming.node(one), node);
            prop_assert_eq!(naming.ordinal_of(&naming.node(other)), Some(other));
        }

        #[test]
        fn the_usual_name_is_the_full_dns_name(set in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?", ordinal: u32) {
            let fqdn: PodFqdn = format!("{set}-{ordinal}.db.shop.svc.corp.local").parse().unwrap();
            prop_assert_eq!(Naming::usual(&fqdn).node(ordinal).to_string(), format!("couchdb@{fqdn}"));
        }
    }
}
