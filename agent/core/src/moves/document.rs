//! The document of a shard map, with the state of moves that it shows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::roster::Roster;
use crate::shards::{Fill, Range, decides_quorum, shard_file};

/// A shard map that can be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The name of the database.
    pub database: String,
    raw: Map<String, Value>,
    by_range: BTreeMap<String, Vec<String>>,
    /// Every change of the map, the latest last.
    changelog: Vec<Change>,
    suffix: String,
}

/// A change of a map's holders, as CouchDB logs it in the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The kind of the change.
    pub kind: ChangeKind,
    /// The range: `00000000-7fffffff`.
    pub range: String,
    /// The name of the node, or a placeholder.
    pub node: String,
}

/// The kind of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The node holds a copy from now on.
    Add,
    /// An entry that only says what has happened before; the holders stay the same.
    Log(Logged),
    /// The node holds no copy any more.
    Remove,
}

/// The word of an entry that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// `add`
    Added,
    /// `remove`
    Removed,
}

/// One copy that gets another node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Move {
    /// The range: `00000000-7fffffff`.
    pub range: String,
    /// The ordinal of the node that loses its copy; `None` where a copy is only added.
    pub from: Option<u32>,
    /// The ordinal of the node that gets a copy; `None` where one is only dropped.
    pub to: Option<u32>,
}

/// The state of a move, by the map alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing has happened.
    Begin,
    /// A placeholder stands for the target, which is being filled.
    Fill,
    /// Source and target both hold a copy.
    Confirm,
    /// The source has left the map, and may still have got writes from nodes that did not know it yet.
    Verify,
}

impl Document {
    /// Reads a document of `_dbs`; `None` if it is no shard map.
    pub fn parse(database: &str, mut raw: Map<String, Value>) -> Option<Self> {
        let by_range = serde_json::from_value(raw.get("by_range")?.clone()).ok()?;
        let suffix: Vec<u8> = serde_json::from_value(raw.get("shard_suffix")?.clone()).ok()?;
        raw.get("_rev")?.as_str()?;
        let changelog = raw.get("changelog").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let changelog = changelog.iter().filter_map(entry).collect();
        // An answer to `conflicts=true` contains a field that no document may have.
        raw.shift_remove("_conflicts");
        Some(Self {
            database: database.to_owned(),
            raw,
            by_range,
            changelog,
            suffix: String::from_utf8_lossy(&suffix).into_owned(),
        })
    }

    /// The revision of the document.
    pub fn rev(&self) -> &str {
        self.raw.get("_rev").and_then(Value::as_str).unwrap_or_default()
    }

    /// The suffix of the files, by which a database differs from an earlier one of its name.
    pub fn suffix(&self) -> &str {
        &self.suffix
    }

