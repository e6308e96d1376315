//! `inject` and `uninject` on files: the webhook's own code over YAML or JSON, many documents and Lists included.
//!
//! Pure: text in, text and a report out. What isn't changed passes through byte for byte.

mod services;
mod stream;
mod yaml;

use std::fmt::Write as _;

use contract::keys;
use serde_json::Value;
use thiserror::Error;

use crate::{Decision, Outcome, Problem, Question, Settings, apply, decide, uninject};
use services::Services;
use stream::{Document, Syntax};

/// What is to be done to the StatefulSets of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// What the webhook does when they are created.
    Inject,
    /// Take out what their records name.
    Uninject,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As YAML documents.
    Yaml,
    /// As JSON objects.
    Json,
    /// As one JSON Patch on a line of its own for each StatefulSet that is changed.
    Patch,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// For stdout.
    pub text: String,
    /// For stderr, line by line.
    pub report: Vec<String>,
}

/// Why nothing came out. The message is for a person who ran the command.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A document can't be read.
    #[error("{place}: not {syntax}: {why}")]
    Syntax {
        /// Which one.
        place: String,
        /// What it was taken for.
        syntax: &'static str,
        /// What the parser says.
        why: String,
    },
    /// A document is no Kubernetes object.
    #[error("{place}: no 'kind': every Kubernetes object says its apiVersion and kind; is this a manifest?")]
    NoKind {
        /// Which one.
        place: String,
    },
    /// A StatefulSet is refused.
    #[error("{}", .0.join("\n"))]
    Denied(Vec<String>),
    /// There is nothing that could be injected.
    #[error("no StatefulSet of apps/v1 in the input: nothing to inject{hint}")]
    NoStatefulSet {
        /// What else was found that looks like it.
        hint: String,
    },
    /// There is something that could be injected, but nobody asked for it.
    #[error(
        "no StatefulSet is labelled: nothing to inject; add the label '{key}: {on}' to metadata.labels of {names}{hint}",
        key = keys::INJECT, on = keys::INJECT_ENABLED
    )]
    NotLabelled {
        /// The StatefulSets there are.
        names: String,
        /// Where the label was written instead.
        hint: String,
    },
}

/// Runs over a whole stream.
pub fn run(
    verb: Verb,
    input: &str,
    format: Option<Format>,
    settings: &Settings,
    namespace: Option<&str>,
) -> Result<Output, Error> {
    let syntax = stream::syntax(input);
    let documents = match syntax {
        Syntax::Yaml => read_yaml(input)?,
        Syntax::Json => read_json(input)?,
    };
    let mut run = Run { verb, settings, namespace, found: Found::default() };
    let documents = documents.into_iter().map(|document| run.document(document)).collect::<Vec<_>>();
    run.found.check(verb)?;
    if verb == Verb::Inject {
        run.found.report.extend(run.found.services.report());
    }
    let format = format.unwrap_or(match syntax {
        Syntax::Yaml => Format::Yaml,
        Syntax::Json => Format::Json,
    });
    let text = match format {
        Format::Yaml => write_yaml(&documents, syntax),
        Format::Json => write_json(&documents, syntax),
        Format::Patch => run.found.patches.iter().map(|patch| format!("{patch}\n")).collect(),
    };
    Ok(Output { text, report: run.found.report })
}

/// One document, before and after.
#[derive(Debug)]
struct Part<'a> {
    document: Document<'a>,
    value: Value,
    changed: bool,
}

/// What a run has met so far.
#[derive(Debug, Default)]
struct Found {
    report: Vec<String>,
    patches: Vec<String>,
    denied: Vec<String>,
    /// StatefulSets that are labelled.
    labelled: usize,
    /// StatefulSets that are not.
    unlabelled: Vec<String>,
    hints: Vec<String>,
    services: Services,
}

struct Run<'r> {
    verb: Verb,
    settings: &'r Settings,
    namespace: Option<&'r str>,
    found: Found,
}

