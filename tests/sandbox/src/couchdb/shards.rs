//! Where the documents of a clustered database lie: mem3's placement and shard maps.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::crypto::crc32;

/// One shard file: `shards/<range>/<db>.<suffix>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// The database; first, so that the files of one database are neighbours.
    pub db: String,
    /// `.1795221185`: when the database was made, in seconds.
    pub suffix: String,
    /// `00000000-7fffffff`.
    pub range: String,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shards/{}/{}{}", self.range, self.db, self.suffix)
    }
}

impl Shard {
    /// From `shards/<range>/<db>.<suffix>`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (range, file) = name.strip_prefix("shards/")?.split_once('/')?;
        let (db, suffix) = file.rsplit_once('.')?;
        Some(Self { db: db.to_owned(), suffix: format!(".{suffix}"), range: range.to_owned() })
    }
}

/// The content of a document of `_dbs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    /// The database.
    pub db: String,
    pub(crate) suffix: String,
    /// Holders of each range, by node name, in the document's order.
    pub by_range: BTreeMap<String, Vec<String>>,
}

impl ShardMap {
    pub(crate) fn parse(db: &str, doc: &Map<String, Value>) -> Self {
        let suffix = match doc.get("shard_suffix") {
            Some(Value::Array(codes)) => codes
                .iter()
                .filter_map(Value::as_u64)
                .filter_map(|c| u8::try_from(c).ok())
                .map(char::from)
                .collect(),
            _ => String::new(),
        };
        let ranges = doc.get("by_range").and_then(Value::as_object).into_iter().flatten();
        let by_range = ranges.map(|(range, holders)| (range.clone(), strings(holders))).collect();
        Self { db: db.to_owned(), suffix, by_range }
    }

    pub(crate) fn shard(&self, range: &str) -> Shard {
        Shard { db: self.db.clone(), suffix: self.suffix.clone(), range: range.to_owned() }
    }

    pub(crate) fn shards_of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = Shard> + 'a {
        self.by_range
            .iter()
            .filter(move |(_, holders)| holders.iter().any(|h| h == node))
            .map(|(range, _)| self.shard(range))
    }

    /// The range that a document falls into.
    pub(crate) fn range_of(&self, doc: &str) -> Option<&str> {
        let hash = crc32(doc.as_bytes());
        self.by_range.keys().map(String::as_str).find(|range| {
            let bounds = range.split_once('-').and_then(|(low, high)| {
                Some((u32::from_str_radix(low, 16).ok()?, u32::from_str_radix(high, 16).ok()?))
            });
            bounds.is_some_and(|(low, high)| (low..=high).contains(&hash))
        })
    }

    /// The most copies any range has: CouchDB's `n` of the database.
    pub(crate) fn n(&self) -> usize {
        self.by_range.values().map(Vec::len).max().unwrap_or(0)
    }

    /// What `_shards` answers: holders in the reverse of the document's order.
    pub(crate) fn listing(&self) -> Value {
        let shards: Map<String, Value> =
            self.by_range.keys().map(|range| (range.clone(), json!(self.holders_as_listed(range)))).collect();
        json!({"shards": shards})
    }

    pub(crate) fn holders_as_listed(&self, range: &str) -> Vec<&str> {
        self.by_range.get(range).into_iter().flatten().rev().map(String::as_str).collect()
    }
}

/// Whether a `_dbs` document may be written: both sides of the map must say the same (CouchDB 3.2.1 and later).
pub(crate) fn is_consistent(doc: &Map<String, Value>) -> bool {
    let pairs = |key: &str, turn: bool| -> Vec<(String, String)> {
        let entries = doc.get(key).and_then(Value::as_object).into_iter().flatten();
        let mut pairs: Vec<_> = entries
            .flat_map(|(k, list)| strings(list).into_iter().map(move |item| (k.clone(), item)))
            .map(|(k, item)| if turn { (item, k) } else { (k, item) })
            .collect();
        pairs.sort();
        pairs
    };
    pairs("by_node", false) == pairs("by_range", true)
}

