//! What is counted, as OpenMetrics text. Written by hand: some gauges of the page and a handful of counters are not worth
//! a library in every pod.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::status::{KubernetesState, NodeReport, Page};

/// The media type of what [`Metrics::encode`] writes.
pub const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is counted since the agent started; the rest is on the page.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
}

/// By label value; every value is one of ours.
#[derive(Debug, Default)]
struct Counts {
    couchdb_calls: BTreeMap<&'static str, u64>,
    steps: BTreeMap<(&'static str, &'static str), u64>,
    refusals: BTreeMap<&'static str, u64>,
    identity_heals: u64,
    /// RFC 3339.
    last_settled: Option<String>,
}

impl Metrics {
    /// A call to CouchDB ended so.
    pub fn called(&self, outcome: &'static str) {
        *self.lock().couchdb_calls.entry(outcome).or_default() += 1;
    }

    /// A step was carried out, or failed.
    pub fn stepped(&self, step: &'static str, done: bool) {
        let outcome = if done { "done" } else { "failed" };
        *self.lock().steps.entry((step, outcome)).or_default() += 1;
    }

    /// A refusal began.
    pub fn refused(&self, reason: &'static str) {
        *self.lock().refusals.entry(reason).or_default() += 1;
    }

    /// A part of the cluster's identity was taken over.
    pub fn healed(&self) {
        self.lock().identity_heals += 1;
    }

    /// Everything was as it should be at `now`.
    pub fn settled(&self, now: String) {
        self.lock().last_settled = Some(now);
    }

    /// All of it.
    pub fn encode(&self, page: &Page) -> String {
        let counts = self.lock();
        let mut text = Exposition::default();
        text.family("build", "info", "What is running");
        text.sample("build_info", &[("version", &page.version)], 1);
        text.family("state", "gauge", "What the agent does or waits for");
        text.sample("state", &[("reason", &page.step.reason)], 1);
        text.family("state_since_timestamp_seconds", "gauge", "Since when it does, in seconds since 1970");
        text.timestamp("state_since_timestamp_seconds", Some(&page.since));
        text.family("ready", "gauge", "Whether the readiness probe succeeds");
        text.sample("ready", &[], u64::from(page.ready));
        let (listed, connected) = own(page);
        text.family(
            "members",
            "gauge",
            "Pods that are expected, that this node lists, and that it is connected to",
        );
        for (kind, count) in [("connected", connected), ("expected", page.expected.len()), ("listed", listed)]
        {
            text.sample("members", &[("kind", kind)], u64::try_from(count).unwrap_or(u64::MAX));
        }
        text.family(
            "kubernetes_reachable",
            "gauge",
            "Whether the StatefulSet is followed; absent where nobody is asked",
        );
        if page.kubernetes != KubernetesState::Off {
            text.sample("kubernetes_reachable", &[], u64::from(page.kubernetes == KubernetesState::Current));
        }
        text.family(
            "last_settled_timestamp_seconds",
            "gauge",
            "When all was last seen as it should be, in seconds since 1970",
        );
        text.timestamp("last_settled_timestamp_seconds", counts.last_settled.as_deref());
        text.family("rounds", "counter", "Looks at CouchDB and Kubernetes");
        text.sample("rounds_total", &[], page.rounds);
        text.family("refusals", "counter", "States that a person has to decide about, when they began");
        for (reason, count) in &counts.refusals {
            text.sample("refusals_total", &[("reason", reason)], *count);
        }
        text.family("steps", "counter", "Changes that were made or failed");
        for ((step, outcome), count) in &counts.steps {
            text.sample("steps_total", &[("step", step), ("outcome", outcome)], *count);
        }
        text.family("identity_heals", "counter", "Parts of the cluster's identity that this node took over");
        text.sample("identity_heals_total", &[], counts.identity_heals);
        text.family("couchdb_calls", "counter", "Calls to this CouchDB and to its peers");
        for (outcome, count) in &counts.couchdb_calls {
            text.sample("couchdb_calls_total", &[("outcome", outcome)], *count);
        }
        text.end()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many this pod's own node lists, and is connected to.
fn own(page: &Page) -> (usize, usize) {
    let me = page.pod.split('.').next().unwrap_or_default();
    match page.nodes.get(me) {
        Some(NodeReport::Seen(node)) => (node.members.len(), node.connected.len()),
        Some(NodeReport::Unseen { .. }) | None => (0, 0),
    }
}

#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {PREFIX}{name} {kind}\n# HELP {PREFIX}{name} {help}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{PREFIX}{name}{braces} {value}");
    }

