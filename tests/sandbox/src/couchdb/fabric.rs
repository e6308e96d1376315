//! Clustered databases as a coordinator sees them: which copies answer, and with what quorum.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::crypto::Kind;
use super::http::Time;
use super::local_db::Edit;
use super::password;
use super::revs::{Doc, Docs, EditError, Rev};
use super::settings::Host;
use super::shards::{self, ShardMap};
use super::world::World;

/// The copies of one range, from one node's point of view.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// Running, connected, not in maintenance, with the file.
    pub(crate) live: Vec<Host>,
    /// Some holder counts as connected, but nothing gets through: its silence costs a timeout.
    pub(crate) silent: bool,
    /// How many the map names.
    pub(crate) n: usize,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// Enough copies have it.
    Quorum(Rev),
    /// At least one copy has it.
    Some(Rev),
    /// It follows the wrong revision.
    Conflict,
    /// No copy could be opened.
    None,
}

/// How many shards and copies a new database is to have; else as the node is configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) q: Option<usize>,
    pub(crate) n: Option<usize>,
}

/// Who is told of a new database at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Every member that can be reached.
    Members,
    /// Nobody: replication will tell.
    Own,
}

/// What became of a new database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// Most members know of it.
    Quorum,
    /// Some member knows of it.
    Some,
    /// It is there already.
    Exists,
}

const AUTH: &str = "_design/_auth";

/// CouchDB writes it by itself; its revision is that of a real node, and so can't be computed from our body.
pub(crate) fn put_auth_design_doc(file: &mut Docs) {
    let rev = Rev { pos: 1, hash: "625dc565328e800ce8dfe08fff750098".to_owned() };
    let mut body = Map::new();
    body.insert("language".to_owned(), json!("javascript"));
    file.put_with_rev(AUTH, rev, body);
}

impl World {
    pub(crate) fn map_of(&self, host: &Host, db: &str) -> Option<ShardMap> {
        let doc = self.nodes[host].volume.dbs.get(db)?.live()?.1;
        Some(ShardMap::parse(db, doc))
    }

    /// Erlang connects on its own to whom a message goes: a request for a database dials the holders.
    pub(crate) fn rouse(&mut self, host: &Host, map: &ShardMap, now: Time) {
        let holders: BTreeSet<String> = map.by_range.values().flatten().cloned().collect();
        for holder in holders {
            self.dial(host, &holder, now);
        }
    }

    pub(crate) fn copies(&self, host: &Host, map: &ShardMap, range: &str) -> Copies {
        let holders = map.by_range.get(range).map_or(&[][..], Vec::as_slice);
        let mut copies = Copies { n: holders.len(), ..Copies::default() };
        for holder in holders.iter().filter_map(|name| self.host_of(name)) {
            let node = &self.nodes[&holder];
            if self.reaches(host, &holder) {
                if !node.in_maintenance() && node.volume.shards.contains_key(&map.shard(range)) {
                    copies.live.push(holder);
                }
            } else if self.is_connected(host, &holder) {
                copies.silent = true;
            }
        }
        copies
    }

    /// `fabric:get_db_info` succeeds: each range has a copy that answers.
    pub(crate) fn is_openable(&mut self, host: &Host, db: &str, now: Time) -> bool {
        let Some(map) = self.map_of(host, db) else { return false };
        self.rouse(host, &map, now);
        !map.by_range.is_empty()
            && map.by_range.keys().all(|range| !self.copies(host, &map, range).live.is_empty())
    }

    /// One document as the copies that answer have it, merged.
    pub(crate) fn gather_doc(&self, copies: &Copies, map: &ShardMap, range: &str, id: &str) -> Doc {
        let mut merged = Doc::default();
        let shard = map.shard(range);
        for host in &copies.live {
            if let Some(doc) = self.nodes[host].volume.shards.get(&shard).and_then(|docs| docs.get(id)) {
                merged.merge(doc);
            }
        }
        merged
    }

    /// The body of a live document, for the coordinator's own use.
    pub(crate) fn read_doc(&self, host: &Host, db: &str, id: &str) -> Option<Map<String, Value>> {
        let map = self.map_of(host, db)?;
        let range = map.range_of(id)?;
        let copies = self.copies(host, &map, range);
        self.gather_doc(&copies, &map, range, id).live().map(|(_, body)| body.clone())
    }

    /// All documents, each range from the copy that answers first: the emptiest, which is why a node that is
    /// being refilled must be in maintenance. `None` when a range has no copy.
    pub(crate) fn gather_all(&self, host: &Host, map: &ShardMap) -> Option<Docs> {
        let mut all = Docs::default();
        for range in map.by_range.keys() {
            let shard = map.shard(range);
            let copies = self.copies(host, map, range);
            let files = copies.live.iter().filter_map(|h| self.nodes[h].volume.shards.get(&shard));
            all.merge(files.min_by_key(|docs| docs.live().count())?);
        }
        Some(all)
    }

