//! Which copies move where. A plan follows from the maps alone and is the same for every agent: two leaders that overlap make
//! the same changes.

use std::collections::{BTreeMap, BTreeSet};

use contract::moves::NodeCopies;

use super::document::{Document, Move, Phase};
use super::holdings::Holdings;
use super::roster::Roster;
use crate::facts::MapDemands;

/// The number of copies on each node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    copies: BTreeMap<u32, u64>,
    /// The number of databases that were counted.
    databases: u64,
}

impl Loads {
    /// No copies on the nodes of the roster.
    pub fn new(roster: &Roster) -> Self {
        Self { copies: roster.ordinals().map(|ordinal| (ordinal, 0)).collect(), databases: 0 }
    }

    /// Counts the copies of one database as they are after the moves that were begun.
    pub fn count(&mut self, document: &Document, roster: &Roster) {
        self.databases += 1;
        for range in document.ranges() {
            let held = document.holders(range).filter_map(|holder| roster.ordinal(holder));
            for ordinal in held.chain(document.fills(range).filter_map(|fill| fill.to)) {
                *self.copies.entry(ordinal).or_default() += 1;
            }
        }
        for (Move { from, to, .. }, phase) in document.moves(roster) {
            // The source is still in the map.
            if to.is_some() && matches!(phase, Phase::Fill | Phase::Confirm) {
                self.shift(from, None);
            }
        }
    }

    /// The number of copies on the node.
    pub fn of(&self, ordinal: u32) -> u64 {
        self.copies.get(&ordinal).copied().unwrap_or_default()
    }

    fn shift(&mut self, from: Option<u32>, to: Option<u32>) {
        if let Some(copies) = from.and_then(|from| self.copies.get_mut(&from)) {
            *copies = copies.saturating_sub(1);
        }
        if let Some(to) = to {
            *self.copies.entry(to).or_default() += 1;
        }
    }
}

/// Returns the moves that take all copies of the database off the node `leaving`. Where every other node has a copy already,
/// the copy is dropped. `loads` changes with each move, so that the copies are spread over the other nodes.
pub fn drain(document: &Document, leaving: u32, roster: &Roster, loads: &mut Loads) -> Vec<Move> {
    let Some(name) = roster.name(leaving) else { return vec![] };
    let held = document.ranges().filter(|range| document.holds(range, name));
    let mut moves = vec![];
    for range in held {
        let to = emptiest(document, range, Some(name), roster, loads);
        loads.shift(Some(leaving), to);
        moves.push(Move { range: range.to_owned(), from: Some(leaving), to });
    }
    moves
}

/// Returns the copies to add so that every range has `wanted` copies, or as many as there are nodes.
pub fn raise(document: &Document, wanted: u32, roster: &Roster, loads: &mut Loads) -> Vec<Move> {
    let mut moves = vec![];
    for range in document.ranges() {
        let have = document.holders(range).count()
            + document.fills(range).filter(|fill| fill.from.is_none()).count();
        // One more copy at a time: the next one is planned when this one is complete.
        if have < usize::try_from(wanted).unwrap_or(usize::MAX)
            && let Some(to) = emptiest(document, range, None, roster, loads)
        {
            loads.shift(None, Some(to));
            moves.push(Move { range: range.to_owned(), from: None, to: Some(to) });
        }
    }
    moves
}

/// The node that gets a copy of the range in place of the one on `source`: in a zone that the other copies are not in, if
/// there is one, then the one with the fewest copies, then the lowest ordinal.
fn emptiest(
    document: &Document,
    range: &str,
    source: Option<&str>,
    roster: &Roster,
    loads: &Loads,
) -> Option<u32> {
    let others = document.holders(range).filter(|holder| Some(*holder) != source);
    let zones: BTreeSet<&str> = others.filter_map(|holder| roster.zone(holder)).collect();
    let free = roster.staying().filter(|ordinal| {
        let is_filled = document.fills(range).any(|fill| fill.to == Some(*ordinal));
        !is_filled && roster.name(*ordinal).is_some_and(|name| !document.holds(range, name))
    });
    free.min_by_key(|ordinal| {
        let zone = roster.name(*ordinal).and_then(|name| roster.zone(name));
        (zone.is_some_and(|zone| zones.contains(zone)), loads.of(*ordinal), *ordinal)
    })
}

/// A plan that spreads all copies evenly, with the fewest moves: database by database, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalance {
    loads: Loads,
    /// The number of copies that each node should have.
    wanted: BTreeMap<u32, u64>,
    /// The moves of the whole plan.
    total: u64,
    planned: u64,
    seen: u64,
}

