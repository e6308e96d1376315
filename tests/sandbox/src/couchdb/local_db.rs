//! One database file over HTTP: its info, `_all_docs`, its documents. Node-local databases are served with this, and
//! clustered ones once their shards are gathered.

use serde_json::{Map, Value, json};

use super::crypto::{hex, md5};
use super::http::{Request, Response};
use super::node::Volume;
use super::revs::{Doc, Docs, Rev};
use super::shards::Shard;

/// A database that `/_node/{node}/{db}` reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Local {
    /// The members.
    Nodes,
    /// The shard maps.
    Dbs,
    /// The users of the older HTTP stack.
    Users,
    /// One shard file.
    Shard(Shard),
}

impl Local {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "_nodes" => Some(Self::Nodes),
            "_dbs" => Some(Self::Dbs),
            "_users" => Some(Self::Users),
            other => Shard::parse(other).map(Self::Shard),
        }
    }
}

pub(crate) fn open<'a>(volume: &'a mut Volume, which: &Local) -> Option<&'a mut Docs> {
    match which {
        Local::Nodes => Some(&mut volume.nodes),
        Local::Dbs => Some(&mut volume.dbs),
        Local::Users => volume.users.as_mut(),
        Local::Shard(shard) => volume.shards.get_mut(shard),
    }
}

/// Everything below one database of one file.
pub(crate) fn answer(docs: &mut Docs, db: &str, rest: &[&str], request: &Request) -> Response {
    let id = match rest {
        ["_local", id] => return unreplicated(docs, &format!("_local/{id}"), request),
        [id] if id.starts_with("_local/") => return unreplicated(docs, id, request),
        [] => String::new(),
        ["_design", name, ..] => format!("_design/{name}"),
        [id, ..] => (*id).to_owned(),
    };
    match (request.method.as_str(), id.as_str()) {
        ("GET" | "HEAD", "") => info(docs, db),
        ("GET" | "HEAD" | "POST", "_all_docs") => all_docs(docs, request),
        ("GET" | "HEAD", id) => read(docs.get(id), id, request),
        ("PUT", id) if !id.is_empty() => match write(docs, id, request) {
            Ok(rev) => Response::json(201, &json!({"ok": true, "id": id, "rev": rev.to_string()})),
            Err(response) => response,
        },
        ("DELETE", id) if !id.is_empty() => match delete(docs, id, request) {
            Ok(rev) => Response::json(200, &json!({"ok": true, "id": id, "rev": rev.to_string()})),
            Err(response) => response,
        },
        _ => Response::not_allowed("DELETE,GET,HEAD,POST,PUT"),
    }
}

/// A `_local/..` document. Its revision is the same at every write, and needn't be given.
fn unreplicated(docs: &mut Docs, id: &str, request: &Request) -> Response {
    let done = |status, rev| Response::json(status, &json!({"ok": true, "id": id, "rev": rev}));
    match (request.method.as_str(), docs.local.get(id)) {
        ("GET" | "HEAD", Some(body)) => {
            let mut full = Map::new();
            full.insert("_id".to_owned(), json!(id));
            full.insert("_rev".to_owned(), json!("0-1"));
            full.extend(body.clone());
            Response::json(200, &Value::Object(full))
        }
        ("PUT", _) => match edit_of(request) {
            Ok(edit) => {
                docs.local.insert(id.to_owned(), edit.body);
                done(201, "0-1")
            }
            Err(response) => response,
        },
        ("DELETE", Some(_)) => {
            docs.local.remove(id);
            done(200, "0-0")
        }
        ("GET" | "HEAD" | "DELETE", None) => Response::missing(),
        _ => Response::not_allowed("DELETE,GET,HEAD,PUT"),
    }
}

/// A body and the revision it follows, from a PUT or a `_bulk_docs` line.
pub(crate) fn split_body(mut body: Map<String, Value>, rev: Option<String>) -> Result<Edit, Response> {
    let in_body = body.shift_remove("_rev").and_then(|v| v.as_str().map(str::to_owned));
    let deleted = body.shift_remove("_deleted") == Some(Value::Bool(true));
    body.retain(|key, _| !key.starts_with('_'));
    let rev = rev.or(in_body);
    let rev = rev.map(|text| text.parse::<Rev>()).transpose();
    let rev = rev.map_err(|()| Response::error(400, "bad_request", "Invalid rev format"))?;
    Ok(Edit { rev, deleted, body })
}

/// An edit as a client asks for it.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) rev: Option<Rev>,
    pub(crate) deleted: bool,
    pub(crate) body: Map<String, Value>,
}

/// The edit that a PUT of a document asks for.
pub(crate) fn edit_of(request: &Request) -> Result<Edit, Response> {
    match request.json() {
        Some(Value::Object(body)) => split_body(body, request.param("rev")),
        Some(_) => Err(Response::error(400, "bad_request", "Document must be a JSON object")),
        None => Err(Response::error(400, "bad_request", "invalid UTF-8 JSON")),
    }
}

fn write(docs: &mut Docs, id: &str, request: &Request) -> Result<Rev, Response> {
    let edit = edit_of(request)?;
    docs.edit(id, edit.rev.as_ref(), edit.deleted, edit.body).map_err(|_| Response::conflict())
}

