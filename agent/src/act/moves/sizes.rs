//! The sizes of databases, and how many large ones are copied at the same time.

use std::collections::BTreeMap;

use agent_core::moves::{Document, Move};
use futures::future::join_all;

use crate::couch::Couch;

/// The bytes of one copy of all ranges, for each of these databases. With very many, those of the first ones: one call each.
pub(super) async fn sizes(
    couch: &Couch,
    local: &str,
    databases: impl IntoIterator<Item = &str>,
) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    let databases: Vec<&str> = databases.into_iter().take(SIZED).collect();
    for some in databases.chunks(AT_ONCE) {
        let asked = some.iter().map(|database| async move {
            Some(((*database).to_owned(), couch.database_size(local, database).await.ok()?))
        });
        sizes.extend(join_all(asked).await.into_iter().flatten());
    }
    sizes
}

/// The number of ranges of a database.
pub(super) fn range_count(document: &Document) -> u64 {
    u64::try_from(document.ranges().count()).unwrap_or(u64::MAX)
}

/// The bytes of one copy of one range, of a database whose copies of all ranges have `bytes` together.
pub(super) fn of_range(bytes: u64, ranges: u64) -> u64 {
    bytes / ranges.max(1)
}

/// The bytes that these moves of such a database copy.
pub(super) fn copied(bytes: u64, ranges: u64, moves: &[Move]) -> u64 {
    let filled = moves.iter().filter(|one| one.to.is_some()).count();
    of_range(bytes, ranges).saturating_mul(u64::try_from(filled).unwrap_or(u64::MAX))
}

/// `true` if so many bytes are copied that their database counts as a large one.
pub(super) fn is_large(bytes: u64) -> bool {
    bytes >= LARGE
}

/// `true` if a database with these moves may be filled beside others: a large one occupies the replication of its nodes for
/// long, which everything else needs as well (`[mem3] sync_concurrency` 10).
pub(super) fn fits<'a>(
    bytes: u64,
    moves: &[Move],
    others: impl IntoIterator<Item = (u64, &'a [Move])>,
) -> bool {
    if !is_large(bytes) {
        return true;
    }
    let large: Vec<&[Move]> =
        others.into_iter().filter(|(bytes, _)| is_large(*bytes)).map(|(_, moves)| moves).collect();
    let mut nodes = moves.iter().flat_map(|one| [one.from, one.to]).flatten();
    large.len() < LARGE_AT_ONCE
        && nodes.all(|node| large.iter().filter(|moves| touch(moves, node)).count() < LARGE_OF_A_NODE)
}

/// `true` if the node is source or target of one of these moves.
fn touch(moves: &[Move], node: u32) -> bool {
    moves.iter().any(|one| one.from == Some(node) || one.to == Some(node))
}

/// Databases whose size is asked for.
const SIZED: usize = 1000;
/// Calls at the same time.
const AT_ONCE: usize = 8;
/// Bytes to copy from which a database is large: about half a minute of replication.
const LARGE: u64 = 64 * 1024 * 1024;
/// Large databases that are filled at the same time.
const LARGE_AT_ONCE: usize = 6;
/// Those of them that a node is source or target of.
const LARGE_OF_A_NODE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(from: u32, to: u32) -> Vec<Move> {
        vec![Move { range: "00000000-ffffffff".to_owned(), from: Some(from), to: Some(to) }]
    }

    #[test]
    fn a_node_is_source_or_target_of_two_large_databases_and_of_any_number_of_small_ones() {
        let (one, two, elsewhere) = (moves(0, 1), moves(2, 0), moves(3, 4));
        let both = [(LARGE, one.as_slice()), (LARGE, two.as_slice())];
        assert!(fits(LARGE, &moves(0, 5), both[..1].iter().copied()));
        assert!(!fits(LARGE, &moves(0, 5), both));
        assert!(!fits(LARGE, &moves(5, 0), both));
        assert!(fits(LARGE, &elsewhere, both));
        assert!(fits(LARGE - 1, &moves(0, 5), both));
        let small = [(1, one.as_slice()), (1, two.as_slice())];
        assert!(fits(LARGE, &moves(0, 5), small));
    }

    #[test]
    fn six_large_databases_are_filled_at_the_same_time() {
        let all: Vec<Vec<Move>> = (0..6).map(|i| moves(2 * i, 2 * i + 1)).collect();
        let all: Vec<(u64, &[Move])> = all.iter().map(|moves| (LARGE, moves.as_slice())).collect();
        assert!(fits(LARGE, &moves(20, 21), all[..5].iter().copied()));
        assert!(!fits(LARGE, &moves(20, 21), all));
    }
}
