//! Names that stand in a shard map for a copy that is being filled.
//!
//! A placeholder is no node, so no reader or writer meets the copy before it is complete. `[mem3.redirects]` on the holders
//! sends internal replication for the name to the target instead (`mem3_sync:maybe_redirect`). The name contains source and
//! target, and CouchDB logs every change of a map in the map itself, so any agent can continue a move.

use std::fmt;

/// A copy that is filled outside of the map, or one that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fill {
    /// The ordinal of the node whose copy is removed at the end; `None` where a copy is only added.
    pub from: Option<u32>,
    /// The ordinal of the node that gets the copy; `None` where a copy is only dropped. Such a name appears in the log of the
    /// map's changes only.
    pub to: Option<u32>,
}

impl Fill {
    /// The placeholder of no copy: it raises the number of copies by which CouchDB computes the quorum.
    pub const NO_COPY: Self = Self { from: None, to: None };

    /// Parses a name of a shard map; `None` for a node.
    pub fn parse(name: &str) -> Option<Self> {
        let pair = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (from, to) = pair.split_once("-to-")?;
        Some(Self { from: end(from)?, to: end(to)? })
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |end: Option<u32>| end.map_or_else(|| NONE.to_owned(), |ordinal| ordinal.to_string());
        write!(f, "{PREFIX}{}-to-{}{SUFFIX}", word(self.from), word(self.to))
    }
}

/// `true` for a name that stands for a copy outside of the map.
pub fn is_placeholder(name: &str) -> bool {
    Fill::parse(name).is_some()
}

fn end(word: &str) -> Option<Option<u32>> {
    if word == NONE { Some(None) } else { word.parse().ok().map(Some) }
}

const PREFIX: &str = "couchdiscover-fill-";
/// Erlang tries to connect to the node. On the node's own host that fails at once, because no such node is registered; a
/// host name would be looked up, and without an answer of DNS each attempt blocks one of Erlang's few resolvers: 3.5.0 then
/// answered `_sync_shards` after 167 s and `GET /` after 24 s.
const SUFFIX: &str = "@127.0.0.1";
/// In place of an ordinal.
const NONE: &str = "none";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_no_node_and_names_its_source_and_target() {
        for (from, to) in [(Some(4), Some(1)), (None, Some(12)), (Some(4), None)] {
            let fill = Fill { from, to };
            assert_eq!(Fill::parse(&fill.to_string()), Some(fill));
        }
        assert_eq!(Fill { from: Some(4), to: Some(1) }.to_string(), "couchdiscover-fill-4-to-1@127.0.0.1");
        assert!(!is_placeholder("couchdb@db-1.db.shop.svc.cluster.local"));
        assert!(!is_placeholder("couchdiscover-fill-4@127.0.0.1"));
        assert!(!is_placeholder("couchdiscover-fill-x-to-1@127.0.0.1"));
    }
}
