//! The pure core: all nodes of a test and the network between them. It does no I/O; the time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::http::Time;
use super::indexing::Builds;
use super::node::{Node, Restart, Volume};
use super::pushes::Pushes;
use super::settings::{Host, NodeSettings, SettingsError};
use crate::random::Random;

/// The durations of CouchDB and Erlang: defaults of their configuration, and measured values.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// `[cluster] reconnect_interval_sec`: the interval at which a node dials the members that it is not connected to.
    pub reconnect: Duration,
    /// `net_ticktime`: the time for which a silently cut connection still counts as connected.
    pub net_tick: Duration,
    /// The time until the other members have a change of `_nodes` or `_dbs`.
    pub replicate: Duration,
    /// The time from one node of the ring to the next, for `_dbs`; the first gets a change after
    /// [`replicate`](Self::replicate). The default is zero: all nodes get it at once.
    pub ring_hop: Duration,
    /// `[mem3] sync_delay`: the time from a change of a shard copy until it is pushed to the others.
    pub sync_delay: Duration,
    /// The time that one pass of internal replication takes, without its documents.
    pub pass: Duration,
    /// The time that each document of a pass takes; the default is zero. Each batch of 500 is visible when it ends.
    pub pass_per_doc: Duration,
    /// The time that `ken` takes to build the views of one design document over one shard file. The default is zero:
    /// all views are always built.
    pub index: Duration,
    /// The time from the change of a file until `ken` begins to build its views.
    pub index_wait: Duration,
    /// The time that a resharding job takes.
    pub split: Duration,
    /// The time for which `finish_cluster` waits for members to connect.
    pub finish_wait: Duration,
    /// The time from `_restart` until the node answers again.
    pub restart: Duration,
    /// The time in which a fresh node creates its own `_users` file, at the first call below `/_node/{node}/` for a
    /// database. Meanwhile other such calls are answered 500 or 409. Real nodes take 20 to 80 ms; the default is zero.
    pub auth_file: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            reconnect: Duration::from_secs(37),
            net_tick: Duration::from_secs(75),
            replicate: Duration::from_millis(200),
            ring_hop: Duration::ZERO,
            sync_delay: Duration::from_secs(5),
            pass: Duration::from_millis(500),
            pass_per_doc: Duration::ZERO,
            index: Duration::ZERO,
            index_wait: Duration::ZERO,
            split: Duration::from_secs(1),
            finish_wait: Duration::from_secs(5),
            restart: Duration::from_millis(1500),
            auth_file: Duration::ZERO,
        }
    }
}

/// The way in which packets between two nodes are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Packets are dropped. The nodes notice it only after [`Timings::net_tick`].
    Silent,
    /// Packets are answered with a reset. The nodes notice it at once.
    Reset,
}

/// An unordered pair of nodes that are connected over Erlang.
pub(crate) type Pair = (Host, Host);

/// The nodes, the links between them, and their timers. The documentation of the crate lists the differences from
/// reality.
#[derive(Debug)]
pub struct World {
    pub(crate) nodes: BTreeMap<Host, Node>,
    pub(crate) timings: Timings,
    pub(crate) random: Random,
    /// Lost Erlang packets, by sender and receiver.
    pub(crate) cuts: BTreeMap<(Host, Host), Cut>,
    /// Lost HTTP calls, by caller and receiver.
    pub(crate) http_cuts: BTreeMap<(String, Host), Cut>,
    /// Names that DNS does not publish: `publishNotReadyAddresses` is false and the pod is not ready.
    pub(crate) unpublished: BTreeSet<Host>,
    /// The connected peers of each node. Each connection is listed at both ends.
    pub(crate) connections: BTreeMap<Host, BTreeSet<Host>>,
    /// The number of changes, such as starts, stops and cuts, after which ports may have to be opened or closed.
    pub(crate) generation: u64,
    /// Connections over which no packet passes, and the time since then.
    pub(crate) blocked: BTreeMap<Pair, Time>,
    /// The time at which a connection last broke.
    pub(crate) broken: BTreeMap<Pair, Time>,
    pub(crate) replicate_at: Option<Time>,
    pub(crate) pushes: Pushes,
    pub(crate) builds: Builds,
    /// The source of the uuids of shard files. Its own, so that their number changes no other random choice.
    pub(crate) file_uuids: Random,
}

