//! The grammar of Erlang node names, and the parts that the nodes of one StatefulSet have in common.
//!
//! ```text
//! couchdb@my-db-12.my-db.shop.svc.cluster.local      with the pod's DNS name, as the official image does by default
//! bigcouch@my-db-12.my-db                            another host that DNS may resolve, set by NODENAME or ERL_FLAGS
//! ```

use std::fmt;
use std::str::FromStr;

use crate::name::{COUCHDB, Label, NameError, PodFqdn, PodName};

/// The name of an Erlang node, `<name>@<host>`. The ids of the documents in CouchDB's `_nodes` are such names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    name: String,
    host: String,
}

/// The scheme of a StatefulSet's node names: all parts except the ordinal. One node's name determines the others'.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Naming {
    name: String,
    set: Label,
    /// The rest of the host after the pod's name: empty, or a dot and more.
    rest: String,
}

impl NodeName {
    /// The part before the `@`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The part after the `@`.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(node: &str) -> Result<Self, NameError> {
        match node.split_once('@') {
            Some((name, host)) if !name.is_empty() && !host.is_empty() => {
                Ok(Self { name: name.to_owned(), host: host.to_owned() })
            }
            Some(_) | None => Err(NameError::NotANodeName(node.to_owned())),
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.host)
    }
}

impl Naming {
    /// The scheme of the official image with `-name couchdb`: `couchdb@<fqdn>`.
    pub fn usual(me: &PodFqdn) -> Self {
        let rest = me.to_string().split_off(me.pod().to_string().len());
        Self { name: COUCHDB.to_owned(), set: me.pod().set().clone(), rest }
    }

    /// The scheme of a StatefulSet in which the node of `pod` is called `node`. `None` if the host does not begin with
    /// the pod's name: an IP address, another pod's name, `nonode@nohost`.
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
        // Of pod `db-1`, the host `db-1.db` is; `db-10.db` and `db-1.` are not.
        let is_complete = rest.is_empty() || (rest.starts_with('.') && rest.len() > 1);
        is_complete.then(|| Self {
            name: node.name().to_owned(),
            set: pod.set().clone(),
            rest: rest.to_owned(),
        })
    }

    /// The part before the `@`, under which epmd lists each node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the node of the pod with this ordinal.
    pub fn node(&self, ordinal: u32) -> NodeName {
        let Self { name, set, rest } = self;
        NodeName { name: name.clone(), host: format!("{set}-{ordinal}{rest}") }
    }

    /// The ordinal of `node`; `None` if it does not belong to this StatefulSet.
    pub fn ordinal_of(&self, node: &NodeName) -> Option<u32> {
        // What remains must be a pod's name and nothing else: `x.db-7` and `db-07` do not parse.
        let pod: PodName = node.host().strip_suffix(&self.rest)?.parse().ok()?;
        (node.name() == self.name && *pod.set() == self.set).then_some(pod.ordinal())
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_shows_the_form_of_a_node_name() {
        let error = |name: &str| name.parse::<NodeName>().unwrap_err().to_string();
        assert_snapshot!(error("couchdb"), @"'couchdb' is not an Erlang node name: expected '<name>@<host>'");
        assert_snapshot!(error("@host"), @"'@host' is not an Erlang node name: expected '<name>@<host>'");
    }

    #[test]
    fn a_node_belongs_to_the_set_if_all_parts_but_the_ordinal_are_equal() {
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
    fn a_name_determines_the_others_only_if_it_contains_the_pods_name() {
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
        fn parsing_never_panics_and_a_parsed_name_prints_as_it_was_written(text in ".{0,80}") {
            if let Ok(node) = text.parse::<NodeName>() {
                prop_assert_eq!(node.to_string(), text);
            }
        }

        #[test]
        fn every_nodes_name_determines_the_same_scheme(
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
        fn the_usual_host_is_the_pods_fqdn(set in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?", ordinal: u32) {
            let fqdn: PodFqdn = format!("{set}-{ordinal}.db.shop.svc.corp.local").parse().unwrap();
            prop_assert_eq!(Naming::usual(&fqdn).node(ordinal).to_string(), format!("couchdb@{fqdn}"));
        }
    }
}
