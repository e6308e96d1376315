//! The three ports of a node, and its timers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::clock::Clock;
use super::super::erlang_ports;
use super::super::http::{Answer, Request, Response, Time};
use super::super::node::Node;
use super::super::serve::{self, CutOff, Origin};
use super::super::settings::{Host, NodeSettings, SettingsError};
use super::super::shared::lock;
use super::super::world::World;
use super::disk::Home;
use super::joint::Own;
use super::links::EPMD;
use super::wire::{self, Handshake};

/// CouchDB's HTTP port.
const HTTP: u16 = 5984;
/// The port of Erlang's distribution, which the official image fixes.
const DISTRIBUTION: u16 = 9100;
/// The interval at which the timers are checked.
const TICK: Duration = Duration::from_millis(100);
/// The time for which a peer may hold this node; longer than any call.
const HOLD: Duration = Duration::from_secs(30);
/// The time for the handshake of a new connection.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A reason for a node's process to end.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// The container would exit.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The data volume or an ini file cannot be read or written.
    #[error("failed to read or write below '{directory}'")]
    Disk {
        /// The directory of [`Home`].
        directory: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A port cannot be opened.
    #[error("failed to listen on {address}")]
    Port {
        /// The address and the port.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// One node that serves its ports in this process.
#[derive(Clone)]
pub struct Standalone {
    own: Arc<Own>,
    served: Arc<AtomicU64>,
}

impl std::fmt::Debug for Standalone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standalone").field("host", &self.own.host).finish_non_exhaustive()
    }
}

impl Standalone {
    /// Starts the node with the volume and the ini files that its directory contains. `seed` makes uuids and salts
    /// different from those of other processes.
    ///
    /// # Errors
    ///
    /// If the container would exit.
    pub fn start(settings: NodeSettings, home: Home, seed: u64) -> Result<Self, StandaloneError> {
        let disk = |source| StandaloneError::Disk { directory: home.directory.display().to_string(), source };
        let mut settings = settings;
        settings.ini = settings.ini.overlaid(&home.fixed_ini().map_err(disk)?);
        settings.check_start()?;
        let host = settings.host().clone();
        let mut node = Node::new(settings);
        node.volume = home.volume().map_err(disk)?;
        node.etc = home.container_ini().map_err(disk)?;
        let clock = Clock::real();
        let mut world = World::new(seed);
        world.nodes.insert(host.clone(), node);
        world.start(&host, clock.now())?;
        let own = Own::new(host, world, home.clone(), clock).map_err(disk)?;
        let mut state = own.state.try_lock().map_err(io::Error::other).map_err(disk)?;
        own.save(&mut state).map_err(disk)?;
        drop(state);
        Ok(Self { own: Arc::new(own), served: Arc::default() })
    }

    /// The node's Erlang name; `None` if its distribution is off.
    pub fn name(&self) -> Option<String> {
        self.own.identity().map(|identity| identity.name)
    }

    /// Serves the ports until an error ends the process.
    ///
    /// # Errors
    ///
    /// If a port cannot be opened, or the volume cannot be written any more.
    pub async fn serve(self) -> Result<(), StandaloneError> {
        let http = self.bind(HTTP).await?;
        if self.name().is_some() {
            tokio::spawn(self.clone().serve_epmd(self.bind(EPMD).await?));
            tokio::spawn(self.clone().serve_distribution(self.bind(DISTRIBUTION).await?));
        }
        tokio::spawn(self.clone().serve_http(http));
        let directory = self.own.home.directory.display().to_string();
        self.run_timers().await.map_err(|source| StandaloneError::Disk { directory, source })
    }

    async fn bind(&self, port: u16) -> Result<TcpListener, StandaloneError> {
        let address = SocketAddr::new(self.own.home.address, port);
        TcpListener::bind(address).await.map_err(|source| StandaloneError::Port { address, source })
    }

