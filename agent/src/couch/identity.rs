//! Who a node takes itself for: the parts of its configuration that no volume keeps, and how one node takes them over from
//! another.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::decide::IdentityDifference;
use agent_core::facts::{Digest, Identity, IdentityPart};
use serde_json::{Value, json};

use super::wire::Pulse;
use super::{COUCHDB, Couch, CouchError};

impl Couch {
    /// Whom the node takes itself for.
    pub async fn identity(&self, base: &str) -> Result<Identity, CouchError> {
        let Pulse { uptime, .. } = self.pulse(base).await?;
        let mut parts = BTreeMap::new();
        let mut new_hashes = BTreeSet::new();
        for section in [ADMINS, AUTH, COUCHDB, OLD_AUTH] {
            // One call more for the releases that need it only.
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
        // It is made up when somebody asks for the welcome first, which may be a client in an hour: then better now.
        if let Entry::Vacant(lacking) = parts.entry(IdentityPart::Uuid) {
            lacking.insert(Digest::of([self.uuid(base).await?]));
        }
        Ok(Identity { parts, uptime: Duration::from_secs(uptime), new_hashes })
    }

    /// Takes a part of the identity over from the node at `from` into the one at `to`. In memory only: where the ini is
    /// on no volume it would be lost anyway, and where it can't be written a lasting change would fail.
    pub async fn adopt(
        &self,
        from: &str,
        to: &str,
        difference: &IdentityDifference,
    ) -> Result<(), CouchError> {
        let (section, value) = self.find(from, &difference.part).await?;
        let same =
            |value: &Value| value.as_str().is_some_and(|value| Digest::of([value]) == difference.digest);
        match value.filter(same) {
            Some(value) => {
                let (own, mine) = self.find(to, &difference.part).await?;
                let section = if mine.is_some() { own } else { section };
                self.set(to, section, place(&difference.part).1, &value).await
            }
            // Another one meanwhile, or none: the next round sees it.
            None => Ok(()),
        }
    }

    /// Where the node has a part of the identity, and what it is. The session secret was moved in 3.2.1.
    async fn find(
        &self,
        base: &str,
        what: &IdentityPart,
    ) -> Result<(&'static str, Option<Value>), CouchError> {
        let (section, key) = place(what);
        let value = self.section(base, section).await?.remove(key);
        match (value, what) {
            (None, IdentityPart::SessionSecret) => {
                Ok((OLD_AUTH, self.section(base, OLD_AUTH).await?.remove(key)))
            }
            (value, _) => Ok((section, value)),
        }
    }

    /// Gives the node the uuid of its cluster, in memory only.
    pub async fn set_uuid(&self, base: &str, uuid: &str) -> Result<(), CouchError> {
        let (section, key) = place(&IdentityPart::Uuid);
        self.set(base, section, key, &json!(uuid)).await
    }

    /// Whether the node has a secret to sign sessions with. Before 3.2.1 it stood in another section.
    pub async fn has_session_secret(&self, base: &str) -> Result<bool, CouchError> {
        for section in [AUTH, OLD_AUTH] {
            if self.section(base, section).await?.contains_key("secret") {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Where CouchDB keeps a part of the identity: section and key.
fn place(what: &IdentityPart) -> (&'static str, &str) {
    match what {
        IdentityPart::Admin(name) => (ADMINS, name),
        IdentityPart::SessionSecret => (AUTH, "secret"),
        IdentityPart::Uuid => (COUCHDB, "uuid"),
    }
}

/// What an option is to the identity, if anything.
fn part_of(section: &str, key: String) -> Option<IdentityPart> {
    match (section, key.as_str()) {
        (ADMINS, _) => Some(IdentityPart::Admin(key)),
        (AUTH | OLD_AUTH, "secret") => Some(IdentityPart::SessionSecret),
        (COUCHDB, "uuid") => Some(IdentityPart::Uuid),
        (_, _) => None,
    }
}

/// So begin the hashes of 3.4 and later; the older ones, which they read too, with `-pbkdf2-` or `-hashed-`.
const NEW_HASH: &str = "-pbkdf2:";
const ADMINS: &str = "admins";
const AUTH: &str = "chttpd_auth";
/// Where the session secret stood before 3.2.1.
const OLD_AUTH: &str = "couch_httpd_auth";
