//! What a person would look at if a test fails: pods, their containers, Events, agents and logs.

use std::fmt::Write as _;

use serde_json::Value;

use crate::kubectl::Kubectl;

/// The number of log lines of each container.
const LOG_LINES: &str = "--tail=12";

/// The state of a namespace in words.
pub(crate) async fn of(kubectl: &Kubectl) -> String {
    let mut text = format!("namespace {}:\n", kubectl.namespace);
    let pods = kubectl.get(&["pods"]).await;
    for pod in pods["items"].as_array().into_iter().flatten() {
        text += &describe(pod);
    }
    let events = [
        "get",
        "events",
        "--sort-by=.lastTimestamp",
        "--output=custom-columns=:.involvedObject.name,:.reason,:.message",
    ];
    text += "events:\n";
    text += &last_lines(&output(kubectl, &events).await, 40);
    for pod in pods["items"].as_array().into_iter().flatten() {
        if is_ready(pod) {
            continue;
        }
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let _ = writeln!(text, "log of pod {name}:");
        text += &output(kubectl, &["logs", name, "--all-containers", "--prefix", LOG_LINES]).await;
    }
    text
}

/// `true` if the pod's condition `Ready` is true.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Fails unless there are exactly this many pods, all ready.
pub(crate) fn all_ready(pods: &[Value], count: usize) -> Result<(), String> {
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    (ready == count && pods.len() == count).then_some(()).ok_or_else(|| format!("{ready} pods are ready"))
}

/// A line for each container of a pod, with the reason for which it is not running or not ready.
pub(crate) fn describe(pod: &Value) -> String {
    let mut text = String::new();
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    let _ = writeln!(text, "  pod {name}: {phase}, ready: {}", is_ready(pod));
    for list in ["initContainerStatuses", "containerStatuses"] {
        for container in pod["status"][list].as_array().into_iter().flatten() {
            let _ = writeln!(
                text,
                "    container {}: image {}, ready: {}, restarts: {}, state: {}, last: {}",
                container["name"],
                container["image"],
                container["ready"],
                container["restartCount"],
                container["state"],
                container["lastState"],
            );
        }
    }
    for condition in pod["status"]["conditions"].as_array().into_iter().flatten() {
        if condition["status"] == "False"
            && let Some(message) = condition["message"].as_str()
        {
            let _ = writeln!(text, "    {}: {message}", condition["type"]);
        }
    }
    text
}

async fn output(kubectl: &Kubectl, arguments: &[&str]) -> String {
    match kubectl.try_run(arguments, "").await {
        Ok(output) => output.results,
        Err(error) => error,
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| format!("  {line}\n")).collect()
}
