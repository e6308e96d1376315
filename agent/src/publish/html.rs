//! The page for people at `/`: one HTML document without scripts and without anything from elsewhere. Pure.
//!
//! Peers and CouchDB have a part in every text, so each is cut, shown on one line and escaped, and the number of rows is
//! limited. No meaning is carried by colour alone.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};

use contract::moves::{Moves, Task};
use contract::status::{NodeReport, Page, SeenNode, StateReport};
use contract::text::{MESSAGE_LIMIT, age, one_line};
use jiff::Timestamp;

/// Renders a page at `now` as HTML. A field that the page does not have is shown as `?` or left out.
pub fn render(page: &Page, now: Timestamp) -> String {
    let mut out = Html(String::with_capacity(16 * 1024));
    let name = pod_name(page);
    let (word, mark) = if page.ready { ("ready", "\u{2713}") } else { ("not ready", "\u{2717}") };
    let class = if page.ready { "good" } else { "bad" };
    out.add(format_args!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{name} is {word}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_SECONDS}\">\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{name} <span class=\"badge {class}\">{mark} {word}</span></h1>\n<p>{pod}</p>\n</header>\n<main>\n",
        name = text(name),
        pod = text(known(&page.pod)),
    ));
    out.states(page, now);
    out.work(page);
    out.nodes(page);
    out.connections(page);
    out.copies(page);
    out.footer(page);
    out.0
}

/// The document so far.
struct Html(String);

impl Html {
    fn add(&mut self, part: fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.0.write_fmt(part);
    }

    /// The step, the reason why the pod is not ready, and the conditions.
    fn states(&mut self, page: &Page, now: Timestamp) {
        let kind = if page.step.cure.is_some() { Kind::Problem } else { Kind::Work };
        self.state("Now", &page.step, &since(&page.since, now), kind);
        // Both, because a node can be kept out of reads for another reason than its step.
        if !page.ready && page.readiness.reason != page.step.reason {
            self.state("Not ready", &page.readiness, "", Kind::Problem);
        }
        for condition in page.conditions.iter().take(MOST_CONDITIONS) {
            self.state("Condition", condition, "", Kind::Problem);
        }
        self.rest(page.conditions.len(), MOST_CONDITIONS, "conditions");
        if let Some(error) = &page.last_error {
            let error = text(error);
            self.add(format_args!(
                "<section class=\"state problem\">\n<h2>Last error</h2>\n<p>{error}</p>\n</section>\n"
            ));
        }
    }

    fn state(&mut self, title: &str, state: &StateReport, since: &str, kind: Kind) {
        let (reason, fact, class) = (text(known(&state.reason)), text(known(state.fact())), kind.class());
        self.add(format_args!(
            "<section class=\"state {class}\">\n<h2>{title}: {reason}</h2>\n<p>{fact}{}</p>\n",
            text(since)
        ));
        if let Some(fix) = &state.cure {
            let fix = text(fix);
            self.add(format_args!("<p class=\"fix\"><strong>Fix:</strong> <code>{fix}</code></p>\n"));
        }
        if !state.evidence.is_empty() {
            self.add(format_args!("<details open>\n<summary>Seen</summary>\n<ul>\n"));
            for line in state.evidence.iter().take(MOST_EVIDENCE) {
                self.add(format_args!("<li>{}</li>\n", text(line)));
            }
            self.add(format_args!("</ul>\n</details>\n"));
            self.rest(state.evidence.len(), MOST_EVIDENCE, "observations");
        }
        if matches!(kind, Kind::Problem) {
            self.add(format_args!(
                "<p class=\"more\">More: <code>couchdiscover explain {reason}</code></p>\n"
            ));
        }
        self.add(format_args!("</section>\n"));
    }

    /// Progress and moves.
    fn work(&mut self, page: &Page) {
        if page.progress.is_none() && page.moves.is_none() {
            return;
        }
        self.add(format_args!("<section>\n<h2>Progress</h2>\n"));
        if let Some(progress) = &page.progress {
            self.add(format_args!("<p>{}</p>\n", text(progress)));
        }
        if let Some(moves) = &page.moves {
            self.moves(moves);
        }
        self.add(format_args!("</section>\n"));
    }

