//! What the loop keeps between rounds.

use std::time::Duration;

use tokio::time::Instant;

use crate::publication::Lookout;
use crate::step::{Ailing, Observed, Step, View, WaitFor};

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
    pub(crate) ailing: Ailing,
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
        self.lonely_since.is_some_and(|since| since.elapsed() > LONELY)
    }

    /// Keeps in mind since when somebody answers and isn't connected.
    pub(crate) fn watch_connections(&mut self, observed: &Observed) {
        let view = |local| View { me: observed.me, local, peers: &observed.peers };
        let lonely = observed.local.as_ref().is_ok_and(|local| !view(local).undialled().is_empty());
        self.lonely_since = lonely.then(|| self.lonely_since.unwrap_or_else(Instant::now));
    }
}

impl Maps {
    /// All else must be well: nobody looks for small trouble in the middle of a great one. When it has just become well
    /// members may have met again that changed one map in two places.
    pub(crate) fn is_due(&self, step: &Step, before: Option<&Step>) -> bool {
        let older = |age| self.looked.is_none_or(|looked| looked.elapsed() > age);
        let ailing = matches!(step, Step::Wait(WaitFor::MapsAiling(_)));
        let settles = *step == Step::Settled && before != Some(step);
        settles || (*step == Step::Settled && older(MAPS_ARE_WELL)) || (ailing && older(MAPS_AIL))
    }
}

/// Between two looks at the maps of all databases, while they are well. A settled cluster is looked at every 10 minutes.
const MAPS_ARE_WELL: Duration = Duration::from_secs(540);
/// The same while one isn't: it clears soon after somebody has mended it.
const MAPS_AIL: Duration = Duration::from_secs(10);
/// Members that join are connected within a second, and those that are dialled too.
const LONELY: Duration = Duration::from_secs(4);
