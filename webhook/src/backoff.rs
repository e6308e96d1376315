//! Delays that grow with each repetition.
//!
//! Pure functions of a count, so that a test runs through an hour without a clock. The watches are paced by kube's
//! `default_backoff` instead, which is `backon`: an iterator that keeps its own count and draws its own jitter.

use std::time::Duration;

use tokio::time::Instant;

/// A delay that doubles with each repetition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    /// Upper bound of the delay.
    pub(crate) longest: Duration,
}

/// Events that follow each other without a quiet period in between.
#[derive(Debug, Default)]
pub(crate) struct Streak {
    count: u32,
    last: Option<Instant>,
}

impl Backoff {
    /// Returns the delay after the `count`th repetition, counted from 1.
    pub(crate) fn delay(self, count: u32) -> Duration {
        // Both bounds are far below u32::MAX milliseconds, so 31 doublings reach any of them.
        let doublings = count.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

impl Streak {
    /// Counts an event, and returns how many have followed each other within `quiet`, this one included.
    pub(crate) fn record(&mut self, now: Instant, quiet: Duration) -> u32 {
        let is_first = self.last.is_none_or(|last| now - last >= quiet);
        self.count = if is_first { 1 } else { self.count.saturating_add(1) };
        self.last = Some(now);
        self.count
    }

    /// Returns the rest of the delay that follows the last event; `None` if it is over.
    pub(crate) fn remaining(&self, backoff: Backoff, now: Instant) -> Option<Duration> {
        let end = self.last? + backoff.delay(self.count);
        (end > now).then(|| end - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(60) };
    const QUIET: Duration = Duration::from_secs(300);

    #[test]
    fn a_delay_doubles_up_to_the_longest() {
        let delays = [0, 1, 2, 3, 10, 11, u32::MAX].map(|count| BACKOFF.delay(count).as_millis());
        assert_eq!(delays, [100, 100, 200, 400, 51_200, 60_000, 60_000]);
    }

    #[test]
    fn the_first_event_waits_for_nothing_and_repetitions_wait_ever_longer() {
        let begun = Instant::now();
        let mut streak = Streak::default();
        let (mut now, mut events) = (begun, vec![]);
        while now < begun + Duration::from_secs(3600) {
            match streak.remaining(BACKOFF, now) {
                None => {
                    events.push((now - begun).as_millis());
                    streak.record(now, QUIET);
                }
                Some(rest) => now += rest,
            }
        }
        assert_eq!(events[..5], [0, 100, 300, 700, 1500]);
        assert!(events.len() < 75, "{events:?}");
        now += QUIET;
        assert_eq!((streak.remaining(BACKOFF, now), streak.record(now, QUIET)), (None, 1), "a new streak");
    }
}