    fn moves(&mut self, moves: &Moves) {
        let Moves { task, pod, copies, done, bytes_left, seconds_left, paused } = moves;
        let task = match task {
            Task::Drain => "Draining",
            Task::Rebalance => "Rebalancing",
            Task::Copies => "Raising the number of copies",
            Task::Unknown => "Moving copies",
        };
        let pod = pod.as_deref().unwrap_or_default();
        self.add(format_args!("<p><label for=\"moves\">{task} {}: {done} of {copies} copies", text(pod)));
        if *bytes_left > 0 {
            self.add(format_args!(", {} left", Bytes(*bytes_left)));
        }
        if let Some(seconds) = seconds_left {
            self.add(format_args!(", about {}", age(i64::try_from(*seconds).unwrap_or(i64::MAX))));
        }
        // The element is invalid with a maximum of 0.
        let most = (*copies).max(1);
        self.add(format_args!(
            "</label><br><progress id=\"moves\" max=\"{most}\" value=\"{}\">{done} of {copies}</progress></p>\n",
            done.min(&most)
        ));
        if let Some(reason) = paused {
            self.add(format_args!("<p class=\"paused\"><strong>Paused:</strong> {}</p>\n", text(reason)));
        }
    }

    /// Each node as it was seen in the last round.
    fn nodes(&mut self, page: &Page) {
        let headings = ["Node", "State", "Member", "Connected", "Databases", "CouchDB"];
        self.table("nodes", &format!("Nodes, as {} sees them", pod_name(page)), &headings);
        let own = seen(page, pod_name(page));
        let names: BTreeSet<&String> = page.nodes.keys().chain(&page.expected).collect();
        for name in names.iter().take(MOST_NODES) {
            let (state, class) = node_state(page.nodes.get(*name));
            let [member, connected] = [own.map(|own| &own.members), own.map(|own| &own.connected)]
                .map(|names| names.map_or("?", |names| yes(names.contains(name))));
            let (databases, release) = match page.nodes.get(*name) {
                Some(NodeReport::Seen(node)) => {
                    (node.databases.to_string(), node.release.as_deref().unwrap_or("?"))
                }
                Some(NodeReport::Unseen { .. }) | None => ("?".to_owned(), "?"),
            };
            self.add(format_args!(
                "<tr><th scope=\"row\">{}</th><td class=\"{class}\">{}</td><td>{member}</td><td>{connected}</td>\
                 <td>{databases}</td><td>{}</td></tr>\n",
                text(name),
                text(&state),
                text(release)
            ));
        }
        self.end_table();
        self.rest(names.len(), MOST_NODES, "nodes");
        let strangers = own.map(|own| (&own.strangers, own.more_strangers));
        if let Some((names, more)) = strangers.filter(|(names, _)| !names.is_empty()) {
            let listed: Vec<String> = names.iter().take(MOST_STRANGERS).map(|name| text(name)).collect();
            let more = more.saturating_add(names.len().saturating_sub(MOST_STRANGERS) as u64);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            self.add(format_args!("<p>Listed in _nodes, and no pod: {}{more}</p>\n", listed.join(", ")));
        }
    }

    /// The connections of each node, a row for the node that reports and a column for its peer.
    fn connections(&mut self, page: &Page) {
        let names: Vec<&String> = page.nodes.keys().collect();
        // Of a cluster this large the table of nodes is shown only: the matrix grows with the square.
        if names.is_empty() || names.len() > MOST_IN_MATRIX {
            return;
        }
        let mut headings = vec!["Node"];
        headings.extend(names.iter().map(|name| name.as_str()));
        self.table("connections", "Connections: each row is what that node reports", &headings);
        for (name, report) in &page.nodes {
            self.add(format_args!("<tr><th scope=\"row\">{}</th>", text(name)));
            for peer in &names {
                let (word, class) = connection(name, report, peer);
                self.add(format_args!("<td class=\"{class}\">{word}</td>"));
            }
            self.add(format_args!("</tr>\n"));
        }
        self.end_table();
    }

