//! The task of the agent that leads: which databases are moved, and what comes before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_core::decide::{MoveNodes, MoveTask};
use agent_core::facts::Pause;
use agent_core::moves::{Aim, Holdings, Loads, Move, Pace, Phase, Planner, Roster, Work, recorded_after};
use contract::moves::{Moves, NodeCopies, NodeState};
use contract::text::cut;
use tokio::time::Instant;
use tracing::{info, warn};

use super::mover::Mover;
use super::nodes::Nodes;
use super::sizes::{copied, fits, is_large, range_count, sizes};
use crate::act::actor::Actor;
use crate::act::error::{ActError, Progress};
use crate::couch::{CouchError, FileAt, Read};
use crate::observe::Directory;

impl Actor {
    /// Goes on with the moves of `task` between `nodes`, for about [`SLICE`]. Returns once nothing is left to move. `now` is the
    /// current time, RFC 3339.
    pub(in crate::act) async fn advance_moves(
        &self,
        directory: &Directory,
        task: &MoveTask,
        nodes: &MoveNodes,
        now: &str,
    ) -> Result<(), ActError> {
        if let Some(claim) = &self.claim {
            claim.renew(now).await?;
        }
        let mut kept = self.moves.lock().await;
        let begun = kept.take().filter(|mover| mover.task == *task && mover.nodes == *nodes);
        let mut mover = begun.unwrap_or_else(|| Mover::new(task.clone(), nodes.clone()));
        let nodes = Nodes::new(&self.couch, directory, nodes);
        let advanced = self.advance(directory, &nodes, &mut mover, now).await;
        // After a failed call, too, the moves go on where they stopped.
        if advanced.is_err() {
            *kept = Some(mover);
        } else {
            self.moves_ended.fetch_add(1, Ordering::Relaxed);
        }
        advanced
    }

    /// Forgets moves that are not wanted any more.
    pub async fn forget_moves(&self) {
        *self.moves.lock().await = None;
    }

    /// The reason why no copy is moved by this agent, which leads.
    pub async fn moves_paused(&self) -> Option<Pause> {
        self.moves.lock().await.as_ref()?.paused.clone()
    }

    /// The progress of moves that this agent leads.
    pub async fn moves(&self, directory: &Directory) -> Option<Moves> {
        let kept = self.moves.lock().await;
        let set = directory.me.pod().set();
        kept.as_ref().map(|mover| mover.report(|ordinal| format!("{set}-{ordinal}")))
    }

    async fn advance(
        &self,
        directory: &Directory,
        nodes: &Nodes<'_>,
        mover: &mut Mover,
        now: &str,
    ) -> Result<(), ActError> {
        if let MoveTask::Restore(restored) = &mover.task {
            return self.restore(directory, nodes, restored).await;
        }
        if let Some(pause) = nodes.pause().await? {
            // A job that agents have stopped could never end.
            if pause == Pause::Resharding {
                nodes.release_resharding().await?;
            }
            return Err(paused(mover, pause));
        }
        if let Some(pause) = nodes.hold_resharding().await? {
            return Err(paused(mover, pause));
        }
        mover.paused = None;
        if let MoveTask::Drain(_) = mover.task
            && !nodes.mark_leaving(&mover.nodes.leaving).await?
        {
            // A database that is created meanwhile would be placed there.
            return Err(ActError::NotYet(Progress::MarkingLeaving));
        }
        if !mover.listed {
            let counted = nodes.list(mover).await?;
            if let MoveTask::Drain(node) = mover.task {
                self.record(directory, &counted, (node, NodeState::Draining), now).await?;
            }
        }
        let pace = Pace { readers: self.pace_of(&mover.task), readers_while_raised: self.readers_stay };
        let end = Instant::now() + SLICE;
        loop {
            nodes.activate(mover).await?;
            if mover.active.is_empty() {
                return self.end(directory, nodes, mover, now).await;
            }
            let changed = nodes.pass(mover, pace).await?;
            if let Some(pause) = stalled(mover, &nodes.roster) {
                return Err(paused(mover, pause));
            }
            if !changed || Instant::now() >= end {
                return Err(ActError::NotYet(progress(mover)));
            }
        }
    }

    /// The time for which a moved copy stays in the map beside the new one.
    fn pace_of(&self, task: &MoveTask) -> Duration {
        let is_drain = matches!(task, MoveTask::Drain(_));
        // In other tasks the old node stays: there is no hurry.
        if is_drain { self.readers_stay } else { self.readers_stay * UNHURRIED }
    }

