//! The result of `status`, as values and as text.

use std::borrow::Cow;
use std::fmt::Write as _;

use contract::status::{NodeReport, Page, StateReport};
use contract::text::age;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::paint::Paint;
use crate::terminal::shown;

/// All StatefulSets, those with a problem first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The StatefulSets.
    pub stateful_sets: Vec<SetView>,
}

/// One StatefulSet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SetView {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.replicas`.
    pub replicas: u64,
    /// The pods, worst first.
    pub pods: Vec<PodView>,
    /// Reason why the pods could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One pod.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// `metadata.name`.
    pub name: String,
    /// `true` if the pod's condition `Ready` is true.
    pub ready: bool,
    /// Reason why the pod is not ready or its agent not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The page of its agent; `None` if it does not answer, or the user may not ask it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
}

/// The attention that a pod or a StatefulSet needs, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Attention {
    None,
    /// It serves, and its agent reports a condition or is unknown.
    Look,
    /// It does not serve.
    Act,
}

impl Overview {
    /// Sorts StatefulSets and pods, worst first; otherwise they stay in their order.
    pub(super) fn new(mut stateful_sets: Vec<SetView>) -> Self {
        for set in &mut stateful_sets {
            set.pods.sort_by_key(|pod| std::cmp::Reverse(pod.attention()));
        }
        stateful_sets.sort_by_key(|set| std::cmp::Reverse(set.attention()));
        Self { stateful_sets }
    }

    /// `true` if every pod exists and is ready, and no agent reports a condition.
    pub fn is_well(&self) -> bool {
        self.stateful_sets.iter().all(|set| set.attention() == Attention::None)
    }

    /// `true` if the pods of every StatefulSet could be read.
    pub fn is_complete(&self) -> bool {
        self.stateful_sets.iter().all(|set| set.problem.is_none())
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// A table for each StatefulSet, then each state that needs attention with its fix.
    ///
    /// Pods have a part in every text, so each is shown as one line that the terminal does not obey.
    pub fn to_table(&self, now: OffsetDateTime) -> String {
        self.painted(now, Paint::Plain)
    }

    /// The same tables, with colours for what needs attention.
    pub fn painted(&self, now: OffsetDateTime, paint: Paint) -> String {
        if self.stateful_sets.is_empty() {
            return "no StatefulSet has the label couchdiscover.io/inject\n".to_owned();
        }
        let mut table = String::new();
        for set in &self.stateful_sets {
            set.write(&mut table, now, paint);
        }
        table
    }
}

impl SetView {
    fn attention(&self) -> Attention {
        if self.problem.is_some() || (self.pods.len() as u64) < self.replicas {
            return Attention::Act;
        }
        self.pods.iter().map(PodView::attention).max().unwrap_or(Attention::None)
    }

    fn write(&self, table: &mut String, now: OffsetDateTime, paint: Paint) {
        let gap = if table.is_empty() { "" } else { "\n" };
        let name = format!("{}/{}", shown(&self.namespace), shown(&self.name));
        let _ = write!(table, "{gap}{}: ", paint.heading(&name));
        if let Some(problem) = &self.problem {
            let _ = writeln!(table, "the pods cannot be read: {}", shown(problem));
            return;
        }
        let ready = self.pods.iter().filter(|pod| pod.ready).count();
        let (exist, replicas) = (self.pods.len(), self.replicas);
        let missing = if (exist as u64) < replicas { format!(", {exist} exist") } else { String::new() };
        let summary = format!("{ready} of {replicas} pods ready{missing}");
        let _ = writeln!(table, "{}", self.attention().painted(paint, &summary));
        let rows: Vec<Row> = self.pods.iter().map(|pod| pod.row(now)).collect();
        write_rows(table, &rows, paint);
        for pod in &self.pods {
            pod.write_states(table, paint);
        }
    }
}

impl PodView {
    fn attention(&self) -> Attention {
        if !self.ready {
            return Attention::Act;
        }
        let is_known = self.page.as_ref().is_some_and(|page| page.conditions.is_empty());
        if is_known { Attention::None } else { Attention::Look }
    }

    fn row(&self, now: OffsetDateTime) -> Row {
        let ready = if self.ready { "yes" } else { "no" };
        let [state, since, members, databases] = match &self.page {
            None => ["?", "", "", ""].map(str::to_owned),
            Some(page) => cells(page, now),
        };
        let cells = [self.name.clone(), ready.to_owned(), state, since, members, databases];
        Row { attention: Some(self.attention()), cells }
    }

