//! How soon to write again what someone else keeps changing.

use std::time::Duration;

use tokio::time::Instant;

/// The first change is put right at once, those that follow it closely ever later.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// How often it was written since it was last left alone.
    writes: u32,
    last: Option<Instant>,
}

impl Pace {
    /// How long to wait with the next write; `None`: not at all.
    pub(crate) fn rest(&self, now: Instant) -> Option<Duration> {
        let due = self.last? + pause(self.writes);
        (due > now).then(|| due - now)
    }

    /// Says how often it was written without having been left alone in between.
    pub(crate) fn wrote(&mut self, now: Instant) -> u32 {
        let left_alone = self.last.is_none_or(|last| now - last >= CALM);
        self.writes = if left_alone { 1 } else { self.writes.saturating_add(1) };
        self.last = Some(now);
        self.writes
    }
}

/// 100 ms after the first, doubling.
fn pause(writes: u32) -> Duration {
    let doubled = writes.saturating_sub(1).min(10);
    (FIRST * 2_u32.pow(doubled)).min(LONGEST)
}

const FIRST: Duration = Duration::from_millis(100);
/// A GitOps tool looks every some minutes; who writes more often than once a minute does so in a loop.
const LONGEST: Duration = Duration::from_secs(60);
/// Longer than [`LONGEST`], or two that fight would always begin anew.
const CALM: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_put_right_at_once_and_a_fight_slows_down() {
        let begun = Instant::now();
        let mut pace = Pace::default();
        let (mut now, mut pauses) = (begun, vec![]);
        while now < begun + Duration::from_secs(3600) {
            match pace.rest(now) {
                None => {
                    pauses.push((now - begun).as_millis());
                    pace.wrote(now);
                }
                Some(rest) => now += rest,
            }
        }
        assert_eq!(pauses[..5], [0, 100, 300, 700, 1500]);
        assert!(pauses.len() < 75, "{pauses:?}");
        now += CALM;
        assert_eq!((pace.rest(now), pace.wrote(now)), (None, 1), "forgiven");
    }
}