    /// Ends a task with nothing left in the queue: looks for what has come meanwhile, and records a node as drained.
    async fn end(
        &self,
        directory: &Directory,
        nodes: &Nodes<'_>,
        mover: &mut Mover,
        now: &str,
    ) -> Result<(), ActError> {
        let counted = nodes.list(mover).await?;
        if !mover.queue.is_empty() {
            return Err(ActError::NotYet(progress(mover)));
        }
        for (database, hindrance) in &mover.hindered {
            warn!(database, ?hindrance, "the copies of this database can't be moved");
        }
        if let MoveTask::Drain(node) = mover.task {
            let left = counted.databases_on(node);
            if left > 0 {
                return Err(hindered(mover, left));
            }
            if let Some(file) = nodes.unproved_file(node, mover).await? {
                return Err(paused(mover, Pause::UnprovedFile(file)));
            }
            self.record(directory, &counted, (node, NodeState::Drained), now).await?;
            info!(ordinal = node, "the node is drained");
        }
        nodes.redirect(&BTreeMap::new()).await?;
        nodes.release_resharding().await?;
        let left = u64::try_from(mover.hindered.len()).unwrap_or(u64::MAX);
        if left > 0 { Err(hindered(mover, left)) } else { Ok(()) }
    }

    /// Lets nodes have new copies again that are no longer drained.
    async fn restore(
        &self,
        directory: &Directory,
        nodes: &Nodes<'_>,
        restored: &BTreeSet<u32>,
    ) -> Result<(), ActError> {
        for name in restored.iter().filter_map(|ordinal| nodes.roster.name(*ordinal)) {
            self.couch.set_leaving(&nodes.local, name, false).await?;
        }
        // The maps are read again after the task: until then the last count stays.
        self.update_record(directory, None, |mut recorded| {
            for ordinal in restored {
                recorded.entry(*ordinal).or_default().state = NodeState::Holding;
            }
            recorded
        })
        .await?;
        Ok(())
    }

    /// Removes a drained node from the members.
    pub(in crate::act) async fn remove_member(
        &self,
        directory: &Directory,
        node: u32,
    ) -> Result<(), ActError> {
        self.couch.remove_member(&directory.local(), &directory.node(node)).await?;
        self.update_record(directory, None, |mut recorded| {
            recorded.insert(node, NodeCopies { state: NodeState::Removed, ..NodeCopies::default() });
            recorded
        })
        .await?;
        Ok(())
    }

    /// Writes the copies on all nodes into the record on the Lease, and the state of one of them.
    async fn record(
        &self,
        directory: &Directory,
        counted: &Holdings,
        (node, state): (u32, NodeState),
        now: &str,
    ) -> Result<(), ActError> {
        self.update_record(directory, Some(now), |recorded| {
            let mut nodes = recorded_after(counted.nodes(), &recorded);
            nodes.entry(node).or_default().state = state;
            nodes
        })
        .await?;
        Ok(())
    }
}

