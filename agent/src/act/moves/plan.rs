//! The plan that a person asks for before the size is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent_core::decide::MoveNodes;
use agent_core::moves::{Aim, Loads, Move, Preview, Roster};
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
        let team = MoveNodes { members: members.clone(), leaving: leaving.clone() };
        let nodes = Nodes::new(couch, directory, &team);
        let roster = Roster::new(directory.nodes(&wanted), leaving.clone());
        let zones = couch.zones(&nodes.local, roster.all()).await?;
        let draft = Draft::new(couch, &nodes.local, &roster.with_zones(zones), &leaving).await?;
        let mut refused: Vec<String> = hindrance.iter().cloned().collect();
        refused.extend(nodes.pause().await?.map(|pause| pause.to_string()));
        if replicas == 0 {
            refused.push("no node would be left for the copies".to_owned());
        }
        let moved = draft.moves.keys().map(String::as_str);
        let sizes = sizes(couch, &directory.local(), moved).await;
        let plan = draft.into_plan(&sizes, directory);
        // Nodes are drained one after the other; the copies of one wait for readers at the same time.
        let stays = readers_stay.as_secs().saturating_add(AFTER_THE_MOVE);
        let waits = stays.saturating_mul(u64::try_from(leaving.len()).unwrap_or(u64::MAX));
        let seconds = plan.databases * SECONDS_PER_DATABASE + plan.bytes / BYTES_PER_SECOND;
        Ok(Plan { replicas, refused, seconds: Some(seconds.saturating_add(waits)), ..plan })
    }
}

/// A plan in the making.
struct Draft {
    /// The loads before the moves.
    before: Loads,
    /// The nodes, new pods included.
    ordinals: Vec<u32>,
    /// The number of ranges of each database.
    ranges: BTreeMap<String, u64>,
    moves: BTreeMap<String, Vec<Move>>,
}

impl Draft {
    /// Plans the moves as the agent that leads would carry them out: node by node, each time until no move is left.
    async fn new(
        couch: &Couch,
        local: &str,
        roster: &Roster,
        leaving: &BTreeSet<u32>,
    ) -> Result<Self, CouchError> {
        let (mut before, mut ranges) = (Loads::new(roster), BTreeMap::new());
        couch
            .for_each_movable(local, |document| {
                before.count(document, roster);
                ranges.insert(document.database.clone(), range_count(document));
            })
            .await?;
        let mut aims: Vec<Aim> = leaving.iter().rev().map(|node| Aim::Drain(*node)).collect();
        if aims.is_empty() {
            aims.push(Aim::Rebalance);
        }
        let mut preview = Preview::new(before.clone(), roster);
        for aim in aims {
            for _ in 0..PASSES {
                let mut pass = preview.pass(aim);
                couch.for_each_movable(local, |document| pass.add(document)).await?;
                if !pass.end() {
                    break;
                }
            }
        }
        Ok(Self { before, ordinals: roster.ordinals().collect(), ranges, moves: preview.into_moves() })
    }

    /// The plan, but for the number of nodes, reasons and time.
    fn into_plan(self, sizes: &BTreeMap<String, u64>, directory: &Directory) -> Plan {
        let pod = |ordinal: u32| format!("{}-{ordinal}", directory.me.pod().set());
        let mut nodes: BTreeMap<String, PlanNode> = self
            .ordinals
            .iter()
            .map(|&ordinal| {
                let copies = self.before.of(ordinal);
                (pod(ordinal), PlanNode { before: copies, after: copies, bytes: 0 })
            })
            .collect();
        let mut plan = Plan::default();
        for (database, moves) in self.moves {
            plan.databases += 1;
            let ranges = self.ranges.get(&database).copied().unwrap_or_default();
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
                plan.bytes = plan.bytes.saturating_add(bytes);
                if plan.first.len() < Plan::FIRST {
                    plan.first.push(PlannedMove { database: database.clone(), range, from, to, bytes });
                }
            }
        }
        plan.nodes = nodes;
        plan
    }
}

/// Passes over all maps for one purpose. Each but the last has a move of every range that can have one.
const PASSES: usize = 16;
/// Seconds in which a copy that has left the map may still get writes.
const AFTER_THE_MOVE: u64 = 6;
/// Small databases: three changes of the map, and two to three passes of replication (CouchDB 3.5.0, two busy cores: 1.2 s).
const SECONDS_PER_DATABASE: u64 = 1;
/// Documents of 1 kB are copied at 1,900 a second, larger ones faster.
const BYTES_PER_SECOND: u64 = 2_000_000;
