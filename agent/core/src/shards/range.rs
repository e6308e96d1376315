//! Ranges of hashes. After a resharding job a database's ranges have different sizes and overlap: a range that one node
//! holds whole is held by another one in parts.

use std::collections::{BTreeMap, BTreeSet};

/// The hashes from `from` up to, but not including, `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Range {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// All hashes.
pub(super) const RING: Range = Range { from: 0, to: 1 << 32 };

impl Range {
    /// Parses `00000000-7fffffff`, which includes both bounds.
    pub(crate) fn parse(range: &str) -> Option<Self> {
        let (from, to) = range.split_once('-')?;
        let (from, to) = (u32::from_str_radix(from, 16).ok()?, u32::from_str_radix(to, 16).ok()?);
        (from <= to).then_some(Self { from: from.into(), to: u64::from(to) + 1 })
    }

    /// Returns `true` if the hash is in the range.
    pub(super) fn contains(self, hash: u64) -> bool {
        (self.from..self.to).contains(&hash)
    }

    /// Returns `true` if the ranges have a hash in common.
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// Returns `true` if every hash of this range is in one of `parts`.
    pub(crate) fn is_covered_by(self, parts: impl IntoIterator<Item = Self>) -> bool {
        let mut parts: Vec<Self> = parts.into_iter().collect();
        parts.sort_unstable();
        let mut covered = self.from;
        for part in parts {
            if part.from <= covered {
                covered = covered.max(part.to);
            }
        }
        covered >= self.to
    }
}

/// `true` if CouchDB computes the quorum of all ranges of a database from the copies of this one: it contains the id
/// `_design/foo` (`mem3:n/1`).
pub fn decides_quorum(range: &str) -> bool {
    Range::parse(range).is_some_and(|range| range.contains(QUORUM_HASH))
}

/// CRC-32 of `_design/foo`.
const QUORUM_HASH: u64 = 0xca58_923f;

/// Returns the ranges of a ring: they follow on each other from the first hash to the last. Where several rings exist, the
/// larger ranges are taken. `None` if no ring exists.
pub(super) fn ring(ranges: impl IntoIterator<Item = Range>) -> Option<Vec<Range>> {
    let mut by_start: BTreeMap<u64, BTreeSet<Range>> = BTreeMap::new();
    for range in ranges {
        by_start.entry(range.from).or_default().insert(range);
    }
    // From the end: a start is useful only if a ring can be completed from there.
    let mut ways: BTreeMap<u64, Range> = BTreeMap::new();
    for (start, ranges) in by_start.iter().rev() {
        let useful = ranges.iter().rev().find(|range| range.to == RING.to || ways.contains_key(&range.to));
        if let Some(range) = useful {
            ways.insert(*start, *range);
        }
    }
    let (mut ring, mut next) = (vec![], RING.from);
    while next < RING.to {
        let range = ways.get(&next)?;
        ring.push(*range);
        next = range.to;
    }
    Some(ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[&str]) -> Vec<Range> {
        list.iter().map(|range| Range::parse(range).unwrap()).collect()
    }

    #[test]
    fn a_ring_may_consist_of_ranges_of_different_sizes() {
        let [low, high] = ["00000000-7fffffff", "80000000-ffffffff"];
        let quarters = ["00000000-3fffffff", "40000000-7fffffff"];
        assert_eq!(ring(ranges(&[low, high, quarters[0]])), Some(ranges(&[low, high])));
        assert_eq!(
            ring(ranges(&[quarters[0], quarters[1], high])),
            Some(ranges(&[quarters[0], quarters[1], high]))
        );
        assert_eq!(ring(ranges(&[quarters[1], low])), None);
        assert_eq!(ring(ranges(&["00000000-8fffffff", high])), None, "they overlap");
        assert_eq!(ring([]), None);
    }

    #[test]
    fn a_range_is_covered_by_its_parts() {
        let [low, quarter] =
            ["00000000-7fffffff", "00000000-3fffffff"].map(|range| Range::parse(range).unwrap());
        assert!(quarter.is_covered_by([low]) && !low.is_covered_by([quarter]));
        assert!(low.is_covered_by(ranges(&["40000000-7fffffff", "00000000-3fffffff"])));
        assert!(!low.is_covered_by([]));
        assert_eq!(Range::parse("7-3"), None);
    }
}
