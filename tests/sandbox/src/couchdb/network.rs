//! The shell: one TCP port per node, and one more for each caller that wants to be told apart.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::calls::{Call, Calls, Moment, Which};
use super::clock::Clock;
use super::erlang_ports::Service;
use super::handle::NodeHandle;
use super::http::Time;
use super::serve;
use super::settings::{Host, NodeSettings, SettingsError, Version};
use super::world::{Cut, World};
use crate::port;
use crate::tls::{ServerTls, TlsError};

/// Why a node couldn't be put on the network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The container would exit.
    #[error("failed to start the node")]
    Settings(#[from] SettingsError),
    /// No loopback port could be had.
    #[error("failed to open a loopback port")]
    Port(#[from] std::io::Error),
}

/// Nodes on loopback ports that share one [`World`]. Clones are the same network; it stops with the last of them.
#[derive(Debug, Clone)]
pub struct Network {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// Without it, HTTP is plain.
    pub(crate) tls: Option<ServerTls>,
    state: Mutex<State>,
    pub(crate) calls: Mutex<Calls>,
}

#[derive(Debug)]
struct State {
    world: World,
    /// Where ports are opened.
    loopback: IpAddr,
    ports: BTreeMap<(Host, Service, Source), Port>,
    /// The world's count of starts and stops when the ports were last looked at.
    seen: u64,
}

/// Whom a port is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Anybody: the caller is known by its address.
    Anybody,
    /// The one who was given this door.
    Named(String),
}

/// A port that a node has for good, whether it listens or not.
#[derive(Debug)]
struct Port {
    /// Bound but not listening, so that nobody else gets the port while the node is down.
    _holder: TcpSocket,
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
    /// The port refuses from this moment, not from when the runtime gets round to the task that accepts.
    fn drop(&mut self) {
        *lock(&self.listener) = None;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked while it held the lock has already failed; the others want its message, not ours.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// A network without nodes. Needs a tokio runtime.
    pub fn start(clock: Clock) -> Self {
        Self::with_seed(clock, 1)
    }

    /// The same, with other uuids and salts.
    pub fn with_seed(clock: Clock, seed: u64) -> Self {
        Self::with(clock, seed, Ipv4Addr::LOCALHOST.into(), None)
    }

    /// A network on `[::1]`.
    pub fn on_ipv6(clock: Clock) -> Self {
        Self::with(clock, 1, Ipv6Addr::LOCALHOST.into(), None)
    }

    /// A network whose nodes serve HTTP over TLS, with an authority of its own.
    ///
    /// # Errors
    ///
    /// When no certificate could be made.
    pub fn with_tls(clock: Clock) -> Result<Self, TlsError> {
        let tls = ServerTls::new("sandbox-couchdb", &["127.0.0.1", "::1", PODS])?;
        Ok(Self::with(clock, 1, Ipv4Addr::LOCALHOST.into(), Some(tls)))
    }

    fn with(clock: Clock, seed: u64, loopback: IpAddr, tls: Option<ServerTls>) -> Self {
        let state = State { world: World::new(seed), loopback, ports: BTreeMap::new(), seen: 0 };
        let shared = Arc::new(Shared { clock, tls, state: Mutex::new(state), calls: Mutex::default() });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(keep_time(Arc::clone(&shared))));
        Self { shared, _stop: Arc::new(stop.drop_guard()) }
    }

    /// Puts a node on the network and starts it.
    ///
    /// # Errors
    ///
    /// When its container would exit, or no port could be had.
    pub fn start_node(&self, settings: NodeSettings) -> Result<NodeHandle, NetworkError> {
        let host = settings.host().clone();
        lock(&self.shared.state).open(&host, Service::Http, Source::Anybody)?;
        self.shared.change(|world, now| world.start_node(settings, now))?;
        Ok(NodeHandle { net: self.clone(), host })
    }

    /// A node that was started before, running or not.
    pub fn node(&self, host: impl Into<Host>) -> NodeHandle {
        NodeHandle { net: self.clone(), host: host.into() }
    }

