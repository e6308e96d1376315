//! The grammar of names: what a StatefulSet calls its pods, what DNS calls them, what Erlang calls them.
//!
//! ```text
//! my-db-prod-12                                          PodName: set `my-db-prod`, ordinal 12
//! my-db-prod-12.my-db.shop.svc.cluster.local             PodFqdn: + service, namespace, cluster domain
//! couchdb@my-db-prod-12.my-db.shop.svc.cluster.local     NodeName
//! ```

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest DNS label, in bytes (RFC 1035, section 2.3.4).
pub const LABEL_MAX: usize = 63;
/// The longest name of a StatefulSet whose pods can always be made: each carries the label `controller-revision-hash` with
/// the name, a dash and a hash of up to 10 characters, and a label's value has 63 at most. (On Kubernetes 1.36, pods of
/// names of 55 were refused.)
pub const SET_MAX: usize = 52;
/// The longest DNS name, in bytes, without the final dot.
pub const FQDN_MAX: usize = 253;
/// The name part that the official image gives every CouchDB node.
pub const COUCHDB: &str = "couchdb";

/// A name that a StatefulSet gives to one of its pods: `<set>-<ordinal>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    set: Label,
    ordinal: u32,
}

/// The DNS name of a StatefulSet's pod: `<set>-<ordinal>.<service>.<namespace>.svc.<domain>`, with any domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodFqdn {
    pod: PodName,
    service: Label,
    namespace: Label,
    domain: Domain,
}

/// The name of an Erlang node: `<name>@<host>`. Of CouchDB's document ids in `_nodes`, each is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    pub(crate) name: String,
    pub(crate) host: String,
}

/// A DNS label as Kubernetes allows it (RFC 1123): lower-case letters, digits and inner dashes, 1 to 63 of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

/// One or more labels joined by dots, such as `cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

/// Which rule a name breaks.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// A label holds something else than lower-case letters, digits and inner dashes.
    #[error(
        "'{0}' is not a DNS label: only a-z, 0-9 and '-' are allowed, with a letter or digit at both ends"
    )]
    Alphabet(String),
    /// A label, or a whole name, is empty.
    #[error("a name or one of the labels between its dots is empty in '{0}'")]
    Empty(String),
    /// The name has no `svc` where a Service's name has it.
    #[error(
        "'{0}' is not the name of a StatefulSet's pod: expected '<set>-<ordinal>.<service>.<namespace>.svc.<domain>'"
    )]
    NotAPodsFqdn(String),
    /// No `@` between name and host.
    #[error("'{0}' is not an Erlang node name: expected '<name>@<host>'")]
    NotANodeName(String),
    /// What follows the last dash is not a number.
    #[error(
        "'{0}' is not the name of a StatefulSet's pod: it does not end in '-<ordinal>', such as 'couchdb-0'"
    )]
    NoOrdinal(String),
    /// The ordinal is written in a way that Kubernetes doesn't write it.
    #[error(
        "the ordinal '{ordinal}' of '{name}' is not one that Kubernetes writes: a number up to 4294967295 without leading zeros"
    )]
    Ordinal {
        /// The whole name.
        name: String,
        /// What follows its last dash.
        ordinal: String,
    },
    /// Longer than DNS allows.
    #[error("'{name}' has {length} characters and DNS allows {max}")]
    TooLong {
        /// The name.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// The most that DNS allows here.
        max: usize,
    },
}

impl PodName {
    /// The pod of `set` with this ordinal. Fails when the name would be longer than a DNS label.
    pub fn new(set: Label, ordinal: u32) -> Result<Self, NameError> {
        let pod = Self { set, ordinal };
        within(&pod.to_string(), LABEL_MAX)?;
        Ok(pod)
    }

    /// The StatefulSet's name.
    pub fn set(&self) -> &Label {
        &self.set
    }

    /// The pod's number in its StatefulSet.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }
}

impl PodFqdn {
    /// Joins the parts. Fails when the whole is longer than DNS allows.
    pub fn new(pod: PodName, service: Label, namespace: Label, domain: Domain) -> Result<Self, NameError> {
        let fqdn = Self { pod, service, namespace, domain };
        within(&fqdn.to_string(), FQDN_MAX)?;
        Ok(fqdn)
    }

    /// The pod's short name.
    pub fn pod(&self) -> &PodName {
        &self.pod
    }

