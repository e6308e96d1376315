//! `/_node/{node}/shards%2F..`: one shard file on one node, as the older HTTP stack serves it, whether or not a map lists
//! it; and the properties that the files of a database share, as the clustered interface serves them.

use serde_json::{Map, Value, json};

use super::fabric::Copy;
use super::http::{Request, Response, Time};
use super::local_db;
use super::revs::Rev;
use super::settings::Host;
use super::shard_file::{Purge, ShardFile};
use super::shards::{Shard, ShardMap};
use super::world::World;

impl World {
    /// Answers a call for one shard file.
    pub(crate) fn shard_api(
        &mut self,
        host: &Host,
        shard: &Shard,
        rest: &[&str],
        request: &Request,
        now: Time,
    ) -> Response {
        let is_removal = rest.is_empty() && request.method == "DELETE";
        if !request.is_read() && !is_removal && self.nodes[host].is_disk_full {
            return Response::disk_full();
        }
        if rest.is_empty() && request.method == "PUT" {
            return self.create_shard_file(host, shard);
        }
        if let ("GET", ["_design", name, "_info"]) = (request.method.as_str(), rest) {
            return self.file_index_info(host, shard, name);
        }
        if is_document_write(rest, request) && self.map_of(host, &shard.db).is_none() {
            return Response::error(500, "unknown_error", "database_does_not_exist");
        }
        let random = self.file_uuids.hex32();
        let Some(node) = self.nodes.get_mut(host) else { return no_file() };
        if is_removal {
            return node.volume.shards.remove(shard).map_or_else(no_file, |_| Response::ok(200));
        }
        let Some(file) = node.volume.shards.get_mut(shard) else { return no_file() };
        let seq_before = file.docs.seq;
        let response = answer(file, shard, rest, request, random);
        if file.docs.seq != seq_before {
            self.push_soon(host, shard, now);
        }
        response
    }

    fn create_shard_file(&mut self, host: &Host, shard: &Shard) -> Response {
        if self.file(host, shard).is_some() {
            let reason = "The database could not be created, the file already exists.";
            return Response::error(412, "file_exists", reason);
        }
        // Unlike every other way to a new file, this one does not know the database.
        self.create_file_with(host, shard, json!({}));
        Response::ok(201)
    }

    /// Answers `/_node/{node}/_all_dbs`: all files of the node, those that no map lists included.
    pub(crate) fn all_files(&self, host: &Host) -> Response {
        let volume = &self.nodes[host].volume;
        let mut names: Vec<String> = volume.shards.keys().map(Shard::to_string).collect();
        names.extend(["_dbs", "_nodes"].map(str::to_owned));
        names.extend(volume.users.is_some().then(|| "_users".to_owned()));
        names.sort();
        Response::json(200, &json!(names))
    }

    /// Answers `GET` of a property of a clustered database, from the first copy.
    pub(crate) fn get_property(&self, host: &Host, map: &ShardMap, name: &str) -> Response {
        match self.first_copy(host, map) {
            Some(file) => property(file, name),
            None => Response::error(500, "nodedown", "progress not possible"),
        }
    }

    /// Sets a property on every copy that answers.
    pub(crate) fn put_property(
        &mut self,
        host: &Host,
        map: &ShardMap,
        name: &str,
        request: &Request,
    ) -> Response {
        for Copy { host, shard } in self.live_copies(host, map) {
            if let Some(file) = self.shard_file_mut(&host, &shard)
                && let Err(response) = set_property(file, name, request)
            {
                return response;
            }
        }
        Response::ok(200)
    }

    /// Answers `POST /{db}/_compact`.
    pub(crate) fn compact(&mut self, host: &Host, map: &ShardMap, request: &Request) -> Response {
        if !request.is_json() {
            return Response::error(415, "bad_content_type", "Content-Type must be application/json");
        }
        for Copy { host, shard } in self.live_copies(host, map) {
            if let Some(file) = self.shard_file_mut(&host, &shard) {
                file.compact();
            }
        }
        Response::ok(202)
    }

    /// Answers `POST /{db}/_purge`.
    pub(crate) fn purge_docs(
        &mut self,
        host: &Host,
        map: &ShardMap,
        request: &Request,
        now: Time,
    ) -> Response {
        let mut purged = Map::new();
        for (id, revs) in requested_purges(request) {
            let purge = Purge { uuid: self.file_uuids.hex32(), id: id.clone(), revs };
            let mut removed: Vec<String> = Vec::new();
            for Copy { host, shard } in self.copies(host, map, &id).live {
                if let Some(file) = self.shard_file_mut(&host, &shard) {
                    let found = file.purge(purge.clone());
                    removed.extend(
                        found
                            .iter()
                            .map(ToString::to_string)
                            .filter(|rev| !removed.contains(rev))
                            .collect::<Vec<_>>(),
                    );
                }
                self.push_soon(&host, &shard, now);
            }
            purged.insert(id, json!(removed));
        }
        Response::json(201, &json!({"purge_seq": null, "purged": purged}))
    }
}

