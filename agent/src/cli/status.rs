//! `couchdiscover-agent status`: asks the agent that runs in this pod, and prints what it shows for a person.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// Asks the agent that listens on `listen` for its page.
pub(super) async fn page(client: &reqwest::Client, listen: SocketAddr) -> Result<Value, reqwest::Error> {
    let host = if listen.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    let url = format!("http://{}{}", SocketAddr::new(host, listen.port()), contract::ports::STATUS);
    client.get(url).timeout(PATIENCE).send().await?.error_for_status()?.json().await
}

/// The page as a person reads it at `now`: first whether all is well, then what to do, then what was seen. Pure; a field
/// that an agent of another version doesn't have is left out.
pub(super) fn table(page: &Value, now: Timestamp) -> String {
    let mut out = String::new();
    let ready = if page["ready"] == true { "ready" } else { "not ready" };
    let _ = writeln!(out, "{} is {ready}\n", text(&page["pod"]));
    let (step, readiness) = (&page["step"], &page["readiness"]);
    let _ = writeln!(out, "{}{}", text(&step["reason"]), since(&page["since"], now));
    tell(&mut out, step);
    if page["ready"] != true && readiness["reason"] != step["reason"] {
        let _ = writeln!(out, "\nnot ready: {}", text(&readiness["reason"]));
        tell(&mut out, readiness);
    }
    for (title, value) in [("progress", &page["progress"]), ("last error", &page["lastError"])] {
        if let Some(value) = value.as_str() {
            let _ = writeln!(out, "\n{title}: {value}");
        }
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
    if let (Some(user), Some(source)) = (page["admin"]["user"].as_str(), page["admin"]["source"].as_str()) {
        let _ = writeln!(out, "admin '{user}' from {source}");
    }
    if let Some(version) = page["version"].as_str() {
        let _ = writeln!(out, "agent {version}, {} rounds", page["rounds"].as_u64().unwrap_or_default());
    }
    out
}

/// What is so, then what to do on a line of its own, then what it stands on.
fn tell(out: &mut String, said: &Value) {
    let cure = said["cure"].as_str();
    let message = text(&said["message"]);
    let fact = cure.and_then(|cure| message.strip_suffix(cure)).map(|fact| fact.trim_end_matches(['.', ' ']));
    let _ = writeln!(out, "  {}", fact.unwrap_or(&message));
    if let Some(cure) = cure {
        let _ = writeln!(out, "  cure: {cure}");
    }
    for (i, line) in said["evidence"].as_array().into_iter().flatten().enumerate() {
        let title = if i == 0 { "seen:" } else { "" };
        let _ = writeln!(out, "  {title:<5} {}", text(line));
    }
}

/// `, 3m ago (2026-11-21T01:54:00Z)`
fn since(time: &Value, now: Timestamp) -> String {
    let Some(time) = time.as_str() else { return String::new() };
    match time.parse::<Timestamp>() {
        Ok(then) => format!(", since {} ago ({time})", age((now.as_second() - then.as_second()).max(0))),
        Err(_) => format!(", since {time}"),
    }
}

/// As `kubectl` shows ages: the two largest units while the first one is small, else one.
fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0..2) => format!("{seconds}s"),
        (0, 0, 2..10) => format!("{minutes}m{}s", seconds % 60),
        (0, 0..3, _) => format!("{minutes}m"),
        (0, 3..10, _) => format!("{hours}h{}m", minutes % 60),
        (0..2, _, _) => format!("{hours}h"),
        (2..10, _, _) => format!("{days}d{}h", hours % 24),
        (_, _, _) => format!("{days}d"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
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
        let waiting = json!({
            "reason": "WaitingForConnections",
            "message": "couchdb-0 isn't connected to couchdb-1. If it lasts: is the Erlang cookie the same everywhere?",
            "evidence": ["couchdb-0 holds 12 databases", "couchdb-1 can't be reached"],
            "cure": "If it lasts: is the Erlang cookie the same everywhere?",
        });
        let page = json!({
            "version": "0.1.0",
            "rounds": 7,
            "pod": "couchdb-0.couchdb.default.svc.cluster.local",
            "ready": true,
            "readiness": waiting,
            "step": waiting,
            "since": "2026-11-21T01:54:00Z",
            "expected": ["couchdb-0", "couchdb-1"],
            "kubernetes": "current",
            "record": "formed",
            "admin": { "user": "admin", "source": "COUCHDB_USER and COUCHDB_PASSWORD" },
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
        assert_snapshot!(table(&page, "2026-11-21T01:57:05Z".parse().unwrap()), @"
        couchdb-0.couchdb.default.svc.cluster.local is ready

        WaitingForConnections, since 3m5s ago (2026-11-21T01:54:00Z)
          couchdb-0 isn't connected to couchdb-1
          cure: If it lasts: is the Erlang cookie the same everywhere?
          seen: couchdb-0 holds 12 databases
                couchdb-1 can't be reached

        last error: 'PUT http://x' got no answer in time

        NODE                     LISTS CONNECTED DATABASES  COPIES
        couchdb-0                    2         1        12       2
        couchdb-1                unreachable

        2 expected, kubernetes current, founding record formed
        admin 'admin' from COUCHDB_USER and COUCHDB_PASSWORD
        agent 0.1.0, 7 rounds
        ");
        assert_snapshot!(table(&json!({}), Timestamp::UNIX_EPOCH), @"
        ? is not ready

        ?
          ?

        NODE                     LISTS CONNECTED DATABASES  COPIES

        0 expected, kubernetes ?, founding record ?
        ");
    }

    #[test]
    fn a_pod_that_is_not_ready_for_another_reason_than_its_step_says_both() {
        let page = json!({
            "pod": "db-2.db.shop.svc.cluster.local",
            "ready": false,
            "readiness": { "reason": "Filling", "message": "out of reads and writes" },
            "step": { "reason": "WaitingForPeers", "message": "db-1 is not up yet" },
            "since": "2026-11-21T01:54:00Z",
            "progress": "'orders' has 1 of 9 documents here",
        });
        // A clock that was set back.
        assert_snapshot!(table(&page, "2026-11-21T01:53:00Z".parse().unwrap()), @"
        db-2.db.shop.svc.cluster.local is not ready

        WaitingForPeers, since 0s ago (2026-11-21T01:54:00Z)
          db-1 is not up yet

        not ready: Filling
          out of reads and writes

        progress: 'orders' has 1 of 9 documents here

        NODE                     LISTS CONNECTED DATABASES  COPIES

        0 expected, kubernetes ?, founding record ?
        ");
    }

    #[test]
    fn ages_are_short() {
        let ages = [0, 119, 125, 3599, 7199, 10_800, 36_000, 172_799, 180_000, 864_000].map(age);
        assert_eq!(ages, ["0s", "119s", "2m5s", "59m", "119m", "3h0m", "10h", "47h", "2d2h", "10d"]);
    }
}
