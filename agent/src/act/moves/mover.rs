//! The state of one task between rounds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use agent_core::decide::{MoveNodes, MoveTask};
use agent_core::facts::Pause;
use agent_core::moves::{Document, Hindrance, Move, Phase, Work};
use contract::moves::{Moves, Task};
use tokio::time::Instant;

/// The moves of one task. Everything in here can be read again.
#[derive(Debug)]
pub struct Mover {
    pub(super) task: MoveTask,
    pub(super) nodes: MoveNodes,
    begun: Instant,
    /// `true` once the maps of all databases were read for the queue.
    pub(super) listed: bool,
    pub(super) queue: VecDeque<(String, Vec<Move>)>,
    /// The bytes that are copied for each database in the queue and for the active ones, where they are known.
    pub(super) sizes: BTreeMap<String, u64>,
    pub(super) active: BTreeMap<String, Work>,
    /// Databases whose moves were verified by this task, each with the revision of its map: what their sources had need not be
    /// proved again.
    pub(super) verified: HashMap<String, String>,
    /// Databases that can't be moved.
    pub(super) hindered: BTreeMap<String, Hindrance>,
    /// `_purged_infos_limit` of databases that are being moved, where it is not the default.
    pub(super) purge_limits: BTreeMap<String, u64>,
    pub(super) copies: u64,
    pub(super) done: u64,
    pub(super) paused: Option<Pause>,
}

impl Mover {
    pub(super) fn new(task: MoveTask, nodes: MoveNodes) -> Self {
        Self {
            task,
            nodes,
            begun: Instant::now(),
            listed: false,
            queue: VecDeque::new(),
            sizes: BTreeMap::new(),
            active: BTreeMap::new(),
            verified: HashMap::new(),
            hindered: BTreeMap::new(),
            purge_limits: BTreeMap::new(),
            copies: 0,
            done: 0,
            paused: None,
        }
    }

    /// `true` if the last moves of the map were verified by this task.
    pub(super) fn has_verified(&self, document: &Document) -> bool {
        self.verified.get(&document.database).is_some_and(|rev| rev == document.rev())
    }

    /// The bytes that are copied for a database; 0 if its size is unknown.
    pub(super) fn size(&self, database: &str) -> u64 {
        self.sizes.get(database).copied().unwrap_or_default()
    }

    /// The active databases whose copies are filled, each with its size and its moves.
    pub(super) fn filled(&self) -> impl Iterator<Item = (u64, &[Move])> {
        let works = self.active.values().filter(|work| work.phase() <= Phase::Fill);
        works.map(|work| (self.size(&work.database), work.moves()))
    }

    /// The bytes of the copies that are filled or wait for it.
    fn bytes_left(&self) -> u64 {
        let queued = self.queue.iter().map(|(database, _)| self.size(database));
        self.filled().map(|(bytes, _)| bytes).chain(queued).fold(0, u64::saturating_add)
    }

    /// The time since the task began here.
    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The progress, for the status page. `pod` names the pod of an ordinal.
    pub(super) fn report(&self, pod: impl Fn(u32) -> String) -> Moves {
        let (task, node) = match &self.task {
            MoveTask::Drain(node) => (Task::Drain, Some(*node)),
            MoveTask::Raise { .. } => (Task::Copies, None),
            MoveTask::Finish | MoveTask::Rebalance | MoveTask::Restore(_) => (Task::Rebalance, None),
        };
        let left = self.copies.saturating_sub(self.done);
        // From the time of the copies that are done: few at first, so that the estimate settles within some minutes.
        let seconds = (self.done > 0).then(|| self.now().as_secs().saturating_mul(left) / self.done);
        Moves {
            task,
            pod: node.map(pod),
            copies: self.copies,
            done: self.done,
            bytes_left: self.bytes_left(),
            seconds_left: seconds,
            paused: self.paused.as_ref().map(Pause::to_string),
        }
    }
}