impl World {
    /// A world without nodes. Equal seeds give equal uuids and salts.
    pub fn new(seed: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            timings: Timings::default(),
            random: Random::new(seed),
            cuts: BTreeMap::new(),
            http_cuts: BTreeMap::new(),
            unpublished: BTreeSet::new(),
            connections: BTreeMap::new(),
            generation: 0,
            blocked: BTreeMap::new(),
            broken: BTreeMap::new(),
            replicate_at: None,
            pushes: Pushes::default(),
            builds: Builds::default(),
            file_uuids: Random::new(!seed),
        }
    }

    /// Replaces the durations. Timers that run already keep theirs.
    pub fn set_timings(&mut self, timings: Timings) {
        self.timings = timings;
    }

    /// The current durations.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// The node with this host name, whether it runs or not.
    pub fn node(&self, host: &str) -> Option<&Node> {
        self.nodes.get(host)
    }

    /// All nodes by host name, whether they run or not.
    pub fn nodes(&self) -> impl Iterator<Item = (&Host, &Node)> {
        self.nodes.iter()
    }

    /// Runs the timers that are due: restarts, broken connections, reconnects, seeds, replication.
    pub fn tick(&mut self, now: Time) {
        self.tick_restarts(now);
        self.tick_blocked(now);
        self.tick_reconnects(now);
        self.tick_seeds(now);
        self.tick_replication(now);
        self.tick_pushes(now);
        self.tick_resharding(now);
        self.tick_builds(now);
    }

    /// Adds a node and starts it.
    ///
    /// # Errors
    ///
    /// If the container would exit.
    pub fn start_node(&mut self, settings: NodeSettings, now: Time) -> Result<Host, SettingsError> {
        // Checked before the node is added: a refused node leaves no trace.
        settings.check_start()?;
        let host = settings.host.clone();
        self.nodes.insert(host.clone(), Node::new(settings));
        self.start(&host, now)?;
        Ok(host)
    }

    /// Starts a stopped node, with the volume and the ini that it has.
    ///
    /// # Errors
    ///
    /// If the container would exit.
    pub fn start(&mut self, host: &Host, now: Time) -> Result<(), SettingsError> {
        let Some(node) = self.nodes.get_mut(host) else { return Ok(()) };
        if node.is_running() {
            return Ok(());
        }
        node.boot(&mut self.random, now)?;
        self.generation += 1;
        self.create_single_node_dbs(host, now);
        // Maps may list new copies that were assigned while the node was down.
        self.create_shard_files(host);
        self.dial_members(host, now);
        Ok(())
    }

    /// Kills the process of a node (SIGKILL): its connections break at once.
    pub fn kill(&mut self, host: &Host) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.process = None;
            node.paused = false;
            node.restart = None;
        }
        self.pushes.forget(host);
        self.builds.forget(host);
        self.generation += 1;
        for peer in self.connections.remove(host).unwrap_or_default() {
            self.disconnect(host, &peer);
        }
    }

    /// Kills a node and deletes its volume.
    pub fn wipe(&mut self, host: &Host) {
        self.kill(host);
        if let Some(node) = self.nodes.get_mut(host) {
            node.volume = Volume::default();
        }
    }

    /// Kills a node and mounts another volume, for example one of another cluster.
    pub fn mount(&mut self, host: &Host, volume: Volume) {
        self.kill(host);
        if let Some(node) = self.nodes.get_mut(host) {
            node.volume = volume;
        }
    }

    /// Kills a node and replaces its container. The values that `_config` wrote are lost.
    pub fn lose_ini(&mut self, host: &Host) {
        self.kill(host);
        if let Some(node) = self.nodes.get_mut(host) {
            node.lose_ini();
        }
    }

    /// Changes the settings of a node's next start: another image, environment or ini file.
    pub fn reconfigure(&mut self, host: &Host, change: impl FnOnce(NodeSettings) -> NodeSettings) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.settings = change(node.settings.clone());
        }
    }

    /// Stops the process of a running node (SIGSTOP).
    pub fn pause(&mut self, host: &Host) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.paused = node.is_running();
        }
    }

    /// Continues a stopped process (SIGCONT).
    pub fn resume(&mut self, host: &Host) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.paused = false;
        }
    }

    /// Delays each answer of a node.
    pub fn set_delay(&mut self, host: &Host, delay: Duration) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.delay = delay;
        }
    }

    /// Fills the disk of a node, or frees it. A full disk takes no documents, properties or checkpoints.
    pub fn fill_disk(&mut self, host: &Host, is_full: bool) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.is_disk_full = is_full;
        }
    }

    /// Publishes the name of a node in DNS, which is the state at its start.
    pub fn publish(&mut self, host: &Host) {
        self.unpublished.remove(host);
    }

    /// Removes the name of a node from DNS.
    pub fn unpublish(&mut self, host: &Host) {
        self.unpublished.insert(host.clone());
    }

    /// Loses HTTP calls from a caller to a node. `None` ends the cut.
    pub fn cut_http(&mut self, caller: &str, to: &Host, cut: Option<Cut>) {
        let key = (caller.to_owned(), to.clone());
        match cut {
            Some(cut) => self.http_cuts.insert(key, cut),
            None => self.http_cuts.remove(&key),
        };
    }

    fn tick_restarts(&mut self, now: Time) {
        let due: Vec<(Host, Restart)> = self
            .nodes
            .iter()
            .filter_map(|(host, node)| Some((host.clone(), node.restart?)))
            .filter(|(_, restart)| restart.down_at <= now)
            .collect();
        for (host, restart) in due {
            if self.nodes[&host].is_running() {
                self.kill(&host);
                // `kill` has removed the restart; the second half of it is still due.
                if let Some(node) = self.nodes.get_mut(&host) {
                    node.restart = Some(restart);
                }
            }
            if restart.up_at <= now {
                // Fails only if a test has changed the settings; then the node stays down, as a real one would.
                let _ = self.start(&host, now);
            }
        }
    }
}
