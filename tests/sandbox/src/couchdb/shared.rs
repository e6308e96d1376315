//! The state behind a network's ports, and the ports themselves, which follow the nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::calls::Calls;
use super::clock::Clock;
use super::http::Time;
use super::service::{Service, Source};
use super::settings::Host;
use super::world::World;
use crate::port;
use crate::tls::ServerTls;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// `None`: HTTP is plain.
    pub(crate) tls: Option<ServerTls>,
    pub(super) state: Mutex<State>,
    pub(crate) calls: Mutex<Calls>,
    /// Serves a port that was opened.
    pub(super) serve: fn(Served),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) world: World,
    /// The address on which ports are opened.
    pub(super) loopback: IpAddr,
    pub(super) ports: BTreeMap<(Host, Service, Source), Port>,
    /// The world's generation at the last [`State::reconcile`].
    pub(super) reconciled_generation: u64,
}

/// One port of a running node.
pub(crate) struct Served {
    pub(crate) shared: Arc<Shared>,
    /// `None` once the node is down.
    pub(crate) listener: Arc<Mutex<Option<TcpListener>>>,
    pub(crate) host: Host,
    pub(crate) service: Service,
    pub(crate) source: Source,
    pub(crate) stop: CancellationToken,
}

/// A port that belongs to a node until the network ends, while the node is down as well.
#[derive(Debug)]
pub(super) struct Port {
    /// Bound but not listening, so that no other process gets the port while the node is down.
    _reservation: TcpSocket,
    pub(super) addr: SocketAddr,
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

    /// The `Server` header of a node.
    pub(crate) fn server_of(&self, host: &Host) -> String {
        lock(&self.state).world.nodes[host].server()
    }
}

impl State {
    /// The address of a port. The first call reserves the port.
    pub(super) fn open(
        &mut self,
        host: &Host,
        service: Service,
        source: Source,
    ) -> Result<SocketAddr, std::io::Error> {
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
    pub(super) fn reconcile(&mut self, shared: &Arc<Shared>) {
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
    let port = Served {
        shared: Arc::clone(shared),
        listener: Arc::clone(&listener),
        host: host.clone(),
        service,
        source: source.clone(),
        stop: stop.clone(),
    };
    (shared.serve)(port);
    Some(Listening { boots, listener, _stop: stop.drop_guard() })
}
