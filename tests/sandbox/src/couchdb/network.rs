//! The sockets of a network: one TCP port per node, and one more for each named caller.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::calls::{Call, CallFilter, Moment, StoppedCaller};
use super::clock::Clock;
use super::http::Time;
use super::serve;
use super::service::{Service, Source};
use super::settings::{Host, NodeSettings, SettingsError};
use super::shared::{Shared, State, lock};
use super::world::{Cut, World};
use crate::tls::{ServerTls, TlsError};

/// A node could not be added to the network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The container would exit.
    #[error("failed to start the node")]
    Settings(#[from] SettingsError),
    /// No loopback port could be opened.
    #[error("failed to open a loopback port")]
    Port(#[from] std::io::Error),
}

/// Nodes on loopback ports that share one [`World`]. Clones are the same network; it stops when the last one is
/// dropped.
#[derive(Debug, Clone)]
pub struct Network {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

impl Network {
    /// Starts a network without nodes on 127.0.0.1. Must be called in a tokio runtime.
    pub fn start(clock: Clock) -> Self {
        Self::with_seed(clock, 1)
    }

    /// Starts a network with another seed of its uuids and salts.
    pub fn with_seed(clock: Clock, seed: u64) -> Self {
        Self::with(clock, seed, Ipv4Addr::LOCALHOST.into(), None)
    }

    /// Starts a network on `[::1]`.
    pub fn on_ipv6(clock: Clock) -> Self {
        Self::with(clock, 1, Ipv6Addr::LOCALHOST.into(), None)
    }

    /// Starts a network of nodes that serve HTTP over TLS, with a certificate authority of its own.
    ///
    /// # Errors
    ///
    /// If the certificate can't be created.
    pub fn with_tls(clock: Clock) -> Result<Self, TlsError> {
        let tls = ServerTls::new("sandbox-couchdb", &["127.0.0.1", "::1", PODS])?;
        Ok(Self::with(clock, 1, Ipv4Addr::LOCALHOST.into(), Some(tls)))
    }

    fn with(clock: Clock, seed: u64, loopback: IpAddr, tls: Option<ServerTls>) -> Self {
        let state =
            State { world: World::new(seed), loopback, ports: BTreeMap::new(), reconciled_generation: 0 };
        let shared = Arc::new(Shared {
            clock,
            tls,
            state: Mutex::new(state),
            calls: Mutex::default(),
            serve: serve::spawn,
        });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(run_timers(Arc::clone(&shared))));
        Self { shared, _stop: Arc::new(stop.drop_guard()) }
    }

    /// Adds a node, opens its port and starts it.
    pub(super) fn add(&self, settings: NodeSettings) -> Result<Host, NetworkError> {
        let host = settings.host().clone();
        lock(&self.shared.state).open(&host, Service::Http, Source::Any)?;
        self.shared.change(|world, now| world.start_node(settings, now))?;
        Ok(host)
    }

    pub(super) fn addr(&self, host: &Host) -> SocketAddr {
        let state = lock(&self.shared.state);
        let port = state.ports.get(&(host.clone(), Service::Http, Source::Any));
        port.map_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |p| p.addr)
    }

    pub(super) fn open(
        &self,
        host: &Host,
        service: Service,
        source: &str,
    ) -> Result<SocketAddr, NetworkError> {
        let mut state = lock(&self.shared.state);
        let addr = state.open(host, service, Source::Named(source.to_owned()))?;
        state.reconcile(&self.shared);
        Ok(addr)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut World, Time) -> T) -> T {
        self.shared.change(change)
    }

    /// Reads or changes the state behind the ports.
    pub fn world<T>(&self, access: impl FnOnce(&mut World) -> T) -> T {
        self.shared.change(|world, _| access(world))
    }

    /// The certificate authority of the nodes in PEM form; `None` in a network without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.shared.tls.as_ref().map(|tls| tls.ca_pem.as_str())
    }

    /// The clock that all nodes of the network share.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Advances a manual clock.
    pub fn advance(&self, by: Duration) {
        // Second by second, so that timers that are due at different times fire in their order.
        let step = Duration::from_secs(1);
        let mut left = by;
        while !left.is_zero() {
            self.shared.clock.advance(left.min(step));
            left = left.saturating_sub(step);
            self.shared.change(|world, now| world.tick(now));
        }
    }

    /// The log of calls, in the order of their arrival.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).log.clone()
    }

    /// The calls in the log that pass the filter.
    pub fn calls_of(&self, filter: &CallFilter) -> Vec<Call> {
        lock(&self.shared.calls).log.iter().filter(|call| filter.matches(call)).cloned().collect()
    }

    /// Clears the log of calls.
    pub fn forget_calls(&self) {
        lock(&self.shared.calls).log.clear();
    }

    /// Cuts the connection of the `k`-th matching call from now on (1 is the next one), once.
    pub fn cut_call(&self, filter: CallFilter, k: u64, moment: Moment) {
        lock(&self.shared.calls).cut(filter, k, moment);
    }

    /// Stops a caller as if its process were killed: cuts the `k`-th matching call from now on, and before their effect all
    /// later calls of the filter's source to the filter's node, whatever their method and path. It lasts until
    /// [`Network::forget_rules`].
    pub fn stop_caller(&self, filter: CallFilter, k: u64, moment: Moment) -> StoppedCaller {
        lock(&self.shared.calls).stop(filter, k, moment)
    }

    /// Answers the next `times` matching calls with this HTTP status. The calls have no effect.
    pub fn fail_calls(&self, filter: CallFilter, times: u64, status: u16) {
        lock(&self.shared.calls).fail(filter, times, status);
    }

    /// Removes every rule of [`Network::cut_call`], [`Network::stop_caller`] and [`Network::fail_calls`].
    pub fn forget_rules(&self) {
        lock(&self.shared.calls).forget_rules();
    }

    /// Loses Erlang packets between two nodes, in both directions.
    pub fn cut(&self, a: &Host, b: &Host, cut: Cut) {
        self.cut_one_way(a, b, cut);
        self.cut_one_way(b, a, cut);
    }

    /// Loses Erlang packets in one direction.
    pub fn cut_one_way(&self, from: &Host, to: &Host, cut: Cut) {
        self.shared.change(|world, now| world.cut(from, to, Some(cut), now));
    }

    /// Loses HTTP calls from a caller to a node; the caller uses an address of [`super::NodeHandle::addr_for`].
    pub fn cut_http(&self, source: &str, to: &Host, cut: Cut) {
        self.shared.change(|world, _| world.cut_http(source, to, Some(cut)));
    }

    /// Ends every cut, of Erlang packets and of HTTP calls.
    pub fn heal(&self) {
        self.shared.change(|world, now| {
            let links: Vec<(Host, Host)> = world.cuts.keys().cloned().collect();
            for (from, to) in links {
                world.cut(&from, &to, None, now);
            }
            world.http_cuts.clear();
        });
    }
}

/// The host names of the nodes, for their certificate.
const PODS: &str = "*.couchdb.default.svc.cluster.local";

/// Runs the timers of the world until the network is dropped.
async fn run_timers(shared: Arc<Shared>) {
    loop {
        shared.change(|world, now| world.tick(now));
        shared.clock.next_tick().await;
    }
}
