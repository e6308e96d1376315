//! `couchdiscover-agent status`: prints the page of the agent that runs in this pod.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use contract::env;
use contract::error::chain;
use contract::status::{NodeReport, Page, StateReport};
use contract::text::{MESSAGE_LIMIT, age, one_line};
use jiff::Timestamp;
use program::exit;
use serde::Deserialize;
use serde_json::Value;

use super::program::{fail, print};
use super::verb::StatusFormat;
use crate::couch::tls::plain;

/// Prints the page. The exit code is 0 if the pod is ready, else 1, for use in scripts.
pub(super) fn print_status(vars: &dyn Fn(&str) -> Option<String>, format: StatusFormat) -> ExitCode {
    let default = SocketAddr::from((Ipv6Addr::UNSPECIFIED, contract::ports::AGENT));
    let listen = vars(env::COUCHDISCOVER_LISTEN).and_then(|value| value.parse().ok()).unwrap_or(default);
    let client = match plain() {
        Ok(client) => client,
        Err(error) => return fail(&format!("{}\n", chain(&error)), exit::FAILURE),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("failed to start: {error}\n"), exit::FAILURE),
    };
    let json = match runtime.block_on(fetch(&client, listen)) {
        Ok(json) => json,
        Err(error) => {
            let message = format!("no agent answers on port {}: {}\n", listen.port(), chain(&error));
            return fail(&message, exit::FAILURE);
        }
    };
    let page = match Page::deserialize(shown(&json)) {
        Ok(page) => page,
        Err(error) => return fail(&format!("the agent's page cannot be read: {error}\n"), exit::FAILURE),
    };
    let printed = print(&match format {
        // As served: fields that an agent of another release adds are kept.
        StatusFormat::Json => format!("{json:#}\n"),
        StatusFormat::Table => table(&page, Timestamp::now()),
    });
    if page.ready { printed } else { ExitCode::from(exit::FAILURE) }
}

/// Reads the page of the agent that runs in this pod.
pub(super) async fn fetch(client: &reqwest::Client, listen: SocketAddr) -> Result<Value, reqwest::Error> {
    let host = if listen.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    let url = format!("http://{}{}", SocketAddr::new(host, listen.port()), contract::ports::STATUS);
    client.get(url).timeout(TIMEOUT).send().await?.error_for_status()?.json().await
}

