//! The findings as a person reads them, and as a program does.

use std::fmt::Write as _;

use serde::Serialize;

use super::findings::{Finding, Level};

/// What a check came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How many findings are of each level.
    pub summary: Summary,
    /// All of them, the webhook's first.
    pub findings: Vec<Finding>,
}

/// How many findings are of each level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// As it should be.
    pub ok: usize,
    /// It couldn't be seen.
    pub unknown: usize,
    /// It works, and may not always.
    pub warning: usize,
    /// It doesn't work.
    pub wrong: usize,
}

impl Report {
    /// Of these findings.
    pub fn of(findings: Vec<Finding>) -> Self {
        let mut summary = Summary::default();
        for finding in &findings {
            *match finding.level {
                Level::Ok => &mut summary.ok,
                Level::Unknown => &mut summary.unknown,
                Level::Warning => &mut summary.warning,
                Level::Wrong => &mut summary.wrong,
            } += 1;
        }
        Self { summary, findings }
    }

    /// Whether nothing is wrong. Warnings, and what couldn't be seen, are nothing wrong.
    pub fn is_well(&self) -> bool {
        self.summary.wrong == 0
    }

    /// For a person: what belongs together below one heading, and a last line that says it all.
    pub fn to_table(&self) -> String {
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let mut out = String::new();
        let mut subject = "";
        for finding in &self.findings {
            if finding.subject != subject {
                subject = &finding.subject;
                let gap = if out.is_empty() { "" } else { "\n" };
                let _ = writeln!(out, "{gap}{subject}");
            }
            let level = match finding.level {
                Level::Ok => "ok",
                Level::Unknown => "unknown",
                Level::Warning => "warning",
                Level::Wrong => "WRONG",
            };
            let _ = writeln!(out, "  {level:7}  {:width$}  {}", finding.check, finding.message);
            if let Some(cure) = &finding.cure {
                let _ = writeln!(out, "  {:7}  {:width$}  -> {cure}", "", "");
            }
        }
        let _ = writeln!(out, "\n{}", self.last_line());
        out
    }

    fn last_line(&self) -> String {
        let Summary { ok, unknown, warning, wrong } = self.summary;
        let warnings = match warning {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            more => format!(", {more} warnings"),
        };
        let unknown = if unknown > 0 { format!(", {unknown} unknown") } else { String::new() };
        match wrong {
            0 => format!("nothing is wrong: {ok} ok{warnings}{unknown}"),
            wrong => format!("{wrong} wrong{warnings}{unknown}, {ok} ok"),
        }
    }

    /// For a program.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}
