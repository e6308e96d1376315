//! The open connections of a port, and which of them gives way to a new one.
//!
//! A full port must still accept the next caller: refusing it would let any pod shut out API servers, kubelet and
//! scraper by opening connections and waiting. Pure: the order of events takes the place of time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The most connections of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// From all addresses together.
    pub(crate) total: usize,
    /// From one address. An API server opens as many as it has calls in flight, at most 200 by default.
    pub(crate) per_address: usize,
}

/// A limit of [`Capacity`] that a new connection exceeded while no other one could give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// [`Capacity::total`].
    Total,
    /// [`Capacity::per_address`].
    PerAddress,
}

impl Exceeded {
    /// The label of the metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::PerAddress => "per-address",
        }
    }
}

/// All open connections of a port.
#[derive(Debug)]
pub(crate) struct Pool {
    capacity: Capacity,
    entries: Mutex<Entries>,
    /// Connections whose request is being received or answered.
    in_flight: AtomicUsize,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<u64, Entry>,
    /// Counts connections and their changes: the order of everything that happened.
    last: u64,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    activity: Activity,
    /// `true` once a review was answered.
    proven: bool,
    /// The position of the last change of `activity` in the order of events.
    since: u64,
    closed: CancellationToken,
}

/// The present use of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// A handshake or a request is awaited, or an answer is being fetched by the caller.
    Waiting,
    /// A request's body is being received.
    Receiving,
    /// A request is being answered, which takes microseconds.
    Answering,
}

impl Pool {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self { capacity, entries: Mutex::default(), in_flight: AtomicUsize::new(0) }
    }

    /// Adds a connection; the flag is `true` if another one was closed in its favour.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<(Connection, bool), Exceeded> {
        // An IPv4 caller of a socket on `[::]` has a mapped address.
        let address = address.to_canonical();
        let mut entries = self.lock();
        let same = entries.by_id.values().filter(|entry| entry.address == address).count();
        // Before the total: an address that has its share gives way itself, so it cannot close those of others.
        let evicted = if same >= self.capacity.per_address {
            entries.evict(|entry| entry.address == address).ok_or(Exceeded::PerAddress)?;
            true
        } else if entries.by_id.len() >= self.capacity.total {
            entries.evict(|_| true).ok_or(Exceeded::Total)?;
            true
        } else {
            false
        };
        let closed = CancellationToken::new();
        let id = entries.next();
        let entry =
            Entry { address, activity: Activity::Waiting, proven: false, since: id, closed: closed.clone() };
        entries.by_id.insert(id, entry);
        Ok((Connection { pool: self.clone(), id, closed }, evicted))
    }

    /// The number of requests that are being received or answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // No code panics while it holds the lock, and every state of the map is a valid one.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Closes the connection among those that match whose caller is affected least.
    fn evict(&mut self, matches: impl Fn(&Entry) -> bool) -> Option<()> {
        let candidates = self.by_id.iter().filter(|(_, entry)| matches(entry));
        let (_, id) = candidates.filter_map(|(id, entry)| Some((entry.rank()?, *id))).min()?;
        self.by_id.remove(&id)?.closed.cancel();
        Some(())
    }
}

impl Entry {
    /// The order in which connections give way; `None` for one that never does.
    fn rank(&self) -> Option<(u8, u64)> {
        let class = match self.activity {
            // Those that have not sent a review go first: a connection that an API server keeps open is used again, and a
            // call that is sent while it is being closed is lost.
            Activity::Waiting if !self.proven => 0,
            Activity::Receiving if !self.proven => 1,
            Activity::Waiting => 2,
            // A real body arrives within milliseconds, so the oldest is one that is held back.
            Activity::Receiving => 3,
            Activity::Answering => return None,
        };
        Some((class, self.since))
    }
}

/// An open connection, which leaves the pool when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    pool: Arc<Pool>,
    id: u64,
    closed: CancellationToken,
}

impl Connection {
    /// Returns once the connection must be closed in favour of another one.
    pub(crate) async fn evicted(&self) {
        self.closed.cancelled().await;
    }

