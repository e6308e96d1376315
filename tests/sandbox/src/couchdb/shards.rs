//! Shard maps, and mem3's placement of a new database.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::crypto::crc32;

/// One shard file: `shards/<range>/<db>.<suffix>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Shard {
    /// Name of the database. The first field, so that the files of one database are sorted together.
    pub db: String,
    /// Time of the database's creation in seconds since 1970, with a leading dot: `.1795221185`.
    pub suffix: String,
    /// Bounds of the range in hex, both inclusive: `00000000-7fffffff`.
    pub range: String,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shards/{}/{}{}", self.range, self.db, self.suffix)
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name).ok_or(name)
    }
}

impl Shard {
    /// Parses `shards/<range>/<db>.<suffix>`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (range, file) = name.strip_prefix("shards/")?.split_once('/')?;
        let (db, suffix) = file.rsplit_once('.')?;
        Some(Self { db: db.to_owned(), suffix: format!(".{suffix}"), range: range.to_owned() })
    }
}

/// The content of a document of `_dbs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    /// Name of the database.
    pub db: String,
    pub(crate) suffix: String,
    /// Properties of the database that each of its files gets at its creation.
    pub(crate) props: Value,
    /// Node names of each range's holders, in the document's order.
    pub by_range: BTreeMap<String, Vec<String>>,
}

impl ShardMap {
    pub(crate) fn parse(db: &str, doc: &Map<String, Value>) -> Self {
        // The suffix is an Erlang string: a list of character codes.
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
        let props = doc.get("props").cloned().unwrap_or_else(|| json!({}));
        Self { db: db.to_owned(), suffix, props, by_range }
    }

    /// The ranges that contain a document. After a split on one node these are several.
    pub(crate) fn ranges_of(&self, doc: &str) -> impl Iterator<Item = &str> {
        let hash = crc32(doc.as_bytes());
        self.by_range.keys().map(String::as_str).filter(move |range| contains(range, hash))
    }

    /// The copies by which CouchDB computes the quorum of all ranges: those of the range that contains this id
    /// (`mem3:n/1`).
    pub(crate) fn copies_for_quorum(&self) -> usize {
        self.ranges_of("_design/foo").map(|range| self.by_range[range].len()).sum()
    }

