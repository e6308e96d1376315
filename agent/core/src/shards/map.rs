//! Shard maps: the documents in `_dbs` that list the holders of each range of a database.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::fill::{Fill, is_placeholder};
use super::range::{RING, Range, ring};
use crate::facts::MapProblem;

/// The fields of a shard map that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ShardMap {
    /// The names of the nodes that hold a copy, by range: `00000000-7fffffff`. Without the placeholders of copies that are
    /// filled outside of the map: they are no nodes.
    #[serde(deserialize_with = "holders")]
    pub by_range: BTreeMap<String, Vec<String>>,
    #[serde(rename = "_conflicts")]
    conflicts: Vec<String>,
    /// The bytes of the files' suffix: a dot and the time of creation.
    shard_suffix: Vec<u8>,
    /// The ranges of which agents are about to remove a copy, because another node has got it.
    #[serde(rename = "changelog", deserialize_with = "moved")]
    moved: BTreeSet<String>,
}

impl ShardMap {
    /// The name of a shard's file: `shards/00000000-7fffffff/orders.1795221185`.
    pub fn shard(&self, database: &str, range: &str) -> String {
        shard_file(range, database, &String::from_utf8_lossy(&self.shard_suffix))
    }

    /// Returns the problem of this map, if any. `members` are the names of all nodes that may hold a copy.
    pub fn problem(&self, members: &BTreeSet<String>) -> Option<MapProblem> {
        if !self.conflicts.is_empty() {
            return Some(MapProblem::Conflict);
        }
        if !self.is_complete() {
            return Some(MapProblem::MissingRange);
        }
        // A copy on such a node can't be read, although the map counts it.
        let mut holders = self.by_range.values().flatten();
        let unknown = holders.find(|holder| !members.contains(*holder))?;
        Some(MapProblem::UnknownHolder(unknown.clone()))
    }

    /// Returns `true` if ranges that have a holder cover all hashes.
    fn is_complete(&self) -> bool {
        let held = self.by_range.iter().filter(|(_, holders)| !holders.is_empty());
        ring(held.filter_map(|(range, _)| Range::parse(range))).is_some()
    }

    /// Returns the ranges of which the node holds copies, each with its name.
    fn held_by<'a>(&'a self, node: &'a str) -> impl Iterator<Item = (&'a str, Range)> + Clone + 'a {
        let held =
            self.by_range.iter().filter(move |(_, holders)| holders.iter().any(|holder| holder == node));
        held.filter_map(|(range, _)| Some((range.as_str(), Range::parse(range)?)))
    }

    /// The names of all holders.
    fn holders(&self) -> BTreeSet<&str> {
        self.by_range.values().flatten().map(String::as_str).collect()
    }

    /// The names of the ranges of which `node` is the only holder, wholly or in part.
    pub fn held_only_by(&self, node: &str) -> Vec<String> {
        let others: Vec<Range> = self
            .by_range
            .iter()
            .filter(|(_, holders)| holders.iter().any(|holder| holder != node))
            .filter_map(|(range, _)| Range::parse(range))
            .collect();
        let only = self.held_by(node).filter(|(_, range)| !range.is_covered_by(others.iter().copied()));
        only.map(|(range, _)| range.to_owned()).collect()
    }

    /// The number of nodes that hold the hash with the fewest copies. While a copy is moved, both its nodes count as one.
    pub fn fewest_copies(&self) -> usize {
        let held: Vec<(Range, &str)> = self
            .by_range
            .iter()
            .filter_map(|(range, holders)| {
                let leaving = usize::from(self.moved.contains(range) && holders.len() > 1);
                Some((Range::parse(range)?, holders.iter().skip(leaving)))
            })
            .flat_map(|(range, holders)| holders.map(move |holder| (range, holder.as_str())))
            .collect();
        // The number changes only where a range begins or ends.
        let points = held.iter().flat_map(|(range, _)| [range.from, range.to]).chain([RING.from]);
        let points: BTreeSet<u64> = points.filter(|point| *point < RING.to).collect();
        let copies_at = |point: u64| {
            let here = held.iter().filter(|(range, _)| (range.from..range.to).contains(&point));
            here.map(|(_, holder)| *holder).collect::<BTreeSet<_>>().len()
        };
        points.into_iter().map(copies_at).min().unwrap_or_default()
    }

    /// The names of the nodes that hold copies of all ranges.
    pub fn held_everywhere_by(&self) -> BTreeSet<String> {
        let all = self.holders().into_iter();
        let all = all.filter(|node| RING.is_covered_by(self.held_by(node).map(|(_, range)| range)));
        all.map(str::to_owned).collect()
    }

    /// The shards of `database` of which the node named `me` holds a copy, each with the copies on other nodes that
    /// contain some of its documents.
    pub fn local_shards(&self, database: &str, me: &str) -> Vec<LocalShard> {
        let mut shards = vec![];
        for (range, bounds) in self.held_by(me) {
            let overlapping = self.by_range.iter().filter_map(|(other, holders)| {
                let part = Range::parse(other).filter(|other| other.overlaps(bounds))?;
                Some((part, other, holders))
            });
            let others = overlapping.flat_map(|(part, other, holders)| {
                let others = holders.iter().filter(|holder| *holder != me);
                others.map(move |node| OtherFile {
                    node: node.clone(),
                    file: self.shard(database, other),
                    range: part,
                })
            });
            let others = others.collect();
            shards.push(LocalShard { file: self.shard(database, range), range: bounds, others });
        }
        shards
    }
}

