//! The values that CouchDB's ini files keep.

/// The part of a value that an ini file does not keep, as the subject of a sentence; never the value itself.
pub fn lost_part(value: &str) -> Option<&'static str> {
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
}
