//! Clustered databases from the view of a coordinator: the copies that answer, and the quorum.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::crypto::Prf;
use super::http::Time;
use super::indexing::is_design;
use super::password;
use super::revs::{Doc, Docs, Edit, EditError, Rev};
use super::settings::Host;
use super::shard_file::ShardFile;
use super::shards::{self, Group, Shard, ShardMap, cheapest_ring, parse_placement};
use super::world::World;

/// A copy that answers: its node is running, connected and not in maintenance mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) host: Host,
    pub(crate) shard: Shard,
}

/// The copies of one document, from the view of one node.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// Those that answer.
    pub(crate) live: Vec<Copy>,
    /// `true` if a holder counts as connected but does not answer. A call that needs it costs a timeout.
    pub(crate) has_unresponsive: bool,
    /// The number of copies in the map.
    pub(crate) n: usize,
    /// The default of `r` and `w`: the majority of the copies of one range, for all ranges of the database.
    pub(crate) quorum: usize,
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
    /// The disks of all copies are full.
    DiskFull,
}

/// The requested form of a new database; `None` is the node's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) q: Option<usize>,
    pub(crate) n: Option<usize>,
    /// The copies of each range by zone.
    pub(crate) placement: Option<Vec<(String, usize)>>,
    pub(crate) partitioned: bool,
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
    /// The placement has a zone in which no member is.
    EmptyZone,
}