    /// The holders of ranges that overlap with this one, itself included, with their shards.
    pub(crate) fn overlapping(&self, range: &str) -> Vec<(Shard, &str)> {
        let overlaps = self.by_range.iter().filter(|(other, _)| overlap(range, other));
        overlaps
            .flat_map(|(range, holders)| holders.iter().map(|name| (self.shard(range), name.as_str())))
            .collect()
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

    /// The first range that contains a document.
    pub(crate) fn range_of(&self, doc: &str) -> Option<&str> {
        self.ranges_of(doc).next()
    }

    /// The largest number of copies of a range. CouchDB reports it as the database's `n`.
    pub(crate) fn n(&self) -> usize {
        self.by_range.values().map(Vec::len).max().unwrap_or(0)
    }

    /// The answer to `_shards`.
    pub(crate) fn listing(&self) -> Value {
        let shards: Map<String, Value> =
            self.by_range.keys().map(|range| (range.clone(), json!(self.holders_as_listed(range)))).collect();
        json!({"shards": shards})
    }

    /// The holders of a range as `_shards` lists them: in reverse.
    pub(crate) fn holders_as_listed(&self, range: &str) -> Vec<&str> {
        self.by_range.get(range).into_iter().flatten().rev().map(String::as_str).collect()
    }
}

/// The two bounds of a range.
pub(crate) fn bounds(range: &str) -> Option<(u32, u32)> {
    let (low, high) = range.split_once('-')?;
    Some((u32::from_str_radix(low, 16).ok()?, u32::from_str_radix(high, 16).ok()?))
}

/// `true` if a document with this hash belongs into the range.
fn contains(range: &str, hash: u32) -> bool {
    bounds(range).is_some_and(|(low, high)| (low..=high).contains(&hash))
}

/// `true` if the document belongs into the range.
pub(crate) fn contains_doc(range: &str, id: &str) -> bool {
    contains(range, crc32(id.as_bytes()))
}

/// `true` if two ranges have a hash in common.
fn overlap(a: &str, b: &str) -> bool {
    bounds(a).zip(bounds(b)).is_some_and(|((a, b), (c, d))| a <= d && c <= b)
}

/// The two halves of a range; `None` if it can't be split.
pub(crate) fn halves(range: &str) -> Option<[String; 2]> {
    let (low, high) = bounds(range).filter(|(low, high)| low < high)?;
    let middle = low + (high - low) / 2;
    Some([format!("{low:08x}-{middle:08x}"), format!("{:08x}-{high:08x}", middle + 1)])
}

/// The cheapest of the rings: copies whose ranges follow on each other from 0 to ffffffff. Each copy has its range and
/// its cost. Returns their indices; `None` if some hash is in no copy.
pub(crate) fn cheapest_ring(copies: &[(&str, usize)]) -> Option<Vec<usize>> {
    let mut edges: Vec<(u64, u64, usize, usize)> = copies
        .iter()
        .enumerate()
        .filter_map(|(index, (range, cost))| {
            bounds(range).map(|(low, high)| (u64::from(low), u64::from(high) + 1, *cost, index))
        })
        .collect();
    // By their first hash: a way to it is final when the copies that begin there are reached.
    edges.sort_unstable();
    let mut ways: BTreeMap<u64, (usize, Vec<usize>)> = BTreeMap::from([(0, (0, Vec::new()))]);
    for (low, end, cost, index) in edges {
        let Some((so_far, way)) = ways.get(&low).cloned() else { continue };
        if ways.get(&end).is_none_or(|(known, _)| so_far + cost < *known) {
            let way = way.into_iter().chain([index]).collect();
            ways.insert(end, (so_far + cost, way));
        }
    }
    ways.remove(&(1 << 32)).map(|(_, way)| way)
}

/// `true` if `by_node` and `by_range` of a `_dbs` document contain the same copies. CouchDB requires it since 3.2.1.
pub(crate) fn is_consistent(doc: &Map<String, Value>) -> bool {
    let mut by_node = pairs(doc, "by_node");
    let mut by_range: Vec<_> =
        pairs(doc, "by_range").into_iter().map(|(range, node)| (node, range)).collect();
    // The order of the lists does not matter, their duplicates do.
    by_node.sort();
    by_range.sort();
    by_node == by_range
}

/// The keys and list items of one side of a map, as pairs.
fn pairs(doc: &Map<String, Value>, side: &str) -> Vec<(String, String)> {
    let entries = doc.get(side).and_then(Value::as_object).into_iter().flatten();
    entries.flat_map(|(key, list)| strings(list).into_iter().map(move |item| (key.clone(), item))).collect()
}

/// Nodes that share the copies of each range of a new database: those of one zone, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Names in their order.
    pub(crate) nodes: Vec<String>,
    /// The copies of each range.
    pub(crate) n: usize,
    /// The index of the node that gets the first copy.
    pub(crate) first: usize,
}

/// `[cluster] placement`: the copies of each range by zone, `z1:2,z2:1`. `None` if the text has another form.
pub(crate) fn parse_placement(text: &str) -> Option<Vec<(String, usize)>> {
    let rules = text.split(',').filter(|rule| !rule.is_empty());
    let rules: Option<Vec<(String, usize)>> = rules
        .map(|rule| {
            let (zone, n) = rule.split_once(':')?;
            Some((zone.to_owned(), n.parse().ok().filter(|n| *n > 0)?))
        })
        .collect();
    rules.filter(|rules| !rules.is_empty())
}

