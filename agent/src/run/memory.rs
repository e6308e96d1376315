//! What the loop keeps between rounds.

use agent_core::decide::Step;
use agent_core::decide::{checks_maps, checks_ports, unconnected_members};
use agent_core::facts::{BrokenMaps, Observed};
use tokio::time::Instant;

use crate::observe::service::Lookout;

/// What the loop keeps between rounds. None of it decides a step: it is for pauses, logs and the page.
pub(crate) struct Memory {
    pub(crate) step: Option<Step>,
    pub(crate) since: String,
    /// How often `step` was decided again in a row.
    pub(crate) repeats: u32,
    /// Since the agent started.
    pub(crate) rounds: u64,
    pub(crate) last_error: Option<String>,
    /// Whether a peer was joined since the agent started, and that was not announced yet.
    pub(crate) joined: bool,
    /// When rejected credentials may be looked up again.
    pub(crate) ask_again: Instant,
    /// How far a step has come that takes several rounds.
    pub(crate) progress: Option<String>,
    /// Since when some member answers and is not connected.
    pub(crate) lonely_since: Option<Instant>,
    pub(crate) lookout: Lookout,
    pub(crate) maps: Maps,
}

/// What the last look at all databases' maps showed. They are facts like others, and too many to be asked for in each
/// round.
#[derive(Default)]
pub(crate) struct Maps {
    pub(crate) broken: BrokenMaps,
    pub(crate) looked: Option<Instant>,
}

impl Memory {
    /// Of an agent that began its first step then.
    pub(crate) fn at_start(since: String) -> Self {
        Self {
            step: None,
            since,
            repeats: 0,
            rounds: 0,
            last_error: None,
            joined: false,
            ask_again: Instant::now(),
            progress: None,
            lonely_since: None,
            lookout: Lookout::default(),
            maps: Maps::default(),
        }
    }

    /// Whether to look for what keeps a member from being connected.
    pub(crate) fn probes(&self) -> bool {
        checks_ports(self.lonely_since.map(|since| since.elapsed()))
    }

    /// Keeps in mind since when somebody answers and isn't connected.
    pub(crate) fn watch_connections(&mut self, observed: &Observed) {
        let lonely = !unconnected_members(observed).is_empty();
        self.lonely_since = lonely.then(|| self.lonely_since.unwrap_or_else(Instant::now));
    }
}

impl Maps {
    /// `true` if the maps must be looked at after `step`.
    pub(crate) fn is_due(&self, step: &Step, before: Option<&Step>) -> bool {
        checks_maps(step, before, self.looked.map(|looked| looked.elapsed()))
    }
}
