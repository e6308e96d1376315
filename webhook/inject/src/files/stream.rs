//! The boundaries of documents in a stream.

/// A document of a stream, with the bytes that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// All bytes, including the line that separates it from the document before.
    pub(super) raw: &'a str,
    /// The part to parse.
    pub(super) body: &'a str,
    /// Number of its first line, from 1.
    pub(super) line: usize,
}

/// The syntax of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Documents separated by `---`.
    Yaml,
    /// Consecutive objects.
    Json,
}

/// Recognises JSON by its first brace. Everything else is YAML.
pub(super) fn syntax(text: &str) -> Syntax {
    if text.trim_start().starts_with('{') { Syntax::Json } else { Syntax::Yaml }
}

/// Splits a YAML stream at its document markers.
///
/// Text contains `---` at the start of a line only as a marker, even in a literal block, so that it is sufficient to look
/// at the starts of lines.
pub(super) fn yaml(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut line) = (0, 1);
    let mut offset = 0;
    for (number, text_line) in text.split_inclusive('\n').enumerate() {
        // A marker on the first line of a document does not end it.
        if offset > start && (is_marker(text_line, "---") || is_marker(text_line, "...")) {
            documents.push(document(&text[start..offset], line));
            (start, line) = (offset, number + 1);
        }
        offset += text_line.len();
    }
    if start < text.len() {
        documents.push(document(&text[start..], line));
    }
    documents
}

/// The separator and the comments before the first field. They are kept when the rest is written again.
pub(super) fn preamble<'a>(document: &Document<'a>) -> &'a str {
    let mut length = 0;
    for line in document.raw.split_inclusive('\n') {
        let text = line.strip_prefix("---").unwrap_or(line).trim();
        if !text.is_empty() && !text.starts_with('#') {
            break;
        }
        length += line.len();
    }
    &document.raw[..length]
}

fn document(raw: &str, line: usize) -> Document<'_> {
    let marker = ["---", "..."].into_iter().find(|marker| is_marker(raw, marker));
    let body = &raw[marker.map_or(0, str::len)..];
    // Comments and directives, such as `%YAML 1.1`, are not a document.
    let is_empty = body.lines().all(|line| line.trim().is_empty() || line.starts_with(['%', '#']));
    Document { raw, body: if is_empty { "" } else { body }, line }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_keeps_every_byte() {
        for text in [
            "",
            "a: 1\n",
            "---\na: 1\n---\nb: 2",
            "# c\n---\n---\n\n--- # x\na: |\n  ---\n  b\n...\n---\n",
            "%YAML 1.1\n---\na: 1\r\n---\r\nb: 2\r\n",
            "--- {a: 1}\n---x: 1\n",
        ] {
            assert_eq!(yaml(text).iter().map(|document| document.raw).collect::<String>(), text);
        }
    }

    #[test]
    fn documents_have_a_line_and_a_preamble() {
        let text = "# first\na: 1\n--- # second\n# about b\n\nb: 2\n--- {c: 3}\n";
        let documents = yaml(text);
        let found: Vec<_> = documents.iter().map(|it| (it.line, preamble(it), it.body.trim())).collect();
        assert_eq!(found[0], (1, "# first\n", "# first\na: 1"));
        assert_eq!(found[1], (3, "--- # second\n# about b\n\n", "# second\n# about b\n\nb: 2"));
        assert_eq!(found[2], (7, "", "{c: 3}"));
    }
}