    /// The states that need attention, each with its fix on a line of its own.
    fn write_states(&self, table: &mut String, paint: Paint) {
        let Some(page) = &self.page else {
            let problem = self.problem.as_deref().unwrap_or("its agent cannot be asked");
            let _ = writeln!(table, "  {}: {}", shown(&self.name), shown(problem));
            return;
        };
        let mut states: Vec<&StateReport> = page.conditions.iter().collect();
        if !self.ready {
            states.insert(0, &page.readiness);
        } else if page.step.cure.is_some() && !states.iter().any(|state| state.reason == page.step.reason) {
            states.insert(0, &page.step);
        }
        for state in states {
            let reason = shown(&state.reason);
            let reason = self.attention().painted(paint, &reason);
            let _ = writeln!(table, "  {} {reason}: {}", shown(&self.name), shown(state.fact()));
            if let Some(fix) = &state.cure {
                let _ = writeln!(table, "      Fix: {}", shown(fix));
            }
        }
        if let Some(progress) = &page.progress {
            let _ = writeln!(table, "  {} progress: {}", shown(&self.name), shown(progress));
        }
    }
}

/// State, age of the state, members that the node lists, databases.
fn cells(page: &Page, now: OffsetDateTime) -> [String; 4] {
    let since = OffsetDateTime::parse(&page.since, &Rfc3339).ok();
    // Never negative, even if the clock was set back.
    let since = since.map_or_else(String::new, |then| age((now - then).whole_seconds().max(0)));
    let own = page.pod.split('.').next().and_then(|pod| page.nodes.get(pod));
    let (members, databases) = match own {
        Some(NodeReport::Seen(node)) => {
            (format!("{}/{}", node.members.len(), page.expected.len()), node.databases.to_string())
        }
        Some(NodeReport::Unseen { .. }) | None => (String::new(), String::new()),
    };
    [page.step.reason.clone(), since, members, databases]
}

/// A row of the table.
struct Row {
    /// The attention that the pod needs; `None` for the heading.
    attention: Option<Attention>,
    cells: [String; 6],
}

fn write_rows(table: &mut String, rows: &[Row], paint: Paint) {
    let heading = ["POD", "READY", "STATE", "SINCE", "MEMBERS", "DATABASES"].map(str::to_owned);
    let heading = Row { attention: None, cells: heading };
    let lines: Vec<(Option<Attention>, [String; 6])> = [&heading]
        .into_iter()
        .chain(rows)
        .map(|row| (row.attention, row.cells.each_ref().map(|cell| shown(cell).into_owned())))
        .collect();
    for (attention, line) in &lines {
        let mut text = String::from(" ");
        let last = line.iter().rposition(|cell| !cell.is_empty()).unwrap_or_default();
        for (column, cell) in line.iter().enumerate().take(last + 1) {
            let width = lines.iter().map(|(_, line)| line[column].chars().count()).max().unwrap_or(0);
            // Readiness and state.
            let painted = match attention {
                Some(attention) if matches!(column, 1 | 2) => attention.painted(paint, cell),
                Some(_) | None => cell.into(),
            };
            let fill = if column == last { 0 } else { width - cell.chars().count() + 1 };
            let _ = write!(text, " {painted}{:fill$}", "");
        }
        let _ = writeln!(table, "{text}");
    }
}

impl Attention {
    fn painted(self, paint: Paint, text: &str) -> Cow<'_, str> {
        match self {
            Self::None => paint.good(text),
            Self::Look => paint.warn(text),
            Self::Act => paint.bad(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::{Value, json};

    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::parse("2026-11-30T12:00:00Z", &Rfc3339).unwrap()
    }

    fn pod(name: &str, ready: bool, page: &Value) -> PodView {
        let page = (!page.is_null()).then(|| serde_json::from_value(page.clone()).unwrap());
        PodView { name: name.to_owned(), ready, problem: None, page }
    }

    fn page(pod: &str, reason: &str) -> Value {
        json!({
            "pod": format!("{pod}.couchdb.shop.svc.cluster.local"),
            "step": { "reason": reason, "message": "in words" },
            "since": "2026-11-30T11:55:00Z",
            "expected": ["couchdb-0", "couchdb-1", "couchdb-2"],
            "nodes": { pod: { "members": ["couchdb-0", "couchdb-1", "couchdb-2"], "databases": 12 } },
        })
    }

    fn set(pods: Vec<PodView>) -> SetView {
        let (namespace, name) = ("shop".to_owned(), "couchdb".to_owned());
        SetView { namespace, name, replicas: 3, pods, problem: None }
    }

    #[test]
    fn colours_change_nothing_but_the_colours() {
        let mut listed = page("couchdb-1", "Settled");
        listed["conditions"] =
            json!([{ "reason": "StrangersListed", "message": "_nodes lists 'nonode@nohost'" }]);
        let pods = vec![
            pod("couchdb-0", true, &page("couchdb-0", "Settled")),
            pod("couchdb-1", true, &listed),
            pod("couchdb-2", false, &Value::Null),
        ];
        let overview = Overview::new(vec![set(pods)]);
        let painted = overview.painted(now(), Paint::Colored);
        for part in ["\u{1b}[1;31mno\u{1b}[0m", "\u{1b}[33myes\u{1b}[0m", "\u{1b}[32mSettled\u{1b}[0m"] {
            assert!(painted.contains(part), "{painted:?}");
        }
        let bare = ["32", "33", "1;31", "1", "0"]
            .iter()
            .fold(painted, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert_eq!(bare, overview.to_table(now()));
    }

    #[test]
    fn the_pod_that_needs_a_person_comes_first_with_its_fix() {
        let mut filling = page("couchdb-2", "Filling");
        filling["readiness"] = json!({ "reason": "Filling", "message": "couchdb-2 is filled" });
        filling["progress"] = json!("'orders': 10 of 20 documents");
        let mut listed = page("couchdb-1", "Settled");
        listed["conditions"] = json!([{
            "reason": "StrangersListed",
            "message": "_nodes lists 'nonode@nohost'. Fix: curl -X DELETE ..",
            "cure": "curl -X DELETE ..",
        }]);
        let overview = Overview::new(vec![set(vec![
            pod("couchdb-0", true, &page("couchdb-0", "Settled")),
            pod("couchdb-1", true, &listed),
            pod("couchdb-2", false, &filling),
        ])]);
        assert!(!overview.is_well());
        assert_snapshot!(overview.to_table(now()), @"
        shop/couchdb: 2 of 3 pods ready
          POD        READY  STATE    SINCE  MEMBERS  DATABASES
          couchdb-2  no     Filling  5m0s   3/3      12
          couchdb-1  yes    Settled  5m0s   3/3      12
          couchdb-0  yes    Settled  5m0s   3/3      12
          couchdb-2 Filling: couchdb-2 is filled
          couchdb-2 progress: 'orders': 10 of 20 documents
          couchdb-1 StrangersListed: _nodes lists 'nonode@nohost'
              Fix: curl -X DELETE ..
        ");
    }

    #[test]
    fn a_cluster_that_is_well_has_no_more_than_its_table() {
        let pods = ["couchdb-0", "couchdb-1", "couchdb-2"];
        let overview =
            Overview::new(vec![set(pods.map(|name| pod(name, true, &page(name, "Settled"))).to_vec())]);
        assert!(overview.is_well() && overview.is_complete());
        assert_snapshot!(overview.to_table(now()), @"
        shop/couchdb: 3 of 3 pods ready
          POD        READY  STATE    SINCE  MEMBERS  DATABASES
          couchdb-0  yes    Settled  5m0s   3/3      12
          couchdb-1  yes    Settled  5m0s   3/3      12
          couchdb-2  yes    Settled  5m0s   3/3      12
        ");
    }

    #[test]
    fn pods_that_cannot_be_asked_and_sets_that_cannot_be_read_are_not_well() {
        let silent = PodView { problem: Some("pending".to_owned()), ..pod("couchdb-0", false, &Value::Null) };
        let mut unread = set(vec![]);
        unread.name = "other".to_owned();
        unread.problem = Some("pods is forbidden".to_owned());
        let overview = Overview::new(vec![set(vec![silent]), unread]);
        assert!(!overview.is_well() && !overview.is_complete());
        assert_snapshot!(overview.to_table(now()), @"
        shop/couchdb: 0 of 3 pods ready, 1 exist
          POD        READY  STATE  SINCE  MEMBERS  DATABASES
          couchdb-0  no     ?
          couchdb-0: pending

        shop/other: the pods cannot be read: pods is forbidden
        ");
        assert_snapshot!(Overview::new(vec![]).to_table(now()), @"no StatefulSet has the label couchdiscover.io/inject");
    }

    #[test]
    fn what_a_pod_reports_can_neither_add_a_line_nor_reach_the_terminal() {
        let forged = "\u{1b}[2J\n  couchdb-0  yes";
        let mut page = page("couchdb-0", forged);
        page["readiness"] = json!({ "reason": forged, "message": forged.repeat(1000) });
        let table = Overview::new(vec![set(vec![pod(forged, false, &page)])]).to_table(now());
        assert!(!table.contains(|c: char| c.is_control() && c != '\n'), "{table:?}");
        assert_eq!(table.lines().count(), 4, "{table}");
    }
}
