//! A stream of documents, cut without changing a byte.

/// One document of a stream, with the bytes it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Document<'a> {
    /// All of it, the line that separates it from the one before included.
    pub(crate) raw: &'a str,
    /// What is to be parsed.
    pub(crate) body: &'a str,
    /// The line on which it begins, from 1.
    pub(crate) line: usize,
}

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// Documents separated by `---`.
    Yaml,
    /// Objects one after the other.
    Json,
}

/// Tells JSON, which begins with a brace, from other YAML.
pub(crate) fn syntax(text: &str) -> Syntax {
    match text.trim_start().starts_with('{') {
        true => Syntax::Json,
        false => Syntax::Yaml,
    }
}

/// Cuts YAML at its document markers. No text may hold `---` at the start of a line but as a marker, not even a
/// literal block, so looking at the lines is enough.
pub(crate) fn yaml(text: &str) -> Vec<Document<'_>> {
    let mut starts = vec![(0, 1)];
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line, "---") || is_marker(line, "...") {
            starts.push((offset, number + 1));
        }
        offset += line.len();
    }
    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([text.len()]);
    let cut = starts.iter().zip(ends).filter(|((start, _), end)| start < end);
    cut.map(|(&(start, line), end)| document(&text[start..end], line)).collect()
}

/// The separator and the comments before the first field: what is kept when the rest is written anew.
pub(crate) fn preamble<'a>(document: &Document<'a>) -> &'a str {
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
    let markers = ["---", "..."];
    let body = markers.iter().find_map(|marker| is_marker(raw, marker).then(|| &raw[marker.len()..]));
    let body = body.unwrap_or(raw);
    let directives_only = body.lines().all(|line| line.trim().is_empty() || line.starts_with(['%', '#']));
    Document { raw, body: if directives_only { "" } else { body }, line }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_loses_no_byte() {
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
    fn documents_know_their_line_and_their_preamble() {
        let text = "# first\na: 1\n--- # second\n# about b\n\nb: 2\n--- {c: 3}\n";
        let documents = yaml(text);
        let seen: Vec<_> = documents.iter().map(|it| (it.line, preamble(it), it.body.trim())).collect();
        assert_eq!(seen[0], (1, "# first\n", "# first\na: 1"));
        assert_eq!(seen[1], (3, "--- # second\n# about b\n\n", "# second\n# about b\n\nb: 2"));
        assert_eq!(seen[2], (7, "", "{c: 3}"));
    }
}
