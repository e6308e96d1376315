//! The plan of a task, as the agent that leads carries it out and as a person is shown it before.

use std::collections::BTreeMap;

use super::document::{Document, Move};
use super::plan::{Loads, Rebalance, drain, raise};
use super::roster::Roster;

/// The purpose of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// All copies leave this node.
    Drain(u32),
    /// Moves that were begun are finished.
    Finish,
    /// Every database gets this number of copies.
    Raise(u32),
    /// Copies are spread over all nodes.
    Rebalance,
}

/// The moves of one reading of all maps, database by database. A task reads them again until no move is left.
#[derive(Clone, Debug)]
pub struct Planner<'a> {
    roster: &'a Roster,
    method: Method,
}

/// The computation of the moves of a database.
#[derive(Clone, Debug)]
enum Method {
    Drain { node: u32, loads: Loads },
    Finish(Loads),
    Raise { copies: u32, loads: Loads },
    Rebalance(Rebalance),
}

impl<'a> Planner<'a> {
    /// The plan for databases with these loads.
    pub fn new(aim: Aim, loads: Loads, roster: &'a Roster) -> Self {
        let method = match aim {
            Aim::Drain(node) => Method::Drain { node, loads },
            Aim::Finish => Method::Finish(loads),
            Aim::Raise(copies) => Method::Raise { copies, loads },
            Aim::Rebalance => Method::Rebalance(Rebalance::new(loads, roster)),
        };
        Self { roster, method }
    }

    /// The moves of the next database, in the order of names: those that were begun, or else new ones.
    pub fn moves(&mut self, document: &Document) -> Vec<Move> {
        let begun: Vec<Move> = document.moves(self.roster).into_iter().map(|(one, _)| one).collect();
        if !begun.is_empty() {
            return begun;
        }
        match &mut self.method {
            Method::Drain { node, loads } => drain(document, *node, self.roster, loads),
            Method::Finish(_) => vec![],
            Method::Raise { copies, loads } => raise(document, *copies, self.roster, loads),
            Method::Rebalance(plan) => plan.next(document, self.roster),
        }
    }

    fn into_loads(self) -> Loads {
        match self.method {
            Method::Drain { loads, .. } | Method::Finish(loads) | Method::Raise { loads, .. } => loads,
            Method::Rebalance(plan) => plan.into_loads(),
        }
    }
}

/// The moves of tasks that follow each other, before the first of them begins. Each pass over all maps plans what the leading
/// agent would plan after the passes before.
#[derive(Clone, Debug)]
pub struct Preview<'a> {
    roster: &'a Roster,
    loads: Loads,
    moves: BTreeMap<String, Vec<Move>>,
    count: usize,
}

/// A pass of a [`Preview`].
#[derive(Debug)]
pub struct Pass<'p, 'a> {
    preview: &'p mut Preview<'a>,
    planner: Planner<'a>,
    before: usize,
}

impl<'a> Preview<'a> {
    /// No moves yet, of databases with these loads.
    pub fn new(loads: Loads, roster: &'a Roster) -> Self {
        Self { roster, loads, moves: BTreeMap::new(), count: 0 }
    }

    /// Begins a pass.
    pub fn pass(&mut self, aim: Aim) -> Pass<'_, 'a> {
        let planner = Planner::new(aim, self.loads.clone(), self.roster);
        Pass { before: self.count, preview: self, planner }
    }

    /// The moves of each database, in their order.
    pub fn into_moves(self) -> BTreeMap<String, Vec<Move>> {
        self.moves
    }
}

impl Pass<'_, '_> {
    /// Plans the moves of a database with this map, in the order of names.
    pub fn add(&mut self, document: &Document) {
        let roster = self.preview.roster;
        let moves = match self.preview.moves.get(&document.database) {
            Some(before) => self.planner.moves(&document.after_moves(before, roster)),
            None => self.planner.moves(document),
        };
        if !moves.is_empty() {
            self.preview.count += moves.len();
            self.preview.moves.entry(document.database.clone()).or_default().extend(moves);
        }
    }

    /// Ends the pass. Returns `true` if it had moves: another pass for the same purpose may have more.
    pub fn end(self) -> bool {
        self.preview.loads = self.planner.into_loads();
        self.preview.count > self.before
    }
}
