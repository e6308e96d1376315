//! The messages about a local CouchDB that does not answer, or not as it should.

use contract::keys;

use super::explainer::Explainer;
use super::explanation::{Explanation, predicate};
use crate::facts::Unseen;

impl Explainer<'_> {
    /// The hint that the image's ini file may not contain the password as it is.
    fn ini_hint(&self) -> String {
        let Some(lost) = self.lost_part else { return String::new() };
        format!(
            ". CouchDB may also have read another password: {lost}, which its ini file does not keep; use one without it"
        )
    }

    /// Explains the wait for the local CouchDB.
    pub(super) fn local(&self, unseen: &Unseen) -> Explanation {
        let Self { user, credentials_source: source, couchdb_url: url, .. } = self;
        let state = format!("CouchDB at {url} {}", predicate(unseen));
        match unseen {
            Unseen::LockedOut => Explanation::with_fix(
                "CredentialsLockedOut",
                format!(
                    "CouchDB has locked user '{user}' out after too many wrong passwords, and accepts it again 5 \
                     minutes after the last one. The lockout is by address, which the containers of a pod and clients \
                     behind one proxy share; it affects no other user"
                ),
                "find the program that uses a wrong password, in this pod or behind a proxy that sends \
                 X-Forwarded-For: 127.0.0.1",
            ),
            // CouchDB locks an address out after five wrong passwords within 5 minutes, so there are four attempts in it.
            Unseen::Rejects => Explanation::with_fix(
                "CredentialsRejected",
                format!(
                    "CouchDB rejects user '{user}' or the password from {source}: the running CouchDB has another \
                     password than its environment; the next attempt is in 75 s"
                ),
                format!(
                    "if the password was changed through CouchDB's API, change it in its source as well: a restart \
                     brings that one back. If it changed there, restart CouchDB and the agent: {}. If that does not \
                     help, CouchDB keeps another admin in an ini file on a volume: change the password there{}",
                    self.kubectl(&format!("delete pod {}", self.me.pod())),
                    self.ini_hint()
                ),
            ),
            Unseen::LoginIgnored => Explanation::with_fix(
                "BasicAuthenticationOff",
                format!("{state}, so the agent cannot log in"),
                format!("add '{COOKIE_HANDLER}, {BASIC_HANDLER}' to [chttpd] authentication_handlers"),
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
            Unseen::Busy
            | Unseen::NameUnknown
            | Unseen::NotConnected
            | Unseen::NotReported
            | Unseen::Misnamed(_) => Explanation::new("WaitingForCouchDb", state),
        }
    }
}

/// Reads session cookies.
const COOKIE_HANDLER: &str = "{chttpd_auth, cookie_authentication_handler}";
/// Reads user and password.
pub(super) const BASIC_HANDLER: &str = "{chttpd_auth, default_authentication_handler}";