    /// Runs the own node's timers. Those of the peers run in their processes.
    async fn run_timers(&self) -> io::Result<()> {
        loop {
            let are_new = self.has_new_members().await;
            let is_due = self.own.alone(|world, now| is_due(world, &self.own.host, now)).await?;
            if is_due || are_new {
                let act = |world: &mut World, now| {
                    // The call that has added a member had no link to it yet.
                    if are_new {
                        world.dial_members(&self.own.host, now);
                    }
                    tick(world, &self.own.host, now);
                };
                self.own.with_peers(Vec::new(), act).await?;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// `true` if `_nodes` has changed since the last time.
    async fn has_new_members(&self) -> bool {
        let mut state = self.own.state.lock().await;
        let node = state.world.node(self.own.host.as_str());
        let members: Vec<String> =
            node.map(Node::members).unwrap_or_default().into_iter().map(str::to_owned).collect();
        let are_new = members != state.dialed;
        state.dialed = members;
        are_new
    }

    async fn serve_epmd(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(erlang_ports::serve_epmd(stream, self.name()));
        }
    }

    async fn serve_distribution(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let node = self.clone();
            // An error is the end of the link, which the peer notices as well.
            tokio::spawn(async move { node.serve_peer(stream).await });
        }
    }

    /// Serves the link of a peer until either side closes it.
    async fn serve_peer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let Some(identity) = self.own.identity() else { return Ok(()) };
        let challenge = self.own.alone(|world, _| world.random.hex32()).await?;
        let peer = match timeout(HANDSHAKE, identity.handshake(&mut stream, challenge)).await?? {
            Handshake::Accepted(peer) => peer,
            // A node that refuses the connection has read the caller's name.
            Handshake::OtherCookie(peer) => return self.learn(peer.name).await,
        };
        lock(&self.own.incoming).entry(peer.host.clone()).or_insert((peer.name, 0)).1 += 1;
        let end = self.serve_link(&mut stream).await;
        // The connection breaks at once, as that of an Erlang node that dies.
        if self.has_closed_last_link(&peer.host) {
            self.own.state.lock().await.connections.remove(&peer.host);
        }
        end
    }

    /// Counts a closed link of a peer. Returns `true` if the peer has no other.
    fn has_closed_last_link(&self, peer: &Host) -> bool {
        let mut incoming = lock(&self.own.incoming);
        let Some((_, links)) = incoming.get_mut(peer) else { return false };
        *links -= 1;
        let is_last = *links == 0;
        if is_last {
            incoming.remove(peer);
        }
        is_last
    }

    async fn learn(&self, name: String) -> io::Result<()> {
        let learn = |world: &mut World| {
            let process = world.nodes.get_mut(&self.own.host).and_then(|node| node.process.as_mut());
            process.is_some_and(|process| process.known_names.insert(name))
        };
        self.own.alone(|world, _| learn(world)).await.map(|_| ())
    }

    async fn serve_link(&self, stream: &mut TcpStream) -> io::Result<()> {
        loop {
            let wire::Request::Lock = wire::receive_any(stream).await? else {
                return Err(io::Error::other("not locked"));
            };
            let mut state = self.own.state.lock().await;
            wire::send(stream, &self.own.state_for_peer(&state)?).await?;
            // A peer that dies or hangs meanwhile has changed nothing.
            match timeout(HOLD, wire::receive_any(stream)).await?? {
                wire::Request::Unlock(Some(new)) => self.own.replace(&mut state, &new)?,
                wire::Request::Unlock(None) => {}
                wire::Request::Lock => return Err(io::Error::other("locked twice")),
            }
        }
    }

