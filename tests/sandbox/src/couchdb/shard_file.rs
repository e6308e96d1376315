//! The file of one copy of a shard: its documents, and the properties that each copy has for itself.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::crypto::md5;
use super::indexing::Index;
use super::revs::{Docs, Rev};

/// One copy of a shard. A file that was lost and created again has another uuid and the default properties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardFile {
    pub(crate) uuid: String,
    /// The documents, and the checkpoints of internal replication as `_local` documents.
    pub docs: Docs,
    /// `_security`
    pub(crate) security: Value,
    /// `_revs_limit`
    pub(crate) revs_limit: u64,
    /// `_purged_infos_limit`
    pub(crate) purged_infos_limit: u64,
    /// The database's `props`, such as `partitioned`, which a file that was created by a `PUT` lacks.
    pub(crate) props: Value,
    /// The indexes of views that are built, by design document.
    #[serde(default)]
    pub(crate) indexes: BTreeMap<String, Index>,
    /// The purges that the file still has; the last one's number is `purge_seq`.
    pub(crate) purges: Vec<Purge>,
    /// The number of older purges, which a compaction has removed.
    #[serde(default)]
    pub(crate) forgotten_purges: u64,
}

/// The removal of revisions without a trace in the document's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purge {
    /// The same in each copy that the purge was replicated to.
    pub(crate) uuid: String,
    pub(crate) id: String,
    pub(crate) revs: Vec<Rev>,
}

/// `_security` of a new file where `[couchdb] default_security` is `admin_only`, the default since 3.0.
pub(crate) fn admins_only() -> Value {
    json!({"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}})
}

/// `_revs_limit` and `_purged_infos_limit` of a new file.
const LIMIT: u64 = 1000;

impl ShardFile {
    pub(crate) fn new(uuid: String, security: Value) -> Self {
        Self {
            uuid,
            docs: Docs::default(),
            security,
            revs_limit: LIMIT,
            purged_infos_limit: LIMIT,
            props: json!({}),
            indexes: BTreeMap::new(),
            purges: Vec::new(),
            forgotten_purges: 0,
        }
    }

    /// Sets a property. It raises `update_seq` and is no change of a document.
    pub(crate) fn set(&mut self, set: impl FnOnce(&mut Self)) {
        set(self);
        self.docs.seq += 1;
    }

    /// Purges revisions, once for each purge. Returns those that were there.
    pub(crate) fn purge(&mut self, purge: Purge) -> Vec<Rev> {
        if self.purges.iter().any(|known| known.uuid == purge.uuid) {
            return Vec::new();
        }
        let purged = self.docs.purge(&purge.id, &purge.revs);
        self.purges.push(purge);
        purged
    }

    pub(crate) fn purge_seq(&self) -> u64 {
        self.forgotten_purges + self.purges.len() as u64
    }

    /// Compacts the file, which removes all purges but the last `_purged_infos_limit`.
    pub(crate) fn compact(&mut self) {
        let limit = usize::try_from(self.purged_infos_limit).unwrap_or(usize::MAX);
        let excess = self.purges.len().saturating_sub(limit);
        self.purges.drain(..excess);
        self.forgotten_purges += excess as u64;
    }

    /// The number in a checkpoint; 0 if there is none.
    pub(crate) fn checkpoint(&self, id: &str, field: &str) -> u64 {
        self.docs.local.get(id).and_then(|body| body.get(field)).and_then(Value::as_u64).unwrap_or(0)
    }

    pub(crate) fn write_local(&mut self, id: &str, body: Value) {
        let body = match body {
            Value::Object(body) => body,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Map::new()
            }
        };
        self.docs.local.insert(id.to_owned(), body);
    }
}

/// The checkpoint of internal replication between two files, which both of them contain (`mem3_rep:make_local_id`).
pub(crate) fn checkpoint_id(source: &str, target: &str) -> String {
    format!("_local/shard-sync-{}-{}", id_hash(source), id_hash(target))
}

/// The checkpoint of the purges that were replicated from one file to another.
pub(crate) fn purge_checkpoint_id(source: &str, target: &str) -> String {
    format!("_local/purge-mem3-{source}-{target}")
}

/// MD5 over the external term format of the uuid: version 131, then a binary (109) with its length.
fn id_hash(uuid: &str) -> String {
    let mut term = vec![131, 109];
    term.extend((uuid.len() as u32).to_be_bytes());
    term.extend(uuid.as_bytes());
    URL_SAFE_NO_PAD.encode(md5(&term))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_is_done_once_and_is_no_change_of_a_document() {
        let mut file = ShardFile::new("u".to_owned(), admins_only());
        let rev: Rev = "1-967a00dff5e02add41819138abb3284d".parse().unwrap();
        for id in ["a", "b"] {
            file.docs.put_with_rev(id, rev.clone(), Map::new());
        }
        let purge = Purge { uuid: "p".to_owned(), id: "b".to_owned(), revs: vec![rev.clone()] };
        assert_eq!(file.purge(purge.clone()), [rev]);
        assert!(file.purge(purge).is_empty());
        file.set(|file| file.revs_limit = 5);
        assert_eq!((file.docs.seq, file.docs.last_change(), file.purge_seq()), (4, 1, 1));
        assert_eq!(file.docs.live().count(), 1);
    }
}
