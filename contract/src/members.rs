//! Members of the cluster that are no pods of the StatefulSet, as the user names them.

use std::collections::BTreeSet;

/// The value of [`keys::OTHER_MEMBERS`](crate::keys::OTHER_MEMBERS): Erlang node names, in which `*` stands for any
/// characters and `?` for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OtherMembers(BTreeSet<String>);

impl OtherMembers {
    /// Parses names that are separated by commas. Returns those that can be node names, and the others.
    pub fn parse(value: &str) -> (Self, Vec<&str>) {
        let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
        let (valid, invalid): (Vec<&str>, Vec<&str>) = names.partition(|name| is_node_pattern(name));
        (Self(valid.into_iter().map(str::to_owned).collect()), invalid)
    }

    /// `true` if the user names no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `true` if the user names this node.
    pub fn contains(&self, node: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern.as_bytes(), node.as_bytes()))
    }

    /// The names and patterns.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.0
    }
}

/// `true` if this can be the name of an Erlang node, or a pattern of such names. A pattern of the whole name, such as `*`, is
/// none: it would hide every wrong entry.
fn is_node_pattern(pattern: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:*?".contains(c))
    };
    pattern.split_once('@').is_some_and(|(name, host)| is_part(name) && is_part(host))
}

/// Matches in time `pattern * text`: names come from nodes, and may be long.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // The last `*`, and the place in the text to which it extends so far.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[from] => (at, from) = (at + 1, from + 1),
            Some(_) | None => {
                let Some((position, extent)) = star else { return false };
                star = Some((position, extent + 1));
                (at, from) = (position + 1, extent + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_are_separated_by_commas() {
        let (others, invalid) =
            OtherMembers::parse(" couchdb@machine-1, couchdb@*.dc2.example.org ,couchdb@db-?");
        assert!(invalid.is_empty());
        for named in ["couchdb@machine-1", "couchdb@a.b.dc2.example.org", "couchdb@db-7"] {
            assert!(others.contains(named), "{named}");
        }
        for other in
            ["couchdb@machine-10", "couchdb@dc2.example.org", "couchdb@db-10", "bigcouch@machine-1", ""]
        {
            assert!(!others.contains(other), "{other}");
        }
        assert_eq!(OtherMembers::parse(" , "), (OtherMembers::default(), vec![]));
    }

    #[test]
    fn what_is_no_node_name_is_returned() {
        let (others, invalid) =
            OtherMembers::parse("machine-1,*,couchdb@machine-2,@x,a@b@c,a@b c,couchdb@'x'");
        assert_eq!(invalid, ["machine-1", "*", "@x", "a@b@c", "a@b c", "couchdb@'x'"]);
        assert_eq!(Vec::from_iter(others.names()), ["couchdb@machine-2"]);
    }

    #[test]
    fn a_pattern_with_many_stars_is_matched_at_once() {
        let (others, _) = OtherMembers::parse(&format!("{}@x", "*a".repeat(30)));
        assert!(!others.contains(&format!("{}@y", "a".repeat(5_000))));
    }
}