    pub(crate) fn write_doc(
        &mut self,
        host: &Host,
        map: &ShardMap,
        id: &str,
        edit: Edit,
        w: Option<usize>,
        now: Time,
    ) -> Written {
        let Some(range) = map.range_of(id) else { return Written::None };
        let copies = self.copies(host, map, range);
        if copies.live.is_empty() {
            return Written::None;
        }
        let body = if map.db == "_users" { self.hash_password(edit.body) } else { edit.body };
        let mut doc = self.gather_doc(&copies, map, range, id);
        let rev = match doc.edit(edit.rev.as_ref(), edit.deleted, body) {
            Ok(rev) => rev,
            Err(EditError::Conflict) => return Written::Conflict,
        };
        let shard = map.shard(range);
        for holder in &copies.live {
            if let Some(file) = self.nodes.get_mut(holder).and_then(|n| n.volume.shards.get_mut(&shard)) {
                file.merge_doc(id, &doc);
            }
        }
        self.fill_soon(&map.db, now);
        let wanted = w.unwrap_or(copies.n / 2 + 1).min(copies.n);
        if copies.live.len() >= wanted { Written::Quorum(rev) } else { Written::Some(rev) }
    }

    /// `couch_users_db`: a plain password doesn't reach the disk.
    fn hash_password(&mut self, mut body: Map<String, Value>) -> Map<String, Value> {
        let Some(Value::String(plain)) = body.shift_remove("password") else { return body };
        let salt = self.random.hex32();
        let fields = json!({
            "password_scheme": "pbkdf2",
            "pbkdf2_prf": "sha256",
            "salt": salt,
            "iterations": password::ITERATIONS,
            "derived_key": password::derive(Kind::Sha256, &plain, &salt, password::ITERATIONS),
        });
        let mut hashed = fields.as_object().cloned().unwrap_or_default();
        hashed.extend(body);
        hashed
    }

    /// Makes a database on the nodes known at this instant; later ones get no copy.
    pub(crate) fn create_db(
        &mut self,
        host: &Host,
        db: &str,
        size: Size,
        reach: Reach,
        now: Time,
    ) -> Created {
        if self.map_of(host, db).is_some() {
            return Created::Exists;
        }
        let node = &self.nodes[host];
        let number = |key: &str| node.config("cluster", key).and_then(|v| v.parse().ok());
        let default_q = if node.settings.version.major < 3 { 8 } else { 2 };
        let q = size.q.or_else(|| number("q")).unwrap_or(default_q);
        let n = size.n.or_else(|| number("n")).unwrap_or(3);
        let leaving = |body: &Map<String, Value>| body.get("decom") == Some(&Value::Bool(true));
        let nodes: Vec<String> = node
            .volume
            .nodes
            .live()
            .filter(|(_, _, body)| !leaving(body))
            .map(|(id, _, _)| id.clone())
            .collect();
        let first = self.random.below(nodes.len() as u64) as usize;
        let doc = shards::place(&nodes, q, n, first, &format!(".{}", now.as_secs()));
        let told = self.write_map(host, db, &doc, reach, now);
        if db == "_users" {
            self.add_auth_design_doc(host, db);
        }
        let members = self.nodes[host].members().len();
        if told > members / 2 { Created::Quorum } else { Created::Some }
    }

    /// Writes a shard map on every member that can be reached. How many that were.
    fn write_map(
        &mut self,
        host: &Host,
        db: &str,
        doc: &Map<String, Value>,
        reach: Reach,
        now: Time,
    ) -> usize {
        let told = match reach {
            Reach::Members => self.nodes[host].members(),
            Reach::Own => self.nodes[host].name().into_iter().collect(),
        };
        let members: Vec<String> = told.into_iter().map(str::to_owned).collect();
        let mut told = 0;
        for member in members {
            self.dial(host, &member, now);
            let Some(target) = self.host_of(&member).filter(|t| self.reaches(host, t)) else { continue };
            if let Some(node) = self.nodes.get_mut(&target) {
                // A member that has another map of this name keeps it as a conflict at the next replication.
                told += usize::from(node.volume.dbs.edit(db, None, false, doc.clone()).is_ok());
            }
            self.make_shard_files_of(&target, db);
        }
        self.replicate_soon(now);
        told
    }

    fn add_auth_design_doc(&mut self, host: &Host, db: &str) {
        let Some(map) = self.map_of(host, db) else { return };
        let Some(range) = map.range_of(AUTH).map(str::to_owned) else { return };
        let shard = map.shard(&range);
        for holder in self.copies(host, &map, &range).live {
            if let Some(file) = self.nodes.get_mut(&holder).and_then(|n| n.volume.shards.get_mut(&shard)) {
                put_auth_design_doc(file);
            }
        }
    }

    /// `[couchdb] single_node=true` makes the system databases at start.
    pub(crate) fn make_single_node_dbs(&mut self, host: &Host, now: Time) {
        if self.nodes[host].config("couchdb", "single_node") == Some("true") {
            for db in self.nodes[host].settings.version.system_dbs() {
                self.create_db(host, db, Size::default(), Reach::Members, now);
            }
        }
    }

    pub(crate) fn delete_db(&mut self, host: &Host, map: &ShardMap, now: Time) {
        let members: Vec<String> = self.nodes[host].members().into_iter().map(str::to_owned).collect();
        for target in members.iter().filter_map(|m| self.host_of(m)).collect::<Vec<_>>() {
            if !self.reaches(host, &target) {
                continue;
            }
            let Some(node) = self.nodes.get_mut(&target) else { continue };
            let rev = node.volume.dbs.get(&map.db).and_then(Doc::live).map(|(rev, _)| rev.clone());
            // Nothing to delete on a member that hasn't heard of it.
            let _ = node.volume.dbs.edit(&map.db, rev.as_ref(), true, Map::new());
            node.volume.shards.retain(|shard, _| shard.db != map.db || shard.suffix != map.suffix);
        }
        self.replicate_soon(now);
    }
}