impl Run<'_> {
    fn document<'a>(&mut self, mut part: Part<'a>) -> Part<'a> {
        let kind = part.value.get("kind").and_then(Value::as_str).unwrap_or_default();
        if kind == "List" || kind.ends_with("List") && part.value.get("items").is_some() {
            let items = part.value.get_mut("items").and_then(Value::as_array_mut);
            for item in items.into_iter().flatten() {
                part.changed |= self.object(item);
            }
        } else {
            part.changed = self.object(&mut part.value);
        }
        part
    }

    /// Changes one object, if it is to be changed.
    fn object(&mut self, object: &mut Value) -> bool {
        self.found.services.meet(object);
        if !is_stateful_set(object) {
            self.found.hints.extend(hint(object));
            return false;
        }
        let json = object.to_string();
        let decision = match self.verb {
            Verb::Inject => {
                decide(self.settings, &Question { object: &json, old: None, namespace: self.namespace })
            }
            Verb::Uninject => uninject(&json),
        };
        self.note(object, &decision);
        if decision.patch.is_empty() {
            return false;
        }
        let applied = apply(object, &decision.patch);
        debug_assert!(applied, "a patch that does not apply");
        if decision.outcome == Outcome::Inject {
            self.found.report.extend(added(object));
        }
        self.found.patches.push(decision.patch);
        applied
    }

    fn note(&mut self, object: &Value, decision: &Decision) {
        let name = name_of(object);
        match label(object) {
            Some(_) => self.found.labelled += 1,
            None => self.found.unlabelled.push(name.clone()),
        }
        let mut lines = vec![format!("{name}: {} ({})", decision.outcome, decision.reason)];
        self.found.hints.extend(misplaced_label(object));
        lines.extend(decision.warnings.iter().map(|warning| format!("  warning: {warning}")));
        self.found.report.append(&mut lines);
        if decision.outcome == Outcome::Deny {
            self.found.denied.push(format!("{name}: {}", Problem::message(&decision.problems)));
        }
    }
}

impl Found {
    /// Whether a person who ran the command got what it is for.
    fn check(&self, verb: Verb) -> Result<(), Error> {
        if !self.denied.is_empty() {
            return Err(Error::Denied(self.denied.clone()));
        }
        match verb {
            Verb::Uninject => Ok(()),
            Verb::Inject if self.labelled > 0 => Ok(()),
            Verb::Inject if self.unlabelled.is_empty() => {
                Err(Error::NoStatefulSet { hint: self.hints.concat() })
            }
            Verb::Inject => {
                let (names, hint) = (self.unlabelled.join(", "), self.hints.concat());
                Err(Error::NotLabelled { names, hint })
            }
        }
    }
}

fn read_yaml(input: &str) -> Result<Vec<Part<'_>>, Error> {
    stream::yaml(input)
        .into_iter()
        .enumerate()
        .map(|(index, document)| read_document(index, document))
        .collect()
}

fn read_document(index: usize, document: Document<'_>) -> Result<Part<'_>, Error> {
    let value = yaml::read(document.body).map_err(|error| {
        let within = error.location().map_or(1, |location| location.line().max(1));
        let line = document.line + usize::try_from(within).unwrap_or(1) - 1;
        let place = format!("document {}, line {line}", index + 1);
        Error::Syntax { place, syntax: "YAML", why: reason(&error.to_string()) }
    })?;
    checked(format!("document {}, line {}", index + 1, document.line), document, value)
}

fn read_json(input: &str) -> Result<Vec<Part<'_>>, Error> {
    let mut parts = Vec::new();
    let mut values = serde_json::Deserializer::from_str(input).into_iter::<Value>();
    let mut start = 0;
    while let Some(value) = values.next() {
        let place = format!("object {}", parts.len() + 1);
        let value = value.map_err(|error| Error::Syntax {
            place: place.clone(),
            syntax: "JSON",
            why: error.to_string(),
        })?;
        let raw = &input[start..values.byte_offset()];
        start = values.byte_offset();
        let line = input[..start].matches('\n').count() + 1;
        parts.push(checked(place, Document { raw, body: raw, line }, value)?);
    }
    Ok(parts)
}

