//! The identity-bearing part of a node's configuration: uuid, session secret, admin hashes. No volume keeps it; a node that
//! restarted gets it back from another node.

use std::collections::HashMap;
use std::time::Duration;

use agent_core::decide::IdentityDifference;
use agent_core::facts::{Digest, Identity, IdentityPart};
use serde_json::{Value, json};

use super::client::Couch;
use super::config::COUCHDB;
use super::error::CouchError;
use crate::settings::Secret;

impl Couch {
    /// The digests of all parts of the node's identity, except for a uuid that was not generated yet, and the hash of
    /// the agent's own admin. `uptime` is that of the node.
    pub async fn identity(&self, base: &str, uptime: Duration) -> Result<IdentityReport, CouchError> {
        let user = &self.credentials().user;
        let mut report = IdentityReport::new(uptime);
        for section in [ADMINS, AUTH, COUCHDB, OLD_AUTH] {
            // Releases before 3.2.1 keep the secret in another section; newer ones need no further call.
            let has_secret = report.identity.parts.contains_key(&IdentityPart::SessionSecret);
            if section == OLD_AUTH && has_secret {
                continue;
            }
            report.add(section, self.section(base, section).await?, user);
        }
        Ok(report)
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

/// The identity of a node.
#[derive(Clone, Debug, Default)]
pub struct IdentityReport {
    /// Its parts, by digest.
    pub identity: Identity,
    /// The hash of the agent's own admin; `None` where the node has no such admin.
    pub admin_hash: Option<Secret>,
}

impl IdentityReport {
    /// Nothing but the node's uptime.
    pub(crate) fn new(uptime: Duration) -> Self {
        Self { identity: Identity { uptime, ..Identity::default() }, admin_hash: None }
    }

    /// Adds the parts of the identity that a section of the configuration contains. `user` is the agent's own admin.
    pub(crate) fn add(&mut self, section: &str, options: HashMap<String, Value>, user: &str) {
        for (key, value) in options {
            let (Some(part), Some(value)) = (part_of(section, key), value.as_str()) else { continue };
            if let IdentityPart::Admin(name) = &part {
                if value.starts_with(NEW_HASH) {
                    self.identity.new_hashes.insert(name.clone());
                }
                if name == user {
                    self.admin_hash = Some(Secret::new(value));
                }
            }
            self.identity.parts.insert(part, Digest::of([value]));
        }
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
