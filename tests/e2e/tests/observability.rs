//! Alerts and dashboard: every metric in them is exposed, every reason and alert has a page, and kustomize renders all of them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
}

#[test]
fn every_alert_names_the_problem_a_way_out_and_its_page() {
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let text = |key: &str| alert["annotations"][key].as_str().unwrap_or_default().to_owned();
        assert!(alert["expr"].is_string() && text("summary").len() > 20, "{name}");
        assert!(
            ["info", "warning", "critical"].contains(&alert["labels"]["severity"].as_str().unwrap()),
            "{name}"
        );
        assert_eq!(text("runbook_url"), format!("https://couchdiscover.io/runbook/{name}.html"));
        assert!(page(name).is_file(), "{name}");
        let description = text("description");
        assert!(description.len() > 20, "{name}");
        // A command about pods needs their namespace.
        for command in description.split('`').skip(1).step_by(2) {
            let is_cluster_wide =
                command.contains(" -A") || command.contains(" -k ") || command.contains("--raw");
            if command.starts_with("kubectl") && !is_cluster_wide {
                assert!(command.contains(" -n "), "{name}: {command}");
            }
        }
    }
}

/// An alert on a metric that has the label `reason` passes it on: the reason is the name of the page.
#[test]
fn alerts_about_a_pods_state_have_the_reason_as_a_label() {
    for alert in alerts() {
        let expression = alert["expr"].as_str().unwrap();
        let selects =
            |metric: &str| expression.starts_with(&format!("max by (namespace, pod, reason) ({metric}"));
        if expression.contains("couchdiscover_agent_state{")
            || expression.contains("couchdiscover_agent_condition{")
        {
            assert!(
                selects("couchdiscover_agent_state") || selects("couchdiscover_agent_condition"),
                "{expression}"
            );
        }
    }
}

/// An expression about a condition selects no state, and never fires if it is written the other way.
#[test]
fn states_and_conditions_are_selected_by_their_own_metric() {
    for text in [RULES.to_owned(), DASHBOARD.replace('\\', "")] {
        for (metric, kinds) in [
            ("couchdiscover_agent_state{", ["refusal", "wait", "step"].as_slice()),
            ("couchdiscover_agent_condition{", &["condition"]),
        ] {
            for selector in text.split(metric).skip(1) {
                for reason in reasons(&format!("{{{}}}", selector.split('}').next().unwrap())) {
                    let texts = pages(&reason).into_iter().map(|page| std::fs::read_to_string(page).unwrap());
                    let of_pages: Vec<_> =
                        texts.map(|text| text.lines().nth(4).unwrap_or_default().to_owned()).collect();
                    let is_selected = |page: &String| kinds.iter().any(|kind| page.contains(kind));
                    assert!(of_pages.iter().any(is_selected), "{metric}: {reason} is {of_pages:?}");
                }
            }
        }
    }
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
fn every_reason_in_alerts_and_dashboard_has_a_page() {
    let reasons = [DASHBOARD, RULES].into_iter().flat_map(reasons).collect::<BTreeSet<_>>();
    assert!(reasons.contains("SplitCluster") && reasons.contains("Settled"), "{reasons:?}");
    for reason in reasons {
        assert!(!pages(&reason).is_empty(), "{reason}");
    }
}

#[test]
fn the_dashboard_shows_filling_moves_and_conditions() {
    for shown in ["couchdiscover_agent_condition", "Filling", "FillingStalled", "DrainingNode", "MovesPaused"]
    {
        assert!(DASHBOARD.contains(shown), "{shown}");
    }
}

#[test]
#[ignore = "needs helm and kubectl"]
fn kustomize_renders_alerts_monitors_and_the_dashboard() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/observability");
    let output = std::process::Command::new("kubectl").args(["kustomize", folder]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects = manifest::objects(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ConfigMap", "PodMonitor", "PodMonitor", "PrometheusRule"]);
    for object in &objects {
        assert_eq!(object["metadata"]["namespace"], "couchdiscover");
    }
    let dashboard: Value =
        serde_json::from_str(objects[0]["data"]["couchdiscover.json"].as_str().unwrap()).unwrap();
    assert_eq!(dashboard, serde_json::from_str::<Value>(DASHBOARD).unwrap());
    let rule: Value = serde_saphyr::from_str(PROMETHEUS_RULE).unwrap();
    assert_eq!(objects[3]["spec"], rule["spec"]);
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

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(RULES).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The page of an alert or a reason.
fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbook").join(format!("{name}.md"))
}

/// The pages of the reasons that a pattern matches: a reason, or the beginning of several with `.+`.
fn pages(pattern: &str) -> Vec<PathBuf> {
    let Some(begin) = pattern.strip_suffix(".+") else {
        return Some(page(pattern)).into_iter().filter(|page| page.is_file()).collect();
    };
    let files = std::fs::read_dir(page("README").parent().unwrap()).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(begin)).collect()
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
    let matchers = text
        .split("reason")
        .skip(1)
        .filter_map(|rest| rest.trim_start_matches(['!', '=', '~']).strip_prefix('"'));
    let values = matchers.filter_map(|rest| rest.split('"').next());
    values.flat_map(|value| value.split('|')).map(str::to_owned).collect()
}