    /// Notes that a body is being received, and counts the request until the result is dropped.
    pub(crate) fn receive(self: Arc<Self>) -> Exchange {
        self.pool.in_flight.fetch_add(1, Ordering::Relaxed);
        self.update(|entry| entry.activity = Activity::Receiving);
        Exchange { connection: self }
    }

    fn update(&self, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.pool.lock();
        let now = entries.next();
        // Missing if the connection was closed in favour of another one a moment ago.
        if let Some(entry) = entries.by_id.get_mut(&self.id) {
            change(entry);
            entry.since = now;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.pool.lock().by_id.remove(&self.id);
    }
}

/// A request in flight on a connection.
#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Arc<Connection>,
}

impl Exchange {
    /// Notes that the body is complete. The connection is not closed until the answer is there.
    pub(crate) fn answer(&self) {
        self.connection.update(|entry| entry.activity = Activity::Answering);
    }

    /// Notes that the request was a review, which earns the connection a long idle time.
    pub(crate) fn prove(&self) {
        self.connection.update(|entry| entry.proven = true);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.pool.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.connection.update(|entry| entry.activity = Activity::Waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const API_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn pod(number: u8) -> IpAddr {
        Ipv4Addr::new(10, 1, 0, number).into()
    }

    fn pool(total: usize, per_address: usize) -> Arc<Pool> {
        Arc::new(Pool::new(Capacity { total, per_address }))
    }

    fn enter(pool: &Arc<Pool>, address: IpAddr) -> Arc<Connection> {
        Arc::new(pool.enter(address).unwrap().0)
    }

    fn prove(connection: &Arc<Connection>) {
        let exchange = connection.clone().receive();
        exchange.answer();
        exchange.prove();
    }

    fn closed(connections: &[&Arc<Connection>]) -> Vec<bool> {
        connections.iter().map(|connection| connection.closed.is_cancelled()).collect()
    }

    #[test]
    fn a_full_pool_closes_the_oldest_connection_without_a_review() {
        let pool = pool(3, 3);
        let kept = enter(&pool, API_SERVER);
        prove(&kept);
        let [first, second] = [1, 2].map(|number| enter(&pool, pod(number)));
        let (new, evicted) = pool.enter(API_SERVER).unwrap();
        assert!(evicted && !new.closed.is_cancelled());
        assert_eq!(closed(&[&kept, &first, &second]), [false, true, false]);
    }

    #[test]
    fn bodies_that_are_held_back_give_way_and_answers_never_do() {
        let pool = pool(2, 2);
        let held = enter(&pool, pod(1));
        let _body = held.clone().receive();
        let answering = enter(&pool, API_SERVER);
        let exchange = answering.clone().receive();
        exchange.answer();
        let new = enter(&pool, pod(2));
        assert_eq!(closed(&[&held, &answering]), [true, false]);
        let exchange = new.receive();
        exchange.answer();
        assert_eq!(pool.enter(pod(3)).unwrap_err(), Exceeded::Total);
        assert_eq!(pool.in_flight(), 3, "the closed one has not ended yet");
    }

    #[test]
    fn an_address_with_its_share_closes_its_own_connections() {
        let pool = pool(10, 2);
        let other = enter(&pool, API_SERVER);
        let [oldest, younger] = [1, 1].map(|number| enter(&pool, pod(number)));
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 1, 0, 1).to_ipv6_mapped());
        let (_new, evicted) = pool.enter(mapped).unwrap();
        assert!(evicted);
        assert_eq!(closed(&[&other, &oldest, &younger]), [false, true, false]);
    }

    #[test]
    fn an_idle_caller_that_sent_reviews_gives_way_only_to_the_last_resort() {
        let pool = pool(2, 2);
        let [first, second] = [enter(&pool, API_SERVER), enter(&pool, pod(1))];
        prove(&second);
        prove(&first);
        let _new = enter(&pool, pod(2));
        assert_eq!(closed(&[&first, &second]), [false, true], "the one that was used less recently");
    }

    #[test]
    fn a_dropped_connection_leaves_room() {
        let pool = pool(1, 1);
        drop(enter(&pool, pod(1)));
        let (_connection, evicted) = pool.enter(pod(1)).unwrap();
        assert!(!evicted);
    }
}
