//! `/{db}` and below, `/_all_dbs`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::fabric::{Created, Reach, Size, Written};
use super::http::{Answer, Request, Response, Time};
use super::local_db;
use super::settings::Host;
use super::shards::ShardMap;
use super::world::World;

/// How long a write waits for a copy that doesn't answer, and a read.
const WRITE_TIMEOUT: Duration = Duration::from_millis(5100);
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(60);

impl World {
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
            && let Some(refused) = self.refuse(host, request, caller, db, rest)
        {
            return refused.into();
        }
        if (request.method.as_str(), rest) == ("PUT", &[]) {
            return self.put_db(host, db, request, now).into();
        }
        let shadowed = matches!(*db, "_dbs" | "_nodes");
        let Some(map) = self.map_of(host, db).filter(|_| !shadowed) else { return Response::no_db().into() };
        self.rouse(host, &map, now);
        if map.by_range.is_empty() {
            return no_shards().into();
        }
        match (request.method.as_str(), rest) {
            ("GET" | "HEAD", []) => self.db_info(host, &map).into(),
            ("DELETE", []) => {
                self.delete_db(host, &map, now);
                Response::ok(200).into()
            }
            ("POST", []) => self.write(host, &map, None, request, now),
            ("GET", ["_shards"]) => Response::json(200, &map.listing()).into(),
            ("GET", ["_shards", doc]) => shard_of(&map, doc).into(),
            ("POST", ["_sync_shards"]) => {
                self.fill_soon(&map.db, now);
                Response::ok(202).into()
            }
            ("GET" | "HEAD" | "POST", ["_all_docs"]) => match self.gather_all(host, &map) {
                Some(docs) => local_db::all_docs(&docs, request).into(),
                None => Response::error(500, "nodedown", "progress not possible").into(),
            },
            ("GET", ["_security"]) => Response::json(
                200,
                &json!({"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}}),
            )
            .into(),
            ("POST", ["_ensure_full_commit"]) => Response::ok(201).into(),
            (_, [doc]) => self.document(host, &map, doc, request, now),
            (_, ["_design", name]) => self.document(host, &map, &format!("_design/{name}"), request, now),
            _ => Response::missing().into(),
        }
    }

    /// Databases of CouchDB 3 are for admins, until someone changes their `_security`, which isn't imitated.
    fn refuse(
        &self,
        host: &Host,
        request: &Request,
        caller: &Caller,
        db: &str,
        rest: &[&str],
    ) -> Option<Response> {
        let version = self.nodes[host].settings.version;
        let open = version.major < 3 && !db.starts_with('_') && request.is_read();
        let is_document = matches!(rest, [doc] if !doc.starts_with('_')) && db != "_users";
        match (rest, self.map_of(host, db)) {
            _ if open => None,
            ([], None) if request.is_read() => Some(Response::no_db()),
            ([], Some(_)) if request.is_read() => Some(no_access(caller)),
            (_, Some(_)) if is_document => Some(no_access(caller)),
            _ => Some(Response::not_admin()),
        }
    }

    fn put_db(&mut self, host: &Host, db: &str, request: &Request, now: Time) -> Response {
        let legal = db.starts_with('_')
            || db.starts_with(|c: char| c.is_ascii_lowercase())
                && db.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_$()+-/".contains(c));
        if !legal {
            let reason = format!(
                "Name: '{db}'. Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), \
                 +, -, and / are allowed. Must begin with a letter."
            );
            return Response::error(400, "illegal_database_name", &reason);
        }
        let number = |name: &str| request.param(name).and_then(|n| n.parse().ok());
        let created = match db {
            "_dbs" => Created::Exists,
            _ => {
                let size = Size { q: number("q"), n: number("n") };
                self.create_db(host, db, size, Reach::Members, now)
            }
        };
        match created {
            Created::Quorum => Response::ok(201),
            Created::Some => Response::ok(202),
            Created::Exists => Response::error(
                412,
                "file_exists",
                "The database could not be created, the file already exists.",
            ),
        }
    }

    fn db_info(&self, host: &Host, map: &ShardMap) -> Response {
        let Some(docs) = self.gather_all(host, map) else { return no_shards() };
        let (live, n) = (docs.live().count(), map.n());
        let quorum = n / 2 + 1;
        Response::json(
            200,
            &json!({
                "instance_start_time": map.suffix.trim_start_matches('.'),
                "db_name": map.db,
                "purge_seq": "0",
                "update_seq": format!("{}-sandbox", docs.seq),
                "sizes": {"file": 8488 * map.by_range.len(), "external": 2 * live, "active": 316 * live},
                "props": {},
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
        let Some(range) = map.range_of(id) else { return no_shards().into() };
        let copies = self.copies(host, map, range);
        let r = number(request, "r").unwrap_or(copies.n / 2 + 1);
        if copies.live.is_empty() {
            return no_shards().into();
        }
        if copies.live.len() < r && copies.silent {
            return Response::error(500, "error", "timeout").after(READ_TIMEOUT);
        }
        let doc = self.gather_doc(&copies, map, range, id);
        let found = doc.live().is_some();
        local_db::read(found.then_some(&doc), id, request).into()
    }

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
        let edit = match request.method.as_str() {
            "DELETE" => local_db::split_body(Map::new(), request.param("rev"))
                .map(|edit| local_db::Edit { deleted: true, ..edit }),
            _ => local_db::edit_of(request),
        };
        let edit = match edit {
            Ok(edit) if edit.deleted && edit.rev.is_none() => return Response::conflict().into(),
            Ok(edit) => edit,
            Err(response) => return response.into(),
        };
        let good = if edit.deleted { 200 } else { 201 };
        let silent = map.range_of(&id).is_some_and(|range| {
            let copies = self.copies(host, map, range);
            let w = number(request, "w").unwrap_or(copies.n / 2 + 1);
            copies.silent && copies.live.len() < w
        });
        let after = if silent { WRITE_TIMEOUT } else { Duration::ZERO };
        let said = |status: u16, rev: String| {
            Response::json(status, &json!({"ok": true, "id": id, "rev": rev})).after(after)
        };
        match self.write_doc(host, map, &id, edit, number(request, "w"), now) {
            Written::Quorum(rev) => said(good, rev.to_string()),
            Written::Some(rev) => said(202, rev.to_string()),
            Written::Conflict => Response::conflict().into(),
            Written::None => no_shards().into(),
        }
    }

    pub(crate) fn all_dbs(&self, host: &Host, request: &Request) -> Response {
        if !request.is_read() {
            return Response::not_allowed("GET");
        }
        let node = &self.nodes[host];
        let awake = |h: &Host| self.reaches(host, h) && !self.nodes[h].in_maintenance();
        let mut members = node.members().into_iter().filter_map(|m| self.host_of(m));
        if node.in_maintenance() && !members.any(|m| awake(&m)) {
            return Response::error(412, "nodedown", node.name().unwrap_or("nonode@nohost"));
        }
        let names: Vec<Value> = node.volume.dbs.live().map(|(db, _, _)| json!(db)).collect();
        Response::json(200, &Value::Array(names))
    }
}

fn number(request: &Request, name: &str) -> Option<usize> {
    request.param(name).and_then(|n| n.parse().ok())
}

fn no_access(caller: &Caller) -> Response {
    match caller {
        Caller::Nobody | Caller::Admin { .. } => {
            Response::error(401, "unauthorized", "You are not authorized to access this db.")
        }
        Caller::User { .. } => Response::error(403, "forbidden", "You are not allowed to access this db."),
    }
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