    /// The copies of the system databases, a row for each node that reports.
    fn copies(&mut self, page: &Page) {
        let seen = page.nodes.values().filter_map(seen_node);
        let databases: BTreeSet<&String> = seen.flat_map(|node| node.system_database_copies.keys()).collect();
        let databases: Vec<&String> = databases.into_iter().take(MOST_DATABASES).collect();
        if databases.is_empty() {
            return;
        }
        let mut headings = vec!["Node"];
        headings.extend(databases.iter().map(|database| database.as_str()));
        let caption = "Copies of the system databases, as the shard maps of each node list them; of the range with the fewest";
        self.table("copies", caption, &headings);
        let nodes = page.nodes.iter().filter_map(|(name, report)| Some((name, seen_node(report)?)));
        for (name, node) in nodes.take(MOST_NODES) {
            self.add(format_args!("<tr><th scope=\"row\">{}</th>", text(name)));
            for database in &databases {
                match node.system_database_copies.get(*database) {
                    Some(copies) => self.add(format_args!("<td>{copies}</td>")),
                    None => self.add(format_args!("<td class=\"bad\">missing</td>")),
                }
            }
            self.add(format_args!("</tr>\n"));
        }
        self.end_table();
    }

    fn table(&mut self, id: &str, caption: &str, headings: &[&str]) {
        let caption = text(caption);
        // Wider than a small screen: the region scrolls, also by the keyboard.
        self.add(format_args!(
            "<div class=\"scroll\" role=\"region\" aria-labelledby=\"{id}\" tabindex=\"0\">\n<table>\n\
             <caption id=\"{id}\">{caption}</caption>\n<thead><tr>"
        ));
        for heading in headings {
            self.add(format_args!("<th scope=\"col\">{}</th>", text(heading)));
        }
        self.add(format_args!("</tr></thead>\n<tbody>\n"));
    }

    fn end_table(&mut self) {
        self.add(format_args!("</tbody>\n</table>\n</div>\n"));
    }

    /// A line about what is not shown.
    fn rest(&mut self, count: usize, shown: usize, kind: &str) {
        if count > shown {
            self.add(format_args!("<p>{} more {kind} are not shown</p>\n", count - shown));
        }
    }

    fn footer(&mut self, page: &Page) {
        let Page { kubernetes, record, version, rounds, expected, .. } = page;
        self.add(format_args!(
            "</main>\n<footer>\n<p>{} nodes expected, Kubernetes API {kubernetes}, founding record {record}</p>\n",
            expected.len()
        ));
        if let Some(admin) = &page.admin {
            self.add(format_args!("<p>Admin '{}' from {}</p>\n", text(&admin.user), text(&admin.source)));
        }
        // Relative, because the API server's proxy serves the page below a path of its own.
        self.add(format_args!(
            "<p>Agent {}, {rounds} rounds. The page refreshes itself every {REFRESH_SECONDS} s. <a href=\"status\">JSON</a> \
             <a href=\"metrics\">Metrics</a></p>\n</footer>\n</body>\n</html>\n",
            text(known(version))
        ));
    }
}

/// The emphasis of a state.
#[derive(Clone, Copy)]
enum Kind {
    /// It asks for a person.
    Problem,
    /// It goes on by itself.
    Work,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Work => "work",
        }
    }
}

/// The first label of the pod's DNS name.
fn pod_name(page: &Page) -> &str {
    known(page.pod.split('.').next().unwrap_or_default())
}

fn seen<'a>(page: &'a Page, name: &str) -> Option<&'a SeenNode> {
    page.nodes.get(name).and_then(seen_node)
}

fn seen_node(report: &NodeReport) -> Option<&SeenNode> {
    match report {
        NodeReport::Seen(node) => Some(node),
        NodeReport::Unseen { .. } => None,
    }
}

fn node_state(report: Option<&NodeReport>) -> (String, &'static str) {
    match report {
        Some(NodeReport::Seen(_)) => ("answers".to_owned(), "good"),
        Some(NodeReport::Unseen { unseen }) => (format!("does not answer: {unseen}"), "bad"),
        None => ("not looked at".to_owned(), "bad"),
    }
}

/// The connection from a node to a peer, as the node reports it.
fn connection(name: &str, report: &NodeReport, peer: &str) -> (&'static str, &'static str) {
    let Some(node) = seen_node(report) else { return ("?", "bad") };
    let is_in = |names: &[String]| names.iter().any(|name| name == peer);
    match (is_in(&node.connected), is_in(&node.members)) {
        _ if name == peer => ("itself", ""),
        (true, true) => ("connected", "good"),
        (true, false) => ("connected, not listed", "bad"),
        (false, true) => ("listed, not connected", "bad"),
        (false, false) => ("not listed", "bad"),
    }
}