/// The name of a shard's file: `shards/00000000-7fffffff/orders.1795221185`.
pub fn shard_file(range: &str, database: &str, suffix: &str) -> String {
    format!("shards/{range}/{database}{suffix}")
}

/// The ranges whose log ends with a placeholder that was replaced by a node: the source is still in the map.
fn moved<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let log = Value::deserialize(deserializer)?;
    // The last placeholder of each range, and the number of nodes that came after it.
    let mut last: BTreeMap<&str, (Fill, usize)> = BTreeMap::new();
    for entry in log.as_array().into_iter().flatten() {
        let word = |i: usize| entry.get(i).and_then(Value::as_str);
        let (Some(kind), Some(range), Some(node)) = (word(0), word(1), word(2)) else { continue };
        let fill = Fill::parse(node);
        // It raises the quorum, and moves nothing.
        if fill == Some(Fill::NO_COPY) {
            continue;
        }
        match fill {
            Some(fill) if kind == "remove" => drop(last.insert(range, (fill, 0))),
            Some(_) => drop(last.remove(range)),
            None => {
                // A node that leaves ends the move, or a person has changed the map.
                let step = if kind == "add" { 1 } else { 2 };
                last.entry(range).and_modify(|(_, nodes)| *nodes += step);
            }
        }
    }
    let moved =
        last.into_iter().filter(|(_, (fill, nodes))| *nodes == 1 && fill.from.is_some() && fill.to.is_some());
    Ok(moved.map(|(range, _)| range.to_owned()).collect())
}

fn holders<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let mut by_range = BTreeMap::<String, Vec<String>>::deserialize(deserializer)?;
    by_range.values_mut().for_each(|holders| holders.retain(|holder| !is_placeholder(holder)));
    Ok(by_range)
}

/// A shard of which the local node holds a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalShard {
    /// The name of the file: `shards/00000000-7fffffff/orders.1795221185`.
    pub file: String,
    pub(super) range: Range,
    /// The copies on other nodes: of the same range, or of ranges that overlap with it.
    pub others: Vec<OtherFile>,
}

/// A copy on another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherFile {
    /// The Erlang name of the node.
    pub node: String,
    /// The name of the file, which differs from that of the local copy where a shard was split.
    pub file: String,
    pub(super) range: Range,
}

