//! The stand-ins' own time, which may run faster than ours or only when told to.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::http::Time;
use crate::date::wall_clock;

/// A clock that everything of one [`Network`](super::Network) goes by. Clones share it.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// Runs with tokio's clock, so many times as fast.
    Running { speed: f64, base: Time, since: Instant },
    /// Stands still until it is moved.
    Manual(watch::Sender<Time>),
}

impl Clock {
    /// As fast as ours.
    pub fn real() -> Self {
        Self::faster(1.0)
    }

    /// Seconds pass `speed` times as fast: at 20, the 37 seconds between reconnects are two.
    pub fn faster(speed: f64) -> Self {
        Self(Arc::new(Kind::Running { speed, base: wall_clock(), since: Instant::now() }))
    }

    /// Stands still until [`Clock::advance`].
    pub fn manual() -> Self {
        Self(Arc::new(Kind::Manual(watch::Sender::new(wall_clock()))))
    }

    /// The moment it shows, counted from 1970.
    pub fn now(&self) -> Time {
        match &*self.0 {
            Kind::Running { speed, base, since } => *base + since.elapsed().mul_f64(*speed),
            Kind::Manual(time) => *time.borrow(),
        }
    }

    /// Moves a manual clock; a running one goes by itself.
    pub fn advance(&self, by: Duration) {
        match &*self.0 {
            Kind::Running { .. } => {}
            Kind::Manual(time) => time.send_modify(|now| *now += by),
        }
    }

    /// Waits until so much has passed on this clock.
    pub async fn sleep(&self, duration: Duration) {
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

    /// Waits a moment that is worth looking again after: a few milliseconds, or the next move of a manual clock.
    pub(crate) async fn next_look(&self) {
        match &*self.0 {
            Kind::Running { .. } => tokio::time::sleep(Duration::from_millis(5)).await,
            Kind::Manual(time) => {
                let _ = time.subscribe().changed().await;
            }
        }
    }
}
