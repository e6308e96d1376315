//! A digest of a JSON value, which distinguishes a changed value from an unchanged one.
//!
//! The order of an object's fields does not matter, since API servers write them in an order of their own. Not sha2 over
//! canonical JSON: that needs a sorted copy of every value, and the records in clusters would still need this function.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::read::Text;

/// Eight hexadecimal digits in the record. They do not withstand an attacker, but an attacker could change the record as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest(u32);

/// The fields of an object that a digest covers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fields {
    /// All fields.
    All,
    /// These fields of the outermost object. A field that a later Kubernetes adds by default is not a change.
    Only(&'static [&'static str]),
}

impl Digest {
    /// Computes the digest of the JSON that `json` deserializes.
    pub(crate) fn of<'de, D: Deserializer<'de>>(json: D, fields: Fields) -> Option<Self> {
        let Hash(hash) = fields.deserialize(json).ok()?;
        Some(Self((hash ^ hash >> 32) as u32))
    }

    /// Computes the digest of a JSON text.
    pub(crate) fn of_text(json: &str, fields: Fields) -> Option<Self> {
        Self::of(&mut serde_json::Deserializer::from_str(json), fields)
    }

    /// Parses the eight hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != 8 {
            return None;
        }
        u32::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The 64-bit hash of a value, from which the digest is folded.
#[derive(Debug)]
pub(crate) struct Hash(u64);

/// The kind of a value, hashed with it, so that `1` and `"1"` differ. Digests in records depend on these numbers.
#[derive(Clone, Copy)]
enum Tag {
    Null = 0,
    Bool = 1,
    Integer = 2,
    Float = 3,
    String = 4,
    List = 5,
    Key = 6,
    Field = 7,
}

/// Hashes eight bytes at a time: the rendered agent has 2 kB, which would take a tenth of a review's time byte by byte.
fn hash(tag: Tag, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    // The length distinguishes a value from the same value with zero bytes behind it.
    let mut mixed = mix(tag as u64, bytes.len() as u64);
    for word in words {
        mixed = mix(mixed, u64::from_le_bytes(*word));
    }
    let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    mixed = mix(mixed, rest);
    // Avalanche: each input bit affects both halves, which the digest folds into one.
    mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ mixed >> 33
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn hash_pair(tag: Tag, one: u64, other: u64) -> u64 {
    hash(tag, &(u128::from(one) << 64 | u128::from(other)).to_le_bytes())
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
        Ok(Hash(hash(Tag::Null, &[])))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Hash, E> {
        Ok(Hash(hash(Tag::Bool, &[u8::from(value)])))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Hash, E> {
        // One width for both integer types, so that a number has one digest however it was parsed.
        Ok(Hash(hash(Tag::Integer, &i128::from(value).to_le_bytes())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Hash, E> {
        Ok(Hash(hash(Tag::Integer, &i128::from(value).to_le_bytes())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Hash, E> {
        Ok(Hash(hash(Tag::Float, &value.to_bits().to_le_bytes())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Hash, E> {
        Ok(Hash(hash(Tag::String, value.as_bytes())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Hash, A::Error> {
        let mut all = 5;
        while let Some(Hash(item)) = items.next_element()? {
            all = hash_pair(Tag::List, all, item);
        }
        Ok(Hash(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Hash, A::Error> {
        let mut sum = 6u64;
        while let Some(key) = entries.next_key::<Text<'de>>()? {
            let Hash(value) = entries.next_value()?;
            let is_covered = match self {
                Self::All => true,
                Self::Only(fields) => fields.contains(&key.as_str()),
            };
            if is_covered {
                let key = hash(Tag::Key, key.as_str().as_bytes());
                // A sum does not depend on the order of the fields.
                sum = sum.wrapping_add(hash_pair(Tag::Field, key, value));
            }
        }
        Ok(Hash(sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, fields: Fields) -> String {
        Digest::of_text(json, fields).unwrap().to_string()
    }

    #[test]
    fn digests_differ_by_value_and_not_by_the_order_of_fields() {
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
        assert_eq!(Digest::of(&value, Fields::All).unwrap().to_string(), all(r#"{"a":[1,"x"],"b":2}"#));
    }

    #[test]
    fn digests_in_existing_records_stay_valid() {
        let all = |json| of(json, Fields::All);
        assert_eq!(all(r#"{"name":"A","value":"b"}"#), "4cc966af");
        assert_eq!(all(r#"[null,true,-1,1.5,{"long enough for several words":"ünïcode"}]"#), "afb6ad30");
    }

    #[test]
    fn other_fields_are_ignored_in_the_outermost_object_only() {
        let only = |json| of(json, Fields::Only(&["a"]));
        assert_eq!(only(r#"{"a":1,"new":{}}"#), only(r#"{"a":1}"#));
        assert_ne!(only(r#"{"a":{"new":1}}"#), only(r#"{"a":{}}"#));
    }
}