    pub(super) fn addr(&self, host: &Host) -> SocketAddr {
        let state = lock(&self.shared.state);
        let port = state.ports.get(&(host.clone(), Service::Http, Source::Anybody));
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

    /// Looks at, or changes, the world behind the ports.
    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        self.shared.change(|world, _| look(world))
    }

    /// The authority behind the nodes' certificates, in PEM form, where HTTP is over TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.shared.tls.as_ref().map(|tls| tls.ca_pem.as_str())
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Moves a manual clock, second by second, so that everything happens in its order.
    pub fn advance(&self, by: Duration) {
        let step = Duration::from_secs(1);
        let mut left = by;
        while !left.is_zero() {
            self.shared.clock.advance(left.min(step));
            left = left.saturating_sub(step);
            self.shared.change(|world, now| world.tick(now));
        }
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).log.clone()
    }

    /// Those of the calls so far.
    pub fn calls_of(&self, which: &Which) -> Vec<Call> {
        lock(&self.shared.calls).log.iter().filter(|call| which.matches(call)).cloned().collect()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        lock(&self.shared.calls).log.clear();
    }

    /// Cuts the connection of the `k`-th of these calls from now on, once.
    pub fn cut_call(&self, which: Which, k: u64, moment: Moment) {
        lock(&self.shared.calls).cut(which, k, moment);
    }

    /// Answers the next `times` of these calls with an HTTP error, without doing them.
    pub fn fail_calls(&self, which: Which, times: u64, status: u16) {
        lock(&self.shared.calls).fail(which, times, status);
    }

    /// Takes back every [`Network::cut_call`] and [`Network::fail_calls`].
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

    /// Loses HTTP calls from a door to a node.
    pub fn cut_http(&self, source: &str, to: &Host, cut: Cut) {
        self.shared.change(|world, _| world.cut_http(source, to, Some(cut)));
    }

    /// Every cut is healed.
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
    /// Every look at the world goes through here, so that the ports follow what became of the nodes.
    pub(crate) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut World, Time) -> T) -> T {
        let mut state = lock(&self.state);
        let now = self.clock.now();
        let result = change(&mut state.world, now);
        if state.seen != state.world.lifecycle {
            state.reconcile(self);
        }
        result
    }

    /// The release that the node at `host` is.
    pub(crate) fn version_of(&self, host: &Host) -> Version {
        lock(&self.state).world.nodes[host].settings.version
    }
}

impl State {
    fn open(&mut self, host: &Host, service: Service, source: Source) -> Result<SocketAddr, std::io::Error> {
        let key = (host.clone(), service, source);
        if let Some(port) = self.ports.get(&key) {
            return Ok(port.addr);
        }
        let holder = port::reserve((self.loopback, 0).into())?;
        let addr = holder.local_addr()?;
        self.ports.insert(key, Port { _holder: holder, addr, listening: None });
        Ok(addr)
    }

    /// Ports of running nodes listen; those of others refuse, and their connections are gone.
    fn reconcile(&mut self, shared: &Arc<Shared>) {
        self.seen = self.world.lifecycle;
        for ((host, service, source), port) in &mut self.ports {
            let node = self.world.node(host.as_str()).filter(|n| n.is_running());
            let boots = node.filter(|_| service.listens(&self.world, host, source)).map(|n| n.boots);
            if port.listening.as_ref().map(|l| l.boots) == boots {
                continue;
            }
            port.listening = None;
            if let Some(boots) = boots {
                // When the port can't be opened again, the node stays unreachable: tests see a refusal.
                port.listening = listen(shared, port.addr, (host, *service, source), boots);
            }
        }
    }
}

/// When the port can't be opened again, the node stays unreachable: tests see a refusal.
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

/// The pods of the StatefulSet that this is a stand-in for.
const PODS: &str = "*.couchdb.default.svc.cluster.local";

async fn keep_time(shared: Arc<Shared>) {
    loop {
        shared.change(|world, now| world.tick(now));
        shared.clock.next_look().await;
    }
}
