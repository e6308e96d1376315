//! Clustered databases from the view of a coordinator: the copies that answer, and the quorum.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::crypto::Prf;
use super::http::Time;
use super::password;
use super::revs::{Doc, Docs, Edit, EditError, Rev};
use super::settings::Host;
use super::shards::{self, Shard, ShardMap};
use super::world::World;

/// The copies of one range, from the view of one node.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// Holders that answer: running, connected, not in maintenance, with the file.
    pub(crate) live: Vec<Host>,
    /// `true` if a holder counts as connected but does not answer. A call that needs it costs a timeout.
    pub(crate) has_unresponsive: bool,
    /// The number of holders in the map.
    pub(crate) n: usize,
}

impl Copies {
    /// The majority of the copies: the default of `r` and `w`.
    pub(crate) fn quorum(&self) -> usize {
        self.n / 2 + 1
    }
}

/// A write of a document to the copies of its range.
#[derive(Debug)]
pub(crate) struct DocWrite<'a> {
    pub(crate) id: &'a str,
    pub(crate) edit: Edit,
    /// The copies that must confirm the write; the majority if `None`.
    pub(crate) w: Option<usize>,
}

/// The outcome of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// As many copies as requested have it.
    Quorum(Rev),
    /// At least one copy has it.
    Partial(Rev),
    /// The revision that it follows is not the current one.
    Conflict,
    /// No copy could be opened.
    NoCopy,
}

/// The requested shards and copies of a new database; `None` is the node's configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) q: Option<usize>,
    pub(crate) n: Option<usize>,
}

/// The nodes on which a new database's map is written at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Every member that can be reached, as in CouchDB.
    AllMembers,
    /// Only the node itself; the others get the map by replication.
    OwnNode,
}

/// The outcome of the creation of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// Most members have the map.
    Quorum,
    /// At least one member has the map.
    Partial,
    /// The database exists already.
    Exists,
}

const AUTH_DESIGN_DOC: &str = "_design/_auth";

/// Adds the design document that CouchDB writes into each `_users` file. The revision is that of a real node: the real
/// body is not imitated, so the revision can't be computed.
pub(crate) fn put_auth_design_doc(file: &mut Docs) {
    let rev = Rev { pos: 1, hash: "625dc565328e800ce8dfe08fff750098".to_owned() };
    let mut body = Map::new();
    body.insert("language".to_owned(), json!("javascript"));
    file.put_with_rev(AUTH_DESIGN_DOC, rev, body);
}

impl World {
    /// The shard map of a database, as the node has it.
    pub(crate) fn map_of(&self, host: &Host, db: &str) -> Option<ShardMap> {
        let doc = self.nodes[host].volume.dbs.get(db)?.live()?.1;
        Some(ShardMap::parse(db, doc))
    }

