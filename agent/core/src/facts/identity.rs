//! The parts of a node's configuration that clients see as the cluster's identity. The image keeps them in a file that
//! is on no volume, so a container restart loses them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A node's identity. Values are compared by digest, and none is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Each part that the node has.
    pub parts: BTreeMap<IdentityPart, Digest>,
    /// The time since CouchDB started, in whole seconds. Of two nodes, the one that restarted later has lost more.
    pub uptime: Duration,
    /// The admins with password hashes in the format of CouchDB 3.4 and later.
    pub new_hashes: BTreeSet<String>,
}

/// One part of the identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityPart {
    /// The salted password hash of this admin. A session cookie is valid only on nodes that have the same hash.
    Admin(String),
    /// The secret that signs session cookies.
    SessionSecret,
    /// The cluster's uuid. Replications start from the beginning when it changes.
    Uuid,
}

/// Stands for a value that must not be kept or shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u64);

impl Digest {
    /// Computes the digest of a value, or of several values in order.
    pub fn of<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> Self {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        values.into_iter().for_each(|value| value.as_ref().hash(&mut hasher));
        Self(hasher.finish())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_does_not_show_its_value() {
        assert_eq!(format!("{:?}", Digest::of(["s3cret"])), "Digest(..)");
        assert_ne!(Digest::of(["ab", "c"]), Digest::of(["a", "bc"]), "the border between two values counts");
    }
}