    /// The ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = &str> {
        self.by_range.keys().map(String::as_str)
    }

    /// The nodes that hold a copy of the range. Placeholders are none.
    pub fn holders(&self, range: &str) -> impl Iterator<Item = &str> {
        let names = self.by_range.get(range).into_iter().flatten().map(String::as_str);
        names.filter(|name| Fill::parse(name).is_none())
    }

    /// `true` if the node holds a copy of the range.
    pub fn holds(&self, range: &str, node: &str) -> bool {
        self.holders(range).any(|holder| holder == node)
    }

    /// The nodes that hold copies of any range.
    pub(super) fn all_holders(&self) -> BTreeSet<&str> {
        self.ranges().flat_map(|range| self.holders(range)).collect()
    }

    /// The nodes with the only copy of some documents: they hold a range that the ranges of other nodes do not cover.
    pub(super) fn only_holders(&self) -> BTreeSet<&str> {
        let single = self.ranges().filter_map(|range| {
            let mut holders = self.holders(range);
            let only = holders.next()?;
            (holders.next().is_none() && !self.is_covered_without(range, only)).then_some(only)
        });
        single.collect()
    }

    /// `true` if other nodes hold everything of the range, which a resharding job may have split on some of them.
    fn is_covered_without(&self, range: &str, node: &str) -> bool {
        let others = self.ranges().filter(|other| self.holders(other).any(|holder| holder != node));
        Range::parse(range).is_some_and(|range| range.is_covered_by(others.filter_map(Range::parse)))
    }

    /// The copies of the range that are filled outside of the map.
    pub fn fills(&self, range: &str) -> impl Iterator<Item = Fill> {
        let names = self.by_range.get(range).into_iter().flatten();
        names.filter_map(|name| Fill::parse(name)).filter(|fill| *fill != Fill::NO_COPY)
    }

    /// The range in which a placeholder of no copy raises the quorum, if there is one.
    pub fn raised(&self) -> Option<&str> {
        let raises = |holder: &String| Fill::parse(holder) == Some(Fill::NO_COPY);
        self.by_range.iter().find(|(_, holders)| holders.iter().any(raises)).map(|(range, _)| range.as_str())
    }

    /// The range whose copies decide the quorum, where two coordinators with different maps could miss each other's writes
    /// while the ranges of `moves` have one copy more: the range has an odd number of copies and is not moved itself.
    ///
    /// Of one copy, and of two that have just become two, each is enough for a read and a write (r = w = 1); of three and
    /// four, two (2 + 2 is not more than 4).
    pub(super) fn quorum_too_low(&self, moves: &[Move]) -> Option<&str> {
        let decisive = self.ranges().find(|range| decides_quorum(range))?;
        let is_moved = moves.iter().any(|one| one.range == decisive);
        (!is_moved && self.holders(decisive).count() % 2 == 1).then_some(decisive)
    }

    /// The name of the file of a range: `shards/00000000-7fffffff/orders.1795221185`.
    pub fn file(&self, range: &str) -> String {
        shard_file(range, &self.database, &self.suffix)
    }

    /// The moves that the map shows as begun and not as finished, each with its phase.
    ///
    /// Only what agents did counts: a map that was changed manually afterwards shows no move any more, so no copy is removed
    /// that a person has added.
    pub fn moves(&self, roster: &Roster) -> Vec<(Move, Phase)> {
        let mut moves = vec![];
        for range in self.ranges() {
            for fill in self.fills(range) {
                moves.push((Move::of(range, fill), Phase::Fill));
            }
            moves.extend(self.switched(range, roster));
        }
        moves
    }

    /// The document as it is when these moves have ended.
    pub(super) fn after_moves(&self, moves: &[Move], roster: &Roster) -> Self {
        let changes: Vec<Change> = moves.iter().flat_map(|one| self.ending(one, roster)).collect();
        let ended = self.after(&changes).and_then(|raw| Self::parse(&self.database, raw));
        ended.unwrap_or_else(|| self.clone())
    }

    /// The changes that are left of a move.
    fn ending(&self, one: &Move, roster: &Roster) -> Vec<Change> {
        let Move { range, from, to } = one;
        let [from, to] = [from, to].map(|end| end.and_then(|ordinal| roster.name(ordinal)));
        let mut changes = vec![];
        if self.fills(range).any(|fill| fill == one.fill()) {
            changes.push(Change::remove(range, one.fill().to_string()));
        }
        changes.extend(to.filter(|to| !self.holds(range, to)).map(|to| Change::add(range, to)));
        if let Some(from) = from {
            changes.extend(self.holds(range, from).then(|| Change::remove(range, from)));
            // The entry by which the move shows as ended.
            changes.push(Change::log(Logged::Removed, range, from));
        }
        changes
    }

    /// The last move of the range whose target has entered the map, or that has none.
    fn switched(&self, range: &str, roster: &Roster) -> Option<(Move, Phase)> {
        let no_copy = Fill::NO_COPY.to_string();
        let entries = self.changelog.iter().filter(|change| change.range == range && change.node != no_copy);
        let entries: Vec<&Change> = entries.collect();
        let last = entries
            .iter()
            .rposition(|change| change.kind == ChangeKind::Remove && Fill::parse(&change.node).is_some())?;
        let fill = Fill::parse(&entries.get(last)?.node)?;
        let from = roster.name(fill.from?)?;
        let mut after = entries.iter().skip(last + 1).copied();
        if let Some(to) = fill.to {
            let to = roster.name(to)?;
            let entered = after.next()?;
            if *entered != Change::add(range, to) || !self.holds(range, to) {
                return None;
            }
        }
        let removed = after.next();
        // A later change is of another plan, or was made manually.
        if after.next().is_some() || removed.is_some_and(|change| *change != Change::remove(range, from)) {
            return None;
        }
        let phase = if removed.is_some() { Phase::Verify } else { Phase::Confirm };
        let is_in_map = self.holds(range, from);
        ((phase == Phase::Confirm) == is_in_map).then(|| (Move::of(range, fill), phase))
    }

    /// The document after `changes`. Fields that are not part of a change are kept.
    pub fn after(&self, changes: &[Change]) -> Option<Map<String, Value>> {
        let mut raw = self.raw.clone();
        for Change { kind, range, node } in changes {
            match kind {
                ChangeKind::Add => {
                    list(&mut raw, "by_range", range)?.push(json!(node));
                    list(&mut raw, "by_node", node)?.push(json!(range));
                }
                ChangeKind::Remove => {
                    list(&mut raw, "by_range", range)?.retain(|holder| holder != node);
                    let ranges = list(&mut raw, "by_node", node)?;
                    ranges.retain(|held| held != range);
                    if ranges.is_empty() {
                        raw.get_mut("by_node")?.as_object_mut()?.shift_remove(node);
                    }
                }
                ChangeKind::Log(_) => {}
            }
            let entry = json!([kind.word(), range, node]);
            raw.entry("changelog").or_insert_with(|| json!([])).as_array_mut()?.push(entry);
        }
        Some(raw)
    }
}

