//! The queue of internal replication (`mem3_sync`): what begins a push of one copy to another node, redirects, and
//! failed pushes.

use std::collections::BTreeMap;

use super::http::Time;
use super::replication::Pass;
use super::settings::{Host, Version};
use super::shards::{Shard, ShardMap};
use super::world::World;

/// A push of one copy to another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Push {
    pub(crate) shard: Shard,
    pub(crate) from: Host,
    /// Name of the node in the map, before a redirect. It need not be the name of any node.
    pub(crate) to: String,
}

/// The pushes of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Pushes {
    /// Changed copies, and the time at which they are pushed to the holders that the map lists then.
    updates: BTreeMap<(Host, Shard), Time>,
    /// Those that begin at a time.
    pub(crate) waiting: BTreeMap<Push, Time>,
    /// Nodes that were connected: the first pushes all of its shards to the second.
    node_ups: Vec<(Host, Host)>,
    pub(crate) running: Vec<Pass>,
    /// The number of pushes to each node name that have failed.
    failed: BTreeMap<String, u64>,
}

impl Pushes {
    /// `true` if a push begins now, or a pass ends.
    pub(crate) fn are_due(&self, now: Time) -> bool {
        !self.node_ups.is_empty()
            || self.updates.values().chain(self.waiting.values()).any(|at| *at <= now)
            || self.running.iter().any(|pass| pass.done_at <= now)
    }

    /// Forgets the pushes of a node whose process has ended. The others keep theirs to it.
    pub(crate) fn forget(&mut self, host: &Host) {
        self.updates.retain(|(from, _), _| from != host);
        self.waiting.retain(|push, _| push.from != *host);
        self.node_ups.retain(|(from, _)| from != host);
        self.running.retain(|pass| pass.push.from != *host);
    }
}

impl World {
    /// The number of pushes to this node name that have failed; each of them is one line in the log of a real node.
    pub fn failed_pushes(&self, to: &str) -> u64 {
        self.pushes.failed.get(to).copied().unwrap_or_default()
    }

    pub(crate) fn push_all_on_node_up(&mut self, a: &Host, b: &Host) {
        self.pushes.node_ups.extend([(a.clone(), b.clone()), (b.clone(), a.clone())]);
    }

    /// Pushes a changed copy to the other holders after a delay (`mem3_sync_event_listener`).
    pub(crate) fn push_soon(&mut self, from: &Host, shard: &Shard, now: Time) {
        self.index_soon(from, shard, now);
        let at = now + self.timings.sync_delay;
        self.pushes.updates.entry((from.clone(), shard.clone())).or_insert(at);
    }

    /// `_sync_shards`: one pass between all holders in the map of the node that was asked.
    pub(crate) fn sync_shards(&mut self, host: &Host, map: &ShardMap, now: Time) {
        for (range, holders) in &map.by_range {
            for from in holders.iter().filter_map(|name| self.host_of(name)).collect::<Vec<_>>() {
                if self.reaches(host, &from) {
                    // Unlike the other reasons for a push, this one does not ask for a connection.
                    let targets = map.overlapping(range).into_iter().map(|(_, name)| name.to_owned());
                    self.begin_pushes(&from, &map.shard(range), targets.collect(), now);
                }
            }
        }
    }

    fn begin_pushes(&mut self, from: &Host, shard: &Shard, targets: Vec<String>, now: Time) {
        for to in targets {
            // A node does not push to itself; the names are compared before redirects.
            if self.nodes[from].name() != Some(to.as_str()) {
                self.begin_push(Push { shard: shard.clone(), from: from.clone(), to }, now);
            }
        }
    }

    /// Begins and ends the passes that are due.
    pub(crate) fn tick_pushes(&mut self, now: Time) {
        if !self.pushes.are_due(now) {
            return;
        }
        for (from, to) in std::mem::take(&mut self.pushes.node_ups) {
            self.push_all(&from, &to, now);
        }
        let updated = self.pushes.updates.iter().filter(|(_, at)| **at <= now).map(|(copy, _)| copy.clone());
        for copy in updated.collect::<Vec<_>>() {
            self.pushes.updates.remove(&copy);
            self.push_update(&copy.0, &copy.1, now);
        }
        let due = self.pushes.waiting.iter().filter(|(_, at)| **at <= now).map(|(push, _)| push.clone());
        for push in due.collect::<Vec<_>>() {
            self.pushes.waiting.remove(&push);
            self.begin_push(push, now);
        }
        // A batch that takes no time ends in the tick in which it begins.
        while let Some(index) = self.pushes.running.iter().position(|pass| pass.done_at <= now) {
            let pass = self.pushes.running.remove(index);
            self.end_pass(pass, now);
        }
    }

