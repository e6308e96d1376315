//! Internal replication: what mem3 pushes from one copy of a shard to another, and its checkpoints.
//!
//! A pass copies what the source had when the pass began, and takes [`Timings::pass`](super::Timings). It writes the
//! same checkpoint into both files; a pass without a new change writes none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::http::Time;
use super::revs::Doc;
use super::settings::Host;
use super::shard_file::{ShardFile, checkpoint_id, purge_checkpoint_id};
use super::shards::{Shard, ShardMap, contains_doc};
use super::world::World;
use crate::date::rfc3339_micros;

/// A push of one copy to another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Push {
    shard: Shard,
    from: Host,
    to: Host,
}

/// The pushes of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Pushes {
    /// Those that begin at a time.
    waiting: BTreeMap<Push, Time>,
    /// Nodes that were connected: the first pushes all of its shards to the second.
    node_ups: Vec<(Host, Host)>,
    running: Vec<Pass>,
}

/// A pass that is under way.
#[derive(Debug)]
struct Pass {
    push: Push,
    /// The range that the target holds, which may be a part of the source's or contain it.
    target: Shard,
    /// The uuids of both files at the beginning.
    uuids: [String; 2],
    docs: Vec<(String, Doc)>,
    /// The source's last change at the beginning.
    seq: u64,
    done_at: Time,
}

impl Pushes {
    /// `true` if a push begins now, or a pass ends.
    pub(crate) fn are_due(&self, now: Time) -> bool {
        !self.node_ups.is_empty()
            || self.waiting.values().any(|at| *at <= now)
            || self.running.iter().any(|pass| pass.done_at <= now)
    }
}

impl World {
    pub(crate) fn push_all_on_node_up(&mut self, a: &Host, b: &Host) {
        self.pushes.node_ups.extend([(a.clone(), b.clone()), (b.clone(), a.clone())]);
    }

    /// Pushes a changed copy to the other holders that are connected, after a delay.
    pub(crate) fn push_soon(&mut self, from: &Host, shard: &Shard, now: Time) {
        let Some(map) = self.map_of(from, &shard.db).filter(|map| map.suffix == shard.suffix) else { return };
        // A holder that the map does not list any more pushes as well.
        for (_, holder) in map.overlapping(&shard.range) {
            let Some(to) = self.host_of(holder).filter(|to| to != from && self.is_connected(from, to)) else {
                continue;
            };
            let push = Push { shard: shard.clone(), from: from.clone(), to };
            self.pushes.waiting.entry(push).or_insert(now + self.timings.sync_delay);
        }
    }

    /// `_sync_shards`: one pass between all holders in the map of the node that was asked.
    pub(crate) fn sync_shards(&mut self, host: &Host, map: &ShardMap, now: Time) {
        for (range, holders) in &map.by_range {
            for from in holders.iter().filter_map(|name| self.host_of(name)).collect::<Vec<_>>() {
                if self.reaches(host, &from) {
                    self.push_to_all(&from, map, range, now);
                }
            }
        }
    }

    fn push_to_all(&mut self, from: &Host, map: &ShardMap, range: &str, now: Time) {
        let targets: Vec<Host> =
            map.overlapping(range).into_iter().filter_map(|(_, name)| self.host_of(name)).collect();
        for to in targets.into_iter().filter(|to| to != from) {
            self.begin_push(Push { shard: map.shard(range), from: from.clone(), to }, now);
        }
    }