/// Returns the ranges that a new copy on `node` needs so that the node holds the whole database: a ring, without the ranges
/// that it holds already, wholly or in part.
pub fn missing_ranges(map: &ShardMap, node: &str) -> Vec<String> {
    let held: Vec<Range> = map.held_by(node).map(|(_, range)| range).collect();
    let all: BTreeMap<Range, &String> =
        map.by_range.keys().filter_map(|range| Some((Range::parse(range)?, range))).collect();
    let ring = ring(all.keys().copied()).unwrap_or_default();
    let missing = ring.into_iter().filter(|range| !held.iter().any(|held| held.overlaps(*range)));
    missing.filter_map(|range| all.get(&range).map(|name| (*name).clone())).collect()
}

/// Returns the map document with `node` as a holder of a ring of ranges, or `None` if it holds one already. Fields that are
/// not part of the change are kept.
pub fn with_copy(mut map: Map<String, Value>, node: &str) -> Option<Map<String, Value>> {
    let parsed: ShardMap = serde_json::from_value(Value::Object(map.clone())).ok()?;
    let missing = missing_ranges(&parsed, node);
    let mut added = vec![];
    for (range, holders) in map.get_mut("by_range")?.as_object_mut()? {
        if missing.contains(range) {
            holders.as_array_mut()?.push(node.into());
            added.push(range.clone());
        }
    }
    if added.is_empty() {
        return None;
    }
    // CouchDB keeps each map in both directions, and a log of its changes.
    let ranges = map.get_mut("by_node")?.as_object_mut()?.entry(node).or_insert_with(|| json!([]));
    ranges.as_array_mut()?.extend(added.iter().map(|range| json!(range)));
    let changes = added.iter().map(|range| json!(["add", range, node]));
    map.get_mut("changelog")?.as_array_mut()?.extend(changes);
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    fn problem(map: Value) -> Option<MapProblem> {
        let map: ShardMap = serde_json::from_value(map).unwrap();
        map.problem(&["a", "b"].map(str::to_owned).into())
    }

    #[test]
    fn a_copy_is_added_to_each_range_on_both_sides_of_the_map_and_nothing_else_changes() {
        let before = r#"{"_id":"_users","_rev":"1-a","shard_suffix":[46,49],"changelog":[["add","00000000-7fffffff","a"],["add","80000000-ffffffff","a"]],"by_node":{"a":["00000000-7fffffff","80000000-ffffffff"]},"by_range":{"00000000-7fffffff":["a"],"80000000-ffffffff":["a"]},"props":{"x":1}}"#;
        let after = r#"{"_id":"_users","_rev":"1-a","shard_suffix":[46,49],"changelog":[["add","00000000-7fffffff","a"],["add","80000000-ffffffff","a"],["add","00000000-7fffffff","b"],["add","80000000-ffffffff","b"]],"by_node":{"a":["00000000-7fffffff","80000000-ffffffff"],"b":["00000000-7fffffff","80000000-ffffffff"]},"by_range":{"00000000-7fffffff":["a","b"],"80000000-ffffffff":["a","b"]},"props":{"x":1}}"#;
        assert_eq!(with_copy(map(before), "b"), Some(map(after)));
        assert_eq!(with_copy(map(after), "b"), None, "it holds every range already");
        assert_eq!(with_copy(map(r#"{"by_range":{"00000000-ffffffff":"?"}}"#), "b"), None, "not a shard map");
    }

    #[test]
    fn a_map_is_in_order_when_members_hold_every_range_and_there_is_no_conflict() {
        let halves =
            |low: &[&str], high: &[&str]| json!({ "00000000-7fffffff": low, "80000000-ffffffff": high });
        assert_eq!(problem(json!({ "by_range": halves(&["a", "b"], &["b"]) })), None);
        let stranger = problem(json!({ "by_range": halves(&["a", "b"], &["b", "c"]) }));
        assert_eq!(stranger, Some(MapProblem::UnknownHolder("c".to_owned())));
        assert_eq!(problem(json!({ "by_range": halves(&["a"], &[]) })), Some(MapProblem::MissingRange));
        let lower = json!({ "00000000-7fffffff": ["a"] });
        assert_eq!(problem(json!({ "by_range": lower })), Some(MapProblem::MissingRange));
        let upper = json!({ "80000000-ffffffff": ["a"] });
        assert_eq!(problem(json!({ "by_range": upper })), Some(MapProblem::MissingRange));
        let two = json!({ "by_range": halves(&["a"], &["b"]), "_conflicts": ["1-967a00dff5e02add41819138abb3284d"] });
        assert_eq!(problem(two), Some(MapProblem::Conflict));
        assert_eq!(problem(json!({})), Some(MapProblem::MissingRange));
        let one_range = json!({ "00000000-ffffffff": ["b"] });
        assert_eq!(problem(json!({ "by_range": one_range })), None);
    }

    /// A resharding job on node a split its copy of the lower half.
    fn split() -> ShardMap {
        serde_json::from_value(json!({ "shard_suffix": [46, 49], "by_range": {
            "00000000-3fffffff": ["a"], "40000000-7fffffff": ["a"], "00000000-7fffffff": ["b", "c"],
            "80000000-ffffffff": ["a", "b", "c"] } }))
        .unwrap()
    }

    #[test]
    fn a_map_whose_ranges_were_split_on_one_node_is_in_order() {
        assert_eq!(split().problem(&["a", "b", "c"].map(str::to_owned).into()), None);
        assert_eq!((split().fewest_copies(), split().held_everywhere_by().len()), (3, 3));
        assert_eq!(missing_ranges(&split(), "d"), ["00000000-7fffffff", "80000000-ffffffff"]);
        assert!(missing_ranges(&split(), "a").is_empty());
    }

    #[test]
    fn a_split_shard_is_compared_with_the_ranges_that_cover_it() {
        let files = |node| {
            let shards = split().local_shards("db", node);
            let others = |shard: &LocalShard| shard.others.iter().map(|other| other.file.clone()).collect();
            shards
                .iter()
                .map(|shard| (shard.file.clone(), others(shard)))
                .collect::<Vec<(String, Vec<String>)>>()
        };
        let [quarter, half] =
            ["shards/00000000-3fffffff/db.1", "shards/00000000-7fffffff/db.1"].map(str::to_owned);
        assert_eq!(files("a")[0], (quarter.clone(), vec![half.clone(), half.clone()]));
        assert_eq!(
            files("b")[0],
            (half.clone(), vec![quarter, half, "shards/40000000-7fffffff/db.1".to_owned()])
        );
    }

    #[test]
    fn the_only_holder_of_a_part_of_a_range_is_the_only_holder_of_the_range() {
        let map = |value| serde_json::from_value::<ShardMap>(json!({ "by_range": value })).unwrap();
        let halves = map(json!({ "00000000-7fffffff": ["a"], "80000000-ffffffff": ["a", "b"] }));
        assert_eq!(halves.held_only_by("a"), ["00000000-7fffffff"]);
        assert!(halves.held_only_by("b").is_empty());
        let split = map(json!({ "00000000-ffffffff": ["a"], "00000000-7fffffff": ["b"] }));
        assert_eq!(split.held_only_by("a"), ["00000000-ffffffff"]);
        assert!(split.held_only_by("b").is_empty());
        assert_eq!(split.fewest_copies(), 1);
    }

    #[test]
    fn a_shard_is_named_like_its_file() {
        let text = r#"{"by_range":{"00000000-7fffffff":["a"]},"shard_suffix":[46,49,55]}"#;
        let map: ShardMap = serde_json::from_str(text).unwrap();
        assert_eq!(map.shard("a/b", "00000000-7fffffff"), "shards/00000000-7fffffff/a/b.17");
    }
}
