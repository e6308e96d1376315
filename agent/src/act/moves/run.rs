//! One pass over the databases that are moved.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::moves::{Action, CopyOver, Document, Facts, FileFacts, FileKey, Move, Pace, Phase, Work};
use agent_core::shards::Property;
use futures::future::{join_all, try_join_all};
use tracing::{debug, info};

use super::mover::Mover;
use super::nodes::Nodes;
use crate::couch::{CouchError, FileAt, FoundMap, Read};

/// The facts of one pass that all databases share.
struct Pass {
    maps: BTreeMap<String, FoundMap>,
    /// The revisions of the maps on the other nodes.
    revisions: Vec<BTreeMap<String, String>>,
    /// Files whose views are being built, each with its node.
    indexed: BTreeSet<(String, String)>,
}

impl Nodes<'_> {
    /// Makes the next call for each active database. Returns `true` if something changed.
    pub(super) async fn pass(&self, mover: &mut Mover, pace: Pace) -> Result<bool, CouchError> {
        let names: Vec<String> = mover.active.keys().cloned().collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pass = self.read(&names, &mover.active).await?;
        self.redirect(&self.wanted_redirects(mover)).await?;
        let now = mover.now();
        let mut works: Vec<(String, Work)> = std::mem::take(&mut mover.active).into_iter().collect();
        let mut outcomes = vec![];
        for some in works.chunks_mut(AT_ONCE) {
            let calls = some.iter_mut().map(|(name, work)| self.advance(&pass, name, work, (pace, now)));
            outcomes.extend(join_all(calls).await);
        }
        let mut changed = false;
        let mut failed = None;
        for ((name, work), outcome) in works.into_iter().zip(outcomes) {
            match outcome {
                Ok(Action::Done) => {
                    changed = true;
                    self.finished(mover, &pass, &name, &work).await?;
                }
                Ok(Action::GiveUp(hindrance)) => {
                    changed = true;
                    mover.hindered.insert(name, hindrance);
                }
                Ok(Action::Wait(_)) => drop(mover.active.insert(name, work)),
                Ok(Action::Change(_) | Action::Copy(_) | Action::Delete(_) | Action::Replicate) => {
                    changed = true;
                    mover.active.insert(name, work);
                }
                Err(error) => {
                    mover.active.insert(name, work);
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(changed),
        }
    }

    async fn read(&self, names: &[&str], active: &BTreeMap<String, Work>) -> Result<Pass, CouchError> {
        let maps = self.couch.documents(&self.local, names).await?;
        let fills = active.values().any(|work| work.phase() == Phase::Fill);
        Ok(Pass {
            maps: maps.into_iter().map(|map| (map.document.database.clone(), map)).collect(),
            revisions: self.revisions(names).await?,
            indexed: if fills { self.couch.indexed_files(&self.local).await? } else { BTreeSet::new() },
        })
    }

    /// The redirects that the active moves need.
    fn wanted_redirects(&self, mover: &Mover) -> BTreeMap<String, String> {
        let filled = mover.active.values().filter(|work| work.phase() <= Phase::Fill);
        let moves = filled.flat_map(Work::moves);
        moves
            .filter_map(|one| Some((one.fill().to_string(), self.roster.name(one.to?)?.to_owned())))
            .collect()
    }

    async fn advance(
        &self,
        pass: &Pass,
        name: &str,
        work: &mut Work,
        (pace, now): (Pace, Duration),
    ) -> Result<Action, CouchError> {
        // The database was deleted: what was filled outside of its map stays on the disk otherwise.
        let Some(FoundMap { document, conflicts }) = pass.maps.get(name) else {
            return Ok(Action::Done);
        };
        let spread = pass
            .revisions
            .iter()
            .all(|revisions| revisions.get(name).is_some_and(|rev| rev == document.rev()));
        let files = self.files(document, work).await?;
        let indexing = work.moves().iter().any(|one| self.is_indexed(pass, document, one));
        let facts = Facts { document, conflicts: *conflicts, spread, files: &files, indexing };
        let action = work.next(&facts, &self.roster, pace, now);
        if !matches!(action, Action::Wait(_)) {
            debug!(database = name, ?action, "moving");
        }
        self.carry_out(document, work, &action).await?;
        Ok(action)
    }

    fn is_indexed(&self, pass: &Pass, document: &Document, one: &Move) -> bool {
        let target = one.to.and_then(|to| self.roster.name(to));
        target.is_some_and(|target| pass.indexed.contains(&(target.to_owned(), document.file(&one.range))))
    }

    async fn files(
        &self,
        document: &Document,
        work: &Work,
    ) -> Result<BTreeMap<FileKey, FileFacts>, CouchError> {
        let read = if work.phase() == Phase::Fill { Read::Properties } else { Read::Checkpoints };
        let keys = work.files(document, &self.roster);
        let facts = keys.iter().map(|(range, node)| async move {
            let file = document.file(range);
            self.couch.file_facts(FileAt { base: &self.local, node, file: &file }, read).await
        });
        let facts = try_join_all(facts).await?;
        Ok(keys.into_iter().zip(facts).collect())
    }

    async fn carry_out(
        &self,
        document: &Document,
        work: &mut Work,
        action: &Action,
    ) -> Result<(), CouchError> {
        match action {
            Action::Change(changes) => {
                let Some(changed) = document.after(changes) else { return Ok(()) };
                if self.couch.change_map(&self.local, &document.database, &changed).await? {
                    info!(database = document.database, phase = ?work.phase(), "changed the shard map");
                }
            }
            Action::Copy(copies) => {
                for copy in copies {
                    self.copy(document, copy).await?;
                }
                work.copied();
            }
            Action::Delete((range, node)) => {
                let file = document.file(range);
                self.couch.delete_file(FileAt { base: &self.local, node, file: &file }).await?;
            }
            Action::Replicate => self.couch.sync_shards(&self.local, &document.database).await?,
            Action::Done | Action::GiveUp(_) | Action::Wait(_) => {}
        }
        Ok(())
    }

    /// Copies what internal replication leaves out.
    async fn copy(&self, document: &Document, copy: &CopyOver) -> Result<(), CouchError> {
        let file = document.file(&copy.range);
        let from = FileAt { base: &self.local, node: &copy.from, file: &file };
        let to = FileAt { base: &self.local, node: &copy.to, file: &file };
        let (wanted, present) = (self.couch.properties(from).await?, self.couch.properties(to).await?);
        if let (Some(wanted), Some(present)) = (wanted, present) {
            if wanted.security != present.security {
                self.couch.set_property(to, &Property::Security(wanted.security)).await?;
            }
            if wanted.revs_limit != present.revs_limit {
                self.couch.set_property(to, &Property::RevsLimit(wanted.revs_limit)).await?;
            }
        }
        self.couch.copy_local_documents(from, to).await
    }

    /// Counts the moves of a database that are done, and sets what single files have no interface for.
    async fn finished(
        &self,
        mover: &mut Mover,
        pass: &Pass,
        name: &str,
        work: &Work,
    ) -> Result<(), CouchError> {
        mover.done += work.count();
        if let Some(FoundMap { document, .. }) = pass.maps.get(name) {
            mover.verified.insert(name.to_owned(), document.rev().to_owned());
        } else {
            self.remove_orphans(work).await?;
        }
        if let Some(limit) = mover.purge_limits.remove(name) {
            self.couch.set_purge_limit(&self.local, name, limit).await?;
        }
        Ok(())
    }

    /// Deletes the files that were filled for a database which was deleted meanwhile.
    async fn remove_orphans(&self, work: &Work) -> Result<(), CouchError> {
        if work.phase() != Phase::Fill {
            return Ok(());
        }
        for (range, node) in work.targets_of(&self.roster) {
            let file = work.file(range);
            self.couch.delete_file(FileAt { base: &self.local, node, file: &file }).await?;
        }
        Ok(())
    }
}

/// Databases for which calls are made at the same time.
const AT_ONCE: usize = 8;
