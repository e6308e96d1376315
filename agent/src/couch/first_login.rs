//! The first login at each node, which costs CouchDB a quarter of a second of a core.
//!
//! CouchDB 3.4 and later hash a password with 600,000 rounds and remember only the result of a login that has ended, so
//! callers that log in at the same time each cost the whole hash. N agents that log in at N new nodes at once would cost
//! N x N hashes. Each agent logs in at its own node first, and at a peer once the peer's own agent has had the time for it:
//! N hashes.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::login::lock;

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
    /// `true` once this agent has logged in at its own node.
    pub(super) fn has_begun(&self) -> bool {
        lock(&self.state).cost.is_some()
    }

    /// Notes the duration of a call to the agent's own node. The first one is the cost of a first login.
    pub(super) fn note_own(&self, took: Duration) {
        lock(&self.state).cost.get_or_insert(took.min(LONGEST));
    }

    /// Notes that the node at `base` answers.
    pub(super) fn note_answer(&self, base: &str) {
        lock(&self.state).nodes.entry(base.to_owned()).or_insert_with(|| Node::Answers(Instant::now()));
    }

    /// `true` if the node at `base` has answered before.
    pub(super) fn has_answered(&self, base: &str) -> bool {
        lock(&self.state).nodes.contains_key(base)
    }

    /// The time at which the agent of the node at `base` has had the time to log in there, which began when the node first
    /// answered; `None` where this agent has logged in before, or where nothing answers.
    pub(super) fn own_agent_is_done(&self, base: &str) -> Option<Instant> {
        let state = lock(&self.state);
        let cost = state.cost.unwrap_or(TYPICAL);
        match state.nodes.get(base) {
            // The other agent may have begun a little later than this one.
            Some(Node::Answers(since)) => Some(*since + cost + cost / 4),
            Some(Node::LoggedIn) | None => None,
        }
    }

    /// Notes that the node at `base` accepted this agent's login, or failed. A node that restarts has forgotten the logins.
    pub(super) fn note_peer(&self, base: &str, accepted: bool) {
        let mut state = lock(&self.state);
        if accepted {
            state.nodes.insert(base.to_owned(), Node::LoggedIn);
        } else if matches!(state.nodes.get(base), Some(Node::LoggedIn)) {
            state.nodes.remove(base);
        }
    }
}

/// A first login on an idle core.
const TYPICAL: Duration = Duration::from_millis(250);
/// An agent on a slow machine does not wait longer than this for another one.
const LONGEST: Duration = Duration::from_secs(1);
