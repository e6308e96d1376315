//! A stream as documents with their values, and documents as a stream.

use std::fmt::Write as _;

use serde_json::Value;

use super::error::Error;
use super::stream::{self, Document, Syntax};
use super::yaml;

/// A document, its value, and the changes to it.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) document: Document<'a>,
    pub(super) value: Value,
    pub(super) changed: bool,
}

/// Parses a stream. Each document is a Kubernetes object or empty. The errors of all documents are returned.
pub(super) fn read(input: &str, syntax: Syntax) -> (Vec<Part<'_>>, Vec<Error>) {
    let results: Vec<_> = match syntax {
        Syntax::Yaml => {
            let documents = stream::yaml(input).into_iter().enumerate();
            documents.map(|(index, document)| read_yaml(index, document)).collect()
        }
        Syntax::Json => read_json(input),
    };
    let (mut parts, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(part) => parts.push(part),
            Err(error) => errors.push(error),
        }
    }
    (parts, errors)
}

fn read_yaml(index: usize, document: Document<'_>) -> Result<Part<'_>, Error> {
    let number = index + 1;
    let value = yaml::read(document.body).map_err(|error| {
        // The parser counts from the start of the document.
        let within = error.location().map_or(1, |location| location.line().max(1));
        let line = document.line + usize::try_from(within).unwrap_or(1) - 1;
        let place = format!("document {number}, line {line}");
        // In a manifest that was rendered, braces occur within texts, which do not break it.
        match document.body.contains("{{") {
            true => Error::Template { place },
            false => Error::Syntax { place, syntax: "YAML", why: without_place(&error.to_string()) },
        }
    })?;
    checked(format!("document {number}, line {}", document.line), document, value)
}

fn read_json(input: &str) -> Vec<Result<Part<'_>, Error>> {
    let mut parts = Vec::new();
    let mut values = serde_json::Deserializer::from_str(input).into_iter::<Value>();
    let mut start = 0;
    while let Some(value) = values.next() {
        let place = format!("object {}", parts.len() + 1);
        let value = match value {
            Ok(value) => value,
            Err(error) => {
                // The rest cannot be divided into objects.
                parts.push(Err(Error::Syntax { place, syntax: "JSON", why: error.to_string() }));
                return parts;
            }
        };
        // An object that does not change is written to the byte as it was read.
        let raw = &input[start..values.byte_offset()];
        start = values.byte_offset();
        let line = input[..start].matches('\n').count() + 1;
        parts.push(checked(place, Document { raw, body: raw, line }, value));
    }
    parts
}

/// Checks that a document is an object with a kind, or empty.
fn checked(place: String, document: Document<'_>, value: Value) -> Result<Part<'_>, Error> {
    if value.is_null() || value.get("kind").is_some_and(Value::is_string) {
        return Ok(Part { document, value, changed: false });
    }
    Err(Error::NoKind { place })
}

/// The first line of the YAML parser's message without its place, which counts from the document's own first line.
fn without_place(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let reason = line.strip_prefix("line ").and_then(|line| line.split_once(": ")).map(|(_, reason)| reason);
    reason.unwrap_or(line).to_owned()
}

/// Writes YAML documents. `syntax` is that of the input.
pub(super) fn write_yaml(parts: &[Part<'_>], syntax: Syntax) -> String {
    let mut out = String::new();
    for part in parts {
        match syntax {
            Syntax::Yaml if !part.changed => {
                // A document without a line break at its end would otherwise absorb the next separator.
                end_line(&mut out);
                out.push_str(part.document.raw);
                continue;
            }
            Syntax::Yaml => {
                let preamble = stream::preamble(&part.document);
                out.push_str(preamble);
                if preamble.is_empty() && !out.is_empty() {
                    out.push_str("---\n");
                }
            }
            Syntax::Json => out.push_str("---\n"),
        }
        out.push_str(&yaml::write(&part.value));
    }
    out
}

/// Writes JSON objects. `syntax` is that of the input.
pub(super) fn write_json(parts: &[Part<'_>], syntax: Syntax) -> String {
    let mut out = String::new();
    // An empty YAML document has no counterpart in JSON.
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