impl Rebalance {
    /// A plan for databases with these loads.
    pub fn new(loads: Loads, roster: &Roster) -> Self {
        let mut nodes: Vec<(u64, u32)> =
            roster.staying().map(|ordinal| (loads.of(ordinal), ordinal)).collect();
        // The fullest nodes keep the copies that cannot be divided: each would be one move more elsewhere.
        nodes.sort_by_key(|(copies, ordinal)| (std::cmp::Reverse(*copies), *ordinal));
        let count = u64::try_from(nodes.len()).unwrap_or(u64::MAX).max(1);
        let copies: u64 = nodes.iter().map(|(copies, _)| copies).sum();
        let mut rest = copies % count;
        let mut wanted = BTreeMap::new();
        for (_, ordinal) in &nodes {
            let extra = u64::from(rest > 0);
            rest -= extra;
            wanted.insert(*ordinal, copies / count + extra);
        }
        let total = nodes.iter().map(|(copies, ordinal)| copies.saturating_sub(wanted[ordinal])).sum();
        Self { loads, wanted, total, planned: 0, seen: 0 }
    }

    /// The loads after the moves so far.
    pub(super) fn into_loads(self) -> Loads {
        self.loads
    }

    /// The number of moves after which every node has as many copies as it should. Zones may forbid some of them.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The moves of the next database, at most one of each range: the map shows one move of a range at a time. Each database
    /// has its share of them, so that load moves with the first and with the last. A second plan has what is left.
    pub fn next(&mut self, document: &Document, roster: &Roster) -> Vec<Move> {
        self.seen += 1;
        let share = self.total.saturating_mul(self.seen).div_ceil(self.loads.databases.max(1));
        let mut moves: Vec<Move> = vec![];
        for range in document.ranges() {
            if self.planned >= share {
                break;
            }
            if document.fills(range).next().is_none()
                && let Some((from, to)) = self.best(document, range, roster)
            {
                self.loads.shift(Some(from), Some(to));
                self.planned += 1;
                moves.push(Move { range: range.to_owned(), from: Some(from), to: Some(to) });
            }
        }
        moves
    }

    /// The fullest holder with more copies than it should have, and the emptiest node with fewer, unless the copies would be
    /// in fewer zones than before.
    fn best(&self, document: &Document, range: &str, roster: &Roster) -> Option<(u32, u32)> {
        let wanted = |ordinal: &u32| self.wanted.get(ordinal).copied().unwrap_or_default();
        let full = document.holders(range).filter_map(|holder| roster.ordinal(holder));
        let full = full
            .filter(|ordinal| self.wanted.contains_key(ordinal) && self.loads.of(*ordinal) > wanted(ordinal));
        let from = full.max_by_key(|ordinal| (self.loads.of(*ordinal), std::cmp::Reverse(*ordinal)))?;
        let free = roster.staying().filter(|ordinal| {
            self.loads.of(*ordinal) < wanted(ordinal)
                && roster.name(*ordinal).is_some_and(|name| !document.holds(range, name))
                && keeps_zones(document, range, (from, *ordinal), roster)
        });
        let to = free.min_by_key(|ordinal| (self.loads.of(*ordinal), *ordinal))?;
        Some((from, to))
    }
}

/// The results of a reading of all maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The moves that the maps call for. Of those that would make the loads equal, zones may forbid some.
    pub demands: MapDemands,
    /// The loads of the nodes.
    pub loads: Loads,
    /// The copies on each node, for the record.
    pub copies: BTreeMap<u32, NodeCopies>,
}

/// The moves that the maps of all databases call for.
#[derive(Clone, Debug)]
pub struct Demands<'a> {
    roster: &'a Roster,
    copies: Option<u32>,
    loads: Loads,
    holdings: Holdings,
    found: MapDemands,
}

impl<'a> Demands<'a> {
    /// No maps yet. `copies` is the number of copies that every database should have.
    pub fn new(roster: &'a Roster, copies: Option<u32>) -> Self {
        let (loads, holdings) = (Loads::new(roster), Holdings::new(roster));
        Self { roster, copies, loads, holdings, found: MapDemands::default() }
    }

    /// Takes the map of one database.
    pub fn add(&mut self, document: &Document) {
        self.loads.count(document, self.roster);
        self.holdings.count(document, self.roster);
        let begun = !document.moves(self.roster).is_empty() || document.raised().is_some();
        self.found.begun += u64::from(begun);
        let wanted = self.copies.map_or(0, |copies| copies.min(self.staying()));
        let too_few = document.ranges().any(|range| document.holders(range).count() < wanted as usize);
        self.found.too_few += u64::from(too_few);
    }

    /// The results after all maps.
    pub fn found(self) -> Found {
        let unbalanced = Rebalance::new(self.loads.clone(), self.roster).total();
        Found {
            demands: MapDemands { unbalanced, ..self.found },
            loads: self.loads,
            copies: self.holdings.into_nodes(),
        }
    }

    fn staying(&self) -> u32 {
        u32::try_from(self.roster.staying().count()).unwrap_or(u32::MAX)
    }
}

/// `true` if the copies of the range are in as many zones after a move as before.
fn keeps_zones(document: &Document, range: &str, (from, to): (u32, u32), roster: &Roster) -> bool {
    let zones = |nodes: &mut dyn Iterator<Item = &str>| {
        nodes.filter_map(|node| roster.zone(node)).collect::<BTreeSet<_>>().len()
    };
    let before = zones(&mut document.holders(range));
    let (source, target) = (roster.name(from), roster.name(to));
    let after = document.holders(range).filter(|holder| Some(*holder) != source).chain(target);
    zones(&mut after.into_iter()) >= before
}
