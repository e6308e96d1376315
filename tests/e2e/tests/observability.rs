//! Alerts and dashboard: every metric in them is exposed, and every reason in them is explained in the README.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;

use contract::ports;
use e2e::cluster::TestCluster;
use e2e::control_plane::bind_webhook;
use e2e::example::creation_review;
use e2e::manifest;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const DASHBOARD: &str = include_str!("../../../manifests/observability/dashboard.json");
const PROMETHEUS_RULE: &str = include_str!("../../../manifests/observability/prometheus-rule.yaml");
const RULES: &str = include_str!("../../../manifests/observability/rules.yml");
const README: &str = include_str!("../../../README.md");

#[tokio::test]
async fn every_metric_in_alerts_and_dashboard_is_exposed() {
    let exposed = exposed().await;
    for (file, text) in [("dashboard", DASHBOARD), ("rules", RULES)] {
        let named = named(text);
        assert!(named.len() > 8, "{file} names {named:?}");
        let unknown: Vec<_> = named.difference(&exposed).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which no program exposes");
    }
}

#[test]
fn both_files_contain_the_same_alerts() {
    let plain: Value = serde_saphyr::from_str(RULES).unwrap();
    let operators: Value = serde_saphyr::from_str(PROMETHEUS_RULE).unwrap();
    assert_eq!(plain["groups"], operators["spec"]["groups"]);
    let mut alerts = plain["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array())
        .flatten();
    // The summary contains the problem, the description the fix.
    assert!(alerts.all(|alert| {
        let texts = ["summary", "description"].map(|key| &alert["annotations"][key]);
        alert["expr"].is_string()
            && texts.iter().all(|text| text.as_str().is_some_and(|text| text.len() > 20))
    }));
}

#[test]
fn panels_of_the_dashboard_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        let [x, y, width, height] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + width <= 24, "{}", panel["title"]);
        for column in x..x + width {
            for row in y..y + height {
                assert!(taken.insert((column, row)), "{} overlaps another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn every_reason_in_alerts_and_dashboard_is_explained_in_the_readme() {
    let reasons = [DASHBOARD, RULES].into_iter().flat_map(reasons).collect::<BTreeSet<_>>();
    assert!(reasons.contains("SplitCluster") && reasons.contains("Settled"), "{reasons:?}");
    for reason in reasons {
        assert!(README.contains(&format!("`{reason}")), "{reason}");
    }
}

#[test]
fn every_scraped_port_exists() {
    let monitors =
        manifest::objects(include_str!("../../../manifests/observability/pod-monitor.yaml")).unwrap();
    let port =
        |index: usize| monitors[index]["spec"]["podMetricsEndpoints"][0]["port"].as_str().unwrap().to_owned();
    assert_eq!(port(0), ports::AGENT_PORT_NAME);
    let deployment = include_str!("../../../manifests/base/deployment.yaml");
    assert!(deployment.contains(&format!("- name: {}\n", port(1))));
}

/// The names of all samples of the agent and the webhook.
async fn exposed() -> BTreeSet<String> {
    let mut cluster = TestCluster::with_nodes(1);
    cluster.start_agent(0).await;
    cluster.until_formed().await;
    let agent = cluster.metrics(0).await;
    let bound = bind_webhook(&[]).await.unwrap();
    let url = format!("http://{}{}", bound.probes(), ports::METRICS);
    let mutate = format!("https://{}{}", bound.https(), ports::MUTATE);
    let authority = reqwest::Certificate::from_pem(bound.ca_bundle().unwrap().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(bound.serve(stop.clone()));
    // A counter is exposed only after its first event: here one review, and one invalid request.
    for (body, code) in [(creation_review(), 200), (json!({}), 400)] {
        assert_eq!(client.post(&mutate).json(&body).send().await.unwrap().status(), code);
    }
    let webhook = reqwest::get(url).await.unwrap().text().await.unwrap();
    stop.cancel();
    serving.await.unwrap().unwrap();
    let families = |text: &str| -> Vec<String> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        types.flat_map(|(name, kind)| samples(name, kind)).collect()
    };
    families(&agent).into_iter().chain(families(&webhook)).collect()
}

/// The names of a family's samples.
fn samples(family: &str, kind: &str) -> Vec<String> {
    let ends: &[&str] = match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_count", "_sum"],
        "info" => &["_info"],
        other => panic!("{family} has the unknown type {other}"),
    };
    ends.iter().map(|end| format!("{family}{end}")).collect()
}

/// All words with the prefix of the agent's or the webhook's metrics.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let prefixes = ["couchdiscover_agent_", "couchdiscover_webhook_"];
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

/// The values of every `reason="A"` and `reason=~"A|B"`; of a pattern such as `A.+`, the fixed prefix.
fn reasons(text: &str) -> BTreeSet<String> {
    let text = text.replace('\\', "");
    let matchers =
        text.split("reason=").skip(1).filter_map(|rest| rest.trim_start_matches('~').strip_prefix('"'));
    let values = matchers.filter_map(|rest| rest.split('"').next());
    values.flat_map(|value| value.split('|')).map(|word| word.trim_end_matches(".+").to_owned()).collect()
}
