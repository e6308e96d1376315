//! Erlang between the nodes: connections, and the replication of `_nodes` and `_dbs`.

use std::time::Duration;

use serde_json::Map;

use super::http::Time;
use super::node::Node;
use super::revs::{Docs, Edit};
use super::seeds::Pull;
use super::settings::Host;
use super::world::{Cut, Pair, World};

/// The time in which traffic reconnects two nodes after the end of a cut.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// The nodes that a push of `_dbs` goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maps {
    ToAll,
    AroundTheRing,
}

/// The files that a node pushes to another; `None` where the other has the same.
#[derive(Debug, Default)]
struct News {
    nodes: Option<Docs>,
    dbs: Option<Docs>,
}

impl World {
    /// Loses Erlang packets from one node to another. One direction is enough to break a connection, and to prevent
    /// one. `None` ends the cut; the nodes reconnect within a second.
    pub fn cut(&mut self, from: &Host, to: &Host, cut: Option<Cut>, now: Time) {
        let link = (from.clone(), to.clone());
        self.generation += 1;
        let Some(cut) = cut else {
            self.cuts.remove(&link);
            for end in [from, to] {
                if let Some(process) = self.nodes.get_mut(end).and_then(|n| n.process.as_mut()) {
                    process.next_reconnect = process.next_reconnect.min(now + AFTER_CUT);
                }
            }
            return;
        };
        self.cuts.insert(link, cut);
        // A reset is noticed at once; silently dropped packets only after the tick time.
        if cut == Cut::Reset {
            self.disconnect(from, to);
        }
    }