fn answer(file: &mut ShardFile, shard: &Shard, rest: &[&str], request: &Request, random: String) -> Response {
    match (request.method.as_str(), rest) {
        ("GET" | "HEAD", []) => info(file, shard),
        ("GET" | "POST", ["_changes"]) => changes(file, request),
        ("GET", ["_local_docs"]) => local_docs(file, request),
        // The older stack has no such path; only the clustered interface has.
        (_, ["_purged_infos_limit"]) => Response::missing(),
        ("GET", [name @ ("_security" | "_revs_limit")]) => property(file, name),
        ("PUT", [name @ ("_security" | "_revs_limit")]) => {
            set_property(file, name, request).err().unwrap_or_else(|| Response::ok(200))
        }
        ("POST", ["_purge"]) => {
            let mut purged = Map::new();
            for (number, (id, revs)) in requested_purges(request).into_iter().enumerate() {
                let found = file.purge(Purge { uuid: format!("{random}-{number}"), id: id.clone(), revs });
                purged.insert(id, json!(found.iter().map(ToString::to_string).collect::<Vec<_>>()));
            }
            Response::json(200, &json!({"purge_seq": file.purge_seq(), "purged": purged}))
        }
        ("POST", ["_ensure_full_commit"]) => Response::ok(201),
        ("POST", ["_compact"]) => {
            file.compact();
            Response::ok(202)
        }
        _ => local_db::answer(&mut file.docs, &shard.to_string(), rest, request),
    }
}

/// `true` for a write of a document, which runs the validation functions of the database: it needs the database's map.
fn is_document_write(rest: &[&str], request: &Request) -> bool {
    let is_document = matches!(rest, [id] if !id.starts_with('_'));
    is_document && matches!(request.method.as_str(), "PUT" | "DELETE")
}

fn info(file: &ShardFile, shard: &Shard) -> Response {
    let details = local_db::FileDetails { uuid: &file.uuid, purge_seq: file.purge_seq(), props: &file.props };
    local_db::info(&file.docs, &shard.to_string(), &details)
}

fn no_file() -> Response {
    Response::error(404, "not_found", "no_db_file")
}

/// The revisions in the body of `_purge`, by document.
fn requested_purges(request: &Request) -> Vec<(String, Vec<Rev>)> {
    let Some(Value::Object(body)) = request.json() else { return Vec::new() };
    let revs = |list: &Value| {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|rev| rev.as_str()?.parse().ok()).collect()
    };
    body.iter().map(|(id, list)| (id.clone(), revs(list))).collect()
}

fn property(file: &ShardFile, name: &str) -> Response {
    match name {
        "_security" => Response::json(200, &file.security),
        "_revs_limit" => Response::json(200, &json!(file.revs_limit)),
        _ => Response::json(200, &json!(file.purged_infos_limit)),
    }
}

fn set_property(file: &mut ShardFile, name: &str, request: &Request) -> Result<(), Response> {
    let value = request.json();
    if name == "_security" {
        let Some(value @ Value::Object(_)) = value else {
            return Err(Response::error(400, "bad_request", "Request body must be a JSON object"));
        };
        file.set(|file| file.security = value);
        return Ok(());
    }
    let Some(limit) = value.as_ref().and_then(Value::as_u64).filter(|limit| *limit > 0) else {
        return Err(Response::error(400, "bad_request", "Rev limit has to be an integer"));
    };
    file.set(|file| match name {
        "_revs_limit" => file.revs_limit = limit,
        _ => file.purged_infos_limit = limit,
    });
    Ok(())
}

fn changes(file: &ShardFile, request: &Request) -> Response {
    let number = |name: &str| request.param(name).and_then(|number| number.parse::<u64>().ok());
    let limit = number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    // A descending feed begins with the last change, whatever `since` is.
    let is_descending = request.flag("descending");
    let since = number("since").filter(|_| !is_descending).unwrap_or(0);
    let rows = file.docs.changes_since(since);
    let rows: Vec<_> =
        if is_descending { rows.rev().take(limit).collect() } else { rows.take(limit).collect() };
    let end = if is_descending { file.docs.seq } else { since };
    let last = rows.last().map_or(end, |(seq, ..)| *seq);
    let rows: Vec<String> = rows
        .into_iter()
        .filter_map(|(seq, id, doc)| {
            let (rev, is_deleted) = doc.version()?;
            let mut row = json!({"seq": seq, "id": id, "changes": [{"rev": rev.to_string()}]});
            if is_deleted {
                row["deleted"] = json!(true);
            }
            Some(row.to_string())
        })
        .collect();
    Response::text(200, format!("{{\"results\":[\n{}\n],\n\"last_seq\":{last}}}\n", rows.join(",\n")))
}

fn local_docs(file: &ShardFile, request: &Request) -> Response {
    let listing = local_db::Listing::of(request);
    let rows: Vec<Value> = file
        .docs
        .local
        .iter()
        .filter(|(id, _)| listing.contains(id))
        .map(|(id, body)| {
            let mut row = json!({"id": id, "key": id, "value": {"rev": "0-1"}});
            if request.flag("include_docs") {
                row["doc"] = Value::Object(local_db::with_id(id, "0-1", body));
            }
            row
        })
        .collect();
    Response::json(200, &json!({"total_rows": null, "offset": null, "rows": rows}))
}
