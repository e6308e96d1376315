//! `couchdiscover-agent status`: asks the agent that runs in this pod, and prints what it shows for a person.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

/// Asks the agent that listens on `listen` for its page.
pub async fn page(client: &reqwest::Client, listen: SocketAddr) -> Result<Value, reqwest::Error> {
    let host = if listen.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    let url = format!("http://{}{}", SocketAddr::new(host, listen.port()), contract::ports::STATUS);
    client.get(url).timeout(PATIENCE).send().await?.error_for_status()?.json().await
}

/// The page as a person reads it. Pure; a field that an agent of another version doesn't have is left out.
pub fn table(page: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let ready = if page["ready"] == true { "ready" } else { "not ready" };
    let mut out = String::new();
    let _ = writeln!(out, "{}: {ready}", text(&page["pod"]));
    let step = &page["step"];
    let _ =
        writeln!(out, "{} since {}: {}", text(&step["reason"]), text(&page["since"]), text(&step["message"]));
    if page["ready"] != true && page["readiness"] != *step {
        let _ = writeln!(out, "not ready: {}", text(&page["readiness"]["message"]));
    }
    if let Some(error) = page["lastError"].as_str() {
        let _ = writeln!(out, "last error: {error}");
    }
    let _ = writeln!(
        out,
        "\n{:<24} {:>5} {:>9} {:>9} {:>7}",
        "NODE", "LISTS", "CONNECTED", "DATABASES", "COPIES"
    );
    for (name, node) in page["nodes"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "{}", row(name, node));
    }
    let expected = page["expected"].as_array().map_or(0, Vec::len);
    let _ = writeln!(
        out,
        "\n{expected} expected, kubernetes {}, founding record {}",
        text(&page["kubernetes"]),
        text(&page["record"])
    );
    out
}

fn row(name: &str, node: &Value) -> String {
    if let Some(unseen) = node["unseen"].as_str() {
        return format!("{name:<24} {unseen}");
    }
    let count = |list: &Value| list.as_array().map_or(0, Vec::len);
    let copies = node["systemDatabaseCopies"].as_object();
    let copies = copies.and_then(|copies| copies.values().filter_map(Value::as_u64).min()).unwrap_or(0);
    let (lists, connected) = (count(&node["members"]), count(&node["connected"]));
    format!("{name:<24} {lists:>5} {connected:>9} {:>9} {copies:>7}", node["databases"].as_u64().unwrap_or(0))
}

/// It answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_becomes_a_table() {
        let waiting = json!({ "reason": "WaitingForPeers", "message": "couchdb-1 can't be reached" });
        let page = json!({
            "pod": "couchdb-0.couchdb.default.svc.cluster.local",
            "ready": true,
            "readiness": waiting,
            "step": waiting,
            "since": "2026-11-21T01:54:00Z",
            "expected": ["couchdb-0", "couchdb-1"],
            "kubernetes": "current",
            "record": "formed",
            "lastError": "'PUT http://x' got no answer in time",
            "nodes": {
                "couchdb-0": {
                    "members": ["couchdb-0", "couchdb-1"],
                    "connected": ["couchdb-0"],
                    "databases": 12,
                    "systemDatabaseCopies": { "_replicator": 2, "_users": 2 },
                },
                "couchdb-1": { "unseen": "unreachable" },
            },
        });
        assert_snapshot!(table(&page), @"
        couchdb-0.couchdb.default.svc.cluster.local: ready
        WaitingForPeers since 2026-11-21T01:54:00Z: couchdb-1 can't be reached
        last error: 'PUT http://x' got no answer in time

        NODE                     LISTS CONNECTED DATABASES  COPIES
        couchdb-0                    2         1        12       2
        couchdb-1                unreachable

        2 expected, kubernetes current, founding record formed
        ");
        assert_snapshot!(table(&json!({})), @"
        ?: not ready
        ? since ?: ?

        NODE                     LISTS CONNECTED DATABASES  COPIES

        0 expected, kubernetes ?, founding record ?
        ");
    }
}