    /// The governing Service.
    pub fn service(&self) -> &Label {
        &self.service
    }

    /// The namespace.
    pub fn namespace(&self) -> &Label {
        &self.namespace
    }

    /// The cluster domain, such as `cluster.local`.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The same StatefulSet's pod with another ordinal. Fails only when its longer number makes it too long.
    pub fn sibling(&self, ordinal: u32) -> Result<Self, NameError> {
        let pod = PodName::new(self.pod.set.clone(), ordinal)?;
        Self::new(pod, self.service.clone(), self.namespace.clone(), self.domain.clone())
    }
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

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Domain {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PodName {
    type Err = NameError;

    /// Splits at the last dash, so that `my-db-prod-12` is pod 12 of `my-db-prod`.
    fn from_str(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty(name.to_owned()));
        }
        let Some((set, digits)) = name.rsplit_once('-') else {
            return Err(NameError::NoOrdinal(name.to_owned()));
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NameError::NoOrdinal(name.to_owned()));
        }
        let malformed = || NameError::Ordinal { name: name.to_owned(), ordinal: digits.to_owned() };
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(malformed());
        }
        let ordinal = digits.parse().map_err(|_| malformed())?;
        Self::new(set.parse()?, ordinal)
    }
}

impl FromStr for PodFqdn {
    type Err = NameError;

    /// Accepts the final dot of an absolute name, which [`fmt::Display`] doesn't write.
    fn from_str(name: &str) -> Result<Self, NameError> {
        let relative = name.strip_suffix('.').unwrap_or(name);
        let mut parts = relative.splitn(5, '.');
        let mut next = || parts.next().ok_or_else(|| NameError::NotAPodsFqdn(name.to_owned()));
        let (pod, service, namespace, svc, domain) = (next()?, next()?, next()?, next()?, next()?);
        if svc != "svc" {
            return Err(NameError::NotAPodsFqdn(name.to_owned()));
        }
        Self::new(pod.parse()?, service.parse()?, namespace.parse()?, domain.parse()?)
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

impl FromStr for Label {
    type Err = NameError;

    fn from_str(label: &str) -> Result<Self, NameError> {
        if label.is_empty() {
            return Err(NameError::Empty(label.to_owned()));
        }
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !label.bytes().all(inside) || label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::Alphabet(label.to_owned()));
        }
        within(label, LABEL_MAX)?;
        Ok(Self(label.to_owned()))
    }
}

impl FromStr for Domain {
    type Err = NameError;

    fn from_str(domain: &str) -> Result<Self, NameError> {
        for label in domain.split('.') {
            if label.is_empty() {
                return Err(NameError::Empty(domain.to_owned()));
            }
            label.parse::<Label>()?;
        }
        Ok(Self(domain.to_owned()))
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.set, self.ordinal)
    }
}

