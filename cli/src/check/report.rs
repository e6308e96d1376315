//! The findings as a table for the terminal and as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::finding::{Finding, Level};
use crate::paint::Paint;
use crate::terminal::shown;

/// The result of a check.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Number of findings per level.
    pub summary: Summary,
    /// All findings, those about the webhook first.
    pub findings: Vec<Finding>,
}

/// Number of findings per level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Findings of [`Level::Ok`].
    pub ok: usize,
    /// Findings of [`Level::Unknown`].
    pub unknown: usize,
    /// Findings of [`Level::Warning`].
    pub warning: usize,
    /// Findings of [`Level::Wrong`].
    pub wrong: usize,
}

impl Report {
    /// A report of these findings.
    pub fn new(findings: Vec<Finding>) -> Self {
        let mut summary = Summary::default();
        for finding in &findings {
            *summary.of(finding.level) += 1;
        }
        Self { summary, findings }
    }

    /// `true` if no finding is [`Level::Wrong`]. Warnings and unknown states are not failures.
    pub fn has_no_problem(&self) -> bool {
        self.summary.wrong == 0
    }

    /// `true` if every part was unreadable: then the absence of problems proves nothing.
    pub fn saw_nothing(&self) -> bool {
        let Summary { ok, warning, wrong, .. } = self.summary;
        ok + warning + wrong == 0
    }

    /// A table with a heading per subject and a summary as its last line.
    ///
    /// Messages contain what pods report, so each is shown as one line that the terminal does not obey.
    pub fn to_table(&self) -> String {
        self.painted(Paint::Plain)
    }

    /// The same table, with colours for the levels.
    pub fn painted(&self, paint: Paint) -> String {
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let mut table = String::new();
        let mut subject = "";
        for finding in &self.findings {
            if finding.subject != subject {
                subject = &finding.subject;
                let gap = if table.is_empty() { "" } else { "\n" };
                let _ = writeln!(table, "{gap}{}", paint.heading(&shown(subject)));
            }
            let level = finding.level.painted(paint);
            let _ = writeln!(table, "  {level}  {:width$}  {}", finding.check, shown(&finding.message));
            if let Some(fix) = &finding.fix {
                let _ = writeln!(table, "  {:7}  {:width$}  Fix: {}", "", "", shown(fix));
            }
        }
        let _ = writeln!(table, "\n{}", self.summary.line());
        table
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl Level {
    /// The level in the table. The one that needs attention first is in capitals.
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Wrong => "WRONG",
        }
    }
}

impl Level {
    /// The word in its colour, filled to the width of the column.
    fn painted(self, paint: Paint) -> String {
        let word = self.word();
        let shown = match self {
            Self::Ok => paint.good(word),
            Self::Unknown | Self::Warning => paint.warn(word),
            Self::Wrong => paint.bad(word),
        };
        format!("{shown}{:1$}", "", 7_usize.saturating_sub(word.len()))
    }
}

impl Summary {
    fn of(&mut self, level: Level) -> &mut usize {
        match level {
            Level::Ok => &mut self.ok,
            Level::Unknown => &mut self.unknown,
            Level::Warning => &mut self.warning,
            Level::Wrong => &mut self.wrong,
        }
    }

    fn line(self) -> String {
        let Self { ok, unknown, warning, wrong } = self;
        let warnings = match warning {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            more => format!(", {more} warnings"),
        };
        let unknown = if unknown > 0 { format!(", {unknown} unknown") } else { String::new() };
        // The number that decides the exit code comes first.
        if wrong > 0 {
            return format!("{wrong} wrong{warnings}{unknown}, {ok} ok");
        }
        if ok + warning == 0 {
            return format!("nothing could be read{unknown}");
        }
        format!("no problem found: {ok} ok{warnings}{unknown}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_change_nothing_but_the_colours() {
        let finding = |level| Finding {
            level,
            subject: "shop/couchdb".to_owned(),
            check: "pods",
            message: "in words".to_owned(),
            fix: None,
        };
        let report =
            Report::new([Level::Ok, Level::Unknown, Level::Warning, Level::Wrong].map(finding).into());
        let (plain, painted) = (report.to_table(), report.painted(Paint::Colored));
        for part in ["\u{1b}[32mok\u{1b}[0m     ", "\u{1b}[33mwarning\u{1b}[0m", "\u{1b}[1;31mWRONG\u{1b}[0m"]
        {
            assert!(painted.contains(part), "{painted:?}");
        }
        let bare = ["32", "33", "1;31", "1", "0"]
            .iter()
            .fold(painted, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
        assert_eq!(bare, plain);
    }

    #[test]
    fn what_a_pod_reports_can_neither_add_a_line_nor_reach_the_terminal() {
        let forged = "\u{1b}]0;pwned\u{7}\u{1b}[2J\u{1b}[Hwebhook\n  ok  everything\u{9b}1m";
        let finding = Finding {
            level: Level::Wrong,
            subject: format!("shop/{forged}"),
            check: "pods",
            message: forged.repeat(1000),
            fix: Some(forged.to_owned()),
        };
        let table = Report::new(vec![finding]).to_table();
        assert!(!table.contains(|c: char| c.is_control() && c != '\n'), "{table:?}");
        // Subject, message, fix, an empty line and the summary.
        assert_eq!(table.lines().count(), 5, "{table}");
        assert!(table.len() < 4096, "{}", table.len());
        assert!(table.contains(r"\u{1b}[2J"), "shown: {table}");
    }
}
