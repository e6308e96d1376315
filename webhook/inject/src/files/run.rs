//! A command over a whole stream.

use serde_json::Value;

use super::documents::{self, Part};
use super::error::Error;
use super::object::{
    Hint, added, is_stateful_set, items, label, labelled_kind, misplaced_label, name, outdated_kind,
};
use super::stream::{self, Syntax};
use super::surroundings::Surroundings;
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

/// A stream, and the file that it was read from, for reports about several.
#[derive(Clone, Copy, Debug)]
pub struct Input<'i> {
    /// The file's path; `None` if there is only one stream.
    pub file: Option<&'i str>,
    /// The content.
    pub text: &'i str,
}

/// Runs a command over a stream. Without a `format`, the result has that of the input.
pub fn run(
    verb: Verb,
    input: &str,
    format: Option<Format>,
    settings: &Settings,
    namespace: Option<&str>,
) -> Result<Output, Error> {
    run_all(verb, &[Input { file: None, text: input }], format, settings, namespace)
}

/// Runs a command over several streams, and writes one. All problems of all streams are returned at once.
pub fn run_all(
    verb: Verb,
    inputs: &[Input<'_>],
    format: Option<Format>,
    settings: &Settings,
    namespace: Option<&str>,
) -> Result<Output, Error> {
    let mut run = Run { verb, settings, namespace, file: None, findings: Findings::default() };
    let mut errors = Vec::new();
    let mut streams = Vec::new();
    for Input { file, text } in inputs {
        let syntax = stream::syntax(text);
        let (mut parts, broken) = documents::read(text, syntax);
        errors.extend(broken.into_iter().map(|error| (*file, error)));
        run.file = *file;
        for part in &mut parts {
            run.document(part);
        }
        streams.push((syntax, parts));
    }
    // Nothing is written if any document is broken or denied: a part of a manifest is worse than none.
    run.findings.check(verb, errors)?;
    let mut report = run.findings.report;
    if verb == Verb::Inject {
        report.extend(
            run.findings.hints.iter().map(|hint| format!("{}: warning: {}", hint.subject, hint.advice)),
        );
        report.extend(run.findings.surroundings.report());
    }
    // YAML may contain JSON, but not the reverse.
    let is_json = !streams.is_empty() && streams.iter().all(|(syntax, _)| *syntax == Syntax::Json);
    let text = match format.unwrap_or(if is_json { Format::Json } else { Format::Yaml }) {
        Format::Yaml => streams
            .iter()
            .fold(String::new(), |out, (syntax, parts)| joined(out, &documents::write_yaml(parts, *syntax))),
        Format::Json => streams.iter().map(|(syntax, parts)| documents::write_json(parts, *syntax)).collect(),
        Format::Patch => run.findings.patches.iter().map(|patch| format!("{patch}\n")).collect(),
    };
    Ok(Output { text, report })
}

/// Appends a YAML stream to another one.
fn joined(mut out: String, text: &str) -> String {
    if !out.is_empty() && !text.is_empty() {
        if !out.ends_with('\n') {
            out.push('\n');
        }
        if !text.starts_with("---") {
            out.push_str("---\n");
        }
    }
    out.push_str(text);
    out
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
    hints: Vec<Hint>,
    surroundings: Surroundings,
}

struct Run<'r> {
    verb: Verb,
    settings: &'r Settings,
    namespace: Option<&'r str>,
    /// The file that is being read, if there are several.
    file: Option<&'r str>,
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
        self.findings.surroundings.add(object);
        if !is_stateful_set(object) {
            self.findings.hints.extend(outdated_kind(object).or_else(|| labelled_kind(object)));
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
        self.findings.add(self.file, object, &decision);
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
    fn add(&mut self, file: Option<&str>, object: &Value, decision: &Decision) {
        let name = in_file(file, &name(object));
        self.report.push(format!("{name}: {} ({})", decision.outcome, decision.reason));
        self.report.extend(decision.warnings.iter().map(|warning| format!("  warning: {warning}")));
        self.hints.extend(misplaced_label(object));
        if decision.outcome == Outcome::Deny {
            // Rendered values contain no braces.
            let hint = if object.to_string().contains("{{") { UNRENDERED } else { "" };
            self.denied.push(format!("{name}: {}{hint}", Problem::message(&decision.problems)));
        }
        match label(object) {
            Some(_) => self.labelled += 1,
            None => self.unlabelled.push(name),
        }
    }

    /// Fails if a document is broken or a StatefulSet denied, or if there is nothing to inject.
    fn check(&self, verb: Verb, errors: Vec<(Option<&str>, Error)>) -> Result<(), Error> {
        let mut lines: Vec<_> =
            errors.iter().map(|(file, error)| in_file(*file, &error.to_string())).collect();
        match (errors.into_iter().next(), self.denied.as_slice()) {
            (Some((None, error)), []) if lines.len() == 1 => return Err(error),
            (Some(_), denied) => {
                lines.extend(denied.iter().cloned());
                return Err(Error::Several(lines));
            }
            (None, []) => {}
            (None, denied) => return Err(Error::Denied(denied.to_vec())),
        }
        // Without anything to remove, `uninject` is a filter that changes nothing.
        if matches!(verb, Verb::Uninject(_)) || self.labelled > 0 {
            return Ok(());
        }
        let hint: String = self.hints.iter().map(|hint| format!("; {}", hint.advice)).collect();
        if self.unlabelled.is_empty() {
            return Err(Error::NoStatefulSet { hint });
        }
        Err(Error::NotLabelled { names: self.unlabelled.join(", "), hint })
    }
}

const UNRENDERED: &str = ". The object contains '{{', as a Helm template that is not rendered. Fix: helm template RELEASE CHART | couchdiscover inject -f -";

/// A line about an object of a file.
fn in_file(file: Option<&str>, line: &str) -> String {
    file.map_or_else(|| line.to_owned(), |file| format!("{file}: {line}"))
}
