//! What Erlang does between nodes: connections, `_nodes` and `_dbs` passing over them, shard copies filled.

use std::time::Duration;

use serde_json::Map;

use super::http::Time;
use super::settings::Host;
use super::shards::{Shard, ShardMap};
use super::world::{Cut, Pair, World};

impl World {
    /// Loses Erlang packets from one node to another. One direction is enough to break a connection, and to
    /// prevent one; `None` heals it, and traffic finds the way again within a second.
    pub fn cut(&mut self, from: &Host, to: &Host, cut: Option<Cut>, now: Time) {
        let link = (from.clone(), to.clone());
        self.lifecycle += 1;
        match cut {
            Some(cut) => {
                self.cuts.insert(link, cut);
                if cut == Cut::Reset {
                    self.disconnect(from, to);
                }
            }
            None => {
                self.cuts.remove(&link);
                for end in [from, to] {
                    if let Some(process) = self.nodes.get_mut(end).and_then(|n| n.process.as_mut()) {
                        process.next_reconnect = process.next_reconnect.min(now + Duration::from_secs(1));
                    }
                }
            }
        }
    }

    /// `all_nodes` of `_membership`: connected now, by name, itself included.
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

    /// A message sent now arrives and is answered.
    pub(crate) fn reaches(&self, a: &Host, b: &Host) -> bool {
        a == b || self.is_connected(a, b) && !self.is_blocked(a, b)
    }

    pub(crate) fn is_blocked(&self, a: &Host, b: &Host) -> bool {
        let lost = |from: &Host, to: &Host| self.cuts.contains_key(&(from.clone(), to.clone()));
        let stopped = |host: &Host| self.nodes.get(host).is_none_or(|n| n.paused);
        lost(a, b) || lost(b, a) || stopped(a) || stopped(b)
    }

