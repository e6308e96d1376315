//! Flags of the Erlang VM, split as `erlexec` splits `ERL_FLAGS`: at spaces, with quotes and backslashes as in a shell.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::CharIndices;

/// The flags one by one, without their quotes.
pub(crate) fn split(flags: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = flags;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let (flag, length) = first(rest);
        rest = &rest[length..];
        Some(flag)
    })
}

/// The argument of the first occurrence of a flag.
pub(crate) fn argument<'f>(flags: &'f str, flag: &str) -> Option<Cow<'f, str>> {
    let mut flags = split(flags);
    flags.find(|found| found == flag)?;
    flags.next()
}

/// `true` if the flags give the node a name.
pub(crate) fn name_the_node(flags: &str) -> bool {
    split(flags).any(|flag| flag == "-name" || flag == "-sname")
}

/// The cookie that the flags set.
pub(crate) fn cookie(flags: &str) -> Option<Cow<'_, str>> {
    argument(flags, "-setcookie")
}

/// The first flag of a text that begins with one, and its length in the text.
fn first(text: &str) -> (Cow<'_, str>, usize) {
    let plain =
        text.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\')).unwrap_or(text.len());
    // Without quotes and backslashes, which is the usual case, the flag borrows from the text.
    if text[plain..].chars().next().is_none_or(char::is_whitespace) {
        return (Cow::Borrowed(&text[..plain]), plain);
    }
    let mut flag = text[..plain].to_owned();
    let mut chars = text[plain..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c.is_whitespace() => return (Cow::Owned(flag), plain + at),
            // Outside quotes, a backslash quotes any character.
            '\\' => flag.extend(chars.next().map(|(_, c)| c)),
            // Within single quotes, a backslash has no meaning.
            '\'' => flag.extend(chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '\'')),
            '"' => double_quoted(&mut flag, &mut chars),
            c => flag.push(c),
        }
    }
    (Cow::Owned(flag), text.len())
}

fn double_quoted(flag: &mut String, chars: &mut Peekable<CharIndices<'_>>) {
    while let Some((_, c)) = chars.next() {
        match c {
            '"' => return,
            '\\' => flag.extend(chars.next().map(|(_, c)| c)),
            c => flag.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `erl` of OTP 25 split each of these values of `ERL_FLAGS`.
    #[test]
    fn flags_are_split_as_erlang_splits_them() {
        let split = |flags| split(flags).collect::<Vec<_>>();
        assert_eq!(split(" -name couchdb  -setcookie abc "), ["-name", "couchdb", "-setcookie", "abc"]);
        assert_eq!(split(r#"-setcookie "monster" -name 'couchdb@c.local'"#)[1], "monster");
        assert_eq!(split(r#"-setcookie "monster" -name 'couchdb@c.local'"#)[3], "couchdb@c.local");
        assert_eq!(split(r"-setcookie mon\ster"), ["-setcookie", "monster"]);
        assert_eq!(split(r#"-a "b c" 'd "e' "f\"g" h\ i"#), ["-a", "b c", "d \"e", "f\"g", "h i"]);
        assert_eq!(split("-kernel inet_dist_use_interface {0,0,0,0}")[2], "{0,0,0,0}");
        assert_eq!(split(""), Vec::<&str>::new());
    }

    #[test]
    fn node_names_and_cookies_are_found() {
        assert!(name_the_node("-kernel x y -sname a") && !name_the_node("-names a -setcookie -"));
        assert_eq!(cookie("-name a -setcookie \"b\"").as_deref(), Some("b"));
        assert_eq!(cookie("-setcookie"), None);
    }
}
