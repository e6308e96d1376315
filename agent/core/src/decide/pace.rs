//! The pauses between rounds. Randomness and history are arguments.

use std::time::Duration;

use super::step::{Step, StepKind};

/// Returns the pause after `step`, which has been the same for `rounds` rounds, in a cluster of `nodes` nodes.
///
/// `jitter` is from 0 to 1 and changes the pause by up to a fifth, so that the agents of a cluster do not run in step.
pub fn pause(step: &Step, rounds: u32, nodes: usize, jitter: f64) -> Duration {
    let base = match step.kind() {
        // The comparison advances on its own, and each second of pause is one second more without this node.
        StepKind::Act if matches!(step, Step::Fill { .. } | Step::Move { .. }) => {
            backoff(AFTER_CHANGE, rounds, LONGEST_WHILE_FILLING)
        }
        StepKind::Act => backoff(AFTER_CHANGE, rounds, LONGEST),
        // The first rounds follow each other closely: `_nodes` replicates within 10 ms to 1 s.
        StepKind::Dial | StepKind::Wait => {
            backoff(while_waiting(nodes), rounds / ROUNDS_BEFORE_BACKOFF, LONGEST)
        }
        // Observed again all the same: the state may be repaired manually.
        StepKind::Refuse => backoff(while_waiting(nodes), rounds, LONGEST),
        StepKind::Settled => SETTLED,
    };
    jittered(base, jitter)
}

/// Returns the pause before Kubernetes is asked for credentials again, after `rounds` attempts without a result.
pub fn until_asked_again(rounds: u32, jitter: f64) -> Duration {
    jittered(backoff(WHILE_WAITING, rounds, LONGEST), jitter)
}

/// Returns `true` if a step that was decided `repeats` times before must be carried out again.
///
/// A member with another cookie logs every connection attempt, so the attempts become rarer: after 1, 2, 4, 8 rounds.
pub fn is_due(step: &Step, repeats: u32) -> bool {
    match step.kind() {
        StepKind::Act => true,
        StepKind::Dial => repeats == 0 || repeats.is_power_of_two(),
        StepKind::Refuse | StepKind::Settled | StepKind::Wait => false,
    }
}

/// Each round asks every node, so the pause grows with the cluster.
fn while_waiting(nodes: usize) -> Duration {
    WHILE_WAITING.mul_f64((nodes as f64 / SMALL_CLUSTER).max(1.0))
}

fn backoff(base: Duration, rounds: u32, longest: Duration) -> Duration {
    // After 10 doublings even the shortest base exceeds every limit.
    base.saturating_mul(1 << rounds.min(10)).min(longest)
}

fn jittered(base: Duration, jitter: f64) -> Duration {
    base.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

/// CouchDB shows a change within about 10 ms. A change that fails is tried again at growing intervals.
const AFTER_CHANGE: Duration = Duration::from_millis(10);
/// `_nodes` replicates to the other nodes within 10 ms to 1 s.
const WHILE_WAITING: Duration = Duration::from_millis(50);
/// The rounds of a wait before its pauses grow.
const ROUNDS_BEFORE_BACKOFF: u32 = 6;
/// The number of nodes up to which [`WHILE_WAITING`] is not scaled.
const SMALL_CLUSTER: f64 = 8.0;
/// The longest pause while the cluster is not settled.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest pause between two looks at shards that are being filled.
const LONGEST_WHILE_FILLING: Duration = Duration::from_secs(1);
/// Between two full rounds of a settled cluster, if nothing requires one earlier.
const SETTLED: Duration = Duration::from_secs(600);
/// Between two checks of the local node of a settled cluster: one call each.
pub const GLANCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::WaitFor;

    #[test]
    fn the_pauses_of_a_wait_grow_up_to_a_limit() {
        let wait = Step::Wait(WaitFor::Founding(0));
        let pauses: Vec<_> = [0, 5, 6, 12, 100].map(|rounds| pause(&wait, rounds, 3, 0.5).as_millis()).into();
        assert_eq!(pauses, [50, 50, 100, 200, 5000]);
        assert_eq!(pause(&wait, 0, 64, 0.5).as_millis(), 400, "64 nodes are asked less often");
    }

    #[test]
    fn a_change_that_fails_is_tried_again_at_growing_intervals() {
        let pauses: Vec<_> =
            [0, 1, 6, 30].map(|rounds| pause(&Step::Found, rounds, 3, 0.5).as_millis()).into();
        assert_eq!(pauses, [10, 20, 640, 5000]);
    }

    #[test]
    fn jitter_changes_a_pause_by_up_to_a_fifth() {
        let [early, late] = [0.0, 1.0].map(|jitter| pause(&Step::Settled, 0, 3, jitter).as_secs());
        assert_eq!((early, late), (480, 720));
    }
}