    /// Pushes a changed copy to the connected nodes of the map. The copy itself need not be in it: a node that was removed
    /// from the map still pushes.
    fn push_update(&mut self, from: &Host, shard: &Shard, now: Time) {
        let Some(map) = self.own_map(from, shard) else { return };
        let holders = map.overlapping(&shard.range).into_iter().map(|(_, holder)| holder.to_owned());
        let is_live =
            |name: &String| self.host_of(name).is_some_and(|to| to != *from && self.is_connected(from, &to));
        let targets = holders.filter(is_live).collect();
        self.begin_pushes(from, shard, targets, now);
    }

    fn push_all(&mut self, from: &Host, to: &Host, now: Time) {
        let names = (self.nodes[from].name().map(str::to_owned), self.nodes[to].name().map(str::to_owned));
        let (Some(own), Some(peer)) = names else { return };
        let node = &self.nodes[from];
        let maps: Vec<ShardMap> =
            node.volume.dbs.live().map(|(db, _, doc)| ShardMap::parse(db, doc)).collect();
        for map in maps {
            for shard in map.shards_of(&own) {
                // Most files of many databases are empty on both sides: a push would find nothing.
                if self.was_never_written(from, &shard) && self.was_never_written(to, &shard) {
                    continue;
                }
                if map.overlapping(&shard.range).iter().any(|(_, holder)| *holder == peer) {
                    self.begin_push(Push { shard, from: from.clone(), to: peer.clone() }, now);
                }
            }
        }
    }

    fn was_never_written(&self, host: &Host, shard: &Shard) -> bool {
        self.file(host, shard).is_some_and(|file| file.docs.seq == 0)
    }

    /// The map of a shard's database as the node has it now; `None` if the database was deleted or created again.
    fn own_map(&self, host: &Host, shard: &Shard) -> Option<ShardMap> {
        self.nodes.get(host).filter(|node| node.is_running())?;
        self.map_of(host, &shard.db).filter(|map| map.suffix == shard.suffix)
    }

    /// Begins a pass to each of the target's copies that overlap with the source. If the target has none, the pass goes
    /// to a file of the source's name there, whether or not a map lists it (`mem3_rep:targets_map`).
    fn begin_push(&mut self, push: Push, now: Time) {
        let Push { shard, from, to } = &push;
        // A push that meets a running one, which does not contain later changes, begins after it.
        if let Some(pass) = self.pushes.running.iter().find(|pass| pass.push == push) {
            let at = pass.done_at;
            self.pushes.waiting.entry(push).or_insert(at);
            return;
        }
        // `mem3:db_is_current` asks for the file's name only, not for the holder. Otherwise the push ends for good.
        let Some(map) = self.own_map(from, shard).filter(|map| map.by_range.contains_key(&shard.range))
        else {
            return;
        };
        if self.file(from, shard).is_none() {
            return;
        }
        let name = self.redirected(from, to);
        self.dial(from, &name, now);
        let Some(target) = self.host_of(&name).filter(|target| self.reaches(from, target)) else {
            return self.push_failed(push, now);
        };
        if target == *from {
            return;
        }
        self.sync_security(from, &map);
        let overlapping = map.overlapping(&shard.range).into_iter();
        let mut files: Vec<Shard> =
            overlapping.filter(|(_, holder)| *holder == name).map(|(file, _)| file).collect();
        if files.is_empty() {
            files.push(shard.clone());
        }
        for file in files {
            self.begin_pass(&push, &target, file, now);
        }
    }

    /// The node that pushes to a name go to: that of `[mem3.redirects]`, or the name itself.
    fn redirected(&self, from: &Host, to: &str) -> String {
        self.nodes[from].config("mem3.redirects", to).unwrap_or(to).to_owned()
    }

    /// A failed push is tried again for as long as the process runs and the database exists, whether or not the map still
    /// lists the target (`mem3_sync:handle_info`).
    pub(crate) fn push_failed(&mut self, push: Push, now: Time) {
        *self.pushes.failed.entry(push.to.clone()).or_default() += 1;
        // Later releases forget a push to a name that is no member and not connected (`is_job_current`).
        let node = &self.nodes[&push.from];
        let forgets = node.settings.version >= Version::new(3, 5, 2);
        let is_connected = self.host_of(&push.to).is_some_and(|to| self.is_connected(&push.from, &to));
        if forgets && !is_connected && !node.members().contains(&push.to.as_str()) {
            return;
        }
        self.pushes.waiting.entry(push).or_insert(now + RETRY);
    }
}

/// The time after which a failed push is tried again, which no setting changes.
const RETRY: Time = Time::from_secs(5);
