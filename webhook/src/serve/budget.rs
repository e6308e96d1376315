//! The memory that all bodies together may take.
//!
//! The webhook answers callers that it does not know, so the number of bodies times the longest one must not decide how
//! much memory it needs. Bytes of short bodies are counted as they arrive: an announced length costs its sender nothing. A
//! body that gets long is counted in full, since memory that it has touched is not returned to the system at once. When
//! there is no room, the body that has been arriving for the longest time gives way: an API server sends one within
//! milliseconds. Bodies of ordinary length have a share of their own, in which no long one takes part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// The shares of short and of long bodies.
#[derive(Debug)]
pub(crate) struct Budget {
    shares: Mutex<Shares>,
}

#[derive(Debug)]
struct Shares {
    /// Bodies below [`Limits::short_body`].
    short: Share,
    /// All others.
    long: Share,
    short_body: usize,
    last: u64,
}

/// The limits of a budget, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The length from which a body counts as long. A review of a StatefulSet has about 8 kB, one of an update twice as
    /// much.
    pub(crate) short_body: usize,
    /// For all short bodies together.
    pub(crate) short: usize,
    /// For all long bodies together.
    pub(crate) long: usize,
}

impl Default for Limits {
    /// The manifests permit 256 MiB, of which connections and answers take up to 90. An allocator may hold twice of what is
    /// in use.
    fn default() -> Self {
        Self { short_body: 256 << 10, short: 16 << 20, long: 56 << 20 }
    }
}

#[derive(Debug)]
struct Share {
    limit: usize,
    taken: usize,
    /// By order of arrival.
    bodies: BTreeMap<u64, Body>,
}

#[derive(Debug)]
struct Body {
    length: usize,
    /// Complete bodies are being answered, and stay.
    complete: bool,
    dropped: CancellationToken,
}

/// There is no room for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

