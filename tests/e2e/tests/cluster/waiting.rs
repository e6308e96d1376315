//! Waiting with a deadline that follows progress.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The result of one look at what is awaited.
pub(crate) enum Look<T> {
    /// It has come.
    Done(T),
    /// It has not; the text changes while there is progress.
    Waiting(String),
}

impl<T> From<Result<T, String>> for Look<T> {
    fn from(result: Result<T, String>) -> Self {
        match result {
            Ok(value) => Self::Done(value),
            Err(state) => Self::Waiting(state),
        }
    }
}

/// The longest time without any progress: a pull back-off, or CouchDB's 75 s after a rejected password.
const STALLED: Duration = Duration::from_secs(100);
/// The longest time in all.
const LIMIT: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Looks until what is awaited has come.
///
/// # Panics
///
/// If nothing has changed for [`STALLED`], with the last state and `explain`.
pub(crate) async fn until<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Look<T>,
    explain: impl AsyncFnOnce() -> String,
) -> T {
    let start = Instant::now();
    let mut changed = start;
    let mut last = String::new();
    loop {
        match look().await {
            Look::Done(value) => {
                println!("{what}: {:.1} s", start.elapsed().as_secs_f32());
                return value;
            }
            Look::Waiting(state) if state != last => {
                last = state;
                changed = Instant::now();
            }
            Look::Waiting(_) => {}
        }
        if changed.elapsed() > STALLED || start.elapsed() > LIMIT {
            panic!("timed out waiting for {what}: {last}\n{}", explain().await);
        }
        sleep(POLL_INTERVAL).await;
    }
}
