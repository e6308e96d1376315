//! `/{db}` and below, and `/_all_dbs`.

use std::time::Duration;

use serde_json::{Value, json};

use super::auth::Caller;
use super::fabric::{Created, DocWrite, Size, Spread, Written};
use super::http::{Answer, Request, Response, Time};
use super::local_db;
use super::revs::Edit;
use super::settings::Host;
use super::shards::{ShardMap, parse_placement};
use super::world::World;

/// The time that a write waits for a copy that does not answer.
const WRITE_TIMEOUT: Duration = Duration::from_millis(5100);
/// The time that a read waits for a copy that does not answer.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(60);

impl World {
    /// Answers a call for the database that is named by the first segment of the path.
    pub(crate) fn database(
        &mut self,
        host: &Host,
        request: &Request,
        caller: &Caller,
        path: &[&str],
        now: Time,
    ) -> Answer {
        let [db, rest @ ..] = path else { return Response::missing().into() };
        if !caller.is_admin()
            && let Some(refusal) = self.refusal(host, request, caller, db, rest)
        {
            return refusal.into();
        }
        if request.method == "PUT" && rest.is_empty() {
            return self.put_db(host, db, request, now).into();
        }
        // `_dbs` and `_nodes` exist only as files of one node, below `/_node/{node}/`.
        if is_node_local(db) {
            return Response::no_db().into();
        }
        let Some(map) = self.map_of(host, db) else { return Response::no_db().into() };
        self.dial_holders(host, &map, now);
        if map.by_range.is_empty() {
            return no_shards().into();
        }
        self.create_missing_files(host, &map);
        self.database_call(host, &map, rest, request, now)
    }

    /// Answers a call for a database that exists and that the caller may use.
    fn database_call(
        &mut self,
        host: &Host,
        map: &ShardMap,
        rest: &[&str],
        request: &Request,
        now: Time,
    ) -> Answer {
        match (request.method.as_str(), rest) {
            ("GET" | "HEAD", []) => self.db_info(host, map).into(),
            ("DELETE", []) => {
                self.delete_db(host, map, now);
                Response::ok(200).into()
            }
            ("POST", []) => self.write(host, map, None, request, now),
            ("GET", ["_shards"]) => Response::json(200, &map.listing()).into(),
            ("GET", ["_shards", doc]) => shard_of(map, doc).into(),
            ("POST", ["_sync_shards"]) => {
                self.sync_shards(host, map, now);
                Response::ok(202).into()
            }
            ("GET" | "HEAD" | "POST", ["_all_docs"]) => match self.gather_all(host, map) {
                Some(docs) => local_db::all_docs(&docs, request).into(),
                None => Response::error(500, "nodedown", "progress not possible").into(),
            },
            ("GET", [name @ ("_security" | "_revs_limit" | "_purged_infos_limit")]) => {
                self.get_property(host, map, name).into()
            }
            ("PUT", [name @ ("_security" | "_revs_limit" | "_purged_infos_limit")]) => {
                self.put_property(host, map, name, request).into()
            }
            ("POST", ["_purge"]) => self.purge_docs(host, map, request, now).into(),
            ("POST", ["_compact"]) => self.compact(host, map, request).into(),
            ("POST", ["_ensure_full_commit"]) => Response::ok(201).into(),
            ("GET", ["_design", name, "_info"]) => self.index_info(host, map, name).into(),
            ("GET", ["_design", name, "_view", view]) => self.view(host, map, (name, view), request).into(),
            (_, [doc]) => self.document(host, map, doc, request, now),
            (_, ["_design", name]) => self.document(host, map, &format!("_design/{name}"), request, now),
            _ => Response::missing().into(),
        }
    }

    /// The refusal of a caller without admin rights. The `_security` of the first copy decides; by default it is for
    /// admins only since 3.0.
    fn refusal(
        &self,
        host: &Host,
        request: &Request,
        caller: &Caller,
        db: &str,
        rest: &[&str],
    ) -> Option<Response> {
        let version = self.nodes[host].settings.version;
        // Databases of 2.x are public, except for the system databases.
        if version.major < 3 && !db.starts_with('_') && request.is_read() {
            return None;
        }
        let map = self.map_of(host, db);
        let exists = map.is_some();
        let is_data = rest.is_empty() && request.is_read()
            || !matches!(
                rest,
                [] | [
                    "_security"
                        | "_revs_limit"
                        | "_purged_infos_limit"
                        | "_purge"
                        | "_sync_shards"
                        | "_shards",
                    ..
                ]
            );
        let file = map.and_then(|map| self.first_copy(host, &map));
        if is_data && !db.starts_with('_') && file.is_some_and(|file| admits(&file.security, caller)) {
            return None;
        }
        if rest.is_empty() && request.is_read() {
            return Some(if exists { no_access(caller) } else { Response::no_db() });
        }
        let is_document = matches!(rest, [doc] if !doc.starts_with('_')) && db != "_users";
        Some(if exists && is_document { no_access(caller) } else { Response::not_admin() })
    }