fn delete(docs: &mut Docs, id: &str, request: &Request) -> Result<Rev, Response> {
    if docs.get(id).and_then(Doc::live).is_none() {
        return Err(not_there(docs.get(id)));
    }
    // A malformed revision is a conflict here, as recorded for `rev=1-bad`.
    let rev: Option<Rev> = request.param("rev").and_then(|rev| rev.parse().ok());
    let rev = rev.ok_or_else(Response::conflict)?;
    docs.edit(id, Some(&rev), true, Map::new()).map_err(|_| Response::conflict())
}

fn not_there(doc: Option<&Doc>) -> Response {
    match doc {
        Some(_) => Response::error(404, "not_found", "deleted"),
        None => Response::missing(),
    }
}

/// `GET` of one document.
pub(crate) fn read(doc: Option<&Doc>, id: &str, request: &Request) -> Response {
    match doc.and_then(|d| d.live().map(|live| (d, live))) {
        Some((doc, (rev, body))) => Response::json(200, &with_meta(doc, id, rev, body, request)),
        None => not_there(doc),
    }
}

fn with_meta(doc: &Doc, id: &str, rev: &Rev, body: &Map<String, Value>, request: &Request) -> Value {
    let mut full = Map::new();
    full.insert("_id".to_owned(), json!(id));
    full.insert("_rev".to_owned(), json!(rev.to_string()));
    full.extend(body.clone());
    let conflicts = doc.conflicts();
    if request.flag("conflicts") && !conflicts.is_empty() {
        let revs: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
        full.insert("_conflicts".to_owned(), json!(revs));
    }
    Value::Object(full)
}

fn info(docs: &Docs, db: &str) -> Response {
    let live = docs.live().count();
    let uuid = hex(&md5(db.as_bytes()));
    Response::json(
        200,
        &json!({
            "db_name": db,
            "engine": "couch_bt_engine",
            "doc_count": live,
            "doc_del_count": docs.deleted_count(),
            "update_seq": docs.seq,
            "purge_seq": 0,
            "compact_running": false,
            "sizes": {"active": 316 * live, "external": 2 * live, "file": 4295 + 4128 * live},
            "instance_start_time": "1795220998201032",
            "disk_format_version": 8,
            "committed_update_seq": docs.seq,
            "compacted_seq": 0,
            "props": {},
            "uuid": uuid,
        }),
    )
}

/// `_all_docs`, with keys, ranges, limits and documents.
pub(crate) fn all_docs(docs: &Docs, request: &Request) -> Response {
    let keys = request.param_json("keys").or_else(|| request.json().map(|body| body["keys"].clone()));
    if let Some(Value::Array(keys)) = keys {
        let rows = keys.iter().map(|key| row_of_key(docs, key, request)).collect();
        return rows_response(docs.live().count(), None, rows);
    }
    let bound = |names: [&str; 2]| {
        names.iter().find_map(|n| request.param_json(n)).and_then(|v| v.as_str().map(str::to_owned))
    };
    let exact = bound(["key", "key"]);
    let start = exact.clone().or_else(|| bound(["startkey", "start_key"]));
    let end = exact.or_else(|| bound(["endkey", "end_key"]));
    let descending = request.flag("descending");
    let inclusive = request.param("inclusive_end").as_deref() != Some("false");
    let number = |name: &str| request.param(name).and_then(|n| n.parse::<usize>().ok());

    let mut ids: Vec<&String> = docs.live().map(|(id, _, _)| id).collect();
    if descending {
        ids.reverse();
    }
    let before = |a: &str, b: &str| if descending { a > b } else { a < b };
    let offset = start.map_or(0, |s| ids.iter().take_while(|id| before(id, &s)).count());
    let skip = offset + number("skip").unwrap_or(0);
    let within = |id: &str| end.as_deref().is_none_or(|e| before(id, e) || inclusive && id == e);
    let rows = ids
        .iter()
        .skip(skip)
        .take_while(|id| within(id))
        .take(number("limit").unwrap_or(usize::MAX))
        .map(|id| row_of_key(docs, &json!(id), request))
        .collect();
    rows_response(ids.len(), Some(skip.min(ids.len())), rows)
}

fn row_of_key(docs: &Docs, key: &Value, request: &Request) -> Value {
    let Some((id, doc)) = key.as_str().and_then(|id| docs.get(id).map(|doc| (id, doc))) else {
        return json!({"key": key, "error": "not_found"});
    };
    let Some((rev, body)) = doc.live() else {
        return json!({"id": id, "key": id, "value": {"rev": "", "deleted": true}});
    };
    let mut row = json!({"id": id, "key": id, "value": {"rev": rev.to_string()}});
    if request.flag("include_docs") {
        row["doc"] = with_meta(doc, id, rev, body, request);
    }
    row
}

/// CouchDB streams rows line by line.
fn rows_response(total: usize, offset: Option<usize>, rows: Vec<Value>) -> Response {
    let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    let offset = offset.map_or("null".to_owned(), |o| o.to_string());
    Response::text(
        200,
        format!("{{\"total_rows\":{total},\"offset\":{offset},\"rows\":[\r\n{}\r\n]}}\n", rows.join(",\r\n")),
    )
}
