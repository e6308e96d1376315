//! A node's name, uuid, uptime and connections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::facts::{Release, UpAnswer};
use contract::error::chain;
use contract::ports;
use contract::status::Page;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::sleep_until;
use tracing::debug;

use super::client::Couch;
use super::error::CouchError;
use super::transport::{ANSWER, parse};

impl Couch {
    /// The node's Erlang name.
    pub async fn name(&self, base: &str) -> Result<String, CouchError> {
        #[derive(Deserialize)]
        struct Name {
            name: String,
        }
        self.transport.get(base, "/_node/_local").await.map(|Name { name }| name)
    }

    /// The node's welcome. CouchDB generates its uuid at the first such call, which a client might send in an hour.
    pub async fn welcome(&self, base: &str) -> Result<Welcome, CouchError> {
        self.transport.get(base, "/").await
    }

    /// The uuid in the node's welcome.
    pub async fn uuid(&self, base: &str) -> Result<String, CouchError> {
        let call = format!("GET {base}/");
        // The answer of 2.x does not contain it.
        self.welcome(base).await?.uuid.ok_or(CouchError::Garbled { call, source: "no uuid".into() })
    }

    /// The same without a login; `None` where the node does not answer, or requires a login for every path.
    pub async fn uuid_without_login(&self, base: &str) -> Option<String> {
        let response = self.transport.get_openly(base, "/").await.ok()?;
        parse::<Welcome>(format!("GET {base}/"), response, ANSWER).await.ok()?.uuid
    }

    /// The status page of the agent at `agent`, which needs no login.
    pub async fn page_of_agent(&self, agent: &str) -> Result<Page, CouchError> {
        let response = self.transport.get_openly(agent, ports::STATUS).await?;
        parse(format!("GET {agent}{}", ports::STATUS), response, LONGEST_PAGE).await
    }

    /// The node's answer to `/_up` without a login.
    pub async fn up(&self, base: &str) -> UpAnswer {
        match self.transport.get_openly(base, "/_up").await.map(|response| response.status()) {
            Ok(StatusCode::OK | StatusCode::UNAUTHORIZED) => UpAnswer::Serving,
            Ok(StatusCode::NOT_FOUND) => UpAnswer::Closed,
            Ok(_) | Err(_) => UpAnswer::Silent,
        }
    }

    /// Succeeds if anything answers at `base`. The call has no login.
    pub async fn answers(&self, base: &str) -> Result<(), CouchError> {
        self.transport.get_openly(base, "/_up").await.map(drop)
    }

    /// `true` once this agent has logged in at its own node.
    pub fn has_logged_in(&self) -> bool {
        self.first_logins.has_begun()
    }

    /// Notes the duration of a call to the agent's own node. The first one is the cost of a first login.
    pub fn note_own_login(&self, took: Duration) {
        self.first_logins.note_own(took);
    }

    /// Notes when the node at `base` first answers. Costs no hash: the call has no credentials.
    pub async fn greet(&self, base: &str) {
        if self.up(base).await != UpAnswer::Silent {
            self.first_logins.note_answer(base);
        }
    }

    /// Waits until the agent of the node at `base` has had the time to log in there. Returns at once where this agent has
    /// logged in before, or where nothing answers.
    pub async fn until_its_own_agent_logged_in(&self, base: &str) {
        if !self.first_logins.has_answered(base) {
            self.greet(base).await;
        }
        if let Some(until) = self.first_logins.own_agent_is_done(base) {
            sleep_until(until).await;
        }
    }

    /// Notes that the node at `base` accepted this agent's login, or failed.
    pub fn note_peer_login(&self, base: &str, accepted: bool) {
        self.first_logins.note_peer(base, accepted);
    }

    /// The node's uptime and connections: one cheap call that shows a restart or a lost peer. It uses the session at the
    /// node, if there is one, and so extends it.
    pub async fn pulse(&self, base: &str) -> Result<Pulse, CouchError> {
        match self.transport.get_by_session(ANSWER, base, PULSE).await {
            Some(answered) => answered,
            None => self.transport.get(base, PULSE).await,
        }
    }

    /// Makes the node connect to `peer`: it has to, to answer a call about another node. The result shows in its
    /// membership, so the answer is ignored.
    pub async fn dial(&self, base: &str, peer: &str) {
        let path = format!("/_node/{peer}/_config/cluster");
        if let Err(error) = self.transport.get::<IgnoredAny>(base, &path).await {
            debug!(error = chain(&error), "dialling failed");
        }
    }
}

/// The answer to `GET /`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Welcome {
    /// The node's uuid.
    pub uuid: Option<String>,
    /// CouchDB's version, such as `3.5.0`.
    pub version: Option<String>,
}

impl Welcome {
    /// The release series in the version.
    pub fn release(&self) -> Option<Release> {
        self.version.as_deref().and_then(Release::from_version)
    }
}

/// The part of `GET /_node/_local/_system` that shows whether a node is still the same.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Pulse {
    /// Time since the node's start, in whole seconds.
    #[serde(deserialize_with = "seconds")]
    pub uptime: Duration,
    /// The nodes to which it has a distribution socket.
    #[serde(default, rename = "distribution", deserialize_with = "keys")]
    pub connected: BTreeSet<String>,
}

impl Pulse {
    /// `true` if the node restarted, or lost or gained a connection, in the time `between` this pulse and `later`.
    pub fn is_another_than(&self, later: &Self, between: Duration) -> bool {
        // Compared with the expected uptime: a restarted node may already be up for longer than before.
        let restarted = later.uptime.saturating_add(ROUNDING) < self.uptime.saturating_add(between);
        restarted || later.connected != self.connected
    }

    /// `true` if the node may have started after a connection was opened that `lasted` until just now. A connection that
    /// ended right after a start gives no evidence, and counts as a restart.
    pub fn began_within(&self, lasted: Duration) -> bool {
        self.uptime <= lasted.max(ROUNDING)
    }
}

/// In bytes. The page about 64 nodes has about 60 kB.
const LONGEST_PAGE: usize = 256 * 1024;
const PULSE: &str = "/_node/_local/_system";
/// Uptimes and the time between two of them are rounded to seconds.
const ROUNDING: Duration = Duration::from_secs(3);

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

fn keys<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    BTreeMap::<String, IgnoredAny>::deserialize(deserializer).map(|map| map.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(text: &str) -> Pulse {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_pulse_shows_a_restart_and_a_lost_connection() {
        let before = pulse(r#"{"uptime":60,"memory":{},"distribution":{"couchdb@b":{"send_pend":0}}}"#);
        let changed = |text| before.is_another_than(&pulse(text), Duration::from_secs(100));
        assert!(!changed(r#"{"uptime":160,"distribution":{"couchdb@b":{}}}"#));
        assert!(!changed(r#"{"uptime":158,"distribution":{"couchdb@b":{}}}"#), "both are whole seconds");
        assert!(
            changed(r#"{"uptime":97,"distribution":{"couchdb@b":{}}}"#),
            "a restart, though the node is up for longer than before"
        );
        assert!(changed(r#"{"uptime":160,"distribution":{}}"#));
    }

    #[test]
    fn a_pulse_distinguishes_a_restart_from_a_closed_connection() {
        let pulse = |seconds| Pulse { uptime: Duration::from_secs(seconds), connected: BTreeSet::new() };
        assert!(pulse(0).began_within(Duration::from_secs(4)), "a restart, however soon after the start");
        assert!(pulse(2).began_within(Duration::from_millis(100)));
        assert!(!pulse(302).began_within(Duration::from_secs(300)), "CouchDB closed an idle connection");
    }
}