    fn put_db(&mut self, host: &Host, db: &str, request: &Request, now: Time) -> Response {
        if !is_legal_name(db) {
            let reason = format!(
                "Name: '{db}'. Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), \
                 +, -, and / are allowed. Must begin with a letter."
            );
            return Response::error(400, "illegal_database_name", &reason);
        }
        // `_dbs` exists on every node, although as a file of the node only.
        let created = if db == "_dbs" {
            Created::Exists
        } else {
            let zones = match self.requested_zones(host, request) {
                Ok(zones) => zones,
                Err(refusal) => return refusal,
            };
            let size = Size {
                placement: zones,
                q: number(request, "q"),
                n: number(request, "n"),
                partitioned: request.flag("partitioned"),
            };
            self.create_db(host, db, size, Spread::AllMembers, now)
        };
        match created {
            Created::Quorum => Response::ok(201),
            Created::Partial => Response::ok(202),
            Created::EmptyZone => Response::crash("unknown_error", "no_nodes_in_zone", 2_661_693_543),
            Created::Exists => Response::error(
                412,
                "file_exists",
                "The database could not be created, the file already exists.",
            ),
        }
    }

    /// The placement of a new database, by the request or by the configuration.
    fn requested_zones(
        &self,
        host: &Host,
        request: &Request,
    ) -> Result<Option<Vec<(String, usize)>>, Response> {
        if let Some(text) = request.param("placement") {
            let reason = "The `placement` value should be in a format `zone:n`.";
            let zones = parse_placement(&text);
            return zones.map(Some).ok_or_else(|| Response::error(400, "bad_request", reason));
        }
        let Some(text) = self.nodes[host].config("cluster", "placement") else { return Ok(None) };
        parse_placement(text).map(Some).ok_or_else(|| Response::crash("badmatch", text, 78_072_166))
    }

    fn db_info(&self, host: &Host, map: &ShardMap) -> Response {
        let Some(docs) = self.gather_all(host, map) else { return no_shards() };
        // `n` is the largest number of copies, not the number that determines the quorum.
        let (live, n) = (docs.live().count(), map.n());
        let quorum = map.copies_for_quorum() / 2 + 1;
        // Sizes and `update_seq` are not those of CouchDB; they only grow with the number of documents.
        Response::json(
            200,
            &json!({
                "instance_start_time": map.suffix.trim_start_matches('.'),
                "db_name": map.db,
                "purge_seq": "0",
                "update_seq": format!("{}-sandbox", docs.seq),
                "sizes": {"file": 8488 * map.by_range.len(), "external": 2 * live, "active": 316 * live},
                "props": map.props,
                "doc_del_count": docs.deleted_count(),
                "doc_count": live,
                "disk_format_version": 8,
                "compact_running": false,
                "cluster": {"q": map.by_range.len(), "n": n, "w": quorum, "r": quorum},
            }),
        )
    }

    fn document(&mut self, host: &Host, map: &ShardMap, id: &str, request: &Request, now: Time) -> Answer {
        match request.method.as_str() {
            "GET" | "HEAD" => self.read(host, map, id, request),
            "PUT" | "DELETE" => self.write(host, map, Some(id), request, now),
            _ => Response::not_allowed("DELETE,GET,HEAD,POST,PUT,COPY").into(),
        }
    }

    fn read(&self, host: &Host, map: &ShardMap, id: &str, request: &Request) -> Answer {
        let copies = self.copies(host, map, id);
        if copies.live.is_empty() {
            return no_shards().into();
        }
        // Copies that refuse lower the quorum; only one that does not answer costs the timeout.
        let r = number(request, "r").unwrap_or(copies.quorum);
        if copies.live.len() < r && copies.has_unresponsive {
            return Response::error(500, "error", "timeout").after(READ_TIMEOUT);
        }
        let doc = self.read_with_quorum(&copies, id, r);
        let found = doc.live().is_some();
        local_db::read(found.then_some(&doc), id, request).into()
    }