/// A new database's `_dbs` document. mem3 deals the sorted nodes out backwards, from a random first one.
pub(crate) fn place(nodes: &[String], q: usize, n: usize, first: usize, suffix: &str) -> Map<String, Value> {
    let n = n.clamp(1, nodes.len().max(1));
    let mut dealt = (0..nodes.len()).rev().cycle().skip(nodes.len() - 1 - first % nodes.len().max(1));
    let mut by_range: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for range in ranges(q) {
        let mut holders: Vec<String> = dealt.by_ref().take(n).map(|i| nodes[i].clone()).collect();
        holders.sort();
        by_range.insert(range, holders);
    }
    let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut changelog = Vec::new();
    for (range, holders) in &by_range {
        for holder in holders {
            changelog.push(json!(["add", range, holder]));
            by_node.entry(holder.clone()).or_default().push(range.clone());
        }
    }
    let document = json!({
        "shard_suffix": suffix.bytes().collect::<Vec<u8>>(),
        "changelog": changelog,
        "by_node": by_node,
        "by_range": by_range,
        "props": {},
    });
    match document {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn ranges(q: usize) -> Vec<String> {
    let q = q.max(1) as u64;
    let width = (1_u64 << 32) / q;
    (0..q)
        .map(|i| {
            let end = if i + 1 == q { u64::from(u32::MAX) } else { (i + 1) * width - 1 };
            format!("{:08x}-{end:08x}", i * width)
        })
        .collect()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    /// Transcripts G and H: `t2` with n=2 on three nodes.
    #[test]
    fn placement_is_that_of_real_nodes() {
        let nodes = names(&["N0", "N1", "N2"]);
        let map = ShardMap::parse("t2", &place(&nodes, 4, 2, 0, ".1"));
        let held: Vec<_> = map.by_range.values().cloned().collect();
        assert_eq!(
            held,
            [names(&["N0", "N2"]), names(&["N0", "N1"]), names(&["N1", "N2"]), names(&["N0", "N2"])]
        );
        let map = ShardMap::parse("t2", &place(&nodes, 2, 2, 1, ".1"));
        let held: Vec<_> = map.by_range.values().cloned().collect();
        assert_eq!(held, [names(&["N0", "N1"]), names(&["N1", "N2"])]);
    }

    #[test]
    fn the_document_reads_as_recorded() {
        let doc = place(&names(&["N0", "N1"]), 2, 3, 0, ".1795221185");
        assert!(is_consistent(&doc));
        assert_eq!(
            Value::Object(doc.clone()).to_string(),
            concat!(
                r#"{"shard_suffix":[46,49,55,57,53,50,50,49,49,56,53],"#,
                r#""changelog":[["add","00000000-7fffffff","N0"],["add","00000000-7fffffff","N1"],"#,
                r#"["add","80000000-ffffffff","N0"],["add","80000000-ffffffff","N1"]],"#,
                r#""by_node":{"N0":["00000000-7fffffff","80000000-ffffffff"],"#,
                r#""N1":["00000000-7fffffff","80000000-ffffffff"]},"#,
                r#""by_range":{"00000000-7fffffff":["N0","N1"],"80000000-ffffffff":["N0","N1"]},"props":{}}"#
            )
        );
        let map = ShardMap::parse("t", &doc);
        assert_eq!(map.suffix, ".1795221185");
        assert_eq!(map.range_of("doc1"), Some("80000000-ffffffff"));
        assert_eq!(map.holders_as_listed("00000000-7fffffff"), ["N1", "N0"]);
        let shard = map.shard("00000000-7fffffff");
        assert_eq!(Shard::parse(&shard.to_string()), Some(shard));
    }

    #[test]
    fn a_map_with_two_minds_is_refused() {
        let mut doc = place(&names(&["N0", "N1"]), 2, 2, 0, ".1");
        doc.insert("by_node".to_owned(), json!({"N0": ["00000000-7fffffff"]}));
        assert!(!is_consistent(&doc));
    }
}