/// The value with every text and key as one line that a terminal does not obey: names and messages come from peers.
fn shown(value: &Value) -> Value {
    let line = |text: &str| one_line(text, MESSAGE_LIMIT).into_owned();
    match value {
        Value::String(text) => line(text).into(),
        Value::Array(values) => values.iter().map(shown).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (line(key), shown(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The page as text at `now`: readiness, then the step with its fix, then the facts. Pure. A field that an agent of another
/// release does not have is shown as `?` or left out.
fn table(page: &Page, now: Timestamp) -> String {
    let mut out = String::new();
    let ready = if page.ready { "ready" } else { "not ready" };
    let _ = writeln!(out, "{} is {ready}\n", known(&page.pod));
    let _ = writeln!(out, "{}{}", known(&page.step.reason), since(&page.since, now));
    write_state(&mut out, &page.step);
    // Both, because a node can be kept out of reads for another reason than its step.
    if !page.ready && page.readiness.reason != page.step.reason {
        let _ = writeln!(out, "\nnot ready: {}", known(&page.readiness.reason));
        write_state(&mut out, &page.readiness);
    }
    for condition in &page.conditions {
        let _ = writeln!(out, "\nbesides: {}", known(&condition.reason));
        write_state(&mut out, condition);
    }
    if let Some(progress) = &page.progress {
        let _ = writeln!(out, "\nprogress: {progress}");
    }
    if let Some(error) = &page.last_error {
        let _ = writeln!(out, "\nlast error: {error}");
    }
    let _ = writeln!(
        out,
        "\n{:<24} {:>5} {:>9} {:>9} {:>7}",
        "NODE", "LISTS", "CONNECTED", "DATABASES", "COPIES"
    );
    for (name, node) in &page.nodes {
        let _ = writeln!(out, "{}", row(name, node));
    }
    let (expected, kubernetes, record) = (page.expected.len(), page.kubernetes, page.record);
    let _ = writeln!(out, "\n{expected} expected, kubernetes {kubernetes}, founding record {record}");
    if let Some(admin) = &page.admin {
        let _ = writeln!(out, "admin '{}' from {}", admin.user, admin.source);
    }
    if !page.version.is_empty() {
        let _ = writeln!(out, "agent {}, {} rounds", page.version, page.rounds);
    }
    out
}

/// Writes the state, then its fix on a line of its own, then the observations behind it.
fn write_state(out: &mut String, state: &StateReport) {
    let _ = writeln!(out, "  {}", known(state.fact()));
    if let Some(fix) = &state.cure {
        let _ = writeln!(out, "  Fix: {fix}");
    }
    for (i, line) in state.evidence.iter().enumerate() {
        let title = if i == 0 { "seen:" } else { "" };
        let _ = writeln!(out, "  {title:<5} {line}");
    }
}

/// Such as `, since 3m5s ago (2026-11-21T01:54:00Z)`.
fn since(time: &str, now: Timestamp) -> String {
    if time.is_empty() {
        return String::new();
    }
    match time.parse::<Timestamp>() {
        // Never negative, even if the clock was set back.
        Ok(then) => format!(", since {} ago ({time})", age((now.as_second() - then.as_second()).max(0))),
        Err(_) => format!(", since {time}"),
    }
}

fn known(text: &str) -> &str {
    if text.is_empty() { "?" } else { text }
}

fn row(name: &str, node: &NodeReport) -> String {
    match node {
        NodeReport::Unseen { unseen } => format!("{name:<24} {unseen}"),
        NodeReport::Seen(node) => {
            // The system database with the fewest copies limits the cluster.
            let copies = node.system_database_copies.values().min().unwrap_or(&0);
            let (lists, connected) = (node.members.len(), node.connected.len());
            format!("{name:<24} {lists:>5} {connected:>9} {:>9} {copies:>7}", node.databases)
        }
    }
}

/// The agent answers from memory.
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    fn table_at(page: &Value, now: &str) -> String {
        table(&Page::deserialize(shown(page)).unwrap(), now.parse().unwrap())
    }

    #[test]
    fn a_page_becomes_a_table() {
        let waiting = json!({
            "reason": "WaitingForConnections",
            "message": "couchdb-0 is not connected to couchdb-1. Fix: compare the Erlang cookies",
            "evidence": ["couchdb-0 holds 12 databases", "couchdb-1 can't be reached"],
            "cure": "compare the Erlang cookies",
        });
        let page = json!({
            "version": "0.1.0",
            "rounds": 7,
            "pod": "couchdb-0.couchdb.default.svc.cluster.local",
            "ready": true,
            "readiness": waiting,
            "step": waiting,
            "conditions": [{ "reason": "StrangersListed", "message": "_nodes contains 'nonode@nohost'" }],
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
        assert_snapshot!(table_at(&page, "2026-11-21T01:57:05Z"), @"
        couchdb-0.couchdb.default.svc.cluster.local is ready

        WaitingForConnections, since 3m5s ago (2026-11-21T01:54:00Z)
          couchdb-0 is not connected to couchdb-1
          Fix: compare the Erlang cookies
          seen: couchdb-0 holds 12 databases
                couchdb-1 can't be reached

        besides: StrangersListed
          _nodes contains 'nonode@nohost'

        last error: 'PUT http://x' got no answer in time

        NODE                     LISTS CONNECTED DATABASES  COPIES
        couchdb-0                    2         1        12       2
        couchdb-1                unreachable

        2 expected, kubernetes current, founding record formed
        admin 'admin' from COUCHDB_USER and COUCHDB_PASSWORD
        agent 0.1.0, 7 rounds
        ");
        assert_snapshot!(table_at(&json!({}), "1970-01-01T00:00:00Z"), @"
        ? is not ready

        ?
          ?

        NODE                     LISTS CONNECTED DATABASES  COPIES

        0 expected, kubernetes unknown, founding record unknown
        ");
    }

    #[test]
    fn what_a_peer_reports_can_neither_add_a_line_nor_reach_the_terminal() {
        let forged = "\u{1b}[2J\u{9b}H\r\ndb-0 is ready";
        let state = json!({ "reason": forged, "message": forged, "evidence": [forged], "cure": forged });
        let page = json!({
            "pod": forged,
            "readiness": state,
            "step": { "reason": "Settled", "message": forged },
            "conditions": [state],
            "since": forged,
            "admin": { "user": forged, "source": forged },
            "lastError": forged,
            "progress": forged,
            "nodes": { forged: { "unseen": forged } },
        });
        let table = table_at(&page, "2026-11-21T01:57:05Z");
        assert!(!table.contains(|c: char| c.is_control() && c != '\n'), "{table:?}");
        assert!(!table.lines().any(|line| line.starts_with("db-0 is ready")), "{table}");
        assert!(table.contains(r"\u{1b}[2J"), "shown: {table}");
    }

    #[test]
    fn a_pod_that_is_not_ready_for_another_reason_than_its_step_shows_both() {
        let page = json!({
            "pod": "db-2.db.shop.svc.cluster.local",
            "ready": false,
            "readiness": { "reason": "Filling", "message": "out of reads and writes" },
            "step": { "reason": "WaitingForPeers", "message": "db-1 is not up yet" },
            "since": "2026-11-21T01:54:00Z",
            "progress": "'orders' has 1 of 9 documents here",
        });
        // A clock that was set back.
        assert_snapshot!(table_at(&page, "2026-11-21T01:53:00Z"), @"
        db-2.db.shop.svc.cluster.local is not ready

        WaitingForPeers, since 0s ago (2026-11-21T01:54:00Z)
          db-1 is not up yet

        not ready: Filling
          out of reads and writes

        progress: 'orders' has 1 of 9 documents here

        NODE                     LISTS CONNECTED DATABASES  COPIES

        0 expected, kubernetes unknown, founding record unknown
        ");
    }

    #[test]
    fn ages_are_short() {
        let ages = [0, 119, 125, 3599, 7199, 10_800, 36_000, 172_799, 180_000, 864_000].map(age);
        assert_eq!(ages, ["0s", "119s", "2m5s", "59m", "119m", "3h0m", "10h", "47h", "2d2h", "10d"]);
    }
}