    /// Nobody says that nothing passes between the two.
    pub(crate) fn is_silent(&self, a: &Host, b: &Host) -> bool {
        let refused =
            |from: &Host, to: &Host| self.cuts.get(&(from.clone(), to.clone())) == Some(&Cut::Reset);
        self.is_blocked(a, b) && !refused(a, b) && !refused(b, a)
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

    /// Each pair that is connected, once.
    fn pairs(&self) -> impl Iterator<Item = (&Host, &Host)> {
        self.connections
            .iter()
            .flat_map(|(a, peers)| peers.iter().filter(move |b| a < *b).map(move |b| (a, b)))
    }

    /// `net_kernel:connect_node`, and what any message to an unconnected node does first. True when a message
    /// would arrive.
    pub(crate) fn dial(&mut self, from: &Host, name: &str, now: Time) -> bool {
        self.hear(from, name);
        let Some(to) = self.host_of(name) else { return false };
        if !self.is_connected(from, &to) && self.may_connect(from, &to) {
            self.connect(from, &to, now);
        }
        self.reaches(from, &to)
    }

    /// Erlang keeps a name for good. The other end of a call learns it, too, even from one that it refuses.
    fn hear(&mut self, from: &Host, name: &str) {
        let peer = self.host_of(name).filter(|to| !self.is_blocked(from, to));
        let own = self.nodes.get(from).and_then(|n| n.name()).map(str::to_owned);
        let mut tell = |host: &Host, name: String| {
            if let Some(process) = self.nodes.get_mut(host).and_then(|n| n.process.as_mut()) {
                process.heard.insert(name);
            }
        };
        tell(from, name.to_owned());
        if let Some((peer, own)) = peer.zip(own) {
            tell(&peer, own);
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
        let named = a.name.is_some() && b.name.is_some();
        let host_part = b.name.as_deref().and_then(|n| n.split_once('@')).map_or("", |(_, host)| host);
        named && a.cookie == b.cookie && !self.is_blocked(from, to) && !self.unpublished.contains(host_part)
    }

    fn connect(&mut self, a: &Host, b: &Host, now: Time) {
        for (end, other) in [(a, b), (b, a)] {
            self.connections.entry(end.clone()).or_default().insert(other.clone());
        }
        self.replicate_soon(now);
        self.fill_all_of(a, now);
        self.fill_all_of(b, now);
        // Erlang's `global` makes a full mesh: who meets a node meets all that it knows.
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

    pub(crate) fn fill_soon(&mut self, db: &str, now: Time) {
        self.unfilled.insert(db.to_owned());
        self.fill_at.get_or_insert(now + self.timings.fill);
    }

    /// On `nodeup` mem3 syncs every database of the node.
    fn fill_all_of(&mut self, host: &Host, now: Time) {
        let Some(node) = self.nodes.get(host) else { return };
        let dbs: Vec<String> = node.volume.dbs.live().map(|(db, _, _)| db.clone()).collect();
        for db in dbs {
            self.fill_soon(&db, now);
        }
    }

    pub(crate) fn tick_blocked(&mut self, now: Time) {
        if self.cuts.is_empty() && self.blocked.is_empty() && !self.nodes.values().any(|n| n.paused) {
            return;
        }
        let blocked: Vec<Pair> =
            self.pairs().filter(|(a, b)| self.is_blocked(a, b)).map(|(a, b)| pair(a, b)).collect();
        self.blocked.retain(|pair, _| blocked.contains(pair));
        for pair in blocked {
            let since = *self.blocked.entry(pair.clone()).or_insert(now);
            if now >= since + self.timings.net_tick {
                self.disconnect(&pair.0, &pair.1);
                self.broken.insert(pair, now);
            }
        }
    }

    pub(crate) fn tick_reconnects(&mut self, now: Time) {
        let hosts: Vec<Host> = self.nodes.keys().cloned().collect();
        for host in hosts {
            let Some(process) = self.nodes.get_mut(&host).and_then(|n| n.process.as_mut()) else { continue };
            if now < process.next_reconnect {
                continue;
            }
            let jitter = self.timings.reconnect.mul_f64(self.random.below(250) as f64 / 1000.0);
            process.next_reconnect = now + self.timings.reconnect + jitter;
            self.dial_members(&host, now);
        }
    }

    pub(crate) fn tick_seeds(&mut self, now: Time) {
        let hosts: Vec<Host> = self.nodes.keys().cloned().collect();
        for host in hosts {
            let due = self.nodes[&host].process.as_ref().and_then(|p| p.seeds.due(now)).map(str::to_owned);
            let Some(seed) = due else { continue };
            let reached = self.dial(&host, &seed, now);
            if let Some(process) = self.nodes.get_mut(&host).and_then(|n| n.process.as_mut()) {
                process.seeds.pulled(reached, now);
            }
        }
    }

    pub(crate) fn tick_replication(&mut self, now: Time) {
        if self.replicate_at.is_some_and(|due| due <= now) {
            self.replicate_at = None;
            while self.replicate_once(now) {}
        }
        if self.fill_at.is_some_and(|due| due <= now) {
            self.fill_at = None;
            for db in std::mem::take(&mut self.unfilled) {
                self.fill(&db);
            }
        }
    }

    /// Every node pushes to the members it knows; the real ring has the same end. True when something was new.
    fn replicate_once(&mut self, now: Time) -> bool {
        let mut changed = false;
        let pairs: Vec<Pair> =
            self.pairs().flat_map(|(a, b)| [(a.clone(), b.clone()), (b.clone(), a.clone())]).collect();
        for (from, to) in pairs {
            let name = self.nodes[&to].name().unwrap_or_default();
            let known = self.nodes[&from].volume.nodes.get(name).is_some_and(|doc| doc.live().is_some());
            if !known || !self.reaches(&from, &to) {
                continue;
            }
            let (nodes, dbs) = {
                let source = &self.nodes[&from].volume;
                let target = &self.nodes[&to].volume;
                (
                    (!source.nodes.same(&target.nodes)).then(|| source.nodes.clone()),
                    (!source.dbs.same(&target.dbs)).then(|| source.dbs.clone()),
                )
            };
            let Some(target) = self.nodes.get_mut(&to) else { continue };
            let new_nodes = nodes.is_some_and(|n| target.volume.nodes.merge(&n));
            let new_dbs = dbs.is_some_and(|d| target.volume.dbs.merge(&d));
            if new_nodes {
                self.dial_members(&to, now);
            }
            if new_dbs {
                self.make_shard_files(&to);
                self.fill_all_of(&to, now);
            }
            changed |= new_nodes || new_dbs;
        }
        changed
    }

    /// The copies of each range take from each other what they lack.
    pub(crate) fn fill(&mut self, db: &str) {
        let maps: Vec<ShardMap> = self
            .nodes
            .values()
            .filter_map(|node| {
                let doc = node.volume.dbs.get(db)?.live()?.1;
                node.is_running().then(|| ShardMap::parse(db, doc))
            })
            .collect();
        for map in maps {
            for (range, holders) in &map.by_range {
                self.fill_range(&map.shard(range), holders);
            }
        }
    }

    fn fill_range(&mut self, shard: &Shard, holders: &[String]) {
        let hosts: Vec<Host> = holders.iter().filter_map(|name| self.host_of(name)).collect();
        for from in &hosts {
            let Some(docs) = self.nodes[from].volume.shards.get(shard).cloned() else { continue };
            for to in hosts.iter().filter(|to| *to != from) {
                if !self.reaches(from, to) {
                    continue;
                }
                if let Some(copy) = self.nodes.get_mut(to).and_then(|n| n.volume.shards.get_mut(shard)) {
                    copy.merge(&docs);
                }
            }
        }
    }

    /// A node makes the files that the maps want from it; what no map wants any more stays on disk.
    pub(crate) fn make_shard_files(&mut self, host: &Host) {
        let Some(node) = self.nodes.get(host) else { return };
        let dbs: Vec<String> = node.volume.dbs.live().map(|(db, _, _)| db.clone()).collect();
        for db in dbs {
            self.make_shard_files_of(host, &db);
        }
    }

    pub(crate) fn make_shard_files_of(&mut self, host: &Host, db: &str) {
        let Some(map) = self.nodes.contains_key(host).then(|| self.map_of(host, db)).flatten() else {
            return;
        };
        let Some(node) = self.nodes.get_mut(host) else { return };
        let Some(name) = node.process.as_ref().and_then(|p| p.name.as_deref()) else { return };
        for shard in map.shards_of(name) {
            node.volume.shards.entry(shard).or_default();
        }
    }

    /// A member is written into a node's own `_nodes`, as `mem3_nodes` does at its start.
    pub(crate) fn put_member(&mut self, host: &Host, member: &str, now: Time) -> bool {
        let Some(node) = self.nodes.get_mut(host) else { return false };
        let written = node.volume.nodes.edit(member, None, false, Map::new()).is_ok();
        self.members_changed(host, now);
        written
    }

    pub(crate) fn members_changed(&mut self, host: &Host, now: Time) {
        self.dial_members(host, now);
        self.replicate_soon(now);
    }
}

pub(crate) fn pair(a: &Host, b: &Host) -> Pair {
    if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}
