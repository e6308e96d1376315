//! YAML as kubectl reads it, written so that no reader misreads it.
//!
//! kubectl reads YAML 1.1, in which `on` is true and `0644` is 420. Files are read in the same way here; serde-saphyr and
//! kubectl differ only on texts such as `1__0` and `TrUe`, which do not occur in manifests. On the way out, every string
//! that some YAML reader would read as another type is quoted.
//!
//! Not written by serde-saphyr: its double quotes escape every quote in the record, which is JSON in a string, and its
//! block scalars contain trailing spaces.

use std::fmt::Write as _;

use serde_json::Value;
use serde_saphyr::options::NonFiniteFloatPolicy;

/// Reads one document. An empty one is null.
pub(super) fn read(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        // JSON has no infinity: kubectl and the API server reject such a file.
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        // An object may have thousands of variables, up to the API server's limit of 3 MiB.
        budget: None,
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// Writes one document as kubectl does: block style, two spaces, list items level with their key.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    if is_block(value) {
        block(&mut out, value, 0);
    } else {
        scalar(&mut out, value, 0);
        out.push('\n');
    }
    out
}

/// `true` for a list or map that is not empty, which is written on lines of its own.
fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Writes a list or map, the first entry at the end of `out` and each other one on a line of its own.
fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) => {
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    indent(out, depth);
                }
                text(out, key);
                out.push(':');
                field(out, value, depth);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    indent(out, depth);
                }
                out.push_str("- ");
                entry(out, item, depth + 1);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Writes the value behind `key:`.
fn field(out: &mut String, value: &Value, depth: usize) {
    if is_block(value) {
        // kubectl indents maps, and keeps lists level with their key.
        let depth = if value.is_array() { depth } else { depth + 1 };
        out.push('\n');
        indent(out, depth);
        block(out, value, depth);
    } else {
        out.push(' ');
        scalar(out, value, depth + 1);
        out.push('\n');
    }
}

/// Writes the value behind `- `.
fn entry(out: &mut String, value: &Value, depth: usize) {
    if is_block(value) {
        block(out, value, depth);
    } else {
        scalar(out, value, depth);
        out.push('\n');
    }
}

fn scalar(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(string) => match literal_header(string) {
            Some(header) => literal(out, header, string, depth),
            None => text(out, string),
        },
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let _ = write!(out, "{value}");
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// The header of a literal block, for a text of several lines that can be written as one.
fn literal_header(string: &str) -> Option<&'static str> {
    let body = string.trim_end_matches('\n');
    let is_printable = string.chars().all(|c| c == '\n' || c == '\t' || !must_be_escaped(c));
    if !body.contains('\n') || body.starts_with([' ', '\t', '\n']) || !is_printable {
        return None;
    }
    match string.len() - body.len() {
        0 => Some("|-"),
        1 => Some("|"),
        // The value of several blank lines at the end would depend on what follows.
        _ => None,
    }
}

fn literal(out: &mut String, header: &str, string: &str, depth: usize) {
    out.push_str(header);
    for line in string.trim_end_matches('\n').split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth);
            out.push_str(line);
        }
    }
}

/// Writes a key or a string on one line.
fn text(out: &mut String, string: &str) {
    if is_plain(string) {
        out.push_str(string);
    } else {
        quote(out, string);
    }
}

/// `true` if every reader reads the string as a string without quotes. In doubt it is quoted, which does no harm.
fn is_plain(string: &str) -> bool {
    let is_word = string.starts_with(|c: char| c.is_ascii_alphabetic() || "_/$(".contains(c));
    (is_word && !is_reserved(string) || is_quantity(string))
        && string.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.ends_with([':', ' '])
}

/// `true` for the words that YAML 1.1 reads as booleans, null and numbers, in any case.
fn is_reserved(string: &str) -> bool {
    const WORDS: [&str; 11] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(string))
}

/// `true` for quantities such as `8Gi` and `5m`: they begin like a number, but no reader reads them as one.
fn is_quantity(string: &str) -> bool {
    let Some(end) = string.bytes().position(|byte| !byte.is_ascii_digit()) else { return false };
    end > 0 && ["m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].contains(&&string[end..])
}

fn quote(out: &mut String, string: &str) {
    // In single quotes, JSON within YAML, such as the record, remains readable.
    if string.contains(['"', '\\']) && !string.chars().any(must_be_escaped) {
        let _ = write!(out, "'{}'", string.replace('\'', "''"));
        return;
    }
    out.push('"');
    for c in string.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if must_be_escaped(c) => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `true` for control characters, and for those that some readers treat as a line break or a byte order mark.
fn must_be_escaped(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_is_read_as_kubectl_reads_it() {
        let read = |text: &str| read(text).unwrap();
        for (text, value) in [
            ("on", json!(true)),
            ("No", json!(false)),
            ("y", json!(true)),
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("~", json!(null)),
            ("", json!(null)),
            ("1:30", json!("1:30")),
            ("2001-01-01", json!("2001-01-01")),
            ("'on'", json!("on")),
            ("100m", json!("100m")),
        ] {
            assert_eq!(read(text), value, "{text}");
        }
    }

    #[test]
    fn strings_that_resemble_other_types_are_quoted() {
        let value = json!({
            "plain": ["couchdb", "8Gi", "5m", "$(POD_NAME).x", "/opt/couchdb", "a b", "http://x:1/"],
            "quoted": ["on", "NO", "y", "0644", "1e3", "1_000", "null", "~", "", "-name couchdb", "a: b", "a #b", "x:", ".5", "=", "1:30", "2001-01-01", "é"],
            "not strings": [true, null, 1, 1.5],
            "on": "key",
            "empty": [[], {}, [[1, 2], {"a": [], "b": {"c": 1}}]],
            "lines": "one\ntwo\n",
            "more": ["one\n\n  two", "ends twice\n\n", " leads\nx", "tab\tonly"],
        });
        insta::assert_snapshot!(write(&value), @r#"
        plain:
        - couchdb
        - 8Gi
        - 5m
        - $(POD_NAME).x
        - /opt/couchdb
        - a b
        - http://x:1/
        quoted:
        - "on"
        - "NO"
        - "y"
        - "0644"
        - "1e3"
        - "1_000"
        - "null"
        - "~"
        - ""
        - "-name couchdb"
        - "a: b"
        - "a #b"
        - "x:"
        - ".5"
        - "="
        - "1:30"
        - "2001-01-01"
        - "é"
        not strings:
        - true
        - null
        - 1
        - 1.5
        "on": key
        empty:
        - []
        - {}
        - - - 1
            - 2
          - a: []
            b:
              c: 1
        lines: |
          one
          two
        more:
        - |-
          one

            two
        - "ends twice\n\n"
        - " leads\nx"
        - "tab\tonly"
        "#);
        assert_eq!(read(&write(&value)).unwrap(), value);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
            "[ -~]{0,12}".prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
            "[ab \n\t:#|-]{0,12}".prop_map(Value::from),
            "[0-9a-fxobe_.+:-]{1,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            let key = prop_oneof!["[a-z]{1,5}", "[ -~\n]{0,5}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_written_value_is_read_as_the_same(value in any_json()) {
            let written = write(&value);
            let back = read(&written);
            prop_assert!(back.is_ok(), "{written}\n{back:?}");
            prop_assert_eq!(back.unwrap(), value, "{}", written);
        }
    }
}
