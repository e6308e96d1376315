//! The page and the counters as OpenMetrics text, for Prometheus.

use std::fmt;

use contract::status::{KubernetesState, NodeReport, Page};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::metrics::Counts;

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Renders a page and counts as OpenMetrics text.
pub fn render(page: Page, counts: Counts) -> String {
    let mut registry = Registry::with_prefix("couchdiscover_agent");
    registry.register_collector(Box::new(Snapshot { page, counts }));
    let mut text = String::with_capacity(4096);
    // Writing to a String does not fail.
    let _ = text::encode(&mut text, &registry);
    text
}

/// The state at one scrape. A collector, because registered metrics cannot be absent for a time, are left out before their
/// first event, and are written in random order of their labels.
#[derive(Debug)]
struct Snapshot {
    page: Page,
    counts: Counts,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.encode_state(&mut families)?;
        self.encode_cluster(&mut families)?;
        self.encode_counters(&mut families)
    }
}

impl Snapshot {
    fn encode_state(&self, families: &mut Families<'_>) -> fmt::Result {
        let page = &self.page;
        let mut build =
            families.0.encode_descriptor("build", "Version of the agent.", None, MetricType::Info)?;
        build.encode_info(&[("version", page.version.as_str())])?;
        families.gauges(
            "state",
            "Reason of the current step.",
            [([("reason", page.step.reason.as_str())], 1)],
        )?;
        families.gauge(
            "state_since_timestamp_seconds",
            "Time at which the current step was first decided, in seconds since 1970.",
            seconds(&page.since),
        )?;
        families.gauge("ready", "1 if the readiness probe succeeds, else 0.", Some(page.ready.into()))?;
        families.gauges(
            "condition",
            "Problems that are reported beside the current step.",
            page.conditions.iter().map(|condition| ([("reason", condition.reason.as_str())], 1)),
        )
    }

    fn encode_cluster(&self, families: &mut Families<'_>) -> fmt::Result {
        let page = &self.page;
        let (listed, connected) = own_members(page);
        let members = [("connected", connected), ("expected", page.expected.len()), ("listed", listed)];
        families.gauges(
            "members",
            "Pods that must be members, that this node lists, and that it is connected to.",
            members.map(|(kind, count)| ([("kind", kind)], u64::try_from(count).unwrap_or(u64::MAX))),
        )?;
        // Absent where the API is not used: 0 would raise an alert.
        let used = page.kubernetes != KubernetesState::Off;
        families.gauge(
            "kubernetes_reachable",
            "1 if a watch keeps the StatefulSet current, else 0; absent without the Kubernetes API.",
            used.then_some((page.kubernetes == KubernetesState::Current).into()),
        )?;
        families.gauge(
            "last_settled_timestamp_seconds",
            "Time of the last round without anything to do or to wait for, in seconds since 1970.",
            self.counts.last_settled.as_deref().and_then(seconds),
        )
    }

    fn encode_counters(&self, families: &mut Families<'_>) -> fmt::Result {
        let Counts { couchdb_calls, steps, refusals, identity_heals, last_settled: _ } = &self.counts;
        families.counter("rounds", "Observations of CouchDB and Kubernetes.", self.page.rounds)?;
        families.counters(
            "refusals",
            "States in which a person must decide, counted when they began.",
            refusals.iter().map(|(reason, count)| ([("reason", *reason)], *count)),
        )?;
        families.counters(
            "steps",
            "Changes that were made or failed.",
            steps
                .iter()
                .map(|((step, outcome), count)| ([("step", *step), ("outcome", outcome.as_str())], *count)),
        )?;
        families.counter(
            "identity_heals",
            "Parts of the cluster's identity that this node adopted.",
            *identity_heals,
        )?;
        families.counters(
            "couchdb_calls",
            "Calls to the local CouchDB and to its peers.",
            couchdb_calls.iter().map(|(outcome, count)| ([("outcome", *outcome)], *count)),
        )
    }
}

type Label<'a> = (&'static str, &'a str);

struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    /// A gauge without labels; without a sample if there is no value.
    fn gauge(&mut self, name: &str, help: &str, value: Option<u64>) -> fmt::Result {
        let family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        // Not as a family, whose empty set of labels would be written as `{}`.
        value.map_or(Ok(()), |value| ConstGauge::new(value).encode(family))
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([Label<'l>; N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// A counter without labels.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([Label<'l>; N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The numbers of pods that this pod's own node lists, and is connected to.
fn own_members(page: &Page) -> (usize, usize) {
    // Nodes are keyed by the pod's name, the first label of its DNS name.
    let me = page.pod.split('.').next().unwrap_or_default();
    match page.nodes.get(me) {
        Some(NodeReport::Seen(node)) => (node.members.len(), node.connected.len()),
        Some(NodeReport::Unseen { .. }) | None => (0, 0),
    }
}

/// Seconds since 1970 of a time in RFC 3339.
fn seconds(time: &str) -> Option<u64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    u64::try_from(time.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use contract::status::{SeenNode, StateReport};

    use super::*;
    use crate::metrics::{Metrics, StepOutcome};

    fn counts() -> Counts {
        let metrics = Metrics::default();
        metrics.called("answered");
        metrics.called("answered");
        metrics.called("rejected");
        metrics.stepped("Joining", StepOutcome::Done);
        metrics.stepped("Joining", StepOutcome::Failed);
        metrics.refused("ForeignData");
        metrics.healed();
        metrics.settled("2026-11-21T01:54:00Z".to_owned());
        metrics.counts()
    }

    fn page() -> Page {
        let me = "db-0.db.shop.svc.cluster.local".parse().unwrap();
        let page = crate::publish::page::at_start(&me, "2026-11-21T01:53:00Z".to_owned());
        Page { version: "0.0.0".to_owned(), ..page }
    }

    fn seen(members: &[&str]) -> NodeReport {
        NodeReport::Seen(SeenNode {
            members: members.iter().map(|name| (*name).to_owned()).collect(),
            connected: vec!["db-0".to_owned()],
            other_members: BTreeSet::new(),
            strangers: BTreeSet::new(),
            more_strangers: 0,
            databases: 2,
            system_database_copies: BTreeMap::new(),
            release: None,
        })
    }

    #[test]
    fn page_and_counts_become_openmetrics() {
        let stray = StateReport { reason: "StrangersListed".to_owned(), ..StateReport::default() };
        let page = Page {
            conditions: vec![stray],
            expected: vec!["db-0".to_owned(), "db-1".to_owned(), "db-2".to_owned()],
            nodes: BTreeMap::from([
                ("db-0".to_owned(), seen(&["db-0", "db-1"])),
                ("db-1".to_owned(), seen(&["db-1"])),
            ]),
            ..page()
        };
        insta::assert_snapshot!(render(page, counts()), @r#"
        # HELP couchdiscover_agent_build Version of the agent.
        # TYPE couchdiscover_agent_build info
        couchdiscover_agent_build_info{version="0.0.0"} 1
        # HELP couchdiscover_agent_state Reason of the current step.
        # TYPE couchdiscover_agent_state gauge
        couchdiscover_agent_state{reason="FirstLook"} 1
        # HELP couchdiscover_agent_state_since_timestamp_seconds Time at which the current step was first decided, in seconds since 1970.
        # TYPE couchdiscover_agent_state_since_timestamp_seconds gauge
        couchdiscover_agent_state_since_timestamp_seconds 1795225980
        # HELP couchdiscover_agent_ready 1 if the readiness probe succeeds, else 0.
        # TYPE couchdiscover_agent_ready gauge
        couchdiscover_agent_ready 0
        # HELP couchdiscover_agent_condition Problems that are reported beside the current step.
        # TYPE couchdiscover_agent_condition gauge
        couchdiscover_agent_condition{reason="StrangersListed"} 1
        # HELP couchdiscover_agent_members Pods that must be members, that this node lists, and that it is connected to.
        # TYPE couchdiscover_agent_members gauge
        couchdiscover_agent_members{kind="connected"} 1
        couchdiscover_agent_members{kind="expected"} 3
        couchdiscover_agent_members{kind="listed"} 2
        # HELP couchdiscover_agent_kubernetes_reachable 1 if a watch keeps the StatefulSet current, else 0; absent without the Kubernetes API.
        # TYPE couchdiscover_agent_kubernetes_reachable gauge
        couchdiscover_agent_kubernetes_reachable 0
        # HELP couchdiscover_agent_last_settled_timestamp_seconds Time of the last round without anything to do or to wait for, in seconds since 1970.
        # TYPE couchdiscover_agent_last_settled_timestamp_seconds gauge
        couchdiscover_agent_last_settled_timestamp_seconds 1795226040
        # HELP couchdiscover_agent_rounds Observations of CouchDB and Kubernetes.
        # TYPE couchdiscover_agent_rounds counter
        couchdiscover_agent_rounds_total 0
        # HELP couchdiscover_agent_refusals States in which a person must decide, counted when they began.
        # TYPE couchdiscover_agent_refusals counter
        couchdiscover_agent_refusals_total{reason="ForeignData"} 1
        # HELP couchdiscover_agent_steps Changes that were made or failed.
        # TYPE couchdiscover_agent_steps counter
        couchdiscover_agent_steps_total{step="Joining",outcome="done"} 1
        couchdiscover_agent_steps_total{step="Joining",outcome="failed"} 1
        # HELP couchdiscover_agent_identity_heals Parts of the cluster's identity that this node adopted.
        # TYPE couchdiscover_agent_identity_heals counter
        couchdiscover_agent_identity_heals_total 1
        # HELP couchdiscover_agent_couchdb_calls Calls to the local CouchDB and to its peers.
        # TYPE couchdiscover_agent_couchdb_calls counter
        couchdiscover_agent_couchdb_calls_total{outcome="answered"} 2
        couchdiscover_agent_couchdb_calls_total{outcome="rejected"} 1
        # EOF
        "#);
    }

    #[test]
    fn without_the_kubernetes_api_and_before_the_first_settled_round_there_are_no_samples() {
        let text = render(Page { kubernetes: KubernetesState::Off, ..page() }, Counts::default());
        for name in ["kubernetes_reachable", "last_settled_timestamp_seconds"] {
            let sample = format!("couchdiscover_agent_{name} ");
            assert!(!text.lines().any(|line| line.starts_with(&sample)), "{text}");
            assert!(text.contains(&format!("# TYPE {sample}gauge")), "{text}");
        }
    }
}
