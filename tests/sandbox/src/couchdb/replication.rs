//! A pass of internal replication (`mem3_rep`): the changes of one copy that are written to another, and the checkpoint.
//!
//! A pass copies what the source had when the pass began, and takes [`Timings::pass`](super::Timings). It writes the
//! same checkpoint into both files; a pass without a new change writes none.

use serde_json::{Value, json};

use super::http::Time;
use super::pushes::Push;
use super::revs::Doc;
use super::settings::Host;
use super::shard_file::{ShardFile, checkpoint_id, purge_checkpoint_id};
use super::shards::{Shard, ShardMap, contains_doc};
use super::world::World;
use crate::date::rfc3339_micros;

/// A pass that is under way.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) push: Push,
    /// The node that the pass goes to, after a redirect.
    to: Host,
    /// The range that the target holds, which may be a part of the source's or contain it.
    target: Shard,
    /// The uuids of both files at the beginning.
    uuids: [String; 2],
    docs: Vec<(String, Doc)>,
    /// The source's last change at the beginning.
    seq: u64,
    pub(crate) done_at: Time,
}

impl World {
    /// Begins a pass to one file of the target.
    pub(crate) fn begin_pass(&mut self, push: &Push, to: &Host, target: Shard, now: Time) {
        // mem3 opens the target with `get_or_create_db`, which needs the database's map on the target.
        if self.map_of(to, &target.db).is_none() && self.file(to, &target).is_none() {
            return self.push_failed(push.clone(), now);
        }
        self.create_file(to, &target);
        self.exchange_purges(push, to, &target);
        let source = &self.nodes[&push.from].volume.shards[&push.shard];
        let seq = source.docs.last_change();
        if seq == 0 {
            return;
        }
        let other = &self.nodes[to].volume.shards[&target];
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
        let pass = Pass { push: push.clone(), to: to.clone(), target, uuids, docs, seq, done_at };
        self.pushes.running.push(pass);
    }

    pub(crate) fn end_pass(&mut self, pass: Pass, now: Time) {
        let (push, to) = (&pass.push, &pass.to);
        let files = [(&push.from, &push.shard), (to, &pass.target)];
        // A file that was lost meanwhile is another one, although it has the same name.
        let is_same = |((host, shard), uuid)| self.uuid_of(host, shard) == Some(uuid);
        if !self.reaches(&push.from, to) || !files.into_iter().zip(&pass.uuids).all(is_same) {
            return self.push_failed(pass.push, now);
        }
        let mut changed = false;
        if let Some(file) = self.shard_file_mut(to, &pass.target) {
            for (id, doc) in &pass.docs {
                changed |= file.docs.merge_doc(id, doc);
            }
        }
        let body = self.checkpoint_body(&pass, now);
        let id = checkpoint_id(&pass.uuids[0], &pass.uuids[1]);
        for (host, shard) in files {
            if let Some(file) = self.shard_file_mut(host, shard) {
                file.write_local(&id, body.clone());
            }
        }
        if changed {
            self.push_soon(to, &pass.target, now);
        }
    }

    fn uuid_of(&self, host: &Host, shard: &Shard) -> Option<&String> {
        self.nodes.get(host)?.volume.shards.get(shard).map(|file| &file.uuid)
    }

    /// The content of a checkpoint. Of its history, only the last entry is imitated.
    fn checkpoint_body(&self, pass: &Pass, now: Time) -> Value {
        let name = |host: &Host| self.nodes[host].name().unwrap_or_default().to_owned();
        let (from, [source_uuid, target_uuid]) = (name(&pass.push.from), &pass.uuids);
        let target_seq = self.file(&pass.to, &pass.target).map(|file| file.docs.seq);
        let entry = json!({
            "source_node": from,
            "source_uuid": source_uuid,
            "source_seq": pass.seq,
            "timestamp": rfc3339_micros(now),
            "target_node": name(&pass.to),
            "target_uuid": target_uuid,
            "target_seq": target_seq,
        });
        json!({"seq": pass.seq, "target_uuid": target_uuid, "history": {from: [entry]}})
    }

    /// Purges are exchanged before changes, in both directions.
    fn exchange_purges(&mut self, push: &Push, to: &Host, target: &Shard) {
        let Push { shard, from, .. } = push;
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
    pub(crate) fn sync_security(&mut self, host: &Host, map: &ShardMap) {
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
