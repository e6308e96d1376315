//! How long to pause between rounds. Pure: randomness and history are arguments.

use std::time::Duration;

use super::step::{Step, StepKind};

/// How long to pause after `step`, which has been the same for `rounds` rounds, with `nodes` nodes to ask.
///
/// `jitter` is from 0 to 1 and moves the pause by a fifth either way, so that the agents of one cluster don't march
/// in step.
pub fn pause(step: &Step, rounds: u32, nodes: usize, jitter: f64) -> Duration {
    let base = match step.kind() {
        // It moves by itself, and each second that it takes too long is one without this node.
        StepKind::Act if matches!(step, Step::Fill { .. }) => grown(AGAIN, rounds, FILLING),
        StepKind::Act => grown(AGAIN, rounds, LONGEST),
        StepKind::Dial | StepKind::Wait => grown(crowd(WAIT, nodes), rounds / PATIENCE, LONGEST),
        StepKind::Refuse => grown(crowd(WAIT, nodes), rounds, LONGEST),
        StepKind::Settled => SETTLED,
    };
    base.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

/// How long to pause before Kubernetes is asked for credentials once more, after so many times without.
pub fn until_asked_again(rounds: u32, jitter: f64) -> Duration {
    grown(WAIT, rounds, LONGEST).mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

/// Whether a step that was decided `repeats` times before is to be carried out once more, if there is anything to do.
///
/// A member that can't be dialled because its cookie differs logs every attempt, so attempts grow rare.
pub fn is_due(step: &Step, repeats: u32) -> bool {
    match step.kind() {
        StepKind::Act => true,
        StepKind::Dial => repeats == 0 || repeats.is_power_of_two(),
        StepKind::Refuse | StepKind::Settled | StepKind::Wait => false,
    }
}

/// Each round asks every node, so the more there are the longer is the pause.
fn crowd(base: Duration, nodes: usize) -> Duration {
    base.mul_f64((nodes as f64 / CROWD).max(1.0))
}

fn grown(base: Duration, rounds: u32, longest: Duration) -> Duration {
    base.saturating_mul(1 << rounds.min(10)).min(longest)
}

/// After a change: CouchDB shows it within some 10 ms, so look at once. A change that fails is tried ever later.
const AGAIN: Duration = Duration::from_millis(10);
/// While something is on its way. `_nodes` reaches the others within some 10 ms to 1 s.
const WAIT: Duration = Duration::from_millis(50);
/// As many rounds pass before a wait is drawn out.
const PATIENCE: u32 = 6;
/// The number of nodes up to which [`WAIT`] holds.
const CROWD: f64 = 8.0;
/// The longest pause while something is not as it should be.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest between two looks at shards that are being filled.
const FILLING: Duration = Duration::from_secs(1);
/// Between two full rounds of a settled cluster, if nothing calls for one before.
const SETTLED: Duration = Duration::from_secs(600);
/// Between two glances at the local node of a settled cluster: one call each.
pub const GLANCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::WaitFor;

    #[test]
    fn a_wait_is_drawn_out_and_has_an_end() {
        let wait = Step::Wait(WaitFor::Founding(0));
        let pauses: Vec<_> = [0, 5, 6, 12, 100].map(|rounds| pause(&wait, rounds, 3, 0.5).as_millis()).into();
        assert_eq!(pauses, [50, 50, 100, 200, 5000]);
        assert_eq!(pause(&wait, 0, 64, 0.5).as_millis(), 400, "64 nodes are asked less often");
    }

    #[test]
    fn a_change_that_fails_again_and_again_is_tried_ever_later() {
        let pauses: Vec<_> =
            [0, 1, 6, 30].map(|rounds| pause(&Step::Found, rounds, 3, 0.5).as_millis()).into();
        assert_eq!(pauses, [10, 20, 640, 5000]);
    }

    #[test]
    fn jitter_moves_a_pause_by_a_fifth() {
        let [early, late] = [0.0, 1.0].map(|jitter| pause(&Step::Settled, 0, 3, jitter).as_secs());
        assert_eq!((early, late), (480, 720));
    }
}