fn yes(is_true: bool) -> &'static str {
    if is_true { "yes" } else { "no" }
}

fn known(text: &str) -> &str {
    if text.is_empty() { "?" } else { text }
}

/// Such as ` (for 3m5s)`.
fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        // Never negative, even if the clock was set back.
        Ok(then) => format!(" (for {})", age((now.as_second() - then.as_second()).max(0))),
        Err(_) => String::new(),
    }
}

/// A number of bytes with a binary unit.
struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let (mut scaled, mut unit) = (self.0, 0);
        while scaled >= 10 * 1024 && unit + 1 < UNITS.len() {
            (scaled, unit) = (scaled / 1024, unit + 1);
        }
        write!(f, "{scaled} {}", UNITS[unit])
    }
}

/// A text as one line for an element or an attribute in quotes.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in one_line(text, MESSAGE_LIMIT).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// About as often as the state of a settled cluster is looked at.
const REFRESH_SECONDS: u32 = 10;
/// Nodes in a table. Larger clusters are cut: the page is rendered for every caller.
const MOST_NODES: usize = 64;
/// Nodes in the matrix of connections.
const MOST_IN_MATRIX: usize = 12;
const MOST_CONDITIONS: usize = 16;
const MOST_EVIDENCE: usize = 16;
const MOST_DATABASES: usize = 8;
const MOST_STRANGERS: usize = 16;

