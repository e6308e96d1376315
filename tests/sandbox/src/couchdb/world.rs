//! All nodes of a test and what lies between them: the pure core. Nothing here waits, listens or asks the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::http::{Answer, Request, Time};
use super::node::{Node, Volume};
use super::route;
use super::settings::{Host, NodeSettings, SettingsError};
use crate::random::Random;

/// How long the real things take, by CouchDB's own defaults and by what was measured.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// `[cluster] reconnect_interval_sec`: how often a node dials the members it isn't connected to.
    pub reconnect: Duration,
    /// `net_ticktime`: how long a silently cut connection still counts as one.
    pub net_tick: Duration,
    /// Until a change of `_nodes` or `_dbs` is at the other members.
    pub replicate: Duration,
    /// Until a shard copy that lacks documents has them.
    pub fill: Duration,
    /// How long `finish_cluster` waits for members to connect.
    pub finish_wait: Duration,
    /// How long a node is away after `_restart`.
    pub restart: Duration,
    /// How long a fresh node takes to make its own `_users` file, at the first call below `/_node/{node}/` for a
    /// database. Meanwhile other such calls are answered 500 or 409. 20 to 80 ms in reality; none here by default.
    pub auth_file: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            reconnect: Duration::from_secs(37),
            net_tick: Duration::from_secs(75),
            replicate: Duration::from_millis(200),
            fill: Duration::from_millis(500),
            finish_wait: Duration::from_secs(5),
            restart: Duration::from_millis(1500),
            auth_file: Duration::ZERO,
        }
    }
}

/// How packets between two nodes get lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Dropped without a word: noticed after [`Timings::net_tick`] only.
    Silent,
    /// Refused: noticed at once.
    Reset,
}

/// An unordered pair of nodes that are connected over Erlang.
pub(crate) type Pair = (Host, Host);

/// Nodes, links and the clock's last word. See the crate's documentation for what is and isn't imitated.
#[derive(Debug)]
pub struct World {
    pub(crate) nodes: BTreeMap<Host, Node>,
    pub(crate) timings: Timings,
    pub(crate) random: Random,
    /// Erlang packets from the first to the second are lost.
    pub(crate) cuts: BTreeMap<(Host, Host), Cut>,
    /// HTTP from the first to the second is lost.
    pub(crate) http_cuts: BTreeMap<(String, Host), Cut>,
    /// Names that DNS doesn't publish: `publishNotReadyAddresses` is false and the pod isn't ready.
    pub(crate) unpublished: BTreeSet<Host>,
    /// Who is connected to whom, from both sides.
    pub(crate) connections: BTreeMap<Host, BTreeSet<Host>>,
    /// Counts starts and stops, so that the shell knows when to look at its ports.
    pub(crate) lifecycle: u64,
    /// Connections over which nothing passes, and since when.
    pub(crate) blocked: BTreeMap<Pair, Time>,
    /// When a connection was last given up as broken.
    pub(crate) broken: BTreeMap<Pair, Time>,
    pub(crate) replicate_at: Option<Time>,
    pub(crate) fill_at: Option<Time>,
    /// Databases of which some copy may lack documents.
    pub(crate) unfilled: BTreeSet<String>,
}