/// The `_dbs` document of a new database.
pub(crate) fn place(groups: &[Group], q: usize, suffix: &str, props: &Value) -> Map<String, Value> {
    let mut by_range: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Group { nodes, n, first } in groups {
        let n = (*n).clamp(1, nodes.len().max(1));
        // mem3 assigns the copies to the sorted nodes in turn, backwards, beginning with a random one.
        let mut turns = (0..nodes.len()).rev().cycle().skip(nodes.len() - 1 - first % nodes.len().max(1));
        for range in ranges(q) {
            by_range.entry(range).or_default().extend(turns.by_ref().take(n).map(|i| nodes[i].clone()));
        }
    }
    by_range.values_mut().for_each(|holders| holders.sort());
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
        "props": props,
    });
    match document {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// The ranges of a database with `q` shards.
fn ranges(q: usize) -> Vec<String> {
    let q = q.max(1) as u64;
    let width = (1_u64 << 32) / q;
    (0..q)
        .map(|i| {
            // The last range takes the remainder of the division.
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

    fn group(list: &[&str], n: usize, first: usize) -> [Group; 1] {
        [Group { nodes: names(list), n, first }]
    }

    fn map_of(groups: &[Group], q: usize) -> ShardMap {
        ShardMap::parse("t2", &place(groups, q, ".1", &json!({})))
    }

    // As recorded: a database with n=2 on three nodes.
    #[test]
    fn placement_is_that_of_real_nodes() {
        let nodes = ["N0", "N1", "N2"];
        let held: Vec<_> = map_of(&group(&nodes, 2, 0), 4).by_range.into_values().collect();
        assert_eq!(
            held,
            [names(&["N0", "N2"]), names(&["N0", "N1"]), names(&["N1", "N2"]), names(&["N0", "N2"])]
        );
        let held: Vec<_> = map_of(&group(&nodes, 2, 1), 2).by_range.into_values().collect();
        assert_eq!(held, [names(&["N0", "N1"]), names(&["N1", "N2"])]);
    }

    #[test]
    fn each_zone_has_its_own_number_of_copies_of_each_range() {
        assert_eq!(parse_placement("z1:1,z2:2"), Some(vec![("z1".to_owned(), 1), ("z2".to_owned(), 2)]));
        for text in ["", "z1", "z1:", "z1:0", "z1:many", "z1:1,z2"] {
            assert_eq!(parse_placement(text), None, "{text}");
        }
        let [one] = group(&["A", "D"], 1, 0);
        let [two] = group(&["B", "C"], 5, 1);
        let held: Vec<_> = map_of(&[one, two], 2).by_range.into_values().collect();
        assert_eq!(held, [names(&["A", "B", "C"]), names(&["B", "C", "D"])]);
    }

    #[test]
    fn the_document_of_a_new_database_is_the_recorded_one() {
        let doc = place(&group(&["N0", "N1"], 3, 0), 2, ".1795221185", &json!({}));
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
    fn a_ring_may_consist_of_ranges_of_different_sizes() {
        let ranges = [
            ("00000000-7fffffff", 5),
            ("00000000-3fffffff", 1),
            ("40000000-7fffffff", 2),
            ("80000000-ffffffff", 9),
        ];
        assert_eq!(cheapest_ring(&ranges), Some(vec![1, 2, 3]));
        assert_eq!(cheapest_ring(&ranges[..2]), None);
        assert_eq!(cheapest_ring(&[ranges[0], ranges[3]]), Some(vec![0, 1]));
        assert_eq!(
            halves("00000000-7fffffff"),
            Some(["00000000-3fffffff", "40000000-7fffffff"].map(str::to_owned))
        );
    }

    #[test]
    fn a_map_whose_sides_differ_is_not_consistent() {
        let mut doc = place(&group(&["N0", "N1"], 2, 0), 2, ".1", &json!({}));
        doc.insert("by_node".to_owned(), json!({"N0": ["00000000-7fffffff"]}));
        assert!(!is_consistent(&doc));
    }
}
