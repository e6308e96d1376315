//! The ini files of CouchDB.

use contract::env;

/// The variables whose values the official image's entrypoint writes to an ini file.
pub(crate) const WRITTEN: [&str; 5] = [
    env::COUCHDB_USER,
    env::COUCHDB_PASSWORD,
    env::COUCHDB_SECRET,
    env::COUCHDB_ADMIN_USER,
    env::COUCHDB_ADMIN_PASS,
];

/// The part of a value that an ini file does not keep, as the subject of a sentence; never the value itself.
pub(crate) fn lost_part(value: &str) -> Option<&'static str> {
    if value.ends_with(['\n', '\r']) {
        return Some("the value ends with a line break");
    }
    if value.contains(['\n', '\r']) {
        return Some("the value contains a line break");
    }
    if value.starts_with(char::is_whitespace) || value.ends_with(char::is_whitespace) {
        return Some("the value begins or ends with a blank");
    }
    // The rest of the line is a comment.
    if value.contains(" ;") {
        return Some("the value contains ' ;'");
    }
    // The entrypoints of some images use the value as a format of printf.
    value.contains('%').then_some("the value contains '%'")
}

/// The settings of an ini file: section, key and value.
pub(crate) fn settings(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut section = "";
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim();
            return None;
        }
        if line.starts_with([';', '#']) {
            return None;
        }
        let (key, value) = line.split_once('=')?;
        let value = value.split_once(" ;").map_or(value, |(value, _)| value);
        Some((section, key.trim(), value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_an_ini_file_does_not_keep_are_found_without_being_shown() {
        for kept in ["", "pass;word", "a=b", "#x", "über", "-pbkdf2-abc,def,10"] {
            assert_eq!(lost_part(kept), None, "{kept}");
        }
        for lost in [" q", "q ", "q\n", "q\nq", "q ;q", "q%"] {
            let what = lost_part(lost).unwrap();
            assert!(!what.contains('q'), "{what}");
        }
    }

    #[test]
    fn settings_have_a_section_and_comments_are_no_settings() {
        let text = "a = 1\n[couchdb]\n; single_node = false\n single_node=true ; for now\n\n[ admins ]\nroot = x=y\n";
        let found: Vec<_> = settings(text).collect();
        assert_eq!(found, [("", "a", "1"), ("couchdb", "single_node", "true"), ("admins", "root", "x=y")]);
    }
}
