//! The first login at each node, which costs CouchDB a quarter of a second of a core.
//!
//! CouchDB 3.4 and later hash a password with 600,000 rounds and remember only the result of a login that has ended, so
//! callers that log in at the same time each cost the whole hash. N agents that log in at N new nodes at once would cost
//! N x N hashes. Each agent logs in at its own node first, and at a peer once the peer's own agent has had the time for it:
//! N hashes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agent_core::facts::UpAnswer;
use tokio::time::{Instant, sleep_until};

use super::client::Couch;

/// The nodes at which a login is known to be remembered, and the cost of a first login.
#[derive(Debug, Default)]
pub(super) struct FirstLogins {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The duration of this agent's first call to its own node.
    cost: Option<Duration>,
    /// By base URL.
    nodes: HashMap<String, Node>,
}

/// A node at which some agent logs in.
#[derive(Clone, Copy, Debug)]
enum Node {
    /// It answers since then, and its own agent may be logging in.
    Answers(Instant),
    /// It has accepted this agent's login.
    LoggedIn,
}

impl FirstLogins {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Couch {
    /// `true` once this agent has logged in at its own node.
    pub fn has_logged_in(&self) -> bool {
        self.first_logins.with(|state| state.cost.is_some())
    }

    /// Notes the duration of a call to the agent's own node. The first one is the cost of a first login.
    pub fn note_own_login(&self, took: Duration) {
        self.first_logins.with(|state| {
            state.cost.get_or_insert(took.min(LONGEST));
        });
    }

    /// Notes when the node at `base` first answers. Costs no hash: the call has no credentials.
    pub async fn greet(&self, base: &str) {
        if self.up(base).await != UpAnswer::Silent {
            self.first_logins.with(|state| {
                state.nodes.entry(base.to_owned()).or_insert_with(|| Node::Answers(Instant::now()));
            });
        }
    }

    /// Waits until the agent of the node at `base` has had the time to log in there, which began when the node first
    /// answered. Returns at once where this agent has logged in before, or where nothing answers.
    pub async fn until_its_own_agent_logged_in(&self, base: &str) {
        if self.first_logins.with(|state| !state.nodes.contains_key(base)) {
            self.greet(base).await;
        }
        let until = self.first_logins.with(|state| {
            let cost = state.cost.unwrap_or(TYPICAL);
            match state.nodes.get(base) {
                // The other agent may have begun a little later than this one.
                Some(Node::Answers(since)) => Some(*since + cost + cost / 4),
                Some(Node::LoggedIn) | None => None,
            }
        });
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }

    /// Notes that the node at `base` accepted this agent's login, or failed. A node that restarts has forgotten the logins.
    pub fn note_peer_login(&self, base: &str, accepted: bool) {
        self.first_logins.with(|state| {
            if accepted {
                state.nodes.insert(base.to_owned(), Node::LoggedIn);
            } else if matches!(state.nodes.get(base), Some(Node::LoggedIn)) {
                state.nodes.remove(base);
            }
        });
    }
}

/// A first login on an idle core.
const TYPICAL: Duration = Duration::from_millis(250);
/// An agent on a slow machine does not wait longer than this for another one.
const LONGEST: Duration = Duration::from_secs(1);
