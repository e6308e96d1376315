//! A command over a whole stream.

use serde_json::Value;

use super::documents::{self, Part};
use super::error::Error;
use super::object::{added, is_stateful_set, items, label, misplaced_label, name, outdated_kind};
use super::services::Services;
use super::stream::{self, Syntax};
use crate::decide::{Question, decide, uninject};
use crate::decision::Decision;
use crate::edit::apply;
use crate::outcome::{Outcome, Problem};
use crate::read::{OnRemoval, Settings};

/// The command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Inject, as the webhook does for created StatefulSets.
    Inject,
    /// Remove the agent, and the variables if this option or the annotation requests the removal of everything.
    Uninject(Option<OnRemoval>),
}

/// The format of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML documents.
    Yaml,
    /// JSON objects.
    Json,
    /// A JSON Patch for each changed StatefulSet, one per line.
    Patch,
}

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The text for stdout.
    pub text: String,
    /// The lines for stderr.
    pub report: Vec<String>,
}

/// Runs a command over a stream. Without a `format`, the result has that of the input.
pub fn run(
    verb: Verb,
    input: &str,
    format: Option<Format>,
    settings: &Settings,
    namespace: Option<&str>,
) -> Result<Output, Error> {
    let syntax = stream::syntax(input);
    let mut parts = documents::read(input, syntax)?;
    let mut run = Run { verb, settings, namespace, findings: Findings::default() };
    for part in &mut parts {
        run.document(part);
    }
    // Nothing is written if any StatefulSet is denied: a part of a manifest is worse than none.
    run.findings.check(verb)?;
    let mut report = run.findings.report;
    if verb == Verb::Inject {
        report.extend(run.findings.services.report());
    }
    let format = format.unwrap_or(match syntax {
        Syntax::Yaml => Format::Yaml,
        Syntax::Json => Format::Json,
    });
    let text = match format {
        Format::Yaml => documents::write_yaml(&parts, syntax),
        Format::Json => documents::write_json(&parts, syntax),
        Format::Patch => run.findings.patches.iter().map(|patch| format!("{patch}\n")).collect(),
    };
    Ok(Output { text, report })
}

/// The results for the documents so far.
#[derive(Debug, Default)]
struct Findings {
    report: Vec<String>,
    patches: Vec<String>,
    denied: Vec<String>,
    /// Number of labelled StatefulSets.
    labelled: usize,
    /// Names of the StatefulSets without a label.
    unlabelled: Vec<String>,
    hints: Vec<String>,
    services: Services,
}

struct Run<'r> {
    verb: Verb,
    settings: &'r Settings,
    namespace: Option<&'r str>,
    findings: Findings,
}

impl Run<'_> {
    fn document(&mut self, part: &mut Part<'_>) {
        match items(&mut part.value) {
            Some(items) => {
                // A List is written as a whole if one of its items changes.
                for item in items {
                    part.changed |= self.object(item);
                }
            }
            None => part.changed = self.object(&mut part.value),
        }
    }

    /// Changes an object if necessary, and returns `true` if it did.
    fn object(&mut self, object: &mut Value) -> bool {
        self.findings.services.add(object);
        if !is_stateful_set(object) {
            self.findings.hints.extend(outdated_kind(object));
            return false;
        }
        let json = object.to_string();
        let decision = match self.verb {
            Verb::Inject => {
                // A file shows no stored object, so each StatefulSet is decided on as a new one.
                decide(self.settings, &Question { object: &json, old: None, namespace: self.namespace })
            }
            Verb::Uninject(removal) => uninject(&json, removal),
        };
        self.findings.add(object, &decision);
        if decision.patch.is_empty() {
            return false;
        }
        let applied = apply(object, &decision.patch);
        debug_assert!(applied, "a patch that does not apply");
        if decision.outcome == Outcome::Inject {
            self.findings.report.extend(added(object));
        }
        self.findings.patches.push(decision.patch);
        applied
    }
}

impl Findings {
    fn add(&mut self, object: &Value, decision: &Decision) {
        let name = name(object);
        self.report.push(format!("{name}: {} ({})", decision.outcome, decision.reason));
        self.report.extend(decision.warnings.iter().map(|warning| format!("  warning: {warning}")));
        self.hints.extend(misplaced_label(object));
        if decision.outcome == Outcome::Deny {
            self.denied.push(format!("{name}: {}", Problem::message(&decision.problems)));
        }
        match label(object) {
            Some(_) => self.labelled += 1,
            None => self.unlabelled.push(name),
        }
    }

    /// Fails if a StatefulSet is denied, or if there is nothing to inject.
    fn check(&self, verb: Verb) -> Result<(), Error> {
        if !self.denied.is_empty() {
            return Err(Error::Denied(self.denied.clone()));
        }
        // Without anything to remove, `uninject` is a filter that changes nothing.
        if matches!(verb, Verb::Uninject(_)) || self.labelled > 0 {
            return Ok(());
        }
        let hint = self.hints.concat();
        if self.unlabelled.is_empty() {
            return Err(Error::NoStatefulSet { hint });
        }
        Err(Error::NotLabelled { names: self.unlabelled.join(", "), hint })
    }
}
