//! The rows of the table.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// One measured value.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) value: String,
    pub(crate) goal: String,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// The value is within its goal.
    Met,
    /// The value is not.
    Missed,
    /// A point of a curve, without a goal of its own.
    Shown,
    /// The measurement needs a program that is missing.
    NotMeasured,
    /// The measurement ended without a value.
    Failed,
}

impl Row {
    /// A value with a goal, which `is_met` says about.
    pub(crate) fn new(what: &str, value: String, goal: &str, is_met: bool) -> Self {
        let verdict = if is_met { Verdict::Met } else { Verdict::Missed };
        Self { what: what.to_owned(), value, goal: goal.to_owned(), verdict }
    }

    /// A value that is at most, or at least, a number.
    pub(crate) fn number(what: &str, value: f64, unit: &str, goal: Goal) -> Self {
        let (goal, is_met) = match goal {
            Goal::AtMost(most) => (format!("at most {most}{unit}"), value <= most),
            Goal::AtLeast(least) => (format!("at least {least}{unit}"), value >= least),
        };
        Self::new(what, format!("{}{unit}", rounded(value)), &goal, is_met)
    }

    /// A point of a curve.
    pub(crate) fn point(what: &str, value: String) -> Self {
        Self { what: what.to_owned(), value, goal: String::new(), verdict: Verdict::Shown }
    }

    pub(crate) fn not_measured(what: &str, reason: &str) -> Self {
        Self {
            what: what.to_owned(),
            value: reason.to_owned(),
            goal: String::new(),
            verdict: Verdict::NotMeasured,
        }
    }

    pub(crate) fn failed(what: &str, reason: &str) -> Self {
        Self { verdict: Verdict::Failed, ..Self::not_measured(what, reason) }
    }
}

/// The limit of a number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// Three digits that matter, and all digits of a large number.
fn rounded(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// The rows as a table in Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | value | goal | verdict |\n|---|---|---|---|\n");
    for Row { what, value, goal, verdict } in rows {
        let verdict = match verdict {
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::Shown => "",
            Verdict::NotMeasured => "not measured",
            Verdict::Failed => "**failed**",
        };
        writeln!(text, "| {what} | {value} | {goal} | {verdict} |").unwrap();
    }
    text
}
