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
    fn settings_have_a_section_and_comments_are_no_settings() {
        let text = "a = 1\n[couchdb]\n; single_node = false\n single_node=true ; for now\n\n[ admins ]\nroot = x=y\n";
        let found: Vec<_> = settings(text).collect();
        assert_eq!(found, [("", "a", "1"), ("couchdb", "single_node", "true"), ("admins", "root", "x=y")]);
    }
}
