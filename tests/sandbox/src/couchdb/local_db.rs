//! One database file over HTTP: its info, `_all_docs` and its documents. Node-local databases are served from their
//! file, clustered ones from their gathered shards.

use serde_json::{Map, Value, json};

use super::crypto::{hex, md5};
use super::http::{Request, Response};
use super::node::Volume;
use super::revs::{Doc, Docs, Edit, Rev};
use super::shards::Shard;

/// A database that `/_node/{node}/{db}` reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LocalDb {
    /// The members.
    Nodes,
    /// The shard maps.
    Dbs,
    /// The users of the older HTTP stack.
    Users,
    /// One shard file.
    Shard(Shard),
}

impl LocalDb {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "_nodes" => Some(Self::Nodes),
            "_dbs" => Some(Self::Dbs),
            "_users" => Some(Self::Users),
            other => Shard::parse(other).map(Self::Shard),
        }
    }

    pub(crate) fn open<'a>(&self, volume: &'a mut Volume) -> Option<&'a mut Docs> {
        match self {
            Self::Nodes => Some(&mut volume.nodes),
            Self::Dbs => Some(&mut volume.dbs),
            Self::Users => volume.users.as_mut(),
            Self::Shard(shard) => volume.shards.get_mut(shard).map(|file| &mut file.docs),
        }
    }
}

/// Answers a call for a database file or for a document in it.
pub(crate) fn answer(docs: &mut Docs, db: &str, rest: &[&str], request: &Request) -> Response {
    let id = match rest {
        ["_local", id] => return unreplicated(docs, &format!("_local/{id}"), request),
        [id] if id.starts_with("_local/") => return unreplicated(docs, id, request),
        [] => String::new(),
        ["_design", name, ..] => format!("_design/{name}"),
        [id, ..] => (*id).to_owned(),
    };
    match (request.method.as_str(), id.as_str()) {
        ("GET" | "HEAD", "") => {
            let uuid = uuid(docs, db);
            info(docs, db, &FileDetails { uuid: &uuid, purge_seq: 0, props: &json!({}) })
        }
        ("POST", "_bulk_docs") => bulk_docs(docs, request),
        ("GET" | "HEAD" | "POST", "_all_docs") => all_docs(docs, request),
        ("GET" | "HEAD", id) => read(docs.get(id), id, request),
        ("PUT", id) if !id.is_empty() => written(201, id, put(docs, id, request)),
        ("DELETE", id) if !id.is_empty() => written(200, id, delete(docs, id, request)),
        _ => Response::not_allowed("DELETE,GET,HEAD,POST,PUT"),
    }
}

fn written(status: u16, id: &str, result: Result<Rev, Response>) -> Response {
    match result {
        Ok(rev) => Response::json(status, &json!({"ok": true, "id": id, "rev": rev.to_string()})),
        Err(response) => response,
    }
}

/// Answers a call for a `_local/..` document. Its revision is the same after every write, and a write does not need
/// it.
fn unreplicated(docs: &mut Docs, id: &str, request: &Request) -> Response {
    match request.method.as_str() {
        "GET" | "HEAD" => match docs.local.get(id) {
            Some(body) => Response::json(200, &Value::Object(with_id(id, "0-1", body))),
            None => Response::missing(),
        },
        "PUT" => match edit_of(request) {
            Ok(edit) => {
                docs.local.insert(id.to_owned(), edit.body);
                Response::json(201, &json!({"ok": true, "id": id, "rev": "0-1"}))
            }
            Err(response) => response,
        },
        "DELETE" => match docs.local.remove(id) {
            Some(_) => Response::json(200, &json!({"ok": true, "id": id, "rev": "0-0"})),
            None => Response::missing(),
        },
        _ => Response::not_allowed("DELETE,GET,HEAD,PUT"),
    }
}

/// Parses the revision of a request.
pub(crate) fn parse_rev(text: Option<String>) -> Result<Option<Rev>, Response> {
    text.map(|text| text.parse::<Rev>())
        .transpose()
        .map_err(|()| Response::error(400, "bad_request", "Invalid rev format"))
}

/// The edit that a `PUT` or `POST` of a document requests.
pub(crate) fn edit_of(request: &Request) -> Result<Edit, Response> {
    match request.json() {
        // The revision in the query overrides that in the body.
        Some(Value::Object(body)) => edit_in(body, request.param("rev")),
        Some(_) => Err(Response::error(400, "bad_request", "Document must be a JSON object")),
        None => Err(Response::error(400, "bad_request", "invalid UTF-8 JSON")),
    }
}

