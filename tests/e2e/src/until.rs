//! Waiting for a condition, with a deadline and a last word.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Asks `look` again and again until it is satisfied.
///
/// # Panics
///
/// When `within` has passed, with what `look` said last.
pub async fn until<T, E: Debug>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(value) => return value,
            Err(last) => {
                assert!(Instant::now() < deadline, "waited {within:?} in vain for {what}; last: {last:#?}")
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Short against everything that is waited for, and long enough not to disturb it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
