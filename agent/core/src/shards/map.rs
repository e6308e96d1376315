//! Shard maps: the documents in `_dbs` that list the holders of each range of a database.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::facts::MapProblem;

/// The fields of a shard map that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ShardMap {
    /// The names of the nodes that hold a copy, by range: `00000000-7fffffff`.
    pub by_range: BTreeMap<String, Vec<String>>,
    #[serde(rename = "_conflicts")]
    conflicts: Vec<String>,
    /// The bytes of the files' suffix: a dot and the time of creation.
    shard_suffix: Vec<u8>,
}

impl ShardMap {
    /// The name of a shard's file: `shards/00000000-7fffffff/orders.1795221185`.
    pub fn shard(&self, database: &str, range: &str) -> String {
        format!("shards/{range}/{database}{}", String::from_utf8_lossy(&self.shard_suffix))
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

    /// Returns `true` if the ranges follow on each other from 0 to ffffffff, and each has a holder.
    fn is_complete(&self) -> bool {
        // The ranges are sorted by their first number, as eight hexadecimal digits.
        let mut next = 0;
        for (range, holders) in &self.by_range {
            match bounds(range) {
                Some((from, to)) if from == next && !holders.is_empty() => next = to + 1,
                Some(_) | None => return false,
            }
        }
        next == 1 << 32
    }
}

/// Parses `00000000-7fffffff`.
fn bounds(range: &str) -> Option<(u64, u64)> {
    let (from, to) = range.split_once('-')?;
    let (from, to) = (u32::from_str_radix(from, 16).ok()?, u32::from_str_radix(to, 16).ok()?);
    Some((from.into(), to.into()))
}

/// Returns the map document with `node` as a holder of every range, or `None` if it holds every range already. Fields
/// that are not part of the change are kept.
pub fn with_copy(mut map: Map<String, Value>, node: &str) -> Option<Map<String, Value>> {
    let mut added = vec![];
    for (range, holders) in map.get_mut("by_range")?.as_object_mut()? {
        let holders = holders.as_array_mut()?;
        if !holders.iter().any(|holder| holder == node) {
            holders.push(node.into());
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
        let before = r#"{"_id":"_users","_rev":"1-a","shard_suffix":[46,49],"changelog":[["add","0-7","a"],["add","8-f","a"]],"by_node":{"a":["0-7","8-f"]},"by_range":{"0-7":["a"],"8-f":["a"]},"props":{"x":1}}"#;
        let after = r#"{"_id":"_users","_rev":"1-a","shard_suffix":[46,49],"changelog":[["add","0-7","a"],["add","8-f","a"],["add","0-7","b"],["add","8-f","b"]],"by_node":{"a":["0-7","8-f"],"b":["0-7","8-f"]},"by_range":{"0-7":["a","b"],"8-f":["a","b"]},"props":{"x":1}}"#;
        assert_eq!(with_copy(map(before), "b"), Some(map(after)));
        assert_eq!(with_copy(map(after), "b"), None, "it holds every range already");
        assert_eq!(with_copy(map(r#"{"by_range":{"0-7":"?"}}"#), "b"), None, "not a shard map");
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

    #[test]
    fn a_shard_is_named_like_its_file() {
        let text = r#"{"by_range":{"00000000-7fffffff":["a"]},"shard_suffix":[46,49,55]}"#;
        let map: ShardMap = serde_json::from_str(text).unwrap();
        assert_eq!(map.shard("a/b", "00000000-7fffffff"), "shards/00000000-7fffffff/a/b.17");
    }
}