impl Nodes<'_> {
    /// Reads the maps of all databases, and puts those into the queue whose copies have to be moved. Returns the copies on each
    /// node.
    async fn list(&self, mover: &mut Mover) -> Result<Holdings, CouchError> {
        mover.queue.clear();
        let roster = &self.roster_with_zones().await?;
        let mut loads = Loads::new(roster);
        self.couch.for_each_movable(&self.local, |document| loads.count(document, roster)).await?;
        let mut planner = Planner::new(aim(&mover.task), loads, roster);
        let mut found = Holdings::new(roster);
        let (mut open, mut copies) = (vec![], 0_u64);
        self.couch
            .for_each_movable(&self.local, |document| {
                found.count(document, roster);
                let moves = planner.moves(document);
                let is_open = !moves.is_empty() || document.raised().is_some();
                if is_open && !mover.hindered.contains_key(&document.database) {
                    copies += u64::try_from(moves.len()).unwrap_or_default();
                    open.push((document.database.clone(), range_count(document), moves));
                }
            })
            .await?;
        // CouchDB's own databases first: without `_users` no user can log in.
        open.sort_by_key(|(database, _, _)| !database.starts_with('_'));
        let names = open.iter().map(|(database, _, _)| database.as_str());
        let sized = sizes(self.couch, &self.local, names).await;
        let mut queue: Vec<(String, Vec<Move>)> = vec![];
        for (database, ranges, moves) in open {
            let bytes = sized.get(&database).map_or(0, |bytes| copied(*bytes, ranges, &moves));
            mover.sizes.insert(database.clone(), bytes);
            queue.push((database, moves));
        }
        // The large ones last: whatever else the user waits for is done before.
        queue.sort_by_key(|(database, _)| is_large(mover.size(database)));
        mover.copies = mover.done + copies;
        mover.queue = queue.into();
        mover.listed = true;
        Ok(found)
    }

    /// Begins databases of the queue while there are few active ones.
    async fn activate(&self, mover: &mut Mover) -> Result<(), CouchError> {
        // Those that only wait for readers or late writes cost little.
        let busy = mover.active.values().filter(|work| work.phase() <= Phase::Fill).count();
        let room = BUSY.saturating_sub(busy).min(ACTIVE.saturating_sub(mover.active.len()));
        let mut next: Vec<(String, Vec<Move>)> = vec![];
        while next.len() < room
            && let Some((database, moves)) = mover.queue.pop_front()
        {
            let taken = next.iter().map(|(database, moves)| (mover.size(database), moves.as_slice()));
            if !fits(mover.size(&database), &moves, mover.filled().chain(taken)) {
                // Those behind it are large as well.
                mover.queue.push_front((database, moves));
                break;
            }
            next.push((database, moves));
        }
        if next.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = next.iter().map(|(name, _)| name.as_str()).collect();
        let maps = self.couch.documents(&self.local, &names).await?;
        for map in &maps {
            let document = &map.document;
            let Some((name, moves)) = next.iter().find(|(name, _)| *name == document.database) else {
                continue;
            };
            let begun = Work::begun(document, &self.roster);
            let work = begun.unwrap_or_else(|| Work::planned(document, moves.clone()));
            if work.phase() <= Phase::Fill
                && let Some(limit) = self.couch.purge_limit(&self.local, name).await?
                && limit != DEFAULT_PURGE_LIMIT
            {
                mover.purge_limits.insert(name.clone(), limit);
            }
            mover.active.insert(name.clone(), work);
        }
        Ok(())
    }

    /// A file on the drained node that has changes which no copy in its map has. `None` if there is none.
    async fn unproved_file(&self, node: u32, mover: &Mover) -> Result<Option<String>, CouchError> {
        let (Some(base), Some(name)) = (self.base(node), self.roster.name(node)) else { return Ok(None) };
        for file in self.couch.files_on(base).await? {
            let Some((range, database)) = parts(&file) else { continue };
            let maps = self.couch.documents(&self.local, &[database]).await?;
            let Some(map) = maps.first().filter(|map| map.document.file(range) == file) else { continue };
            if mover.has_verified(&map.document) {
                continue;
            }
            let at = |node| FileAt { base: &self.local, node, file: &file };
            let source = self.couch.file_facts(at(name), Read::Checkpoints).await?;
            let mut proved = source.uuid.is_none();
            for holder in map.document.holders(range) {
                proved = proved
                    || source.has_reached(
                        &self.couch.file_facts(at(holder), Read::Checkpoints).await?,
                        source.goal(),
                    );
            }
            if !proved {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}

/// The purpose of the plan for a task.
fn aim(task: &MoveTask) -> Aim {
    match task {
        MoveTask::Drain(node) => Aim::Drain(*node),
        MoveTask::Finish | MoveTask::Restore(_) => Aim::Finish,
        MoveTask::Raise { copies } => Aim::Raise(*copies),
        MoveTask::Rebalance => Aim::Rebalance,
    }
}

/// The range and the database in the name of a file: `shards/00000000-7fffffff/orders.1795221185`.
fn parts(file: &str) -> Option<(&str, &str)> {
    let (range, rest) = file.strip_prefix("shards/")?.split_once('/')?;
    Some((range, rest.rsplit_once('.')?.0))
}

fn progress(mover: &Mover) -> Progress {
    Progress::Moving { done: mover.done, copies: mover.copies }
}

/// The error for `count` databases that can't be moved, with the first few.
fn hindered(mover: &mut Mover, count: u64) -> ActError {
    let first = mover.hindered.iter().take(NodeCopies::EXAMPLES);
    let first =
        first.map(|(name, why)| (cut(name, NodeCopies::EXAMPLE_LENGTH).into_owned(), why.to_string()));
    let databases = first.collect();
    // Looked at again in the next round: a person may have repaired them.
    mover.hindered.clear();
    paused(mover, Pause::Hindered { databases, count })
}

/// The first database whose copies should have become equal long ago.
fn stalled(mover: &Mover, roster: &Roster) -> Option<Pause> {
    let now = mover.now();
    mover.active.values().find_map(|work| {
        let database = cut(&work.database, NodeCopies::EXAMPLE_LENGTH).into_owned();
        Some(Pause::Stalled { database, node: work.stalled(roster, now)? })
    })
}

fn paused(mover: &mut Mover, pause: Pause) -> ActError {
    mover.paused = Some(pause.clone());
    ActError::NotYet(Progress::MovesPaused(pause))
}

/// The agent observes the cluster again after this time.
const SLICE: Duration = Duration::from_secs(2);
/// Databases whose copies are filled at the same time. More maps in a short time slow down the ring in which maps travel.
const BUSY: usize = 50;
/// Databases that are moved at the same time, those that wait for readers included.
const ACTIVE: usize = 500;
/// A rebalance leaves both copies in the map for this many times as long as a drain.
const UNHURRIED: u32 = 10;
/// `_purged_infos_limit` of a new file.
const DEFAULT_PURGE_LIMIT: u64 = 1000;