impl fmt::Display for PodFqdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.svc.{}", self.pod, self.service, self.namespace, self.domain)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.host)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn within(name: &str, max: usize) -> Result<(), NameError> {
    match name.len() {
        length if length > max => Err(NameError::TooLong { name: name.to_owned(), length, max }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pod_name_splits_at_its_last_dash() {
        for (name, set, ordinal) in [
            ("couchdb-0", "couchdb", 0),
            ("my-db-prod-12", "my-db-prod", 12),
            ("x-4294967295", "x", u32::MAX),
        ] {
            let pod: PodName = name.parse().unwrap();
            assert_eq!((pod.set().as_str(), pod.ordinal()), (set, ordinal), "{name}");
        }
    }

    #[test]
    fn a_fqdn_may_end_in_any_domain() {
        for domain in ["cluster.local", "k8s.example.com", "corp"] {
            let name = format!("my-db-prod-12.my-db.shop.svc.{domain}");
            let fqdn: PodFqdn = name.parse().unwrap();
            assert_eq!((fqdn.domain().as_str(), fqdn.to_string()), (domain, name.clone()));
            assert_eq!(format!("{name}.").parse(), Ok(fqdn), "the final dot of an absolute name");
        }
    }

    #[test]
    fn a_bad_name_is_told_which_rule_it_breaks() {
        let pod = |name: &str| name.parse::<PodName>().unwrap_err().to_string();
        assert_snapshot!(pod(""), @"a name or one of the labels between its dots is empty in ''");
        assert_snapshot!(pod("couchdb"), @"'couchdb' is not the name of a StatefulSet's pod: it does not end in '-<ordinal>', such as 'couchdb-0'");
        assert_snapshot!(pod("web-7d4b9c-x2x1z"), @"'web-7d4b9c-x2x1z' is not the name of a StatefulSet's pod: it does not end in '-<ordinal>', such as 'couchdb-0'");
        assert_snapshot!(pod("couchdb-"), @"'couchdb-' is not the name of a StatefulSet's pod: it does not end in '-<ordinal>', such as 'couchdb-0'");
        assert_snapshot!(pod("-1"), @"a name or one of the labels between its dots is empty in ''");
        assert_snapshot!(pod("couchdb-007"), @"the ordinal '007' of 'couchdb-007' is not one that Kubernetes writes: a number up to 4294967295 without leading zeros");
        assert_snapshot!(pod("couchdb-4294967296"), @"the ordinal '4294967296' of 'couchdb-4294967296' is not one that Kubernetes writes: a number up to 4294967295 without leading zeros");
        assert_snapshot!(pod("Couch-0"), @"'Couch' is not a DNS label: only a-z, 0-9 and '-' are allowed, with a letter or digit at both ends");
        assert_snapshot!(pod(&format!("{}-10", "x".repeat(61))), @"'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-10' has 64 characters and DNS allows 63");

        let fqdn = |name: &str| name.parse::<PodFqdn>().unwrap_err().to_string();
        assert_snapshot!(fqdn("db-0.db.shop"), @"'db-0.db.shop' is not the name of a StatefulSet's pod: expected '<set>-<ordinal>.<service>.<namespace>.svc.<domain>'");
        assert_snapshot!(fqdn("db-0.db.shop.pod.cluster.local"), @"'db-0.db.shop.pod.cluster.local' is not the name of a StatefulSet's pod: expected '<set>-<ordinal>.<service>.<namespace>.svc.<domain>'");
        assert_snapshot!(fqdn("db-0.db.shop.svc"), @"'db-0.db.shop.svc' is not the name of a StatefulSet's pod: expected '<set>-<ordinal>.<service>.<namespace>.svc.<domain>'");
        assert_snapshot!(fqdn("db-0..shop.svc.cluster.local"), @"a name or one of the labels between its dots is empty in ''");
        assert_snapshot!(fqdn("db-0.db.shop.svc.cluster..local"), @"a name or one of the labels between its dots is empty in 'cluster..local'");

        let node = |name: &str| name.parse::<NodeName>().unwrap_err().to_string();
        assert_snapshot!(node("couchdb"), @"'couchdb' is not an Erlang node name: expected '<name>@<host>'");
        assert_snapshot!(node("@host"), @"'@host' is not an Erlang node name: expected '<name>@<host>'");
    }

    proptest! {
        #[test]
        fn pod_names_round_trip(set in "[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", ordinal: u32) {
            let pod = PodName::new(set.parse().unwrap(), ordinal).unwrap();
            prop_assert_eq!(pod.to_string().parse(), Ok(pod));
        }

        #[test]
        fn fqdns_and_node_names_round_trip(
            set in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?",
            ordinal: u32,
            service in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?",
            namespace in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?",
            domain in "[a-z]{1,8}(\\.[a-z0-9]{1,8}){0,3}",
        ) {
            let fqdn: PodFqdn = format!("{set}-{ordinal}.{service}.{namespace}.svc.{domain}").parse().unwrap();
            prop_assert_eq!(fqdn.to_string().parse(), Ok(fqdn.clone()));
            let node: NodeName = format!("couchdb@{fqdn}").parse().unwrap();
            prop_assert_eq!(node.host(), fqdn.to_string());
            prop_assert_eq!(node.to_string(), format!("couchdb@{fqdn}"));
        }

        #[test]
        fn no_text_makes_a_parser_panic_and_what_parses_prints_the_same(text in ".{0,80}") {
            if let Ok(pod) = text.parse::<PodName>() {
                prop_assert_eq!(pod.to_string(), text.clone());
            }
            if let Ok(fqdn) = text.parse::<PodFqdn>() {
                prop_assert_eq!(fqdn.to_string(), text.trim_end_matches('.'));
            }
            if let Ok(node) = text.parse::<NodeName>() {
                prop_assert_eq!(node.to_string(), text);
            }
        }
    }
}