impl ChangeKind {
    fn word(self) -> &'static str {
        match self {
            Self::Add | Self::Log(Logged::Added) => "add",
            Self::Remove | Self::Log(Logged::Removed) => "remove",
        }
    }
}

impl Change {
    /// The node holds a copy of the range from now on.
    pub fn add(range: &str, node: impl Into<String>) -> Self {
        Self { kind: ChangeKind::Add, range: range.to_owned(), node: node.into() }
    }

    /// The node holds no copy of the range any more.
    pub fn remove(range: &str, node: impl Into<String>) -> Self {
        Self { kind: ChangeKind::Remove, range: range.to_owned(), node: node.into() }
    }

    /// An entry of the log that changes no holder.
    pub(super) fn log(logged: Logged, range: &str, node: impl Into<String>) -> Self {
        Self { kind: ChangeKind::Log(logged), range: range.to_owned(), node: node.into() }
    }
}

impl Move {
    fn of(range: &str, fill: Fill) -> Self {
        Self { range: range.to_owned(), from: fill.from, to: fill.to }
    }

    /// The placeholder of the move.
    pub fn fill(&self) -> Fill {
        Fill { from: self.from, to: self.to }
    }
}

fn entry(entry: &Value) -> Option<Change> {
    let [kind, range, node] = entry.as_array()?.as_slice() else { return None };
    let kind = match kind.as_str()? {
        "add" => ChangeKind::Add,
        "remove" => ChangeKind::Remove,
        _ => return None,
    };
    Some(Change { kind, range: range.as_str()?.to_owned(), node: node.as_str()?.to_owned() })
}

/// The list under `key` of one side of the map.
fn list<'a>(raw: &'a mut Map<String, Value>, side: &str, key: &str) -> Option<&'a mut Vec<Value>> {
    raw.get_mut(side)?.as_object_mut()?.entry(key).or_insert_with(|| json!([])).as_array_mut()
}