    /// Writes a document. Without an id, that of the body is used, or one is generated.
    fn write(
        &mut self,
        host: &Host,
        map: &ShardMap,
        id: Option<&str>,
        request: &Request,
        now: Time,
    ) -> Answer {
        let id = match id {
            Some(id) => id.to_owned(),
            None => match request.json().and_then(|b| b["_id"].as_str().map(str::to_owned)) {
                Some(id) => id,
                None => self.random.hex32(),
            },
        };
        let edit = match requested_edit(request) {
            // A deletion must name the revision that it deletes.
            Ok(edit) if edit.deleted && edit.rev.is_none() => return Response::conflict().into(),
            Ok(edit) => edit,
            Err(response) => return response.into(),
        };
        let success = if edit.deleted { 200 } else { 201 };
        let w = number(request, "w");
        // The write is done at once, but its answer waits for the copies that do not answer.
        let after = if self.write_waits(host, map, &id, w) { WRITE_TIMEOUT } else { Duration::ZERO };
        let (status, rev) = match self.write_doc(host, map, DocWrite { id: &id, edit, w }, now) {
            Written::Quorum(rev) => (success, rev),
            Written::Partial(rev) => (202, rev),
            Written::Conflict => return Response::conflict().into(),
            Written::NoCopy => return no_shards().into(),
            Written::DiskFull => return Response::disk_full().into(),
        };
        Response::json(status, &json!({"ok": true, "id": id, "rev": rev.to_string()})).after(after)
    }

    /// `true` if a write needs a copy that does not answer.
    fn write_waits(&self, host: &Host, map: &ShardMap, id: &str, w: Option<usize>) -> bool {
        let copies = self.copies(host, map, id);
        copies.has_unresponsive && copies.live.len() < w.unwrap_or(copies.quorum)
    }

    /// Answers `/_all_dbs`.
    pub(crate) fn all_dbs(&self, host: &Host, request: &Request) -> Response {
        if !request.is_read() {
            return Response::not_allowed("GET");
        }
        let node = &self.nodes[host];
        // In maintenance mode the list is answered only while a member in service can be reached.
        if node.in_maintenance() && !self.reaches_member_in_service(host) {
            return Response::error(412, "nodedown", node.name().unwrap_or("nonode@nohost"));
        }
        let names: Vec<Value> = node.volume.dbs.live().map(|(db, _, _)| json!(db)).collect();
        Response::json(200, &Value::Array(names))
    }

    fn reaches_member_in_service(&self, host: &Host) -> bool {
        let members = self.nodes[host].members();
        members
            .into_iter()
            .filter_map(|member| self.host_of(member))
            .any(|member| self.reaches(host, &member) && !self.nodes[&member].in_maintenance())
    }
}

/// The edit of a `PUT`, `POST` or `DELETE` of a document.
fn requested_edit(request: &Request) -> Result<Edit, Response> {
    if request.method == "DELETE" {
        return Ok(Edit::delete(local_db::parse_rev(request.param("rev"))?));
    }
    local_db::edit_of(request)
}

/// `true` for the node-local databases, which a call without a node can't reach.
pub(crate) fn is_node_local(db: &str) -> bool {
    matches!(db, "_dbs" | "_nodes")
}

fn is_legal_name(db: &str) -> bool {
    db.starts_with('_')
        || db.starts_with(|c: char| c.is_ascii_lowercase())
            && db.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_$()+-/".contains(c))
}

fn number(request: &Request, name: &str) -> Option<usize> {
    request.param(name).and_then(|n| n.parse().ok())
}

fn no_access(caller: &Caller) -> Response {
    match caller {
        Caller::Anonymous | Caller::Admin { .. } => {
            Response::error(401, "unauthorized", "You are not authorized to access this db.")
        }
        Caller::User { .. } => Response::error(403, "forbidden", "You are not allowed to access this db."),
    }
}

/// `true` if a database's `_security` gives the caller the rights of a member. Without any member, it is public.
fn admits(security: &Value, caller: &Caller) -> bool {
    let list = |group: &str, kind: &str| security[group][kind].as_array().cloned().unwrap_or_default();
    let is_public = ["names", "roles"].iter().all(|kind| list("members", kind).is_empty());
    let Caller::User { name, roles, .. } = caller else { return is_public };
    let listed = |group: &str| {
        list(group, "names").iter().any(|listed| listed == name)
            || list(group, "roles").iter().any(|listed| roles.iter().any(|role| listed == role))
    };
    is_public || listed("members") || listed("admins")
}

fn no_shards() -> Response {
    Response::crash("internal_server_error", "No DB shards could be opened.", 3_318_763_005)
}

fn shard_of(map: &ShardMap, doc: &str) -> Response {
    match map.range_of(doc) {
        Some(range) => Response::json(200, &json!({"range": range, "nodes": map.holders_as_listed(range)})),
        None => no_shards(),
    }
}
