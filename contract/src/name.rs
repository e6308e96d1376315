//! The grammar of the names that a StatefulSet's pods have in Kubernetes and in DNS.
//!
//! ```text
//! my-db-prod-12                                   PodName: set `my-db-prod`, ordinal 12
//! my-db-prod-12.my-db.shop.svc.cluster.local      PodFqdn: + service, namespace, cluster domain
//! ```

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest DNS label, in bytes (RFC 1035, section 2.3.4).
pub const LABEL_MAX: usize = 63;
/// The longest name of a StatefulSet with which its pods can always be created.
///
/// Each pod has the label `controller-revision-hash`: the StatefulSet's name, a dash and a hash of up to 10 characters. A
/// label's value has at most 63 characters. (Kubernetes 1.36 rejected the pods of a name with 55 characters.)
pub const SET_MAX: usize = 52;
/// The longest DNS name, in bytes, without the final dot.
pub const FQDN_MAX: usize = 253;
/// The name by convention of CouchDB's container, of its image, and of its Erlang node before the `@`.
pub const COUCHDB: &str = "couchdb";

/// The name of a StatefulSet's pod: `<set>-<ordinal>`.
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

/// A DNS label as Kubernetes allows it (RFC 1123): 1 to 63 lower-case letters, digits and inner dashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

/// One or more labels joined by dots, such as `cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

/// The rule that a name breaks.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// A label contains other characters than lower-case letters, digits and inner dashes.
    #[error(
        "'{0}' is not a DNS label: only a-z, 0-9 and '-' are allowed, with a letter or digit at both ends"
    )]
    Alphabet(String),
    /// A label, or a whole name, is empty.
    #[error("a name or one of the labels between its dots is empty in '{0}'")]
    Empty(String),
    /// The fourth part of the name is not `svc`, or there are fewer than five parts.
    #[error(
        "'{0}' is not the name of a StatefulSet's pod: expected '<set>-<ordinal>.<service>.<namespace>.svc.<domain>'"
    )]
    NotAPodsFqdn(String),
    /// Name or host is empty, or the `@` between them is missing.
    #[error("'{0}' is not an Erlang node name: expected '<name>@<host>'")]
    NotANodeName(String),
    /// The text after the last dash is not a number.
    #[error(
        "'{0}' is not the name of a StatefulSet's pod: it does not end in '-<ordinal>', such as 'couchdb-0'"
    )]
    NoOrdinal(String),
    /// The ordinal has leading zeros or is too large, so Kubernetes did not generate it.
    #[error(
        "the ordinal '{ordinal}' of '{name}' is not one that Kubernetes writes: a number up to 4294967295 without leading zeros"
    )]
    Ordinal {
        /// The whole name.
        name: String,
        /// The text after its last dash.
        ordinal: String,
    },
    /// Longer than DNS allows.
    #[error("'{name}' has {length} characters and DNS allows {max}")]
    TooLong {
        /// The name.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// The limit of DNS in bytes.
        max: usize,
    },
}

