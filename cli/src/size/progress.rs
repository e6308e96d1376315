//! The progress of a change of size, as a line.

use contract::moves::{Moves, Task};
use contract::text::age;
use indicatif::HumanBytes;

use super::facts::SizeFacts;
use super::step::Step;

/// A line, and how far the work is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The line.
    pub(super) text: String,
    /// Copies that are done and all of them, if they are known.
    pub(super) copies: Option<(u64, u64)>,
}

/// Describes a step that waits; `None` for one that acts.
pub(super) fn progress(facts: &SizeFacts, step: &Step, wanted: u32) -> Option<Progress> {
    let text = match step {
        Step::Done | Step::RemoveTarget | Step::SetTarget { .. } | Step::SetReplicas => return None,
        Step::WaitForDrain { pods } => return Some(draining(facts, pods)),
        Step::WaitForEnd { pods } => format!("waiting for the end of {}", list(pods)),
        Step::WaitForRemoval { pods } => format!("waiting until the members have removed {}", list(pods)),
        Step::WaitForPods { ready } => format!("{ready} of {wanted} pods are ready"),
    };
    Some(Progress { text, copies: None })
}

fn draining(facts: &SizeFacts, pods: &[String]) -> Progress {
    let pages = facts.pods.iter().filter_map(|pod| pod.page.as_ref()?.moves.as_ref());
    // The agent that leads reports them; one that led before may still do.
    let leading = pages.filter(|moves| moves.task == Task::Drain).max_by_key(|moves| moves.done);
    let Some(moves) = leading else {
        let text = format!("waiting for the agents to drain {}", list(pods));
        return Progress { text, copies: None };
    };
    Progress { text: described(moves, pods), copies: Some((moves.done, moves.copies)) }
}

fn described(moves: &Moves, pods: &[String]) -> String {
    let Moves { pod, copies, done, bytes_left, seconds_left, paused, task: _ } = moves;
    let pod = pod.as_ref().or(pods.first()).map_or("", String::as_str);
    let mut text = format!("draining {pod}: {done} of {copies} copies");
    if *bytes_left > 0 {
        text.push_str(&format!(", {} left", HumanBytes(*bytes_left)));
    }
    if let Some(seconds) = seconds_left {
        text.push_str(&format!(", about {}", duration(*seconds)));
    }
    if let Some(reason) = paused {
        text.push_str(&format!("; paused: {reason}"));
    }
    text
}

/// An estimated time.
pub(super) fn duration(seconds: u64) -> String {
    age(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// The first names, and the number of the others.
pub(super) fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::{Value, from_value, json};

    use super::*;
    use crate::cluster::PodFacts;

    /// The facts of a cluster whose pods report these moves.
    fn facts(moves: &[Value]) -> SizeFacts {
        let pods = moves.iter().enumerate().map(|(index, moves)| PodFacts {
            name: format!("db-{index}"),
            ready: true,
            has_agent: true,
            problem: None,
            revision: String::new(),
            page: Some(Box::new(from_value(json!({ "moves": moves })).unwrap())),
        });
        let stored = json!({ "metadata": { "name": "db" }, "spec": { "replicas": 5 } });
        SizeFacts::of(&stored, pods.collect(), inject::guard::Evidence::NotRecorded)
    }

    fn pods() -> Vec<String> {
        ["db-4", "db-3"].map(str::to_owned).into()
    }

    #[test]
    fn a_drain_is_described_by_the_agent_that_leads_it() {
        let described = |moves: &[Value]| {
            let progress = progress(&facts(moves), &Step::WaitForDrain { pods: pods() }, 3).unwrap();
            format!("{:?} {}", progress.copies, progress.text)
        };
        assert_snapshot!(described(&[Value::Null]), @"None waiting for the agents to drain db-4, db-3");
        let rebalance = json!({ "task": "rebalance", "copies": 9, "done": 9 });
        let led_before = json!({ "task": "drain", "pod": "db-4", "copies": 40, "done": 3 });
        let leads = json!({
            "task": "drain", "pod": "db-4", "copies": 40, "done": 12, "bytesLeft": 3_435_973_836_u64, "secondsLeft": 260
        });
        assert_snapshot!(described(std::slice::from_ref(&rebalance)), @"None waiting for the agents to drain db-4, db-3");
        assert_snapshot!(described(&[rebalance, led_before, leads]), @"Some((12, 40)) draining db-4: 12 of 40 copies, 3.20 GiB left, about 4m20s");
        let paused = json!({ "task": "drain", "copies": 40, "done": 12, "paused": "db-1 is not ready" });
        assert_snapshot!(described(&[paused]), @"Some((12, 40)) draining db-4: 12 of 40 copies; paused: db-1 is not ready");
    }

    #[test]
    fn each_step_that_waits_says_for_what() {
        let text =
            |step: Step| progress(&facts(&[]), &step, 3).map(|progress| progress.text).unwrap_or_default();
        assert_snapshot!(text(Step::WaitForEnd { pods: pods() }), @"waiting for the end of db-4, db-3");
        assert_snapshot!(text(Step::WaitForRemoval { pods: pods() }), @"waiting until the members have removed db-4, db-3");
        assert_snapshot!(text(Step::WaitForPods { ready: 2 }), @"2 of 3 pods are ready");
        assert_eq!(text(Step::SetReplicas), "");
        let many: Vec<String> = (0..12).map(|index| format!("db-{index}")).collect();
        assert_eq!(list(&many), "db-0, db-1, db-2, db-3, db-4 and 7 more");
    }
}
