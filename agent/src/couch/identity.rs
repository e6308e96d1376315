//! The identity-bearing part of a node's configuration: uuid, session secret, admin hashes. No volume keeps it; a node that
//! restarted gets it back from another node.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use agent_core::decide::IdentityDifference;
use agent_core::facts::{Digest, Identity, IdentityPart};
use serde_json::{Value, json};

use super::client::Couch;
use super::config::COUCHDB;
use super::error::CouchError;
use super::node::Pulse;

impl Couch {
    /// The digests of all parts of the node's identity, and its uptime.
    pub async fn identity(&self, base: &str) -> Result<Identity, CouchError> {
        let Pulse { uptime, .. } = self.pulse(base).await?;
        let mut parts = BTreeMap::new();
        let mut new_hashes = BTreeSet::new();
        for section in [ADMINS, AUTH, COUCHDB, OLD_AUTH] {
            // Releases before 3.2.1 keep the secret in another section; newer ones need no further call.
            if section == OLD_AUTH && parts.contains_key(&IdentityPart::SessionSecret) {
                continue;
            }
            for (key, value) in self.section(base, section).await? {
                if let (Some(what), Some(value)) = (part_of(section, key), value.as_str()) {
                    if let IdentityPart::Admin(name) = &what
                        && value.starts_with(NEW_HASH)
                    {
                        new_hashes.insert(name.clone());
                    }
                    parts.insert(what, Digest::of([value]));
                }
            }
        }
        // CouchDB generates its uuid at the first `GET /`, which a client might send in an hour. Asked now, so that it can be
        // corrected now.
        if let Entry::Vacant(missing) = parts.entry(IdentityPart::Uuid) {
            missing.insert(Digest::of([self.uuid(base).await?]));
        }
        Ok(Identity { parts, uptime, new_hashes })
    }

    /// Copies a part of the identity from the node at `from` to the one at `to`, in memory only: where the ini is on no volume,
    /// a restart would lose it anyway, and where it is read-only, a persistent change would fail.
    pub async fn adopt(
        &self,
        from: &str,
        to: &str,
        difference: &IdentityDifference,
    ) -> Result<(), CouchError> {
        let (section, value) = self.find(from, &difference.part).await?;
        // The value changed since the decision, for example by a restart: the next round decides again.
        let Some(value) = value.filter(|value| has_digest(value, difference.digest)) else { return Ok(()) };
        let (own_section, own_value) = self.find(to, &difference.part).await?;
        let section = if own_value.is_some() { own_section } else { section };
        self.set_option(to, section, place(&difference.part).1, &value).await
    }

    /// The section that holds a part of the identity, and its value. 3.2.1 moved the session secret to another section.
    async fn find(
        &self,
        base: &str,
        what: &IdentityPart,
    ) -> Result<(&'static str, Option<Value>), CouchError> {
        let (section, key) = place(what);
        let value = self.section(base, section).await?.remove(key);
        if value.is_none() && *what == IdentityPart::SessionSecret {
            return Ok((OLD_AUTH, self.section(base, OLD_AUTH).await?.remove(key)));
        }
        Ok((section, value))
    }

    /// Sets the node's uuid to that of its cluster, in memory only.
    pub async fn set_uuid(&self, base: &str, uuid: &str) -> Result<(), CouchError> {
        let (section, key) = place(&IdentityPart::Uuid);
        self.set_option(base, section, key, &json!(uuid)).await
    }

    /// `true` if the node has a session secret, in the section of its release or in the one used before 3.2.1.
    pub async fn has_session_secret(&self, base: &str) -> Result<bool, CouchError> {
        for section in [AUTH, OLD_AUTH] {
            if self.section(base, section).await?.contains_key("secret") {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn has_digest(value: &Value, digest: Digest) -> bool {
    value.as_str().is_some_and(|value| Digest::of([value]) == digest)
}

/// Section and key of a part of the identity.
fn place(what: &IdentityPart) -> (&'static str, &str) {
    match what {
        IdentityPart::Admin(name) => (ADMINS, name),
        IdentityPart::SessionSecret => (AUTH, "secret"),
        IdentityPart::Uuid => (COUCHDB, "uuid"),
    }
}

/// The part of the identity that an option holds.
fn part_of(section: &str, key: String) -> Option<IdentityPart> {
    match (section, key.as_str()) {
        (ADMINS, _) => Some(IdentityPart::Admin(key)),
        (AUTH | OLD_AUTH, "secret") => Some(IdentityPart::SessionSecret),
        (COUCHDB, "uuid") => Some(IdentityPart::Uuid),
        (_, _) => None,
    }
}

/// Prefix of the hashes of 3.4 and later. Older ones, which these releases also read, begin with `-pbkdf2-` or `-hashed-`.
const NEW_HASH: &str = "-pbkdf2:";
const ADMINS: &str = "admins";
const AUTH: &str = "chttpd_auth";
/// The section of the session secret before 3.2.1.
const OLD_AUTH: &str = "couch_httpd_auth";
