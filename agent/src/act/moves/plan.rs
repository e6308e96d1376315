//! The plan that a person asks for before the size is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent_core::moves::{Change, Document, Loads, Move, Rebalance, Roster, drain};
use contract::moves::{Plan, PlanNode, PlannedMove};

use super::nodes::Nodes;
use super::sizes::{of_range, range_count, sizes};
use crate::couch::{Couch, CouchError};
use crate::observe::Directory;

/// The inputs of a plan: the state after a round.
#[derive(Clone, Debug)]
pub struct PlanInputs {
    /// The client for CouchDB.
    pub couch: Arc<Couch>,
    /// Addresses and names.
    pub directory: Directory,
    /// The members.
    pub members: BTreeSet<u32>,
    /// The ordinal of the first pod.
    pub start: u32,
    /// The reason why nothing can be moved now, a sentence.
    pub hindrance: Option<String>,
    /// The time for which a moved copy stays beside the new one.
    pub readers_stay: Duration,
}

impl PlanInputs {
    /// Returns the moves that it takes to have this many nodes.
    pub async fn plan(&self, replicas: u32) -> Result<Plan, CouchError> {
        let Self { couch, directory, members, start, hindrance, readers_stay } = self;
        let end = start.saturating_add(replicas);
        let leaving: BTreeSet<u32> = members.range(end..).copied().collect();
        // New pods are planned as if they were members.
        let wanted: BTreeSet<u32> = members.iter().copied().chain(*start..end).collect();
        let nodes = Nodes::new(couch, directory, members, BTreeSet::new());
        let roster = Roster::new(directory.nodes(&wanted), leaving.clone());
        let mut before = Loads::new(&roster);
        couch.for_each_movable(&nodes.local, |document| before.count(document, &roster)).await?;
        let mut draft = Draft {
            loads: before.clone(),
            rebalance: Rebalance::new(before.clone(), &roster),
            moves: vec![],
        };
        couch
            .for_each_movable(&nodes.local, |document| {
                let moves = if leaving.is_empty() {
                    draft.rebalance.next(document, &roster)
                } else {
                    draft.drained(document, &leaving, &roster)
                };
                draft.add(document, moves);
            })
            .await?;
        let mut refused: Vec<String> = hindrance.iter().cloned().collect();
        refused.extend(nodes.pause().await?.map(|pause| pause.to_string()));
        if replicas == 0 {
            refused.push("no node would be left for the copies".to_owned());
        }
        let moved = draft.moves.iter().map(|(database, _, _)| database.as_str());
        let sizes = sizes(couch, &directory.local(), moved).await;
        let plan = draft.into_plan(&before, &sizes, directory, &roster);
        // Nodes are drained one after the other; the copies of one wait for readers at the same time.
        let stays = readers_stay.as_secs().saturating_add(AFTER_THE_MOVE);
        let waits = stays.saturating_mul(u64::try_from(leaving.len()).unwrap_or(u64::MAX));
        let seconds = plan.databases * SECONDS_PER_DATABASE + plan.bytes / BYTES_PER_SECOND;
        Ok(Plan { replicas, refused, seconds: Some(seconds.saturating_add(waits)), ..plan })
    }
}

/// A plan in the making.
struct Draft {
    loads: Loads,
    rebalance: Rebalance,
    /// Databases with the number of their ranges and their moves.
    moves: Vec<(String, u64, Vec<Move>)>,
}

impl Draft {
    /// The moves that take a database off all of these nodes, the highest ordinal first.
    fn drained(&mut self, document: &Document, leaving: &BTreeSet<u32>, roster: &Roster) -> Vec<Move> {
        let mut all: Vec<Move> = vec![];
        let mut document = document.clone();
        for &node in leaving.iter().rev() {
            let moves = drain(&document, node, roster, &mut self.loads);
            let changes: Vec<Change> = moves.iter().flat_map(|one| changes(one, roster)).collect();
            let changed = document.after(&changes).and_then(|raw| Document::parse(&document.database, raw));
            document = changed.unwrap_or(document);
            all.extend(moves);
        }
        all
    }

    fn add(&mut self, document: &Document, moves: Vec<Move>) {
        if !moves.is_empty() {
            self.moves.push((document.database.clone(), range_count(document), moves));
        }
    }

    /// The plan, but for the number of nodes, reasons and time.
    fn into_plan(
        self,
        before: &Loads,
        sizes: &BTreeMap<String, u64>,
        directory: &Directory,
        roster: &Roster,
    ) -> Plan {
        let pod = |ordinal: u32| format!("{}-{ordinal}", directory.me.pod().set());
        let mut nodes: BTreeMap<String, PlanNode> = roster
            .ordinals()
            .map(|ordinal| {
                let copies = before.of(ordinal);
                (pod(ordinal), PlanNode { before: copies, after: copies, bytes: 0 })
            })
            .collect();
        let mut plan = Plan::default();
        for (database, ranges, moves) in self.moves {
            plan.databases += 1;
            // The info of a database has the size of one copy of all ranges.
            let bytes = of_range(sizes.get(&database).copied().unwrap_or_default(), ranges);
            for Move { range, from, to } in moves {
                let (from, to) = (from.map(pod), to.map(pod));
                if let Some(node) = from.as_ref().and_then(|from| nodes.get_mut(from)) {
                    node.after = node.after.saturating_sub(1);
                }
                if let Some(node) = to.as_ref().and_then(|to| nodes.get_mut(to)) {
                    node.after += 1;
                }
                let bytes = if to.is_some() { bytes } else { 0 };
                if to.is_some() {
                    plan.moves += 1
                } else {
                    plan.drops += 1
                }
                plan.bytes += bytes;
                if plan.first.len() < Plan::FIRST {
                    plan.first.push(PlannedMove { database: database.clone(), range, from, to, bytes });
                }
            }
        }
        plan.nodes = nodes;
        plan
    }
}

/// The changes of a map after a move.
fn changes(one: &Move, roster: &Roster) -> Vec<Change> {
    let removed = one.from.and_then(|from| roster.name(from)).map(|from| Change::remove(&one.range, from));
    let added = one.to.and_then(|to| roster.name(to)).map(|to| Change::add(&one.range, to));
    removed.into_iter().chain(added).collect()
}

/// Seconds in which a copy that has left the map may still get writes.
const AFTER_THE_MOVE: u64 = 6;
/// Small databases: three changes of the map, and two to three passes of replication (CouchDB 3.5.0, two busy cores: 1.2 s).
const SECONDS_PER_DATABASE: u64 = 1;
/// Documents of 1 kB are copied at 1,900 a second, larger ones faster.
const BYTES_PER_SECOND: u64 = 2_000_000;