    /// `all_nodes` of `_membership`: the names of the connected nodes, the node itself included.
    pub fn connected(&self, host: &Host) -> Vec<String> {
        let own = self.nodes.get(host).and_then(|n| n.name()).unwrap_or("nonode@nohost");
        let peers = self.peers(host).filter_map(|peer| self.nodes[peer].name());
        let mut names: Vec<String> = peers.chain([own]).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The running node of this name.
    pub(crate) fn host_of(&self, name: &str) -> Option<Host> {
        self.nodes.iter().find(|(_, node)| node.name() == Some(name)).map(|(host, _)| host.clone())
    }

    pub(crate) fn is_connected(&self, a: &Host, b: &Host) -> bool {
        a == b || self.connections.get(a).is_some_and(|peers| peers.contains(b))
    }

    /// `true` if a message that is sent now arrives and is answered.
    pub(crate) fn reaches(&self, a: &Host, b: &Host) -> bool {
        a == b || self.is_connected(a, b) && !self.is_blocked(a, b)
    }

    /// `true` if no answer can pass between the two: a cut in either direction, or a stopped process.
    pub(crate) fn is_blocked(&self, a: &Host, b: &Host) -> bool {
        self.cut_between(a, b).is_some() || self.is_stopped(a) || self.is_stopped(b)
    }

    /// `true` if packets between the two are lost and neither end gets an error.
    pub(crate) fn is_silent(&self, a: &Host, b: &Host) -> bool {
        self.is_blocked(a, b) && self.cut_between(a, b) != Some(Cut::Reset)
    }

    /// The cut between two nodes. A reset in one direction hides a silent cut in the other.
    pub(crate) fn cut_between(&self, a: &Host, b: &Host) -> Option<Cut> {
        let one_way = self.cuts.get(&(a.clone(), b.clone())).copied();
        let other_way = self.cuts.get(&(b.clone(), a.clone())).copied();
        if one_way == Some(Cut::Reset) { one_way } else { other_way.or(one_way) }
    }

    fn is_stopped(&self, host: &Host) -> bool {
        self.nodes.get(host).is_none_or(|node| node.paused)
    }

    pub(super) fn peers<'a>(&'a self, host: &Host) -> impl Iterator<Item = &'a Host> {
        self.connections.get(host).into_iter().flatten()
    }

    pub(crate) fn disconnect(&mut self, a: &Host, b: &Host) {
        for (end, other) in [(a, b), (b, a)] {
            if let Some(peers) = self.connections.get_mut(end) {
                peers.remove(other);
            }
        }
        self.blocked.remove(&pair(a, b));
    }

    /// The connected pairs, each once.
    fn pairs(&self) -> impl Iterator<Item = (&Host, &Host)> {
        self.connections
            .iter()
            .flat_map(|(a, peers)| peers.iter().filter(move |b| a < *b).map(move |b| (a, b)))
    }

    /// `net_kernel:connect_node`, which any message to an unconnected node begins with. Returns `true` if a message
    /// would arrive.
    pub(crate) fn dial(&mut self, from: &Host, name: &str, now: Time) -> bool {
        self.learn_names(from, name);
        let Some(to) = self.host_of(name) else { return false };
        if !self.is_connected(from, &to) && self.may_connect(from, &to) {
            self.connect(from, &to, now);
        }
        self.reaches(from, &to)
    }

    /// Adds the name to those that the caller's Erlang knows, and the caller's name to those of the called node.
    fn learn_names(&mut self, from: &Host, name: &str) {
        let peer = self.host_of(name).filter(|to| !self.is_blocked(from, to));
        let own = self.nodes.get(from).and_then(|n| n.name()).map(str::to_owned);
        self.learn_name(from, name.to_owned());
        // A node that refuses the connection has read the caller's name in the handshake.
        if let Some((peer, own)) = peer.zip(own) {
            self.learn_name(&peer, own);
        }
    }

    fn learn_name(&mut self, host: &Host, name: String) {
        if let Some(process) = self.nodes.get_mut(host).and_then(|n| n.process.as_mut()) {
            process.known_names.insert(name);
        }
    }

    pub(crate) fn dial_members(&mut self, host: &Host, now: Time) {
        let Some(node) = self.nodes.get(host) else { return };
        let members: Vec<String> = node.members().into_iter().map(str::to_owned).collect();
        for member in members {
            self.dial(host, &member, now);
        }
    }

    fn may_connect(&self, from: &Host, to: &Host) -> bool {
        let processes = self.nodes.get(from).zip(self.nodes.get(to));
        let Some((a, b)) = processes.and_then(|(a, b)| a.process.as_ref().zip(b.process.as_ref())) else {
            return false;
        };
        // The caller resolves the host part of the name, so an unpublished pod can dial but not be dialed.
        let host_part = b.name.as_deref().and_then(|n| n.split_once('@')).map_or("", |(_, host)| host);
        let both_distributed = a.name.is_some() && b.name.is_some();
        both_distributed
            && a.cookie == b.cookie
            && !self.is_blocked(from, to)
            && !self.unpublished.contains(host_part)
    }

    fn connect(&mut self, a: &Host, b: &Host, now: Time) {
        for (end, other) in [(a, b), (b, a)] {
            self.connections.entry(end.clone()).or_default().insert(other.clone());
        }
        self.replicate_soon(now);
        // On `nodeup` mem3 pushes every shard that the other node holds as well.
        self.push_all_on_node_up(a, b);
        // Erlang's `global` makes a full mesh: a node that connects to one node connects to all peers of that node.
        for (newcomer, host) in [(a, b), (b, a)] {
            let others: Vec<Host> = self.peers(host).filter(|p| *p != newcomer).cloned().collect();
            for other in others {
                if !self.is_connected(newcomer, &other) && self.may_connect(newcomer, &other) {
                    self.connect(newcomer, &other, now);
                }
            }
        }
    }

    pub(crate) fn replicate_soon(&mut self, now: Time) {
        self.replicate_at.get_or_insert(now + self.timings.replicate);
    }

    /// `true` if a timer of internal replication or of resharding is due.
    pub(crate) fn is_replication_due(&self, now: Time) -> bool {
        let is_splitting = |node: &Node| node.is_running() && node.volume.resharding.is_running();
        self.replicate_at.is_some_and(|due| due <= now)
            || self.pushes.are_due(now)
            || self.nodes.values().any(is_splitting)
    }

    /// Breaks the connections over which no packet has passed for the tick time.
    pub(crate) fn tick_blocked(&mut self, now: Time) {
        if self.cuts.is_empty() && self.blocked.is_empty() && !self.nodes.values().any(|n| n.paused) {
            return;
        }
        let blocked: Vec<Pair> =
            self.pairs().filter(|(a, b)| self.is_blocked(a, b)).map(|(a, b)| pair(a, b)).collect();
        // A cut that ended in time leaves no trace: Erlang's ticks passed again.
        self.blocked.retain(|pair, _| blocked.contains(pair));
        for pair in blocked {
            let since = *self.blocked.entry(pair.clone()).or_insert(now);
            if now >= since + self.timings.net_tick {
                self.disconnect(&pair.0, &pair.1);
                self.broken.insert(pair, now);
            }
        }
    }

    /// Dials the members at each node's reconnect interval.
    pub(crate) fn tick_reconnects(&mut self, now: Time) {
        let hosts: Vec<Host> = self.nodes.keys().cloned().collect();
        for host in hosts {
            let Some(process) = self.nodes.get_mut(&host).and_then(|n| n.process.as_mut()) else { continue };
            if now < process.next_reconnect {
                continue;
            }
            // mem3_distribution adds up to a quarter of the interval, so that nodes don't dial in step.
            let jitter = self.timings.reconnect.mul_f64(self.random.below(250) as f64 / 1000.0);
            process.next_reconnect = now + self.timings.reconnect + jitter;
            self.dial_members(&host, now);
        }
    }

    /// Pulls from the seed that is due, on each node that has a seed list.
    pub(crate) fn tick_seeds(&mut self, now: Time) {
        let hosts: Vec<Host> = self.nodes.keys().cloned().collect();
        for host in hosts {
            let due = self.nodes[&host].process.as_ref().and_then(|p| p.seeds.due(now)).map(str::to_owned);
            let Some(seed) = due else { continue };
            let pull = if self.dial(&host, &seed, now) { Pull::Done(now) } else { Pull::Failed(now) };
            if let Some(process) = self.nodes.get_mut(&host).and_then(|n| n.process.as_mut()) {
                process.seeds.pulled(pull, now);
            }
        }
    }

    /// Replicates `_nodes` and `_dbs` when they are due.
    pub(crate) fn tick_replication(&mut self, now: Time) {
        if self.replicate_at.is_none_or(|due| due > now) {
            return;
        }
        self.replicate_at = None;
        if self.timings.ring_hop.is_zero() {
            // A change may have to pass through several nodes: repeat until no node gets anything new.
            while self.replicate_once(now) {}
        } else if self.replicate_one_hop(now) {
            self.replicate_at.get_or_insert(now + self.timings.ring_hop);
        }
    }

    /// Lets every node push `_nodes` and `_dbs` to the connected members that it knows. mem3 pushes maps around a ring;
    /// the result is the same. Returns `true` if a node got something new.
    fn replicate_once(&mut self, now: Time) -> bool {
        let mut changed = false;
        let pairs: Vec<Pair> =
            self.pairs().flat_map(|(a, b)| [(a.clone(), b.clone()), (b.clone(), a.clone())]).collect();
        for (from, to) in pairs {
            let news = self.news(&from, &to, Maps::ToAll);
            changed |= self.receive(&to, news, now);
        }
        changed
    }

    /// Lets every node push what it has now: `_nodes` to all connected members, and `_dbs` to the next one of the ring.
    fn replicate_one_hop(&mut self, now: Time) -> bool {
        let pairs: Vec<Pair> =
            self.pairs().flat_map(|(a, b)| [(a.clone(), b.clone()), (b.clone(), a.clone())]).collect();
        let news: Vec<(Host, News)> = pairs
            .into_iter()
            .map(|(from, to)| (to.clone(), self.news(&from, &to, Maps::AroundTheRing)))
            .collect();
        let mut changed = false;
        for (to, news) in news {
            changed |= self.receive(&to, news, now);
        }
        changed
    }

    /// What a node pushes to another.
    fn news(&self, from: &Host, to: &Host, maps: Maps) -> News {
        let name = self.nodes[to].name().unwrap_or_default();
        let source = &self.nodes[from].volume;
        // A connected node that is not a member, for example a removed one, gets nothing.
        let is_member = source.nodes.get(name).is_some_and(|doc| doc.live().is_some());
        if !is_member || !self.reaches(from, to) {
            return News::default();
        }
        let target = &self.nodes[to].volume;
        // Equal files, the usual case, are not copied.
        let nodes = (!source.nodes.same(&target.nodes)).then(|| source.nodes.clone());
        let gets_maps = maps == Maps::ToAll || self.next_in_ring(from).as_ref() == Some(to);
        let dbs = (gets_maps && !source.dbs.same(&target.dbs)).then(|| source.dbs.clone());
        News { nodes, dbs }
    }

    /// `mem3_sync:find_next_node`: the next of the sorted members that are connected, the first after the last.
    fn next_in_ring(&self, host: &Host) -> Option<Host> {
        let own = self.nodes[host].name()?;
        let members = self.nodes[host].members();
        let is_live = |name: &&&str| self.host_of(name).is_some_and(|peer| self.is_connected(host, &peer));
        let live: Vec<&&str> = members.iter().filter(is_live).collect();
        let next = live.iter().find(|name| ***name > own).or_else(|| live.first())?;
        self.host_of(next)
    }

    /// Merges what was pushed to a node. Returns `true` if something is new.
    fn receive(&mut self, to: &Host, news: News, now: Time) -> bool {
        let Some(target) = self.nodes.get_mut(to) else { return false };
        let new_nodes = news.nodes.is_some_and(|nodes| target.volume.nodes.merge(&nodes));
        let new_dbs = news.dbs.is_some_and(|dbs| target.volume.dbs.merge(&dbs));
        if new_nodes {
            self.dial_members(to, now);
        }
        if new_dbs {
            self.create_shard_files(to);
        }
        new_nodes || new_dbs
    }

    /// Creates the shard files that the maps assign to a node. A file that no map lists any more stays on disk.
    pub(crate) fn create_shard_files(&mut self, host: &Host) {
        let Some(node) = self.nodes.get(host) else { return };
        let dbs: Vec<String> = node.volume.dbs.live().map(|(db, _, _)| db.clone()).collect();
        for db in dbs {
            self.create_shard_files_of(host, &db);
        }
    }

    pub(crate) fn create_shard_files_of(&mut self, host: &Host, db: &str) {
        let Some(map) = self.nodes.contains_key(host).then(|| self.map_of(host, db)).flatten() else {
            return;
        };
        let Some(name) = self.nodes[host].name().map(str::to_owned) else { return };
        for shard in map.shards_of(&name) {
            self.create_file(host, &shard);
        }
    }

    /// Writes a member into a node's own `_nodes`, as `mem3_nodes` does at its start. Returns `false` if it is listed
    /// already.
    pub(crate) fn put_member(&mut self, host: &Host, member: &str, now: Time) -> bool {
        let Some(node) = self.nodes.get_mut(host) else { return false };
        let written = node.volume.nodes.edit(member, Edit::create(Map::new())).is_ok();
        self.members_changed(host, now);
        written
    }

    pub(crate) fn members_changed(&mut self, host: &Host, now: Time) {
        self.dial_members(host, now);
        self.replicate_soon(now);
    }
}

/// The pair of two nodes, whatever their order.
pub(crate) fn pair(a: &Host, b: &Host) -> Pair {
    if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}