    /// Connects to the holders of a database, as Erlang does when a request is sent to them.
    pub(crate) fn dial_holders(&mut self, host: &Host, map: &ShardMap, now: Time) {
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
                // A node in maintenance mode refuses at once: it is no copy, but it costs no timeout either.
                if !node.in_maintenance() && node.volume.shards.contains_key(&map.shard(range)) {
                    copies.live.push(holder);
                }
            } else if self.is_connected(host, &holder) {
                copies.has_unresponsive = true;
            }
        }
        copies
    }

    fn shard_file_mut(&mut self, host: &Host, shard: &Shard) -> Option<&mut Docs> {
        self.nodes.get_mut(host).and_then(|node| node.volume.shards.get_mut(shard))
    }

    /// `true` if `fabric:get_db_info` succeeds: each range has a copy that answers.
    pub(crate) fn is_openable(&mut self, host: &Host, db: &str, now: Time) -> bool {
        let Some(map) = self.map_of(host, db) else { return false };
        self.dial_holders(host, &map, now);
        !map.by_range.is_empty()
            && map.by_range.keys().all(|range| !self.copies(host, &map, range).live.is_empty())
    }

    /// One document, merged from the copies that answer.
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

    /// All documents, each range from one copy. `None` if a range has no copy.
    pub(crate) fn gather_all(&self, host: &Host, map: &ShardMap) -> Option<Docs> {
        let mut all = Docs::default();
        for range in map.by_range.keys() {
            let shard = map.shard(range);
            let copies = self.copies(host, map, range);
            let files = copies.live.iter().filter_map(|h| self.nodes[h].volume.shards.get(&shard));
            // CouchDB takes the first copy that answers. The emptiest one is the first here, so that a test notices
            // that a node which is being refilled must be in maintenance mode.
            all.merge(files.min_by_key(|docs| docs.live().count())?);
        }
        Some(all)
    }

    /// Writes a document to the copies that answer. The others get it when they are filled.
    pub(crate) fn write_doc(
        &mut self,
        host: &Host,
        map: &ShardMap,
        write: DocWrite<'_>,
        now: Time,
    ) -> Written {
        let DocWrite { id, mut edit, w } = write;
        let Some(range) = map.range_of(id) else { return Written::NoCopy };
        let copies = self.copies(host, map, range);
        if copies.live.is_empty() {
            return Written::NoCopy;
        }
        if map.db == "_users" {
            edit.body = self.hash_password(edit.body);
        }
        let mut doc = self.gather_doc(&copies, map, range, id);
        let rev = match doc.edit(edit) {
            Ok(rev) => rev,
            Err(EditError::Conflict) => return Written::Conflict,
        };
        let shard = map.shard(range);
        for holder in &copies.live {
            if let Some(file) = self.shard_file_mut(holder, &shard) {
                file.merge_doc(id, &doc);
            }
        }
        self.fill_soon(&map.db, now);
        // A request for more copies than there are is a request for all of them.
        let wanted = w.unwrap_or(copies.quorum()).min(copies.n);
        if copies.live.len() >= wanted { Written::Quorum(rev) } else { Written::Partial(rev) }
    }

    /// Replaces the plain password of a user document by its hash, as `couch_users_db` does before a write.
    fn hash_password(&mut self, mut body: Map<String, Value>) -> Map<String, Value> {
        let Some(Value::String(plain)) = body.shift_remove("password") else { return body };
        let salt = self.random.hex32();
        let fields = json!({
            "password_scheme": "pbkdf2",
            "pbkdf2_prf": "sha256",
            "salt": salt,
            "iterations": password::ITERATIONS,
            "derived_key": password::derive(Prf::Sha256, &plain, &salt, password::ITERATIONS),
        });
        let mut hashed = fields.as_object().cloned().unwrap_or_default();
        hashed.extend(body);
        hashed
    }

    /// Creates a database on the nodes that are known at this moment. Nodes that join later get no copy.
    pub(crate) fn create_db(
        &mut self,
        host: &Host,
        db: &str,
        size: Size,
        spread: Spread,
        now: Time,
    ) -> Created {
        if self.map_of(host, db).is_some() {
            return Created::Exists;
        }
        let node = &self.nodes[host];
        let default_q = if node.settings.version.major < 3 { 8 } else { 2 };
        let q = size.q.or_else(|| node.config_number("cluster", "q")).unwrap_or(default_q);
        let n = size.n.or_else(|| node.config_number("cluster", "n")).unwrap_or(3);
        // A member that is marked with `decom` gets no new shards.
        let nodes: Vec<String> = node
            .volume
            .nodes
            .live()
            .filter(|(_, _, body)| body.get("decom") != Some(&Value::Bool(true)))
            .map(|(id, _, _)| id.clone())
            .collect();
        let first = self.random.below(nodes.len() as u64) as usize;
        let doc = shards::place(&nodes, q, n, first, &format!(".{}", now.as_secs()));
        let written = self.write_map(host, db, &doc, spread, now);
        if db == "_users" {
            self.add_auth_design_doc(host, db);
        }
        let members = self.nodes[host].members().len();
        if written > members / 2 { Created::Quorum } else { Created::Partial }
    }

    /// Writes a shard map on the members that can be reached. Returns their number.
    fn write_map(
        &mut self,
        host: &Host,
        db: &str,
        doc: &Map<String, Value>,
        spread: Spread,
        now: Time,
    ) -> usize {
        let names = match spread {
            Spread::AllMembers => self.nodes[host].members(),
            Spread::OwnNode => self.nodes[host].name().into_iter().collect(),
        };
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let mut written = 0;
        for name in names {
            self.dial(host, &name, now);
            let Some(target) = self.host_of(&name).filter(|t| self.reaches(host, t)) else { continue };
            if let Some(node) = self.nodes.get_mut(&target) {
                // A member that has another map of this name refuses; the maps conflict at the next replication.
                written += usize::from(node.volume.dbs.edit(db, Edit::create(doc.clone())).is_ok());
            }
            self.create_shard_files_of(&target, db);
        }
        self.replicate_soon(now);
        written
    }

    fn add_auth_design_doc(&mut self, host: &Host, db: &str) {
        let Some(map) = self.map_of(host, db) else { return };
        let Some(range) = map.range_of(AUTH_DESIGN_DOC).map(str::to_owned) else { return };
        let shard = map.shard(&range);
        for holder in self.copies(host, &map, &range).live {
            if let Some(file) = self.shard_file_mut(&holder, &shard) {
                put_auth_design_doc(file);
            }
        }
    }

    /// Creates the system databases at the start of a node with `[couchdb] single_node=true`.
    pub(crate) fn create_single_node_dbs(&mut self, host: &Host, now: Time) {
        if self.nodes[host].config("couchdb", "single_node") == Some("true") {
            for db in self.nodes[host].settings.version.system_dbs() {
                self.create_db(host, db, Size::default(), Spread::AllMembers, now);
            }
        }
    }

    /// Deletes a database on the members that can be reached, its shard files included.
    pub(crate) fn delete_db(&mut self, host: &Host, map: &ShardMap, now: Time) {
        let members: Vec<String> = self.nodes[host].members().into_iter().map(str::to_owned).collect();
        for target in members.iter().filter_map(|m| self.host_of(m)).collect::<Vec<_>>() {
            // Replication deletes the map on the others later, but their shard files stay.
            if !self.reaches(host, &target) {
                continue;
            }
            let Some(node) = self.nodes.get_mut(&target) else { continue };
            let rev = node.volume.dbs.get(&map.db).and_then(Doc::live).map(|(rev, _)| rev.clone());
            // Fails on a member that does not have the map yet; then there is nothing to delete.
            let _ = node.volume.dbs.edit(&map.db, Edit::delete(rev));
            node.volume.shards.retain(|shard, _| shard.db != map.db || shard.suffix != map.suffix);
        }
        self.replicate_soon(now);
    }
}
