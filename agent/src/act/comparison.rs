//! The progress of a comparison of shards, which takes several rounds.

use agent_core::decide::is_stalled;
use agent_core::facts::WriteFailure;
use agent_core::shards::{LocalShard, Purpose, ShardState, Survey};
use tokio::time::Instant;

/// A comparison that takes several rounds.
#[derive(Debug)]
pub struct Comparison {
    pub(super) survey: Survey,
    pub(super) begun: Instant,
    /// The database that is replicated, and the time of the last `_sync_shards` for it.
    pub(super) synced: Option<(String, Instant)>,
    /// The last state of the database that is behind, and the time since which it has been the same.
    pub(super) last: Option<(LastSeen, Instant)>,
    /// The failure of the last write to the local volume, which is tried while nothing arrives.
    pub(super) write_error: Option<WriteFailure>,
}

/// The state of a database that is behind, as far as it shows progress.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LastSeen {
    pub(super) database: String,
    /// Changes in the local copies, and those that checkpoints of other copies have reached.
    progress: [u64; 2],
}

/// A database with the state of its local shards.
pub(super) type States = Vec<(LocalShard, ShardState)>;

impl Comparison {
    pub(super) fn new(purpose: Purpose) -> Self {
        Self {
            survey: Survey::new(purpose),
            begun: Instant::now(),
            synced: None,
            last: None,
            write_error: None,
        }
    }

    /// Takes the state of a database that is behind. Returns `true` if it has been the same for long.
    pub(super) fn observe(&mut self, database: &str, states: &States) -> bool {
        let progress = states.iter().fold([0, 0], |[mine, sent]: [u64; 2], (_, state)| {
            let reached =
                state.theirs.iter().map(|copy| copy.checkpoint.saturating_add(copy.purge_checkpoint));
            [mine.saturating_add(state.mine.update_seq), reached.fold(sent, u64::saturating_add)]
        });
        let seen = LastSeen { database: database.to_owned(), progress };
        let since = match &self.last {
            Some((last, since)) if *last == seen => *since,
            Some(_) | None => Instant::now(),
        };
        self.last = Some((seen, since));
        is_stalled(since.elapsed())
    }
}