/// `true` for a member that gets no copies of new databases (`mem3:allowed_nodes`).
fn is_decommissioned(member: &Map<String, Value>) -> bool {
    member.get("decom").is_some_and(|decom| *decom == json!(true) || *decom == json!("true"))
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

    /// The copies of a document.
    pub(crate) fn copies(&self, host: &Host, map: &ShardMap, id: &str) -> Copies {
        let mut copies = Copies { quorum: map.copies_for_quorum() / 2 + 1, ..Copies::default() };
        for range in map.ranges_of(id) {
            let holders = map.by_range.get(range).map_or(&[][..], Vec::as_slice);
            copies.n += holders.len();
            for holder in holders.iter().filter_map(|name| self.host_of(name)) {
                if self.reaches(host, &holder) {
                    copies.live.extend(self.live_copy(holder, map.shard(range)));
                } else if self.is_connected(host, &holder) {
                    copies.has_unresponsive = true;
                }
            }
        }
        copies
    }

    /// All copies of a database that answer.
    pub(crate) fn live_copies(&self, host: &Host, map: &ShardMap) -> Vec<Copy> {
        let mut copies = Vec::new();
        for (range, holders) in &map.by_range {
            let holders = holders.iter().filter_map(|name| self.host_of(name));
            let reached = holders.filter(|holder| self.reaches(host, holder));
            copies.extend(reached.filter_map(|holder| self.live_copy(holder, map.shard(range))));
        }
        copies
    }

    /// The copy on a node that can be reached. A node in maintenance mode refuses at once: it has no copy, but it costs
    /// no timeout either.
    fn live_copy(&self, host: Host, shard: Shard) -> Option<Copy> {
        let node = &self.nodes[&host];
        (!node.in_maintenance() && node.volume.shards.contains_key(&shard)).then_some(Copy { host, shard })
    }

    pub(crate) fn shard_file_mut(&mut self, host: &Host, shard: &Shard) -> Option<&mut ShardFile> {
        self.nodes.get_mut(host).and_then(|node| node.volume.shards.get_mut(shard))
    }

    /// Creates a missing shard file: empty, with a new uuid, default properties, and the `props` of the map.
    pub(crate) fn create_file(&mut self, host: &Host, shard: &Shard) {
        if self.file(host, shard).is_some() {
            return;
        }
        let props = self.map_of(host, &shard.db).map(|map| map.props);
        self.create_file_with(host, shard, props.unwrap_or_else(|| json!({})));
    }

    pub(crate) fn create_file_with(&mut self, host: &Host, shard: &Shard, props: Value) {
        let Some(node) = self.nodes.get_mut(host) else { return };
        let file = ShardFile { props, ..ShardFile::new(self.file_uuids.hex32(), node.default_security()) };
        node.volume.shards.insert(shard.clone(), file);
    }

    /// Creates the missing files of a database on the holders that a call for it reaches: CouchDB opens every shard with
    /// `get_or_create_db`.
    pub(crate) fn create_missing_files(&mut self, host: &Host, map: &ShardMap) {
        for (range, holders) in &map.by_range {
            for holder in holders.iter().filter_map(|name| self.host_of(name)).collect::<Vec<_>>() {
                if self.reaches(host, &holder) && !self.nodes[&holder].in_maintenance() {
                    self.create_file(&holder, &map.shard(range));
                }
            }
        }
    }

    /// `true` if `fabric:get_db_info` succeeds: copies that answer cover all ranges.
    pub(crate) fn is_openable(&mut self, host: &Host, db: &str, now: Time) -> bool {
        let Some(map) = self.map_of(host, db) else { return false };
        self.dial_holders(host, &map, now);
        self.gather_all(host, &map).is_some()
    }

    /// One document, merged from the copies that answer.
    fn gather_doc(&self, copies: &Copies, id: &str) -> Doc {
        let mut merged = Doc::default();
        for doc in copies.live.iter().filter_map(|copy| self.file(&copy.host, &copy.shard)?.docs.get(id)) {
            merged.merge(doc);
        }
        merged
    }

    /// One document as a reader gets it: as soon as `r` of the copies agree, they are the answer. Where several answers
    /// are possible it is the oldest, so that a test notices copies that are lost or stale.
    pub(crate) fn read_with_quorum(&self, copies: &Copies, id: &str, r: usize) -> Doc {
        let read =
            |copy: &Copy| self.file(&copy.host, &copy.shard).and_then(|file| file.docs.get(id).cloned());
        let found: Vec<Doc> = copies.live.iter().map(|copy| read(copy).unwrap_or_default()).collect();
        let agreeing = |doc: &Doc| found.iter().filter(|other| other.version() == doc.version()).count();
        // With fewer copies than `r` all are waited for, and the newest revision is the answer.
        let agreed = found.iter().filter(|doc| found.len() >= r && agreeing(doc) >= r);
        let oldest = agreed.min_by(|a, b| a.version().cmp(&b.version()));
        oldest.cloned().unwrap_or_else(|| self.gather_doc(copies, id))
    }

    /// The body of a live document, for the coordinator's own use.
    pub(crate) fn read_doc(&self, host: &Host, db: &str, id: &str) -> Option<Map<String, Value>> {
        let map = self.map_of(host, db)?;
        let copies = self.copies(host, &map, id);
        self.read_with_quorum(&copies, id, copies.quorum).live().map(|(_, body)| body.clone())
    }

    /// All documents, from one ring of copies. `None` if there is no ring.
    pub(crate) fn gather_all(&self, host: &Host, map: &ShardMap) -> Option<Docs> {
        let copies = self.live_copies(host, map);
        let docs = |copy: &Copy| self.file(&copy.host, &copy.shard).map(|file| &file.docs);
        // CouchDB takes the first copies that answer. The emptiest ones are the first here, so that a test notices that
        // a node which is being refilled must be in maintenance mode.
        let costs: Vec<(&str, usize)> = copies
            .iter()
            .map(|copy| (copy.shard.range.as_str(), docs(copy).map_or(0, |docs| docs.live().count())))
            .collect();
        let mut all = Docs::default();
        for index in cheapest_ring(&costs)? {
            all.merge(docs(&copies[index])?);
        }
        Some(all)
    }

    /// The copy that authorises a request and answers for the properties of the database: on the node that was asked, or
    /// else the first other one.
    pub(crate) fn first_copy(&self, host: &Host, map: &ShardMap) -> Option<&ShardFile> {
        let copies = self.live_copies(host, map);
        let first = copies.iter().find(|copy| copy.host == *host).or_else(|| copies.first())?;
        self.file(&first.host, &first.shard)
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
        let mut copies = self.copies(host, map, id);
        if copies.live.is_empty() {
            return Written::NoCopy;
        }
        copies.live.retain(|copy| !self.nodes[&copy.host].is_disk_full);
        if copies.live.is_empty() {
            return Written::DiskFull;
        }
        if map.db == "_users" {
            edit.body = self.hash_password(edit.body);
        }
        let mut doc = self.gather_doc(&copies, id);
        let rev = match doc.edit(edit) {
            Ok(rev) => rev,
            Err(EditError::Conflict) => return Written::Conflict,
        };
        for Copy { host, shard } in &copies.live {
            if let Some(file) = self.shard_file_mut(host, shard) {
                file.docs.merge_doc(id, &doc);
            }
            self.push_soon(host, shard, now);
        }
        if is_design(id) {
            self.index_all_soon(host, map, now);
        }
        // A request for more copies than there are is a request for all of them; the default is not, so that a range with
        // fewer copies than the one that determines the quorum answers 202.
        let wanted = w.map_or(copies.quorum, |w| w.min(copies.n));
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
        let props = if size.partitioned { json!({"partitioned": true}) } else { json!({}) };
        let Some(groups) = self.groups(host, size) else { return Created::EmptyZone };
        let doc = shards::place(&groups, q, &format!(".{}", now.as_secs()), &props);
        let written = self.write_map(host, db, &doc, spread, now);
        if db == "_users" {
            self.add_auth_design_doc(host, db);
        }
        let members = self.nodes[host].members().len();
        if written > members / 2 { Created::Quorum } else { Created::Partial }
    }

    /// The nodes for a new database, by zone if there is a placement (`mem3:choose_shards`). `None` if a zone has none.
    fn groups(&mut self, host: &Host, size: Size) -> Option<Vec<Group>> {
        let node = &self.nodes[host];
        let configured = || node.config("cluster", "placement").and_then(parse_placement);
        // A member that is marked with `decom` gets no new shards.
        let allowed = node.volume.nodes.live().filter(|(_, _, body)| !is_decommissioned(body));
        let all: Vec<(String, Option<Value>)> =
            allowed.map(|(name, _, body)| (name.clone(), body.get("zone").cloned())).collect();
        let zones = size.placement.or_else(configured).map_or_else(
            || {
                let n = size.n.or_else(|| node.config_number("cluster", "n")).unwrap_or(3);
                vec![(None, n)]
            },
            |zones| zones.into_iter().map(|(zone, n)| (Some(json!(zone)), n)).collect(),
        );
        let mut groups = Vec::new();
        for (zone, n) in zones {
            let is_in_zone = |(_, of_node): &&(String, Option<Value>)| zone.is_none() || *of_node == zone;
            let nodes: Vec<String> = all.iter().filter(is_in_zone).map(|(name, _)| name.clone()).collect();
            if nodes.is_empty() && zone.is_some() {
                return None;
            }
            let first = self.random.below(nodes.len() as u64) as usize;
            groups.push(Group { nodes, n, first });
        }
        Some(groups)
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
        for Copy { host, shard } in self.copies(host, &map, AUTH_DESIGN_DOC).live {
            if let Some(file) = self.shard_file_mut(&host, &shard) {
                put_auth_design_doc(&mut file.docs);
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

    /// Deletes a database on the members that can be reached, with the shard files that the map lists. Other files of it
    /// stay.
    pub(crate) fn delete_db(&mut self, host: &Host, map: &ShardMap, now: Time) {
        let members: Vec<String> = self.nodes[host].members().into_iter().map(str::to_owned).collect();
        for target in members.iter().filter_map(|m| self.host_of(m)).collect::<Vec<_>>() {
            // Replication deletes the map on the others later, but their shard files stay.
            if !self.reaches(host, &target) {
                continue;
            }
            let Some(node) = self.nodes.get_mut(&target) else { continue };
            let listed: Vec<Shard> =
                node.name().map(|name| map.shards_of(name).collect()).unwrap_or_default();
            let rev = node.volume.dbs.get(&map.db).and_then(Doc::live).map(|(rev, _)| rev.clone());
            // Fails on a member that does not have the map yet; then there is nothing to delete.
            let _ = node.volume.dbs.edit(&map.db, Edit::delete(rev));
            node.volume.shards.retain(|shard, _| !listed.contains(shard));
        }
        self.replicate_soon(now);
    }
}