fn edit_in(mut body: Map<String, Value>, rev: Option<String>) -> Result<Edit, Response> {
    let rev_in_body = body.shift_remove("_rev").and_then(|v| v.as_str().map(str::to_owned));
    let deleted = body.shift_remove("_deleted") == Some(Value::Bool(true));
    // Members that start with an underscore are CouchDB's own; they are no part of the content.
    body.retain(|key, _| !key.starts_with('_'));
    let rev = parse_rev(rev.or(rev_in_body))?;
    Ok(Edit { rev, deleted, body })
}

/// Answers `_bulk_docs`: each document is written or refused for itself.
fn bulk_docs(docs: &mut Docs, request: &Request) -> Response {
    let body = request.json().unwrap_or_default();
    let Some(list) = body["docs"].as_array() else {
        return Response::error(400, "bad_request", "Missing JSON list of 'docs'");
    };
    let mut edits = Vec::new();
    for doc in list {
        let Some(body) = doc.as_object().cloned() else {
            return Response::error(400, "bad_request", "Document must be a JSON object");
        };
        let Some(id) = body.get("_id").and_then(Value::as_str).map(str::to_owned) else {
            return Response::error(400, "bad_request", "Document id must be a string");
        };
        match edit_in(body, None) {
            Ok(edit) => edits.push((id, edit)),
            Err(response) => return response,
        }
    }
    let rows: Vec<Value> = edits
        .into_iter()
        .map(|(id, edit)| match docs.edit(&id, edit) {
            Ok(rev) => json!({"ok": true, "id": id, "rev": rev.to_string()}),
            Err(_) => json!({"id": id, "error": "conflict", "reason": "Document update conflict."}),
        })
        .collect();
    Response::json(201, &json!(rows))
}

fn put(docs: &mut Docs, id: &str, request: &Request) -> Result<Rev, Response> {
    docs.edit(id, edit_of(request)?).map_err(|_| Response::conflict())
}

fn delete(docs: &mut Docs, id: &str, request: &Request) -> Result<Rev, Response> {
    if docs.get(id).and_then(Doc::live).is_none() {
        return Err(not_found(docs.get(id)));
    }
    // A malformed revision is a conflict here, as recorded for `rev=1-bad`.
    let rev: Option<Rev> = request.param("rev").and_then(|rev| rev.parse().ok());
    let rev = rev.ok_or_else(Response::conflict)?;
    docs.edit(id, Edit::delete(Some(rev))).map_err(|_| Response::conflict())
}

fn not_found(doc: Option<&Doc>) -> Response {
    match doc {
        Some(_) => Response::error(404, "not_found", "deleted"),
        None => Response::missing(),
    }
}

/// Answers a `GET` of one document.
pub(crate) fn read(doc: Option<&Doc>, id: &str, request: &Request) -> Response {
    match doc.and_then(|d| d.live().map(|live| (d, live))) {
        Some((doc, (rev, body))) => Response::json(200, &full_doc(doc, id, rev, body, request)),
        None => not_found(doc),
    }
}

/// A document as it is sent: id and revision come first.
pub(crate) fn with_id(id: &str, rev: &str, body: &Map<String, Value>) -> Map<String, Value> {
    let mut full = Map::new();
    full.insert("_id".to_owned(), json!(id));
    full.insert("_rev".to_owned(), json!(rev));
    full.extend(body.clone());
    full
}

fn full_doc(doc: &Doc, id: &str, rev: &Rev, body: &Map<String, Value>, request: &Request) -> Value {
    let mut full = with_id(id, &rev.to_string(), body);
    let conflicts = doc.conflicts();
    if request.flag("conflicts") && !conflicts.is_empty() {
        let revs: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
        full.insert("_conflicts".to_owned(), json!(revs));
    }
    Value::Object(full)
}

/// The uuid of a node-local file, which stays for the life of the file.
fn uuid(docs: &Docs, db: &str) -> String {
    hex(&md5(format!("{}{db}", docs.salt).as_bytes()))
}

/// The parts of a file's info that its documents do not contain.
pub(crate) struct FileDetails<'a> {
    pub(crate) uuid: &'a str,
    pub(crate) purge_seq: u64,
    pub(crate) props: &'a Value,
}

