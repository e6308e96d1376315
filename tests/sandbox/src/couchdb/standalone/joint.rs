//! The world of one call: the own node and every peer with a link, locked for the duration of the call.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::super::clock::Clock;
use super::super::http::Time;
use super::super::ini::Ini;
use super::super::node::Node;
use super::super::settings::Host;
use super::super::shared::lock;
use super::super::world::World;
use super::disk::Home;
use super::links::Links;
use super::wire::{Identity, NodeState};

/// The node of this process.
pub(super) struct Own {
    pub(super) host: Host,
    pub(super) clock: Clock,
    pub(super) home: Home,
    /// Used by one call at a time, of this process or of a peer.
    pub(super) state: Arc<Mutex<State>>,
    /// Held by the one call of this process that is being handled.
    links: Mutex<Links>,
    identity: std::sync::Mutex<Option<Identity>>,
    /// Name of each peer that has opened a link to this node, and the number of its links.
    pub(super) incoming: std::sync::Mutex<BTreeMap<Host, (String, u32)>>,
}

/// The state that a call may change.
pub(super) struct State {
    /// Contains the own node and, as nodes that are down, every peer that ever had a link.
    pub(super) world: World,
    /// The peers that the own node is connected to, also those without a link of this process.
    pub(super) connections: BTreeSet<Host>,
    /// The members at the last attempt to connect to all of them.
    pub(super) dialed: Vec<String>,
    saved_volume: Vec<u8>,
    saved_ini: Ini,
}

impl Own {
    pub(super) fn new(host: Host, world: World, home: Home, clock: Clock) -> io::Result<Self> {
        let state = State {
            world,
            connections: BTreeSet::new(),
            dialed: Vec::new(),
            saved_volume: Vec::new(),
            saved_ini: Ini::default(),
        };
        let own = Self {
            host,
            clock,
            home,
            state: Arc::new(Mutex::new(state)),
            links: Mutex::default(),
            identity: std::sync::Mutex::default(),
            incoming: std::sync::Mutex::default(),
        };
        Ok(own)
    }

    /// The identity for handshakes; `None` while the node is down or its distribution is off.
    pub(super) fn identity(&self) -> Option<Identity> {
        lock(&self.identity).clone()
    }

    /// Uses the own node without its peers.
    pub(super) async fn alone<T>(&self, act: impl FnOnce(&mut World, Time) -> T) -> io::Result<T> {
        let mut state = self.state.lock().await;
        let result = act(&mut state.world, self.clock.now());
        self.save(&mut state)?;
        Ok(result)
    }

    /// Runs `act` in a world of the own node and of all peers that can be reached. `named` are node names that the
    /// call is about.
    pub(super) async fn with_peers<T>(
        &self,
        named: Vec<String>,
        act: impl FnOnce(&mut World, Time) -> T,
    ) -> io::Result<T> {
        let mut links = self.links.lock().await;
        let wanted = self.wanted(named).await;
        if let Some((identity, challenge)) = self.identity().zip(wanted.challenge) {
            links.open(&wanted.names, &identity, &challenge).await;
        }
        let (mut state, peers) = self.lock_all(&mut links).await;
        let result = self.act_with(&mut state, &peers, act)?;
        let (value, changed) = result;
        for (host, new) in changed {
            links.unlock(&host, new).await;
        }
        self.save(&mut state)?;
        Ok(value)
    }

    /// Names to which links are opened before a call: those that the call might send a message to.
    async fn wanted(&self, named: Vec<String>) -> Wanted {
        let mut state = self.state.lock().await;
        let challenge = Some(state.world.random.hex32());
        let Some(node) = state.world.node(self.host.as_str()) else {
            return Wanted { names: BTreeSet::new(), challenge };
        };
        let mut names: BTreeSet<String> = named.into_iter().collect();
        names.extend(node.members().into_iter().map(str::to_owned));
        // A peer that has connected to this node need not be a member.
        let incoming = lock(&self.incoming);
        names.extend(
            state.connections.iter().filter_map(|peer| incoming.get(peer)).map(|(name, _)| name.clone()),
        );
        drop(incoming);
        for (_, _, map) in node.volume.dbs.live() {
            let holders = map.get("by_node").and_then(serde_json::Value::as_object);
            names.extend(holders.into_iter().flatten().map(|(holder, _)| holder.clone()));
        }
        if let Some(process) = &node.process {
            names.extend(process.seeds.names().cloned());
        }
        Wanted { names, challenge }
    }

