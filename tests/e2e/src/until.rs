//! Waiting for a condition, with a deadline and a report of its last state.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Calls `check` until it succeeds, and returns its result.
///
/// # Panics
///
/// If `check` has not succeeded when `within` has passed. The message contains its last error.
pub async fn until<T, E: Debug>(
    what: &str,
    within: Duration,
    mut check: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        match check().await {
            Ok(value) => return value,
            Err(last) => {
                assert!(
                    Instant::now() < deadline,
                    "timed out after {within:?} waiting for {what}; last state: {last:#?}"
                )
            }
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Short compared with everything that tests wait for, and long enough not to slow it down.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
