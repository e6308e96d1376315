//! Text that a pod, a peer or a caller has a part in, shown to people.
//!
//! Terminals obey escape sequences, and a line break makes one line of a log or a table look like two. [`one_line`] is the
//! rule of all programs for terminals, text logs, Events and termination messages; [`cut`] the one for quoted values, and
//! [`in_url`] the one for names of nodes in URLs and commands.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The most bytes of one message for people. Also the API's limit for the note of an Event.
pub const MESSAGE_LIMIT: usize = 1024;

/// Returns the text as one line of at most `limit` bytes, the characters that a terminal obeys shown as `\u{..}`.
///
/// A text that is longer ends with `...`.
pub fn one_line(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit && !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len().min(limit));
    // The length up to which `...` still fits.
    let mut end = 0;
    for char in text.chars() {
        if is_obeyed(char) {
            line.extend(char.escape_unicode());
        } else {
            line.push(char);
        }
        if line.len() > limit {
            // Before an escaped character, of which no part may stay.
            line.truncate(end);
            line.push_str(&CUT[..CUT.len().min(limit)]);
            break;
        }
        if line.len() + CUT.len() <= limit {
            end = line.len();
        }
    }
    Cow::Owned(line)
}

/// Encodes the name of a node for a URL or an argument of a command, so that no shell interprets a part of it. A name in
/// `_nodes` may contain any character.
pub fn in_url(name: &str) -> String {
    utf8_percent_encode(name, BEYOND_NAMES).to_string()
}

/// Returns an age in seconds as `kubectl` prints it: the two largest units while the first one is small, else one.
pub fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    if minutes < 2 {
        format!("{seconds}s")
    } else if minutes < 10 {
        format!("{minutes}m{}s", seconds % 60)
    } else if hours < 3 {
        format!("{minutes}m")
    } else if hours < 10 {
        format!("{hours}h{}m", minutes % 60)
    } else if days < 2 {
        format!("{hours}h")
    } else if days < 10 {
        format!("{days}d{}h", hours % 24)
    } else {
        format!("{days}d")
    }
}

/// Returns the text in at most `limit` bytes; one that is longer ends with `...`.
///
/// For values that a format quotes by itself, such as JSON. Nothing is escaped.
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let kept = text.floor_char_boundary(limit.saturating_sub(CUT.len()));
    Cow::Owned(text[..kept].to_owned() + &CUT[..CUT.len().min(limit)])
}

/// `true` for a character that changes how a terminal shows other characters.
fn is_obeyed(char: char) -> bool {
    // C0 with the line breaks, DEL and C1, which terminals with 8-bit controls obey like ESC [.
    char.is_control()
        || matches!(
            char,
            // Line and paragraph separator: line breaks to viewers that follow Unicode.
            '\u{2028}' | '\u{2029}'
            // Marks, overrides and isolates of the writing direction: they reorder the rest of a line.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The end of a text that was cut.
const CUT: &str = "...";

/// The characters that a shell or a URL may interpret. Names of nodes and hosts do not have them.
const BEYOND_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'@');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_without_control_characters_is_shown_as_it_is() {
        for text in ["", "couchdb-0 is ready", "zażółć 数据库 'x' \\u{1b}"] {
            assert!(matches!(one_line(text, 64), Cow::Borrowed(line) if line == text), "{text}");
        }
    }

    #[test]
    fn escape_sequences_and_line_breaks_are_shown_and_not_obeyed() {
        let title = "\u{1b}]0;pwned\u{7}\u{1b}[2J\r\nok  everything";
        assert_eq!(one_line(title, 1024), "\\u{1b}]0;pwned\\u{7}\\u{1b}[2J\\u{d}\\u{a}ok  everything");
        assert_eq!(
            one_line("\u{9b}2J\u{7f}\u{202e}txt\u{2069}\u{2028}", 1024),
            "\\u{9b}2J\\u{7f}\\u{202e}txt\\u{2069}\\u{2028}"
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(one_line("abcdef", 6), "abcdef");
        assert_eq!(one_line("abcdefg", 6), "abc...");
        assert_eq!(one_line("üüüü", 6), "ü...", "four of two bytes each");
        assert_eq!(one_line("a\u{1b}b", 6), "a...", "no part of an escaped character is left");
        assert_eq!(one_line("abc", 2), "..");
        assert_eq!(cut("a\nb", 3), "a\nb");
        assert_eq!(cut("üüüü", 6), "ü...");
        assert_eq!(cut("abc", 2), "..");
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(text in "(\\PC|\\p{Cc}|\\p{Cf}){0,40}", limit in 0_usize..60) {
            let line = one_line(&text, limit);
            prop_assert!(line.len() <= limit);
            prop_assert!(!line.contains(is_obeyed));
            prop_assert_eq!(one_line(&line, limit), line.clone(), "a second time changes nothing");
        }
    }
}