    /// Locks the own node and all peers. All nodes lock in the order of the host names, so no two calls wait for each
    /// other.
    async fn lock_all(&self, links: &mut Links) -> (OwnedMutexGuard<State>, BTreeMap<Host, Box<RawValue>>) {
        let (before, after): (Vec<Host>, Vec<Host>) =
            links.hosts().into_iter().partition(|host| *host < self.host);
        let mut peers = BTreeMap::new();
        for host in before {
            if let Some(state) = links.lock(&host).await {
                peers.insert(host, state);
            }
        }
        let own = Arc::clone(&self.state).lock_owned().await;
        for host in after {
            if let Some(state) = links.lock(&host).await {
                peers.insert(host, state);
            }
        }
        (own, peers)
    }

    /// Runs `act` in the joint world. Returns its result, and the new state of each peer if it has changed.
    fn act_with<T>(
        &self,
        state: &mut State,
        peers: &BTreeMap<Host, Box<RawValue>>,
        act: impl FnOnce(&mut World, Time) -> T,
    ) -> io::Result<(T, Changed)> {
        let mut connections = BTreeMap::from([(self.host.clone(), std::mem::take(&mut state.connections))]);
        for (host, received) in peers {
            let peer: NodeState<Node> = serde_json::from_str(received.get())?;
            state.world.nodes.insert(host.clone(), peer.node);
            connections.insert(host.clone(), peer.connections);
        }
        state.world.connections = mutual(&connections);
        let value = act(&mut state.world, self.clock.now());
        let mut changed = Vec::new();
        for (host, before) in &mut connections {
            // Connections to nodes outside of this world are not known here, and stay.
            before.retain(|peer| *peer != self.host && !peers.contains_key(peer));
            before.extend(state.world.connections.get(host).into_iter().flatten().cloned());
            if *host == self.host {
                continue;
            }
            let Some(node) = state.world.nodes.get_mut(host) else { continue };
            let new =
                serde_json::value::to_raw_value(&NodeState { node: &*node, connections: before.clone() })?;
            let is_changed = peers.get(host).is_none_or(|old| old.get() != new.get());
            changed.push((host.clone(), is_changed.then_some(new)));
            // Until the next call the peer counts as down here.
            node.process = None;
        }
        state.connections = connections.remove(&self.host).unwrap_or_default();
        // Without a link in either direction there is no connection.
        let incoming = lock(&self.incoming);
        state.connections.retain(|peer| peers.contains_key(peer) || incoming.contains_key(peer));
        drop(incoming);
        state.world.connections.clear();
        Ok((value, changed))
    }

    /// The own node's state for a peer that has locked it.
    pub(super) fn state_for_peer(&self, state: &State) -> io::Result<Box<RawValue>> {
        let Some(node) = state.world.node(self.host.as_str()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        Ok(serde_json::value::to_raw_value(&NodeState { node, connections: state.connections.clone() })?)
    }

    /// Replaces the own node's state by the one that a peer has made of it.
    pub(super) fn replace(&self, state: &mut State, new: &RawValue) -> io::Result<()> {
        let new: NodeState<Node> = serde_json::from_str(new.get())?;
        state.world.nodes.insert(self.host.clone(), new.node);
        state.connections = new.connections;
        self.save(state)
    }

    /// Writes what has changed to the volume and to the container's ini file.
    pub(super) fn save(&self, state: &mut State) -> io::Result<()> {
        let Some(node) = state.world.node(self.host.as_str()) else { return Ok(()) };
        *lock(&self.identity) = node.process.as_ref().and_then(|process| {
            Some(Identity {
                name: process.name.clone()?,
                host: self.host.clone(),
                cookie: process.cookie.clone(),
            })
        });
        let volume = serde_json::to_vec(&node.volume)?;
        if node.etc != state.saved_ini {
            self.home.save_container_ini(&node.etc)?;
            state.saved_ini = node.etc.clone();
        }
        if volume != state.saved_volume {
            self.home.save_volume(&volume)?;
            state.saved_volume = volume;
        }
        Ok(())
    }
}

/// Peers that were locked, each with its new state if that has changed.
type Changed = Vec<(Host, Option<Box<RawValue>>)>;

struct Wanted {
    names: BTreeSet<String>,
    /// A random number for the handshakes.
    challenge: Option<String>,
}

/// The connections that both ends list.
fn mutual(connections: &BTreeMap<Host, BTreeSet<Host>>) -> BTreeMap<Host, BTreeSet<Host>> {
    let is_listed = |a: &Host, b: &Host| connections.get(a).is_some_and(|peers| peers.contains(b));
    connections
        .iter()
        .map(|(host, peers)| {
            let both = peers.iter().filter(|peer| is_listed(peer, host)).cloned().collect();
            (host.clone(), both)
        })
        .collect()
}