    /// Begins and ends the passes that are due.
    pub(crate) fn tick_pushes(&mut self, now: Time) {
        for (from, to) in std::mem::take(&mut self.pushes.node_ups) {
            self.push_all(&from, &to, now);
        }
        let due: Vec<Push> =
            self.pushes.waiting.iter().filter(|(_, at)| **at <= now).map(|(push, _)| push.clone()).collect();
        for push in due {
            self.pushes.waiting.remove(&push);
            self.begin_push(push, now);
        }
        let (done, running) =
            std::mem::take(&mut self.pushes.running).into_iter().partition(|pass| pass.done_at <= now);
        self.pushes.running = running;
        for pass in done {
            self.end_pass(pass, now);
        }
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
                    self.begin_push(Push { shard, from: from.clone(), to: to.clone() }, now);
                }
            }
        }
    }

    fn was_never_written(&self, host: &Host, shard: &Shard) -> bool {
        self.file(host, shard).is_some_and(|file| file.docs.seq == 0)
    }

    /// Begins a pass to each of the target's copies that overlap with the source.
    fn begin_push(&mut self, push: Push, now: Time) {
        let Push { shard, from, to } = &push;
        if !self.is_connected(from, to) {
            return;
        }
        // A push that fails is tried again. So is one that meets a running one, which does not contain later changes.
        let running = self.pushes.running.iter().find(|pass| pass.push == push).map(|pass| pass.done_at);
        let retry = if self.reaches(from, to) { running } else { Some(now + self.timings.sync_delay) };
        if let Some(at) = retry {
            self.pushes.waiting.entry(push).or_insert(at);
            return;
        }
        let (Some(map), Some(peer)) =
            (self.map_of(from, &shard.db), self.nodes[to].name().map(str::to_owned))
        else {
            return;
        };
        if map.suffix != shard.suffix || !self.nodes[from].volume.shards.contains_key(shard) {
            return;
        }
        self.sync_security(from, &map);
        let overlapping = map.overlapping(&shard.range);
        let targets: Vec<Shard> =
            overlapping.into_iter().filter(|(_, holder)| *holder == peer).map(|(target, _)| target).collect();
        for target in targets {
            self.begin_pass(&push, target, now);
        }
    }

    fn begin_pass(&mut self, push: &Push, target: Shard, now: Time) {
        // mem3 opens the target with `get_or_create_db`.
        self.create_file(&push.to, &target);
        self.exchange_purges(push, &target);
        let source = &self.nodes[&push.from].volume.shards[&push.shard];
        let seq = source.docs.last_change();
        if seq == 0 {
            return;
        }
        let other = &self.nodes[&push.to].volume.shards[&target];
        let id = checkpoint_id(&source.uuid, &other.uuid);
        let since = source.checkpoint(&id, "seq").min(other.checkpoint(&id, "seq"));
        if since >= seq {
            return;
        }
        let changes = source.docs.changes_since(since);
        let docs = changes
            .filter(|(_, id, _)| contains_doc(&target.range, id))
            .map(|(_, id, doc)| (id.clone(), doc.clone()))
            .collect();
        let uuids = [source.uuid.clone(), other.uuid.clone()];
        let done_at = now + self.timings.pass;
        self.pushes.running.push(Pass { push: push.clone(), target, uuids, docs, seq, done_at });
    }

    fn end_pass(&mut self, pass: Pass, now: Time) {
        let Pass { push, target, uuids, docs, seq, .. } = pass;
        let Push { shard, from, to } = &push;
        if !self.reaches(from, to) {
            self.pushes.waiting.entry(push).or_insert(now + self.timings.sync_delay);
            return;
        }
        // A file that was lost meanwhile is another one, although it has the same name.
        if self.uuid_of(from, shard) != Some(&uuids[0]) || self.uuid_of(to, &target) != Some(&uuids[1]) {
            return;
        }
        let mut changed = false;
        if let Some(file) = self.shard_file_mut(to, &target) {
            for (id, doc) in &docs {
                changed |= file.docs.merge_doc(id, doc);
            }
        }
        let body = self.checkpoint_body(&push, &target, seq, now);
        let id = checkpoint_id(&uuids[0], &uuids[1]);
        for (host, shard) in [(from, shard), (to, &target)] {
            if let Some(file) = self.shard_file_mut(host, shard) {
                file.write_local(&id, body.clone());
            }
        }
        if changed {
            self.push_soon(to, &target, now);
        }
    }

    fn uuid_of(&self, host: &Host, shard: &Shard) -> Option<&String> {
        self.nodes.get(host)?.volume.shards.get(shard).map(|file| &file.uuid)
    }

    /// The content of a checkpoint. Of its history, only the last entry is imitated.
    fn checkpoint_body(&self, push: &Push, target: &Shard, seq: u64, now: Time) -> Value {
        let name = |host: &Host| self.nodes[host].name().unwrap_or_default().to_owned();
        let (source_uuid, target_uuid) =
            (self.uuid_of(&push.from, &push.shard), self.uuid_of(&push.to, target));
        let target_seq = self.nodes[&push.to].volume.shards.get(target).map(|file| file.docs.seq);
        let entry = json!({
            "source_node": name(&push.from),
            "source_uuid": source_uuid,
            "source_seq": seq,
            "timestamp": rfc3339_micros(now),
            "target_node": name(&push.to),
            "target_uuid": target_uuid,
            "target_seq": target_seq,
        });
        json!({"seq": seq, "target_uuid": target_uuid, "history": {name(&push.from): [entry]}})
    }

    /// Purges are exchanged before changes, in both directions.
    fn exchange_purges(&mut self, push: &Push, target: &Shard) {
        let Push { shard, from, to } = push;
        for ((a, shard_a), (b, shard_b)) in [((to, target), (from, shard)), ((from, shard), (to, target))] {
            let files = self.file(a, shard_a).zip(self.file(b, shard_b));
            let Some((source, other)) = files else { continue };
            let id = purge_checkpoint_id(&source.uuid, &other.uuid);
            let purge_seq = source.purge_seq();
            if purge_seq <= source.checkpoint(&id, "purge_seq") {
                continue;
            }
            let purges = source.purges.clone();
            let names = [a, b].map(|host| self.nodes[host].name().unwrap_or_default().to_owned());
            let body = json!({"type": "internal_replication", "purge_seq": purge_seq,
                              "source": names[0], "target": names[1]});
            if let Some(file) = self.shard_file_mut(b, shard_b) {
                for purge in purges.into_iter().filter(|purge| contains_doc(&shard_b.range, &purge.id)) {
                    file.purge(purge);
                }
            }
            if let Some(file) = self.shard_file_mut(a, shard_a) {
                file.write_local(&id, body);
            }
        }
    }

    pub(crate) fn file(&self, host: &Host, shard: &Shard) -> Option<&ShardFile> {
        self.nodes.get(host)?.volume.shards.get(shard)
    }

    /// `mem3_sync_security`: where the copies have exactly two values, that of more than half of all copies is written to
    /// all. Copies on a node in maintenance mode neither vote nor get it.
    fn sync_security(&mut self, host: &Host, map: &ShardMap) {
        let all: usize = map.by_range.values().map(Vec::len).sum();
        let copies = self.live_copies(host, map);
        let mut votes: Vec<(Value, usize)> = Vec::new();
        for copy in &copies {
            let Some(file) = self.file(&copy.host, &copy.shard) else { continue };
            match votes.iter_mut().find(|(value, _)| *value == file.security) {
                Some((_, count)) => *count += 1,
                None => votes.push((file.security.clone(), 1)),
            }
        }
        let winner = votes.iter().find(|(_, count)| *count > all / 2);
        let Some((value, _)) = winner.filter(|_| votes.len() == 2).cloned() else { return };
        for copy in copies {
            if let Some(file) = self.shard_file_mut(&copy.host, &copy.shard)
                && file.security != value
            {
                file.set(|file| file.security = value.clone());
            }
        }
    }
}
