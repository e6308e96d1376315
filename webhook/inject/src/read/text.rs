//! Strings that borrow from the JSON they are read from, and the path of the field where reading failed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

/// A string that borrows from the document unless it contains escapes.
///
/// Serde borrows into a bare `Cow<str>` only, not into an `Option` or a list of them.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    /// The string itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

/// Path of the field at which `body` cannot be read as a `T`, and the reason.
///
/// Reads the body again: tracking the path takes time that a valid review should not pay for.
pub fn place<'de, T: Deserialize<'de>>(body: &'de [u8]) -> String {
    let mut json = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(_) => "unknown".to_owned(),
        Err(error) => {
            let why = in_plain_words(&error.inner().to_string());
            if error.path().iter().next().is_none() {
                return why;
            }
            // A part that is read separately reports a path of its own, which continues this one with a dot.
            format!(".{}: {why}", error.path()).replace(": .", ".")
        }
    }
}

/// A message of serde without the names of Rust's types.
fn in_plain_words(message: &str) -> String {
    if let Some((field, rest)) = message.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'))
    {
        return format!("'{field}' is missing{rest}");
    }
    let mismatch = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, expected)) = mismatch.and_then(|mismatch| mismatch.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let found = match found {
        "sequence" => "a list".to_owned(),
        "map" => "an object".to_owned(),
        other => other.replace('`', "'"),
    };
    let (kind, rest) = expected.split_once(' ').unwrap_or((expected, ""));
    match kind {
        "i64" | "u64" | "u32" | "u16" => {
            format!("found {found}, expected a whole number {rest}").trim_end().to_owned()
        }
        _ => format!("found {found}, expected {expected}"),
    }
}