    /// Nothing, where there is no time yet.
    fn timestamp(&mut self, name: &str, time: Option<&str>) {
        let time = time.and_then(|time| time.parse::<jiff::Timestamp>().ok());
        if let Some(seconds) = time.and_then(|time| u64::try_from(time.as_second()).ok()) {
            self.sample(name, &[], seconds);
        }
    }

    fn end(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

const PREFIX: &str = "couchdiscover_agent_";

#[cfg(test)]
mod tests {
    use contract::status::SeenNode;

    use super::*;

    #[test]
    fn a_page_and_counts_become_openmetrics() {
        let metrics = Metrics::default();
        metrics.called("answered");
        metrics.called("answered");
        metrics.called("rejected");
        metrics.stepped("Joining", true);
        metrics.stepped("Joining", false);
        metrics.refused("ForeignData");
        metrics.healed();
        metrics.settled("2026-11-21T01:54:00Z".to_owned());
        let me = "db-0.db.shop.svc.cluster.local".parse().unwrap();
        let mut page = crate::publish::page::at_start(&me, "2026-11-21T01:53:00Z".to_owned());
        let sight = |members: &[&str]| {
            NodeReport::Seen(SeenNode {
                members: members.iter().map(|name| (*name).to_owned()).collect(),
                connected: vec!["db-0".to_owned()],
                strangers: Default::default(),
                databases: 2,
                system_database_copies: BTreeMap::new(),
                release: None,
            })
        };
        page.expected = vec!["db-0".to_owned(), "db-1".to_owned(), "db-2".to_owned()];
        page.nodes.insert("db-0".to_owned(), sight(&["db-0", "db-1"]));
        page.nodes.insert("db-1".to_owned(), sight(&["db-1"]));
        page.version = "0.0.0".to_owned();
        insta::assert_snapshot!(metrics.encode(&page), @r#"
        # TYPE couchdiscover_agent_build info
        # HELP couchdiscover_agent_build What is running
        couchdiscover_agent_build_info{version="0.0.0"} 1
        # TYPE couchdiscover_agent_state gauge
        # HELP couchdiscover_agent_state What the agent does or waits for
        couchdiscover_agent_state{reason="FirstLook"} 1
        # TYPE couchdiscover_agent_state_since_timestamp_seconds gauge
        # HELP couchdiscover_agent_state_since_timestamp_seconds Since when it does, in seconds since 1970
        couchdiscover_agent_state_since_timestamp_seconds 1795225980
        # TYPE couchdiscover_agent_ready gauge
        # HELP couchdiscover_agent_ready Whether the readiness probe succeeds
        couchdiscover_agent_ready 0
        # TYPE couchdiscover_agent_members gauge
        # HELP couchdiscover_agent_members Pods that are expected, that this node lists, and that it is connected to
        couchdiscover_agent_members{kind="connected"} 1
        couchdiscover_agent_members{kind="expected"} 3
        couchdiscover_agent_members{kind="listed"} 2
        # TYPE couchdiscover_agent_kubernetes_reachable gauge
        # HELP couchdiscover_agent_kubernetes_reachable Whether the StatefulSet is followed; absent where nobody is asked
        couchdiscover_agent_kubernetes_reachable 0
        # TYPE couchdiscover_agent_last_settled_timestamp_seconds gauge
        # HELP couchdiscover_agent_last_settled_timestamp_seconds When all was last seen as it should be, in seconds since 1970
        couchdiscover_agent_last_settled_timestamp_seconds 1795226040
        # TYPE couchdiscover_agent_rounds counter
        # HELP couchdiscover_agent_rounds Looks at CouchDB and Kubernetes
        couchdiscover_agent_rounds_total 0
        # TYPE couchdiscover_agent_refusals counter
        # HELP couchdiscover_agent_refusals States that a person has to decide about, when they began
        couchdiscover_agent_refusals_total{reason="ForeignData"} 1
        # TYPE couchdiscover_agent_steps counter
        # HELP couchdiscover_agent_steps Changes that were made or failed
        couchdiscover_agent_steps_total{step="Joining",outcome="done"} 1
        couchdiscover_agent_steps_total{step="Joining",outcome="failed"} 1
        # TYPE couchdiscover_agent_identity_heals counter
        # HELP couchdiscover_agent_identity_heals Parts of the cluster's identity that this node took over
        couchdiscover_agent_identity_heals_total 1
        # TYPE couchdiscover_agent_couchdb_calls counter
        # HELP couchdiscover_agent_couchdb_calls Calls to this CouchDB and to its peers
        couchdiscover_agent_couchdb_calls_total{outcome="answered"} 2
        couchdiscover_agent_couchdb_calls_total{outcome="rejected"} 1
        # EOF
        "#);
    }
}