impl PodName {
    /// The pod of `set` with this ordinal.
    ///
    /// # Errors
    ///
    /// The name is longer than a DNS label.
    pub fn new(set: Label, ordinal: u32) -> Result<Self, NameError> {
        let pod = Self { set, ordinal };
        // The pod's name is its hostname, hence one DNS label.
        check_length(&pod.to_string(), LABEL_MAX)?;
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
    /// Joins the parts.
    ///
    /// # Errors
    ///
    /// The whole name is longer than DNS allows.
    pub fn new(pod: PodName, service: Label, namespace: Label, domain: Domain) -> Result<Self, NameError> {
        let fqdn = Self { pod, service, namespace, domain };
        check_length(&fqdn.to_string(), FQDN_MAX)?;
        Ok(fqdn)
    }

    /// The pod's short name.
    pub fn pod(&self) -> &PodName {
        &self.pod
    }

    /// The name of the governing Service.
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

    /// The pod with another ordinal in the same StatefulSet.
    ///
    /// # Errors
    ///
    /// An ordinal with more digits makes the name longer than DNS allows.
    pub fn sibling(&self, ordinal: u32) -> Result<Self, NameError> {
        let pod = PodName::new(self.pod.set.clone(), ordinal)?;
        Self::new(pod, self.service.clone(), self.namespace.clone(), self.domain.clone())
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
        // The set's own name may contain dashes and digits: the ordinal is behind the last dash.
        let Some((set, digits)) = name.rsplit_once('-') else {
            return Err(NameError::NoOrdinal(name.to_owned()));
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NameError::NoOrdinal(name.to_owned()));
        }
        let malformed = || NameError::Ordinal { name: name.to_owned(), ordinal: digits.to_owned() };
        // Kubernetes writes ordinals without leading zeros, so two texts never mean the same pod.
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(malformed());
        }
        let ordinal = digits.parse().map_err(|_| malformed())?;
        Self::new(set.parse()?, ordinal)
    }
}

impl FromStr for PodFqdn {
    type Err = NameError;

    /// Accepts the final dot of an absolute name; [`fmt::Display`] does not write it.
    fn from_str(name: &str) -> Result<Self, NameError> {
        let relative = name.strip_suffix('.').unwrap_or(name);
        // Four labels; the fifth part is the domain with all its dots.
        let mut parts = relative.splitn(5, '.');
        let mut next = || parts.next().ok_or_else(|| NameError::NotAPodsFqdn(name.to_owned()));
        let (pod, service, namespace, svc, domain) = (next()?, next()?, next()?, next()?, next()?);
        if svc != "svc" {
            return Err(NameError::NotAPodsFqdn(name.to_owned()));
        }
        Self::new(pod.parse()?, service.parse()?, namespace.parse()?, domain.parse()?)
    }
}

impl FromStr for Label {
    type Err = NameError;

    fn from_str(label: &str) -> Result<Self, NameError> {
        if label.is_empty() {
            return Err(NameError::Empty(label.to_owned()));
        }
        if !label.bytes().all(is_label_byte) || label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::Alphabet(label.to_owned()));
        }
        check_length(label, LABEL_MAX)?;
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

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn check_length(name: &str, max: usize) -> Result<(), NameError> {
    let length = name.len();
    if length > max {
        return Err(NameError::TooLong { name: name.to_owned(), length, max });
    }
    Ok(())
}

/// The ordinal of `pod` in the StatefulSet `set`, by its name alone: also of one that no Kubernetes would accept.
pub fn ordinal_in(set: &str, pod: &str) -> Option<u64> {
    pod.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
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
    fn an_error_names_the_rule_that_is_broken() {
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
    }

    proptest! {
        #[test]
        fn pod_names_round_trip(set in "[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", ordinal: u32) {
            let pod = PodName::new(set.parse().unwrap(), ordinal).unwrap();
            prop_assert_eq!(pod.to_string().parse(), Ok(pod));
        }

        #[test]
        fn fqdns_round_trip(
            set in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?",
            ordinal: u32,
            service in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?",
            namespace in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?",
            domain in "[a-z]{1,8}(\\.[a-z0-9]{1,8}){0,3}",
        ) {
            let fqdn: PodFqdn = format!("{set}-{ordinal}.{service}.{namespace}.svc.{domain}").parse().unwrap();
            prop_assert_eq!(fqdn.to_string().parse(), Ok(fqdn));
        }

        #[test]
        fn parsing_never_panics_and_a_parsed_name_prints_as_it_was_written(text in ".{0,80}") {
            if let Ok(pod) = text.parse::<PodName>() {
                prop_assert_eq!(pod.to_string(), text.clone());
            }
            if let Ok(fqdn) = text.parse::<PodFqdn>() {
                prop_assert_eq!(fqdn.to_string(), text.trim_end_matches('.'));
            }
        }
    }
}
