//! The result of one check, and a list of them about one subject.

use serde::Serialize;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Severity.
    pub level: Level,
    /// The checked part: `webhook`, or `namespace/name` of a StatefulSet.
    pub subject: String,
    /// Stable name of the check.
    pub check: &'static str,
    /// The state that was found.
    pub message: String,
    /// Steps that solve the problem. The JSON key is part of the published format.
    #[serde(rename = "cure", skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No problem.
    Ok,
    /// The state could not be read. No problem is known.
    Unknown,
    /// Works now, but may fail later.
    Warning,
    /// Fails now, or will fail when it is needed. The program exits with 1.
    Wrong,
}

/// The findings about one subject.
pub(super) struct Findings {
    subject: String,
    list: Vec<Finding>,
}

impl Findings {
    /// An empty list about a subject.
    pub(super) fn about(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), list: vec![] }
    }

    /// Adds a check without a problem.
    pub(super) fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.push(Level::Ok, check, message.into(), None);
    }

    /// Adds a check of a state that could not be read, with the reason.
    pub(super) fn unknown(&mut self, check: &'static str, reason: impl ToString) {
        self.push(Level::Unknown, check, reason.to_string(), None);
    }

    /// Adds a problem that may cause a failure later.
    pub(super) fn warning(
        &mut self,
        check: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.push(Level::Warning, check, message.into(), Some(fix.into()));
    }

    /// Adds a failure.
    pub(super) fn wrong(&mut self, check: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.push(Level::Wrong, check, message.into(), Some(fix.into()));
    }

    /// The findings, in the order of the checks.
    pub(super) fn into_list(self) -> Vec<Finding> {
        self.list
    }

    fn push(&mut self, level: Level, check: &'static str, message: String, fix: Option<String>) {
        self.list.push(Finding { level, subject: self.subject.clone(), check, message, fix });
    }
}
