//! A pass of internal replication (`mem3_rep`): the changes of one copy that are written to another, and the checkpoint.
//!
//! A pass consists of batches; each copies what the source had when the batch began, and writes the same checkpoint into
//! both files. It takes [`Timings::pass`](super::Timings) and [`Timings::pass_per_doc`](super::Timings). A pass without a
//! new change writes no checkpoint.

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
    /// The source's last change that the batch contains.
    seq: u64,
    /// `true` if the source had further changes at the beginning.
    has_more: bool,
    /// The number of batches that may follow before the push queues again.
    batches_left: usize,
    pub(crate) done_at: Time,
}

/// `[mem3] sync_batch_size`, unless it is configured.
const BATCH_SIZE: usize = 500;
/// `[mem3] sync_batch_count`, unless it is configured.
const BATCH_COUNT: usize = 5;

impl World {
    /// Begins a pass to one file of the target.
    pub(crate) fn begin_pass(&mut self, push: &Push, to: &Host, target: Shard, now: Time) {
        // mem3 opens the target with `get_or_create_db`, which needs the database's map on the target.
        let can_be_opened = self.map_of(to, &target.db).is_some() || self.file(to, &target).is_some();
        if !can_be_opened || self.nodes[to].is_disk_full {
            return self.push_failed(push.clone(), now);
        }
        self.create_file(to, &target);
        self.exchange_purges(push, to, &target);
        let count = self.nodes[&push.from].config_number("mem3", "sync_batch_count").unwrap_or(BATCH_COUNT);
        let pass = self.batch(push, (to, target), count.saturating_sub(1), now + self.timings.pass);
        self.pushes.running.extend(pass);
    }

    /// The next batch of a pass, which begins at a time; `None` if the target has everything.
    fn batch(
        &self,
        push: &Push,
        (to, target): (&Host, Shard),
        batches_left: usize,
        begin: Time,
    ) -> Option<Pass> {
        let source = self.file(&push.from, &push.shard)?;
        let other = self.file(to, &target)?;
        let id = checkpoint_id(&source.uuid, &other.uuid);
        let since = source.checkpoint(&id, "seq").min(other.checkpoint(&id, "seq"));
        let size = self.nodes[&push.from].config_number("mem3", "sync_batch_size").unwrap_or(BATCH_SIZE);
        let changes: Vec<_> = source.docs.changes_since(since).take(size.max(1)).collect();
        let seq = changes.last()?.0;
        let docs: Vec<(String, Doc)> = changes
            .into_iter()
            .filter(|(_, id, _)| contains_doc(&target.range, id))
            .map(|(_, id, doc)| (id.clone(), doc.clone()))
            .collect();
        let uuids = [source.uuid.clone(), other.uuid.clone()];
        let done_at = begin + self.timings.pass_per_doc * u32::try_from(docs.len()).unwrap_or(u32::MAX);
        let has_more = seq < source.docs.last_change();
        let (push, to) = (push.clone(), to.clone());
        Some(Pass { push, to, target, uuids, docs, seq, has_more, batches_left, done_at })
    }

    pub(crate) fn end_pass(&mut self, pass: Pass, now: Time) {
        let (push, to) = (&pass.push, &pass.to);
        let files = [(&push.from, &push.shard), (to, &pass.target)];
        // A file that was lost meanwhile is another one, although it has the same name.
        let is_same = |((host, shard), uuid)| self.uuid_of(host, shard) == Some(uuid);
        let are_same = files.into_iter().zip(&pass.uuids).all(is_same);
        if !are_same || !self.reaches(&push.from, to) || self.nodes[to].is_disk_full {
            return self.push_failed(pass.push, now);
        }
        let mut changed = false;
        if let Some(file) = self.shard_file_mut(to, &pass.target) {
            for (id, doc) in &pass.docs {
                changed |= file.docs.merge_doc(id, doc);
            }
        }
        if changed {
            self.push_soon(to, &pass.target, now);
        }
        // The checkpoint is written to both files, after the documents.
        if self.nodes[&push.from].is_disk_full {
            return self.push_failed(pass.push, now);
        }
        let body = self.checkpoint_body(&pass, now);
        let id = checkpoint_id(&pass.uuids[0], &pass.uuids[1]);
        for (host, shard) in files {
            if let Some(file) = self.shard_file_mut(host, shard) {
                file.write_local(&id, body.clone());
            }
        }
        if !pass.has_more {
            return;
        }
        match pass.batches_left.checked_sub(1) {
            Some(left) => {
                let next = self.batch(&pass.push, (&pass.to, pass.target), left, now);
                self.pushes.running.extend(next);
            }
            None => {
                self.pushes.waiting.entry(pass.push).or_insert(now);
            }
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
