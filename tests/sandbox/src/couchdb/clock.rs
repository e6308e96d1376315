//! The clock of the stand-ins. It may run faster than the real one, or only when a test advances it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::http::Time;
use crate::date::wall_clock;

/// The clock of one [`Network`](super::Network). Clones share it.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// Runs `speed` times as fast as tokio's clock.
    Running { speed: f64, base: Time, since: Instant },
    /// Stands still until a test advances it.
    Manual(watch::Sender<Time>),
}

impl Clock {
    /// A clock with the speed of the real one.
    pub fn real() -> Self {
        Self::faster(1.0)
    }

    /// A clock that runs `speed` times as fast: at 20, the 37 seconds between reconnects take two.
    pub fn faster(speed: f64) -> Self {
        Self(Arc::new(Kind::Running { speed, base: wall_clock(), since: Instant::now() }))
    }

    /// A clock that stands still until [`Clock::advance`].
    pub fn manual() -> Self {
        Self(Arc::new(Kind::Manual(watch::Sender::new(wall_clock()))))
    }

    /// The current time, counted from 1970.
    pub fn now(&self) -> Time {
        match &*self.0 {
            Kind::Running { speed, base, since } => *base + since.elapsed().mul_f64(*speed),
            Kind::Manual(time) => *time.borrow(),
        }
    }

    /// Advances a manual clock. Has no effect on a running one.
    pub fn advance(&self, by: Duration) {
        match &*self.0 {
            Kind::Running { .. } => {}
            Kind::Manual(time) => time.send_modify(|now| *now += by),
        }
    }

    /// Waits until `duration` has passed on this clock.
    pub async fn sleep(&self, duration: Duration) {
        // Most answers take no time: they must not wait for a tick of tokio's timer.
        if duration.is_zero() {
            return;
        }
        match &*self.0 {
            Kind::Running { speed, .. } => tokio::time::sleep(duration.div_f64(*speed)).await,
            Kind::Manual(time) => {
                let wake = *time.borrow() + duration;
                // The sender lives as long as `self`, so this can't fail.
                let _ = time.subscribe().wait_for(|now| *now >= wake).await;
            }
        }
    }

    /// Waits until the timers of the world are checked again: 5 real milliseconds, or the next advance of a manual
    /// clock.
    pub(crate) async fn next_tick(&self) {
        match &*self.0 {
            Kind::Running { .. } => tokio::time::sleep(Duration::from_millis(5)).await,
            Kind::Manual(time) => {
                let _ = time.subscribe().changed().await;
            }
        }
    }
}
