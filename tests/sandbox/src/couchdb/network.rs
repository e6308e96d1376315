//! The sockets of a network: one TCP port per node, and one more for each named caller.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::calls::{Call, CallFilter, Calls, Moment};
use super::clock::Clock;
use super::erlang_ports::Service;
use super::handle::NodeHandle;
use super::http::Time;
use super::serve;
use super::settings::{Host, NodeSettings, SettingsError, Version};
use super::world::{Cut, World};
use crate::port;
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

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// `None`: HTTP is plain.
    pub(crate) tls: Option<ServerTls>,
    state: Mutex<State>,
    pub(crate) calls: Mutex<Calls>,
}

#[derive(Debug)]
struct State {
    world: World,
    /// The address on which ports are opened.
    loopback: IpAddr,
    ports: BTreeMap<(Host, Service, Source), Port>,
    /// The world's generation at the last [`State::reconcile`].
    reconciled_generation: u64,
}

/// The callers that a port is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Any caller; it is known by its IP address.
    Any,
    /// One caller, known by this name.
    Named(String),
}

/// A port that belongs to a node until the network ends, while the node is down as well.
#[derive(Debug)]
struct Port {
    /// Bound but not listening, so that no other process gets the port while the node is down.
    _reservation: TcpSocket,
    addr: SocketAddr,
    listening: Option<Listening>,
}

#[derive(Debug)]
struct Listening {
    boots: u64,
    listener: Arc<Mutex<Option<TcpListener>>>,
    _stop: DropGuard,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Closed here, so that the port refuses at once and not when the runtime next polls the accepting task.
        *lock(&self.listener) = None;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked while it held the lock has already failed; a second panic would hide its message.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let shared = Arc::new(Shared { clock, tls, state: Mutex::new(state), calls: Mutex::default() });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(run_timers(Arc::clone(&shared))));
        Self { shared, _stop: Arc::new(stop.drop_guard()) }
    }

    /// Adds a node and starts it.
    ///
    /// # Errors
    ///
    /// If its container would exit, or no port can be opened.
    pub fn start_node(&self, settings: NodeSettings) -> Result<NodeHandle, NetworkError> {
        let host = settings.host().clone();
        lock(&self.shared.state).open(&host, Service::Http, Source::Any)?;
        self.shared.change(|world, now| world.start_node(settings, now))?;
        Ok(NodeHandle { net: self.clone(), host })
    }

    /// The handle of a node that was added before, whether it runs or not.
    pub fn node(&self, host: impl Into<Host>) -> NodeHandle {
        NodeHandle { net: self.clone(), host: host.into() }
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

    /// Answers the next `times` matching calls with this HTTP status. The calls have no effect.
    pub fn fail_calls(&self, filter: CallFilter, times: u64, status: u16) {
        lock(&self.shared.calls).fail(filter, times, status);
    }

    /// Removes every rule of [`Network::cut_call`] and [`Network::fail_calls`].
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

    /// Loses HTTP calls from a caller to a node; the caller uses an address of [`NodeHandle::addr_for`].
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

impl Shared {
    /// Reads or changes the world. Every access is through this method, so that the ports follow the nodes.
    pub(crate) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut World, Time) -> T) -> T {
        let mut state = lock(&self.state);
        let now = self.clock.now();
        let result = change(&mut state.world, now);
        if state.reconciled_generation != state.world.generation {
            state.reconcile(self);
        }
        result
    }

    /// The CouchDB release of a node.
    pub(crate) fn version_of(&self, host: &Host) -> Version {
        lock(&self.state).world.nodes[host].settings.version
    }
}

impl State {
    /// The address of a port. The first call reserves the port.
    fn open(&mut self, host: &Host, service: Service, source: Source) -> Result<SocketAddr, std::io::Error> {
        let key = (host.clone(), service, source);
        if let Some(port) = self.ports.get(&key) {
            return Ok(port.addr);
        }
        let reservation = port::reserve((self.loopback, 0).into())?;
        let addr = reservation.local_addr()?;
        self.ports.insert(key, Port { _reservation: reservation, addr, listening: None });
        Ok(addr)
    }

    /// Opens the ports of running nodes and closes those of the others, their connections included.
    fn reconcile(&mut self, shared: &Arc<Shared>) {
        self.reconciled_generation = self.world.generation;
        for ((host, service, source), port) in &mut self.ports {
            let node = self.world.node(host.as_str()).filter(|n| n.is_running());
            let boots = node.filter(|_| service.listens(&self.world, host, source)).map(|n| n.boots);
            // A node that was restarted in between has a new process: the old connections must not survive.
            if port.listening.as_ref().map(|l| l.boots) == boots {
                continue;
            }
            // The old listener is closed first; the new one needs its port.
            port.listening = None;
            if let Some(boots) = boots {
                port.listening = listen(shared, port.addr, (host, *service, source), boots);
            }
        }
    }
}

/// Opens a port. `None` if that fails: the node stays unreachable, which a test notices as a refused connection.
fn listen(
    shared: &Arc<Shared>,
    addr: SocketAddr,
    (host, service, source): (&Host, Service, &Source),
    boots: u64,
) -> Option<Listening> {
    let listener = port::reserve(addr).and_then(|socket| socket.listen(1024)).ok()?;
    let listener = Arc::new(Mutex::new(Some(listener)));
    let stop = CancellationToken::new();
    let port = serve::Served {
        shared: Arc::clone(shared),
        listener: Arc::clone(&listener),
        host: host.clone(),
        service,
        source: source.clone(),
        stop: stop.clone(),
    };
    tokio::spawn(serve::accept(port));
    Some(Listening { boots, listener, _stop: stop.drop_guard() })
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