    async fn serve_http(self, listener: TcpListener) {
        while let Ok((stream, peer)) = listener.accept().await {
            // Answers are small and clients wait for each of them: Nagle's algorithm would cost 40 ms per call.
            let _ = stream.set_nodelay(true);
            let node = self.clone();
            tokio::spawn(async move {
                // Callers in the own pod use its address or the loopback address.
                let local = stream.local_addr().is_ok_and(|own| own.ip() == peer.ip());
                let service = service_fn(|request| node.answer(request, peer, local));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // An error here is a client that closed the connection.
                let _ = connection.await;
            });
        }
    }

    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        local: bool,
    ) -> Result<hyper::Response<Full<Bytes>>, CutOff> {
        let host = &self.own.host;
        let origin = Origin { host, source: peer.ip().to_canonical().to_string(), local };
        let request = serve::read(request, origin, self.own.clock.now()).await?;
        let response = self.handle(&request).await?;
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        let server = self.own.alone(|world, _| world.nodes[host].server()).await;
        serve::write(response, number, &server.map_err(|_| CutOff)?)
    }

    /// Handles a call until the world has decided about it, and waits as long as CouchDB would take.
    async fn handle(&self, request: &Request) -> Result<Response, CutOff> {
        loop {
            let handle = |world: &mut World, now: Time| (world.handle(&self.own.host, request, now), now);
            let answer = if needs_no_peer(request) {
                self.own.alone(handle).await
            } else {
                self.own.with_peers(named_in(request), handle).await
            };
            // A volume that cannot be written any more ends the process; see `run_timers`.
            let (answer, now) = answer.map_err(|_| CutOff)?;
            match answer {
                Answer::Ready { response, after } => {
                    self.own.clock.sleep(after).await;
                    return Ok(response);
                }
                Answer::Later(at) => self.own.clock.sleep(at.saturating_sub(now)).await,
                Answer::Dropped => return Err(CutOff),
            }
        }
    }
}

/// `true` for the calls of probes, which a real node answers without asking another.
fn needs_no_peer(request: &Request) -> bool {
    matches!(request.path.as_str(), "/" | "/_up")
        && request.authorization.is_none()
        && request.cookie.is_none()
}

/// The node names in a call: that of `/_node/{name}/..`, and the host of a body of `/_cluster_setup`.
fn named_in(request: &Request) -> Vec<String> {
    let segments = request.segments();
    let body = request.json().unwrap_or_default();
    let host = body["host"].as_str().filter(|_| request.path == "/_cluster_setup");
    let name = segments.get(1).filter(|_| segments.first().is_some_and(|first| first == "_node"));
    host.map(|host| format!("couchdb@{host}")).into_iter().chain(name.cloned()).collect()
}

/// `true` if a timer of the node may have to act.
fn is_due(world: &World, host: &Host, now: Time) -> bool {
    let Some(node) = world.node(host.as_str()) else { return false };
    let is_process_due = node
        .process
        .as_ref()
        .is_some_and(|process| process.next_reconnect <= now || process.seeds.due(now).is_some());
    is_process_due || node.restart.is_some() || world.is_replication_due(now)
}

/// Runs the timers of the node, and none of its peers'.
fn tick(world: &mut World, host: &Host, now: Time) {
    let mut parked = Vec::new();
    for (peer, node) in world.nodes.iter_mut().filter(|(peer, _)| *peer != host) {
        let restart = node.restart.take();
        let resharding = std::mem::take(&mut node.volume.resharding);
        let process = node.process.as_mut();
        let timers = process.map(|process| {
            let reconnect = std::mem::replace(&mut process.next_reconnect, Time::MAX);
            (reconnect, std::mem::take(&mut process.seeds))
        });
        parked.push((peer.clone(), restart, resharding, timers));
    }
    world.tick(now);
    for (peer, restart, resharding, timers) in parked {
        let Some(node) = world.nodes.get_mut(&peer) else { continue };
        node.restart = restart;
        node.volume.resharding = resharding;
        if let Some(process) = node.process.as_mut()
            && let Some((reconnect, seeds)) = timers
        {
            process.next_reconnect = reconnect;
            process.seeds = seeds;
        }
    }
}