/// Contrasts are at least 4.5 to 1 in both schemes.
const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1b1f24;--back:#fff;--soft:#57606a;--line:#d0d7de;--good:#116329;--bad:#a40e26;--note:#f6f8fa}\
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--back:#0d1117;--soft:#9198a1;--line:#3d444d;--good:#56d364;--bad:#ff8182;--note:#161b22}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);margin:0 auto;max-width:64rem;padding:1rem}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:0 0 .25rem}header p,footer,.more{color:var(--soft)}p{margin:.25rem 0}\
header p,p,li,code{overflow-wrap:anywhere}\
.badge{border:2px solid;border-radius:1rem;padding:0 .6rem;font-size:1rem;white-space:nowrap}.good{color:var(--good)}.bad{color:var(--bad)}\
section{border:1px solid var(--line);border-radius:.4rem;padding:.75rem;margin:1rem 0}.problem{border-left:.4rem solid var(--bad)}\
.work{border-left:.4rem solid var(--good)}code{background:var(--note);padding:.1rem .25rem;font-size:.9rem}\
ul{margin:.25rem 0;padding-left:1.25rem}progress{width:100%}.scroll{overflow-x:auto;margin:1rem 0}\
table{border-collapse:collapse;width:100%}caption{text-align:left;font-weight:bold;padding:.25rem 0}\
th,td{border:1px solid var(--line);padding:.25rem .5rem;text-align:left}thead th{background:var(--note)}tbody th{white-space:nowrap}\
a{color:inherit}footer{border-top:1px solid var(--line);margin-top:1rem}";

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::{Value, from_value, json};

    use super::*;

    fn rendered(page: &Value) -> String {
        render(&from_value(page.clone()).unwrap(), "2026-11-21T01:57:05Z".parse().unwrap())
    }

    /// The text of a document without its head and its tags, empty lines left out.
    fn words(html: &str) -> String {
        let body = html.split_once("<body>").unwrap().1;
        let spaced = body.replace("</th>", " | ").replace("</td>", " | ");
        let mut parts = spaced.split('<');
        let mut words = parts.next().unwrap_or_default().to_owned();
        words.extend(parts.filter_map(|part| part.split_once('>')).map(|(_, after)| after));
        let lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn node(members: &[&str], connected: &[&str]) -> Value {
        json!({
            "members": members, "connected": connected, "databases": 12, "release": "3.5",
            "systemDatabaseCopies": { "_replicator": 2, "_users": 2 },
        })
    }

    fn recorded() -> Value {
        let two = ["couchdb-0", "couchdb-1"];
        let waiting = json!({
            "reason": "WaitingForConnections",
            "message": "couchdb-0 is not connected to couchdb-2. Fix: compare the Erlang cookies",
            "evidence": ["couchdb-0 holds 12 databases", "couchdb-2 does not answer"],
            "cure": "compare the Erlang cookies",
        });
        let mut own = node(&["couchdb-0", "couchdb-1", "couchdb-2"], &two);
        own["strangers"] = json!(["nonode@nohost"]);
        json!({
            "version": "0.1.0", "rounds": 7, "ready": false, "since": "2026-11-21T01:54:00Z",
            "pod": "couchdb-0.couchdb.shop.svc.cluster.local",
            "step": waiting,
            "readiness": { "reason": "Filling", "message": "couchdb-0 is filled" },
            "conditions": [{
                "reason": "StrangersListed", "message": "_nodes lists 'nonode@nohost'. Fix: remove it", "cure": "remove it",
            }],
            "expected": ["couchdb-0", "couchdb-1", "couchdb-2"],
            "kubernetes": "current", "record": "formed",
            "admin": { "user": "admin", "source": "COUCHDB_USER" },
            "progress": "'orders': 10 of 20 documents",
            "moves": {
                "task": "drain", "pod": "couchdb-3", "copies": 40, "done": 12, "bytesLeft": 3_435_973_836_u64,
                "secondsLeft": 260, "paused": "couchdb-2 is not ready",
            },
            "lastError": "'PUT http://x' got no answer in time",
            "nodes": { "couchdb-0": own, "couchdb-1": node(&two, &two), "couchdb-2": { "unseen": "unreachable" } },
        })
    }

    #[test]
    fn a_recorded_status_becomes_a_page() {
        let html = rendered(&recorded());
        assert_snapshot!(words(&html), @r"
        couchdb-0 ✗ not ready
        couchdb-0.couchdb.shop.svc.cluster.local
        Now: WaitingForConnections
        couchdb-0 is not connected to couchdb-2 (for 3m5s)
        Fix: compare the Erlang cookies
        Seen
        couchdb-0 holds 12 databases
        couchdb-2 does not answer
        More: couchdiscover explain WaitingForConnections
        Not ready: Filling
        couchdb-0 is filled
        More: couchdiscover explain Filling
        Condition: StrangersListed
        _nodes lists &#39;nonode@nohost&#39;
        Fix: remove it
        More: couchdiscover explain StrangersListed
        Last error
        &#39;PUT http://x&#39; got no answer in time
        Progress
        &#39;orders&#39;: 10 of 20 documents
        Draining couchdb-3: 12 of 40 copies, 3276 MiB left, about 4m20s12 of 40
        Paused: couchdb-2 is not ready
        Nodes, as couchdb-0 sees them
        Node | State | Member | Connected | Databases | CouchDB |
        couchdb-0 | answers | yes | yes | 12 | 3.5 |
        couchdb-1 | answers | yes | yes | 12 | 3.5 |
        couchdb-2 | does not answer: unreachable | yes | no | ? | ? |
        Listed in _nodes, and no pod: nonode@nohost
        Connections: each row is what that node reports
        Node | couchdb-0 | couchdb-1 | couchdb-2 |
        couchdb-0 | itself | connected | listed, not connected |
        couchdb-1 | connected | itself | not listed |
        couchdb-2 | ? | ? | ? |
        Copies of the system databases, as the shard maps of each node list them; of the range with the fewest
        Node | _replicator | _users |
        couchdb-0 | 2 | 2 |
        couchdb-1 | 2 | 2 |
        3 nodes expected, Kubernetes API current, founding record formed
        Admin 'admin' from COUCHDB_USER
        Agent 0.1.0, 7 rounds. The page refreshes itself every 10 s. JSON Metrics
        ");
        assert!(html.contains("<progress id=\"moves\" max=\"40\" value=\"12\">"), "{html}");
        assert!(html.contains("<html lang=\"en\">") && html.contains("prefers-color-scheme:dark"), "{html}");
        assert!(html.contains("<title>couchdb-0 is not ready</title>"), "{html}");
    }

    #[test]
    fn a_page_of_another_release_is_shown_as_far_as_it_goes() {
        let html = words(&rendered(&json!({})));
        assert!(html.starts_with("? \u{2717} not ready\n?\nNow: ?\n?\n"), "{html}");
    }

    #[test]
    fn what_a_peer_reports_adds_no_element_no_attribute_and_no_line() {
        let forged = "\"'><script>alert(1)</script>&amp;\u{1b}[2J\u{202e}\n<b onload=x>";
        let state = json!({ "reason": forged, "message": forged, "evidence": [forged], "cure": forged });
        let mut page = recorded();
        for field in ["pod", "version", "since", "lastError", "progress"] {
            page[field] = json!(forged);
        }
        for field in ["step", "readiness"] {
            page[field] = state.clone();
        }
        page["conditions"] = json!([state]);
        page["admin"] = json!({ "user": forged, "source": forged });
        page["moves"]["pod"] = json!(forged);
        page["moves"]["paused"] = json!(forged);
        let mut own = node(&[forged], &[forged]);
        own["strangers"] = json!([forged]);
        own["release"] = json!(forged);
        own["systemDatabaseCopies"] = json!({ forged: 1 });
        page["nodes"] = json!({ forged: own, "other": { "unseen": forged } });
        page["expected"] = json!([forged]);
        let html = rendered(&page);
        for part in ["<script", "<b ", "\"'>", "\u{1b}", "\u{202e}"] {
            assert!(!html.contains(part), "{part}: {html}");
        }
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;"), "shown: {html}");
        // The tags are those of an honest page.
        let tags = |html: &str| -> BTreeSet<String> {
            html.split('<')
                .skip(1)
                .filter_map(|tag| tag.split(['>', ' ']).next())
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(tags(&html), tags(&rendered(&recorded())));
    }

    #[test]
    fn the_page_of_the_largest_status_is_bounded() {
        let long = "\u{1}".repeat(10_000);
        let state = json!({ "reason": long, "message": long, "evidence": vec![&long; 100], "cure": long });
        let many: Vec<String> = (0..2000).map(|index| format!("couchdb-{index}")).collect();
        let names: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut page = recorded();
        page["conditions"] = json!(vec![&state; 100]);
        page["step"] = state;
        page["nodes"] = many.iter().map(|name| (name.clone(), node(&names, &names))).collect();
        page["expected"] = json!(many);
        let html = rendered(&page);
        assert!(html.len() < 512 * 1024, "{}", html.len());
        assert!(
            html.contains("1936 more nodes are not shown") && html.contains("84 more conditions"),
            "shown"
        );
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_every_header_has_a_scope() {
        let html = rendered(&recorded());
        for part in
            ["http-equiv=\"refresh\" content=\"10\"", "<caption id=", "scope=\"row\"", "scope=\"col\""]
        {
            assert!(html.contains(part), "{part}");
        }
        for part in ["src=", "<link", "url(", "@import", "<script", "href=\"http", "href=\"/"] {
            assert!(!html.contains(part), "{part}");
        }
        assert_eq!(
            html.matches("<th").count(),
            html.matches("<th scope=").count() + html.matches("<thead").count()
        );
    }

    /// The ratio of the luminances of two colours such as `#1b1f24`, as WCAG 2 defines it.
    fn contrast(one: &str, other: &str) -> f64 {
        let luminance = |colour: &str| {
            let digits = colour.trim_start_matches('#');
            let wide: String = match digits.len() {
                3 => digits.chars().flat_map(|digit| [digit, digit]).collect(),
                _ => digits.to_owned(),
            };
            let part = |start: usize| {
                let value = f64::from(u8::from_str_radix(&wide[start..start + 2], 16).unwrap()) / 255.0;
                if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
        };
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn text_has_contrast_in_both_schemes() {
        let schemes: Vec<&str> =
            STYLE.split(":root{").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        assert_eq!(schemes.len(), 2);
        for scheme in schemes {
            let colour = |name: &str| {
                let rest = scheme.split_once(&format!("--{name}:")).unwrap().1;
                rest.split(';').next().unwrap()
            };
            for ink in ["text", "soft", "good", "bad"] {
                for paper in ["back", "note"] {
                    let ratio = contrast(colour(ink), colour(paper));
                    assert!(ratio >= 4.5, "{ink} on {paper}: {ratio}");
                }
            }
        }
    }
}
