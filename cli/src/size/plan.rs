//! A plan as a table or JSON.

use std::fmt::Write as _;

use contract::moves::{Plan, PlanNode, PlannedMove};
use indicatif::HumanBytes;
use serde::Serialize;

use super::progress::duration;
use crate::terminal::shown;

/// The plan of a StatefulSet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlanView {
    pub(super) namespace: String,
    pub(super) name: String,
    /// `spec.replicas` now.
    pub(super) current: u32,
    pub(super) plan: Plan,
}

impl PlanView {
    /// `true` if the plan can be carried out now.
    pub(super) fn is_possible(&self) -> bool {
        self.plan.refused.is_empty()
    }

    /// A summary, the nodes, and the first moves. Agents have a part in every text, so each is shown as one line.
    pub(super) fn to_table(&self) -> String {
        let Self { namespace, name, current, plan } = self;
        let mut text = String::new();
        let change = if *current == plan.replicas {
            current.to_string()
        } else {
            format!("{current} -> {}", plan.replicas)
        };
        let _ = writeln!(text, "{}/{}: {change} nodes", shown(namespace), shown(name));
        let _ = writeln!(text, "  {}", summary(plan));
        for reason in &plan.refused {
            let _ = writeln!(text, "  not possible now: {}", shown(reason));
        }
        if !plan.nodes.is_empty() {
            let mut nodes: Vec<(&String, &PlanNode)> = plan.nodes.iter().collect();
            // By length first: couchdb-10 follows couchdb-9.
            nodes.sort_by_key(|(name, _)| (name.len(), *name));
            let rows = nodes.into_iter().map(|(name, node)| node_row(name, node));
            table(&mut text, ["NODE", "COPIES", "AFTER", "SIZE", ""], rows.collect());
        }
        if !plan.first.is_empty() {
            table(
                &mut text,
                ["DATABASE", "RANGE", "FROM", "TO", "SIZE"],
                plan.first.iter().map(move_row).collect(),
            );
            let more = (plan.moves + plan.drops).saturating_sub(plan.first.len() as u64);
            if more > 0 {
                let _ = writeln!(text, "  and {more} more");
            }
        }
        text
    }
}

fn summary(plan: &Plan) -> String {
    let Plan { databases, moves, drops, bytes, seconds, .. } = plan;
    if *moves == 0 && *drops == 0 {
        return "no copy is moved".to_owned();
    }
    let time = seconds.map(|seconds| format!(", about {}", duration(seconds))).unwrap_or_default();
    format!(
        "{moves} copies are moved and {drops} dropped, of {databases} databases; {} to copy{time}",
        HumanBytes(*bytes)
    )
}

fn node_row(name: &str, node: &PlanNode) -> [String; 5] {
    let PlanNode { before, after, bytes } = node;
    [name.to_owned(), before.to_string(), after.to_string(), HumanBytes(*bytes).to_string(), String::new()]
}

fn move_row(planned: &PlannedMove) -> [String; 5] {
    let PlannedMove { database, range, from, to, bytes } = planned;
    let pod = |pod: &Option<String>| pod.clone().unwrap_or_else(|| "-".to_owned());
    [database.clone(), range.clone(), pod(from), pod(to), HumanBytes(*bytes).to_string()]
}

fn table(text: &mut String, heading: [&str; 5], rows: Vec<[String; 5]>) {
    let heading = heading.map(str::to_owned);
    let lines: Vec<[String; 5]> = std::iter::once(heading)
        .chain(rows)
        .map(|row| row.each_ref().map(|cell| shown(cell).into_owned()))
        .collect();
    for line in &lines {
        let mut row = String::from(" ");
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
            let _ = write!(row, " {cell:width$} ");
        }
        let _ = writeln!(text, "{}", row.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::{from_value, json};

    use super::*;

    fn view(plan: serde_json::Value) -> PlanView {
        let plan = from_value(plan).unwrap();
        PlanView { namespace: "shop".to_owned(), name: "db".to_owned(), current: 5, plan }
    }

    #[test]
    fn a_plan_shows_the_nodes_the_first_moves_and_what_prevents_it() {
        let plan = view(json!({
            "replicas": 3,
            "refused": ["db-1 is not ready\u{1b}[2J. Fix: kubectl -n shop logs db-1"],
            "databases": 2, "moves": 2, "drops": 1, "bytes": 3_500_000_000_u64, "seconds": 340,
            "nodes": {
                "db-10": { "before": 3, "after": 0, "bytes": 4_000_000_000_u64 },
                "db-2": { "before": 1, "after": 3, "bytes": 12 },
            },
            "first": [
                { "database": "orders", "range": "00000000-7fffffff", "from": "db-10", "to": "db-2", "bytes": 3_500_000_000_u64 },
                { "database": "_users", "range": "80000000-ffffffff", "from": "db-10", "bytes": 9000 },
            ],
        }));
        assert!(!plan.is_possible());
        assert_snapshot!(plan.to_table(), @r"
        shop/db: 5 -> 3 nodes
          2 copies are moved and 1 dropped, of 2 databases; 3.26 GiB to copy, about 5m40s
          not possible now: db-1 is not ready\u{1b}[2J. Fix: kubectl -n shop logs db-1
          NODE   COPIES  AFTER  SIZE
          db-2   1       3      12 B
          db-10  3       0      3.73 GiB
          DATABASE  RANGE              FROM   TO    SIZE
          orders    00000000-7fffffff  db-10  db-2  3.26 GiB
          _users    80000000-ffffffff  db-10  -     8.79 KiB
          and 1 more
        ");
    }

    #[test]
    fn a_plan_without_moves_says_so() {
        let plan = view(json!({ "replicas": 5 }));
        assert!(plan.is_possible());
        assert_snapshot!(plan.to_table(), @"
        shop/db: 5 nodes
          no copy is moved
        ");
    }
}
