//! Credentials and authorities: found before the first round, and replaced when CouchDB or TLS rejects them.

use std::time::Duration;

use agent_core::decide::until_asked_again;
use agent_core::explain::Explanation;
use agent_core::facts::{Login, Node, Observed, Unseen};
use contract::PodFqdn;
use contract::error::chain;
use contract::status::Page;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::agent::Agent;
use super::memory::Memory;
use crate::credentials::{ResolveError, Resolver};
use crate::publish::page;
use crate::publish::termination::TerminationLog;
use crate::settings::Credentials;

impl Agent {
    /// Looks rejected credentials up again at their source. Returns `true` if they had changed there and are in use now.
    pub(super) async fn replace_rejected_credentials(
        &self,
        memory: &mut Memory,
        observed: &Observed,
    ) -> bool {
        // A session may work on while the password is refused.
        let rejected = matches!(observed.local, Err(Unseen::Rejects | Unseen::LockedOut))
            || matches!(observed.login, Login::LockedOut | Login::Rejected);
        let Some(resolver) = self.resolver.as_ref().filter(|_| rejected) else { return false };
        if Instant::now() < memory.next_credentials_lookup {
            return false;
        }
        // Set before the lookup, so that a failed one counts as well.
        memory.next_credentials_lookup = Instant::now() + BETWEEN_LOOKUPS;
        match timeout_at(memory.next_credentials_lookup, resolver.credentials()).await {
            Ok(Ok(found)) if found != *self.actor.couch.credentials() => {
                info!(source = found.source, "credentials changed");
                self.actor.couch.set_credentials(found);
                true
            }
            Ok(Err(error)) => {
                memory.last_error = Some(chain(&error));
                false
            }
            // Unchanged, or no answer in time: the pause of the rejected ones goes on.
            Ok(Ok(_)) | Err(_) => false,
        }
    }

    /// Reads the CA file again where a node was not trusted. Returns `true` if the file had changed and is in use now.
    pub(super) fn replace_untrusted_authorities(&mut self, memory: &mut Memory, observed: &Observed) -> bool {
        if !is_untrusted(&observed.local) && !observed.peers.values().any(is_untrusted) {
            return false;
        }
        // The kubelet replaces a mounted CA file while the agent runs.
        match self.trust.reload() {
            Ok(Some(client)) => {
                info!("CA file changed");
                self.actor.couch.set_client(client);
                true
            }
            Ok(None) => false,
            Err(error) => {
                memory.last_error = Some(chain(&error));
                false
            }
        }
    }
}

fn is_untrusted(node: &Result<Node, Unseen>) -> bool {
    *node == Err(Unseen::Untrusted)
}

/// The outputs of an agent that has no credentials yet.
pub(super) struct Waiting<'a> {
    pub(super) me: &'a PodFqdn,
    pub(super) page: &'a watch::Sender<Page>,
    pub(super) termination: &'a TerminationLog,
    pub(super) clock: fn() -> String,
    pub(super) jitter: fn() -> f64,
}

impl Waiting<'_> {
    /// Asks the source of CouchDB's credentials until it has some; reports what is missing in the meantime.
    pub(super) async fn credentials(&self, resolver: &Resolver) -> Credentials {
        let mut last: Option<(Explanation, String)> = None;
        for rounds in 0.. {
            let explanation = match resolver.credentials().await {
                Ok(found) => {
                    info!(source = found.source, "credentials found");
                    return found;
                }
                Err(error) => unresolved(&error),
            };
            let since = match last {
                Some((before, since)) if before == explanation => since,
                Some(_) | None => {
                    // Once for each explanation: the same one in every round would fill the log.
                    warn!(reason = explanation.reason, "{}", explanation.message);
                    self.termination.write_line(&format!("{}: {}", explanation.reason, explanation.message));
                    (self.clock)()
                }
            };
            self.page.send_replace(page::waiting(self.me, explanation.clone(), since.clone()));
            last = Some((explanation, since));
            sleep(until_asked_again(rounds, (self.jitter)())).await;
        }
        std::future::pending().await
    }
}

/// The explanation of missing credentials.
fn unresolved(error: &ResolveError) -> Explanation {
    let reason = match error {
        ResolveError::Absent { .. }
        | ResolveError::Container { .. }
        | ResolveError::Env(_)
        | ResolveError::Mistake(_)
        | ResolveError::NoApi
        | ResolveError::NoWorkload { .. } => "CredentialsMissing",
        ResolveError::Forbidden { .. } => "CredentialsForbidden",
        ResolveError::Failed { .. } | ResolveError::Garbled { .. } | ResolveError::NoAnswer { .. } => {
            "WaitingForKubernetes"
        }
    };
    Explanation::new(reason, format!("no admin credentials were injected, and {}", chain(error)))
}

/// The least time between two lookups of rejected credentials.
const BETWEEN_LOOKUPS: Duration = Duration::from_secs(15);