impl Budget {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let share = |limit| Share { limit, taken: 0, bodies: BTreeMap::new() };
        let Limits { short_body, short, long } = limits;
        let shares = Shares { short: share(short), long: share(long), short_body, last: 0 };
        Arc::new(Self { shares: Mutex::new(shares) })
    }

    /// Adds a body of which nothing has arrived yet.
    pub(crate) fn open(self: &Arc<Self>) -> Reservation {
        let dropped = CancellationToken::new();
        let id = self.with(|shares| {
            shares.last += 1;
            let body = Body { length: 0, complete: false, dropped: dropped.clone() };
            shares.short.bodies.insert(shares.last, body);
            shares.last
        });
        Reservation { budget: self.clone(), id, dropped }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shares) -> T) -> T {
        // No code panics while it holds the lock.
        change(&mut self.shares.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shares {
    fn grow(&mut self, id: u64, length: usize, expected: usize) -> Result<(), Short> {
        // A body that was dropped a moment ago has no entry any more.
        if length >= self.short_body
            && let Some(body) = self.short.remove(id)
        {
            self.long.bodies.insert(id, Body { length: 0, ..body });
        }
        if length < self.short_body {
            return self.short.resize(id, length);
        }
        self.long.resize(id, length.max(expected))
    }
}

impl Share {
    fn resize(&mut self, id: u64, length: usize) -> Result<(), Short> {
        let held = self.bodies.get(&id).ok_or(Short)?.length;
        while self.taken - held + length > self.limit {
            let oldest = self.bodies.iter().find(|(other, body)| **other != id && body.gives_way());
            let (oldest, _) = oldest.ok_or(Short)?;
            let oldest = *oldest;
            if let Some(body) = self.remove(oldest) {
                body.dropped.cancel();
            }
        }
        self.taken = self.taken - held + length;
        self.bodies.get_mut(&id).ok_or(Short)?.length = length;
        Ok(())
    }

    fn remove(&mut self, id: u64) -> Option<Body> {
        let body = self.bodies.remove(&id)?;
        self.taken -= body.length;
        Some(body)
    }
}

impl Body {
    /// `true` if dropping the body makes room.
    fn gives_way(&self) -> bool {
        !self.complete && self.length > 0
    }
}

/// The part of the budget that one body takes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    id: u64,
    dropped: CancellationToken,
}

impl Reservation {
    /// Takes room for a body of which `length` bytes have arrived, of at most `expected`.
    pub(crate) fn grow(&self, length: usize, expected: usize) -> Result<(), Short> {
        self.budget.with(|shares| shares.grow(self.id, length, expected))
    }

    /// Returns once another body has taken the room of this one.
    pub(crate) async fn dropped(&self) {
        self.dropped.cancelled().await;
    }

    /// Notes that the whole body is there: it keeps its room until it is answered.
    pub(crate) fn complete(&self) -> Result<(), Short> {
        self.budget.with(|shares| {
            let Shares { short, long, .. } = shares;
            let body = short.bodies.get_mut(&self.id).or_else(|| long.bodies.get_mut(&self.id));
            body.ok_or(Short)?.complete = true;
            Ok(())
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.with(|shares| {
            let _ = shares.short.remove(self.id).or_else(|| shares.long.remove(self.id));
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget() -> Arc<Budget> {
        Budget::new(Limits { short_body: 10, short: 20, long: 100 })
    }

    fn taken(budget: &Budget) -> [usize; 2] {
        budget.with(|shares| [shares.short.taken, shares.long.taken])
    }

    #[test]
    fn the_body_that_arrives_for_the_longest_time_gives_way() {
        let budget = budget();
        let [first, second, third] = [(); 3].map(|()| budget.open());
        for body in [&first, &second] {
            body.grow(50, 50).unwrap();
        }
        third.grow(40, 40).unwrap();
        assert!(first.dropped.is_cancelled() && !second.dropped.is_cancelled());
        assert_eq!(taken(&budget), [0, 90]);
        assert_eq!(first.grow(60, 60), Err(Short));
        assert_eq!(first.complete(), Err(Short));
        drop((first, second, third));
        assert_eq!(taken(&budget), [0, 0]);
    }

    #[test]
    fn long_bodies_leave_the_share_of_short_ones_alone() {
        let budget = budget();
        let long: Vec<_> = (0..20).map(|_| budget.open()).collect();
        for body in &long {
            let _ = body.grow(100, 100);
        }
        let short = budget.open();
        short.grow(9, 9).unwrap();
        short.complete().unwrap();
        assert_eq!(taken(&budget), [9, 100]);
    }

    #[test]
    fn a_body_that_gets_long_takes_the_room_of_its_announced_length() {
        let budget = budget();
        let body = budget.open();
        body.grow(9, 70).unwrap();
        assert_eq!(taken(&budget), [9, 0]);
        body.grow(10, 70).unwrap();
        assert_eq!(taken(&budget), [0, 70]);
        assert_eq!(body.grow(10, 101), Err(Short), "more than there is");
    }

    #[test]
    fn a_complete_body_stays_until_it_is_answered() {
        let budget = budget();
        let [answered, other] = [(); 2].map(|()| budget.open());
        answered.grow(60, 60).unwrap();
        answered.complete().unwrap();
        assert_eq!(other.grow(50, 50), Err(Short));
        drop(answered);
        other.grow(50, 50).unwrap();
    }

    proptest! {
        #[test]
        fn never_more_than_the_limits_is_held(steps in prop::collection::vec((0_usize..6, 0_usize..120, any::<bool>()), 0..60)) {
            let budget = budget();
            let mut bodies: Vec<_> = (0..6).map(|_| budget.open()).collect();
            for (index, length, ends) in steps {
                if ends {
                    bodies[index] = budget.open();
                } else {
                    let _ = bodies[index].grow(length, length);
                }
                let [short, long] = taken(&budget);
                prop_assert!(short <= 20 && long <= 100, "{short} and {long}");
            }
            drop(bodies);
            prop_assert_eq!(taken(&budget), [0, 0]);
        }
    }
}