impl World {
    /// An empty world; the same seed gives the same uuids and salts.
    pub fn new(seed: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            timings: Timings::default(),
            random: Random::new(seed),
            cuts: BTreeMap::new(),
            http_cuts: BTreeMap::new(),
            unpublished: BTreeSet::new(),
            connections: BTreeMap::new(),
            lifecycle: 0,
            blocked: BTreeMap::new(),
            broken: BTreeMap::new(),
            replicate_at: None,
            fill_at: None,
            unfilled: BTreeSet::new(),
        }
    }

    /// Changes how long things take.
    pub fn set_timings(&mut self, timings: Timings) {
        self.timings = timings;
    }

    /// How long things take.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// The node of this host.
    pub fn node(&self, host: &str) -> Option<&Node> {
        self.nodes.get(host)
    }

    /// All nodes, running or not.
    pub fn nodes(&self) -> impl Iterator<Item = (&Host, &Node)> {
        self.nodes.iter()
    }

    /// A node's answer to a call. A node that doesn't run doesn't answer.
    pub fn handle(&mut self, host: &Host, request: &Request, now: Time) -> Answer {
        let Some(node) = self.nodes.get(host).filter(|n| n.is_running()) else { return Answer::Dropped };
        if node.paused {
            return Answer::Later(now + Duration::from_millis(100));
        }
        if let Some(cut) = self.http_cuts.get(&(request.source.clone(), host.clone())) {
            return match cut {
                Cut::Silent => Answer::Later(now + Duration::from_millis(100)),
                Cut::Reset => Answer::Dropped,
            };
        }
        if !request.local && !node.listens_on_all() {
            return Answer::Dropped;
        }
        let slow = node.slow;
        match route::answer(self, host, request, now) {
            Answer::Ready { response, after } => Answer::Ready { response, after: after + slow },
            Answer::Later(at) => Answer::Later(at),
            Answer::Dropped => Answer::Dropped,
        }
    }

    /// Lets everything happen that is due by now: restarts, reconnects, replication.
    pub fn tick(&mut self, now: Time) {
        self.tick_restarts(now);
        self.tick_blocked(now);
        self.tick_reconnects(now);
        self.tick_seeds(now);
        self.tick_replication(now);
    }

    /// Adds a node and starts it.
    ///
    /// # Errors
    ///
    /// When the container would exit.
    pub fn start_node(&mut self, settings: NodeSettings, now: Time) -> Result<Host, SettingsError> {
        settings.refuse_as_the_container_would()?;
        let host = settings.host.clone();
        self.nodes.insert(host.clone(), Node::new(settings));
        self.start(&host, now)?;
        Ok(host)
    }

    /// Starts a node that was stopped, with whatever volume and ini it has.
    ///
    /// # Errors
    ///
    /// When the container would exit.
    pub fn start(&mut self, host: &Host, now: Time) -> Result<(), SettingsError> {
        let Some(node) = self.nodes.get_mut(host) else { return Ok(()) };
        if node.is_running() {
            return Ok(());
        }
        node.boot(&mut self.random, now)?;
        self.lifecycle += 1;
        self.make_single_node_dbs(host, now);
        self.make_shard_files(host);
        self.dial_members(host, now);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self, host: &Host) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.process = None;
            node.paused = false;
            node.restart = None;
        }
        self.lifecycle += 1;
        for peer in self.connections.remove(host).unwrap_or_default() {
            self.disconnect(host, &peer);
        }
    }

    /// The volume is lost; the process with it.
    pub fn wipe(&mut self, host: &Host) {
        self.kill(host);
        if let Some(node) = self.nodes.get_mut(host) {
            node.volume = Volume::default();
        }
    }

    /// Another volume is mounted, for example one of another cluster; the process is killed.
    pub fn mount(&mut self, host: &Host, volume: Volume) {
        self.kill(host);
        if let Some(node) = self.nodes.get_mut(host) {
            node.volume = volume;
        }
    }

    /// The container is gone, and what `_config` wrote with it; the process is killed.
    pub fn lose_ini(&mut self, host: &Host) {
        self.kill(host);
        if let Some(node) = self.nodes.get_mut(host) {
            node.lose_ini();
        }
    }

    /// Changes what the next start reads: another image, environment or ini file.
    pub fn reconfigure(&mut self, host: &Host, change: impl FnOnce(NodeSettings) -> NodeSettings) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.settings = change(node.settings.clone());
        }
    }

    /// SIGSTOP and SIGCONT.
    pub fn set_paused(&mut self, host: &Host, paused: bool) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.paused = paused && node.is_running();
        }
    }

    /// Each answer takes so much longer.
    pub fn set_slow(&mut self, host: &Host, by: Duration) {
        if let Some(node) = self.nodes.get_mut(host) {
            node.slow = by;
        }
    }

    /// Publishes a name in DNS or takes it away.
    pub fn set_published(&mut self, host: &Host, published: bool) {
        if published {
            self.unpublished.remove(host);
        } else {
            self.unpublished.insert(host.clone());
        }
    }

    /// Loses HTTP from a source (a door's name) to a node; `None` heals it.
    pub fn cut_http(&mut self, source: &str, to: &Host, cut: Option<Cut>) {
        let key = (source.to_owned(), to.clone());
        match cut {
            Some(cut) => self.http_cuts.insert(key, cut),
            None => self.http_cuts.remove(&key),
        };
    }

    fn tick_restarts(&mut self, now: Time) {
        let due: Vec<(Host, Time)> = self
            .nodes
            .iter()
            .filter_map(|(host, node)| node.restart.map(|(down, up)| (host.clone(), down, up)))
            .filter(|(_, down, _)| *down <= now)
            .map(|(host, _, up)| (host, up))
            .collect();
        for (host, up) in due {
            if self.nodes[&host].is_running() {
                self.kill(&host);
                if let Some(node) = self.nodes.get_mut(&host) {
                    node.restart = Some((now, up));
                }
            }
            if up <= now {
                // It started from the same settings before; a refusal now would leave it down, as in reality.
                let _ = self.start(&host, now);
            }
        }
    }
}