/// A document is an object with a kind, or nothing.
fn checked(place: String, document: Document<'_>, value: Value) -> Result<Part<'_>, Error> {
    if value.is_null() || value.get("kind").is_some_and(Value::is_string) {
        return Ok(Part { document, value, changed: false });
    }
    Err(Error::NoKind { place })
}

fn write_yaml(parts: &[Part<'_>], syntax: Syntax) -> String {
    let mut out = String::new();
    for part in parts {
        match syntax {
            Syntax::Yaml if !part.changed => {
                // Without it, a document that didn't end in a line break would swallow the next separator.
                end_line(&mut out);
                out.push_str(part.document.raw);
            }
            Syntax::Yaml => {
                let preamble = stream::preamble(&part.document);
                out.push_str(preamble);
                if preamble.is_empty() && !out.is_empty() {
                    out.push_str("---\n");
                }
                out.push_str(&yaml::write(&part.value));
            }
            Syntax::Json => {
                out.push_str("---\n");
                out.push_str(&yaml::write(&part.value));
            }
        }
    }
    out
}

fn write_json(parts: &[Part<'_>], syntax: Syntax) -> String {
    let mut out = String::new();
    for part in parts.iter().filter(|part| !part.value.is_null()) {
        if syntax == Syntax::Json && !part.changed {
            out.push_str(part.document.raw.trim_start());
        } else {
            let _ = write!(out, "{:#}", part.value);
        }
        end_line(&mut out);
    }
    out
}

fn end_line(out: &mut String) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
}

fn is_stateful_set(object: &Value) -> bool {
    object.get("apiVersion").and_then(Value::as_str) == Some("apps/v1")
        && object.get("kind").and_then(Value::as_str) == Some("StatefulSet")
}

/// What to say about an object that a user may have meant to be injected.
fn hint(object: &Value) -> Option<String> {
    let kind = object.get("kind")?.as_str()?;
    let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "PetSet" => {
            Some(format!("; '{kind}' of '{version}' was renamed: write it as StatefulSet of apps/v1"))
        }
        "StatefulSet" => {
            Some(format!("; StatefulSet of '{version}' is no longer served: write it as apps/v1"))
        }
        _ => None,
    }
}

/// A label that was written as an annotation asks for nothing, and neither does the pods'.
fn misplaced_label(object: &Value) -> Option<String> {
    let key = keys::INJECT;
    if label(object).is_some() {
        None
    } else if object["metadata"]["annotations"].get(key).is_some() {
        Some(format!("; '{key}' is a label, not an annotation: move it there"))
    } else if object["spec"]["template"]["metadata"]["labels"].get(key).is_some() {
        Some(format!("; '{key}' is the StatefulSet's label, not the pods': move it to metadata.labels"))
    } else {
        None
    }
}

fn label(object: &Value) -> Option<&str> {
    object.pointer("/metadata/labels")?.get(keys::INJECT)?.as_str()
}

/// What the record of an injected StatefulSet names.
fn added(object: &Value) -> Option<String> {
    let record = object.pointer("/spec/template/metadata/annotations")?.get(keys::INJECTED)?.as_str()?;
    let record: Value = serde_json::from_str(record).ok()?;
    let names = |names: &Value| {
        let names = names.as_object().into_iter().flat_map(|names| names.keys());
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    let mut parts = Vec::new();
    for (key, what) in
        [("containers", "container"), ("initContainers", "init container"), ("volumes", "volume")]
    {
        parts.extend(record.get(key).map(|added| format!("{what} {}", names(added))));
    }
    for (container, variables) in record.get("env").and_then(Value::as_object).into_iter().flatten() {
        parts.push(format!("variables of {container} {}", names(variables)));
    }
    Some(format!("  added: {}", parts.join("; ")))
}

fn name_of(object: &Value) -> String {
    let field = |key: &str| object.pointer(key).and_then(Value::as_str);
    let name = field("/metadata/name").unwrap_or("(unnamed)");
    match field("/metadata/namespace") {
        Some(namespace) => format!("statefulset/{name} in {namespace}"),
        None => format!("statefulset/{name}"),
    }
}

/// The parser's message without its place, which counts from the document's own first line, and without its
/// picture of it.
fn reason(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let without_place = line.strip_prefix("line ").and_then(|line| line.split_once(": ")).map(|(_, why)| why);
    without_place.unwrap_or(line).to_owned()
}
