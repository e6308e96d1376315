//! The messages about a local CouchDB that does not answer, or not as it should.

use contract::keys;

use super::explainer::Explainer;
use super::explanation::{Explanation, predicate};
use crate::facts::Unseen;

impl Explainer<'_> {
    /// Explains the wait for the local CouchDB.
    pub(super) fn local(&self, unseen: &Unseen) -> Explanation {
        let Self { user, credentials_source: source, couchdb_url: url, .. } = self;
        let state = format!("CouchDB at {url} {}", predicate(unseen));
        match unseen {
            Unseen::LockedOut => Explanation::with_fix(
                "CredentialsLockedOut",
                format!(
                    "CouchDB has locked user '{user}' out after too many wrong passwords, and accepts it again after 5 \
                     minutes"
                ),
                "find the program in this pod that uses a wrong password",
            ),
            // CouchDB locks an address out after five wrong passwords within 5 minutes, so there are four attempts in it.
            Unseen::Rejects => Explanation::with_fix(
                "CredentialsRejected",
                format!(
                    "CouchDB rejects user '{user}' or the password from {source}; the next attempt is in 75 s"
                ),
                format!(
                    "if they changed after CouchDB or the agent had started, restart both: {}. If that does not help, \
                     CouchDB keeps another admin in an ini file on a volume: change the password there",
                    self.kubectl(&format!("delete pod {}", self.me.pod()))
                ),
            ),
            Unseen::Garbled => Explanation::with_fix(
                "CouchDbUnclear",
                format!("the server at {url} does not answer like CouchDB 3.x"),
                "run CouchDB 3.0 or later, and set COUCHDISCOVER_COUCHDB_URL to its address",
            ),
            Unseen::Untrusted => Explanation::with_fix(
                "CouchDbUntrusted",
                state,
                format!(
                    "name the Secret with its authority in annotation '{}' (without the webhook, the file in \
                     COUCHDISCOVER_CA_FILE; the default is the system's authorities), and issue the certificate for '{}'",
                    keys::COUCHDB_CA_SECRET,
                    self.me
                ),
            ),
            // Every start of a pod passes through this state for a moment.
            Unseen::NoAnswer | Unseen::Unreachable => Explanation::with_fix(
                "WaitingForCouchDb",
                state,
                format!(
                    "if this lasts, read its log: {}",
                    self.kubectl(&format!("logs {} --all-containers --tail=50", self.me.pod()))
                ),
            ),
            Unseen::Busy | Unseen::NameUnknown | Unseen::Misnamed(_) => {
                Explanation::new("WaitingForCouchDb", state)
            }
        }
    }
}