/// Answers `GET` of a file below `/_node/{node}/`.
pub(crate) fn info(docs: &Docs, name: &str, details: &FileDetails<'_>) -> Response {
    let live = docs.live().count();
    // Sizes are not those of CouchDB; they only grow with the number of documents.
    Response::json(
        200,
        &json!({
            "db_name": name,
            "engine": "couch_bt_engine",
            "doc_count": live,
            "doc_del_count": docs.deleted_count(),
            "update_seq": docs.seq,
            "purge_seq": details.purge_seq,
            "compact_running": false,
            "sizes": {"active": 316 * live, "external": 2 * live, "file": 4295 + 4128 * live},
            "instance_start_time": "1795220998201032",
            "disk_format_version": 8,
            "committed_update_seq": docs.seq,
            "compacted_seq": 0,
            "props": details.props,
            "uuid": details.uuid,
        }),
    )
}

/// The part of `_all_docs` that a request is for.
pub(crate) struct Listing {
    start: Option<String>,
    end: Option<String>,
    descending: bool,
    inclusive_end: bool,
    skip: usize,
    limit: usize,
}

impl Listing {
    pub(crate) fn of(request: &Request) -> Self {
        // `key` is a range of one.
        let key = key_param(request, "key", "key");
        Self {
            start: key.clone().or_else(|| key_param(request, "startkey", "start_key")),
            end: key.or_else(|| key_param(request, "endkey", "end_key")),
            descending: request.flag("descending"),
            inclusive_end: request.param("inclusive_end").as_deref() != Some("false"),
            skip: number_param(request, "skip").unwrap_or(0),
            limit: number_param(request, "limit").unwrap_or(usize::MAX),
        }
    }

    fn is_before(&self, a: &str, b: &str) -> bool {
        if self.descending { a > b } else { a < b }
    }

    /// `true` if the id is between the start and the end key.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.start.as_deref().is_none_or(|start| !self.is_before(id, start)) && self.is_before_end(id)
    }

    fn is_before_end(&self, id: &str) -> bool {
        self.end.as_deref().is_none_or(|end| self.is_before(id, end) || self.inclusive_end && id == end)
    }
}

/// A string parameter with two spellings.
fn key_param(request: &Request, name: &str, other_name: &str) -> Option<String> {
    let value = request.param_json(name).or_else(|| request.param_json(other_name))?;
    value.as_str().map(str::to_owned)
}

fn number_param(request: &Request, name: &str) -> Option<usize> {
    request.param(name).and_then(|n| n.parse().ok())
}

/// Answers `_all_docs`, with keys, ranges, limits and documents.
pub(crate) fn all_docs(docs: &Docs, request: &Request) -> Response {
    let keys = request.param_json("keys").or_else(|| request.json().map(|body| body["keys"].clone()));
    if let Some(Value::Array(keys)) = keys {
        let rows = keys.iter().map(|key| row_of_key(docs, key, request)).collect();
        return rows_response(docs.live().count(), None, rows);
    }
    let listing = Listing::of(request);
    let mut ids: Vec<&String> = docs.live().map(|(id, _, _)| id).collect();
    if listing.descending {
        ids.reverse();
    }
    // `offset` counts the rows before the start key and the skipped ones.
    let offset = listing
        .start
        .as_deref()
        .map_or(0, |start| ids.iter().take_while(|id| listing.is_before(id, start)).count());
    let skip = offset + listing.skip;
    let rows = ids
        .iter()
        .skip(skip)
        .take_while(|id| listing.is_before_end(id))
        .take(listing.limit)
        .map(|id| row_of_key(docs, &json!(id), request))
        .collect();
    rows_response(ids.len(), Some(skip.min(ids.len())), rows)
}

fn row_of_key(docs: &Docs, key: &Value, request: &Request) -> Value {
    // Each requested key gets a row, also if its document is missing or deleted.
    let Some((id, doc)) = key.as_str().and_then(|id| docs.get(id).map(|doc| (id, doc))) else {
        return json!({"key": key, "error": "not_found"});
    };
    let Some((rev, body)) = doc.live() else {
        return json!({"id": id, "key": id, "value": {"rev": "", "deleted": true}});
    };
    let mut row = json!({"id": id, "key": id, "value": {"rev": rev.to_string()}});
    if request.flag("include_docs") {
        row["doc"] = full_doc(doc, id, rev, body, request);
    }
    row
}

/// The rows of `_all_docs`, one a line as CouchDB streams them.
fn rows_response(total: usize, offset: Option<usize>, rows: Vec<Value>) -> Response {
    let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    let offset = offset.map_or("null".to_owned(), |o| o.to_string());
    Response::text(
        200,
        format!("{{\"total_rows\":{total},\"offset\":{offset},\"rows\":[\r\n{}\r\n]}}\n", rows.join(",\r\n")),
    )
}
