//! JSON written straight into one string, and told apart by a digest.
//!
//! A patch is a handful of small objects around texts that are JSON already, so it is written rather than built.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Appends `text` as a JSON string.
pub(crate) fn string(json: &mut String, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        escape(json, text);
    }
}

fn escape(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

/// Appends `"key":"text"`.
pub(crate) fn field(json: &mut String, key: &str, text: &str) {
    string(json, key);
    json.push(':');
    string(json, text);
}

/// Appends `,` unless a list or an object has just been opened.
pub(crate) fn comma(json: &mut String) {
    if !json.ends_with(['[', '{']) {
        json.push(',');
    }
}

/// Eight hexadecimal digits that tell a changed value from an unchanged one; not meant to withstand an attacker,
/// who could change the record as well.
///
/// The order of an object's fields doesn't count, as API servers write them in an order of their own.
pub(crate) fn digest<'de, D: Deserializer<'de>>(json: D, of: Fields) -> Option<Digest> {
    of.deserialize(json).ok().map(|Hash(hash)| Digest((hash ^ hash >> 32) as u32))
}

/// Which of an object's fields count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fields {
    /// All of them.
    All,
    /// Only these, of the outermost object. A field that a later Kubernetes fills in by default is no change.
    Only(&'static [&'static str]),
}

/// What [`digest`] makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(u32);

impl Digest {
    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A hash in the making.
#[derive(Debug)]
pub(crate) struct Hash(u64);

/// Over a tag, which keeps `1` and `"1"` apart, and the bytes, eight at a time: the rendered agent is 2 kB, and byte
/// by byte it would take a tenth of a review's budget.
fn hash(tag: u8, bytes: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let chunks = bytes.chunks_exact(8);
    let rest = word(chunks.remainder());
    let start = step(u64::from(tag), bytes.len() as u64);
    let mixed = step(chunks.map(word).fold(start, step), rest);
    let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ mixed >> 33
}

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = Hash;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Hash, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::All.deserialize(deserializer)
    }
}

impl<'de> Visitor<'de> for Fields {
    type Value = Hash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Hash, E> {
        Ok(Hash(hash(0, &[])))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Hash, E> {
        Ok(Hash(hash(1, &[u8::from(value)])))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Hash, E> {
        Ok(Hash(hash(2, &i128::from(value).to_le_bytes())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Hash, E> {
        Ok(Hash(hash(2, &i128::from(value).to_le_bytes())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Hash, E> {
        Ok(Hash(hash(3, &value.to_bits().to_le_bytes())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Hash, E> {
        Ok(Hash(hash(4, value.as_bytes())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Hash, A::Error> {
        let mut all = 5u64;
        while let Some(Hash(item)) = items.next_element()? {
            all = hash(5, &u128::to_le_bytes(u128::from(all) << 64 | u128::from(item)));
        }
        Ok(Hash(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Hash, A::Error> {
        let mut sum = 6u64;
        while let Some(key) = entries.next_key::<crate::read::text::Text<'de>>()? {
            let Hash(value) = entries.next_value()?;
            let counts = match self {
                Self::All => true,
                Self::Only(fields) => fields.contains(&key.as_str()),
            };
            if counts {
                let key = hash(6, key.as_str().as_bytes());
                sum =
                    sum.wrapping_add(hash(7, &u128::to_le_bytes(u128::from(key) << 64 | u128::from(value))));
            }
        }
        Ok(Hash(sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, fields: Fields) -> String {
        digest(&mut serde_json::Deserializer::from_str(json), fields).unwrap().to_string()
    }

    #[test]
    fn a_digest_tells_values_apart_and_not_the_order_of_fields() {
        let all = |json| of(json, Fields::All);
        assert_eq!(all(r#"{"a":1,"b":{"c":[1,2]}}"#), all(r#"{"b":{"c":[1,2]},"a":1}"#));
        assert_eq!(all(r#""A""#), all(r#""\u0041""#));
        let different =
            ["1", "\"1\"", "1.0", "true", "null", "[]", "{}", "[1,2]", "[2,1]", r#"{"a":1}"#, r#"{"a":2}"#];
        for (index, one) in different.iter().enumerate() {
            for other in &different[index + 1..] {
                assert_ne!(all(one), all(other), "{one} {other}");
            }
        }
        let value: serde_json::Value = serde_json::from_str(r#"{"b":2,"a":[1,"x"]}"#).unwrap();
        assert_eq!(digest(&value, Fields::All).unwrap().to_string(), all(r#"{"a":[1,"x"],"b":2}"#));
    }

    #[test]
    fn fields_that_do_not_count_are_left_out_at_the_top_only() {
        let only = |json| of(json, Fields::Only(&["a"]));
        assert_eq!(only(r#"{"a":1,"new":{}}"#), only(r#"{"a":1}"#));
        assert_ne!(only(r#"{"a":{"new":1}}"#), only(r#"{"a":{}}"#));
    }

    #[test]
    fn strings_are_escaped_when_they_must_be() {
        for text in ["plain", "with \"quotes\"", "back\\slash", "line\nbreak", "\u{1}", "ünïcode"] {
            let mut json = String::new();
            string(&mut json, text);
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
