//! Waiting for a condition, with a deadline and a report of its last state.
//!
//! The deadline follows the progress of this process: it counts looks, not only time. A machine whose cores are busy with
//! other programs delays the looks as much as everything that they look at.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Calls `check` until it succeeds, and returns its result.
///
/// # Panics
///
/// If `check` has not succeeded after as many calls as fit into `within` on an idle machine, or after ten times that time.
/// The message contains its last error.
pub async fn until<T, E: Debug>(
    what: &str,
    within: Duration,
    mut check: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    let enough = within.as_millis() / POLL_INTERVAL.as_millis();
    for looks in 0_u128.. {
        let last = match check().await {
            Ok(value) => return value,
            Err(last) => last,
        };
        let waited = begun.elapsed();
        let is_over = looks >= enough && waited >= within || waited >= within * LONGEST;
        assert!(
            !is_over,
            "timed out after {waited:?} and {looks} looks waiting for {what}; last state: {last:#?}"
        );
        sleep(POLL_INTERVAL).await;
    }
    unreachable!("a test does not look so often")
}

/// Short compared with everything that tests wait for, and long enough not to slow it down.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The factor by which a machine may be slower than an idle one.
const LONGEST: u32 = 10;
