//! Documents and their revisions. Revisions are computed and merged as in CouchDB, so that a conflict has the same
//! winner.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::crypto::{hex, md5, unhex};

/// A revision, for example `1-967a00dff5e02add41819138abb3284d`: the number of edits and the digest of the last one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rev {
    pub(crate) pos: u64,
    pub(crate) hash: String,
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pos, self.hash)
    }
}

impl FromStr for Rev {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pos, hash) = text.split_once('-').ok_or(())?;
        Ok(Self { pos: pos.parse().map_err(|_| ())?, hash: hash.to_owned() })
    }
}

impl Rev {
    /// The revision of an edit: MD5 over the Erlang term of its content and of its parent (`couch_db:new_revid`). So
    /// equal edits on different nodes have equal revisions and never conflict.
    fn of_edit(parent: Option<&Self>, deleted: bool, body: &Map<String, Value>) -> Self {
        // External term format: version 131, then a list (108) of 5 elements.
        let mut term = vec![131, 108, 0, 0, 0, 5];
        push_value(&mut term, &Value::Bool(deleted));
        push_int(&mut term, parent.map_or(0, |p| p.pos) as i64);
        match parent.and_then(|p| unhex(&p.hash)) {
            Some(hash) => push_binary(&mut term, &hash),
            None => push_int(&mut term, 0),
        }
        push_object(&mut term, body);
        // The empty list of attachments, and the end of the list.
        term.extend([106, 106]);
        Self { pos: parent.map_or(1, |p| p.pos + 1), hash: hex(&md5(&term)) }
    }
}

/// One end of a document's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Leaf {
    /// Newest first.
    path: Vec<Rev>,
    deleted: bool,
    body: Map<String, Value>,
}

/// A document with its conflicts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Doc {
    leaves: Vec<Leaf>,
}

/// An edit as a client requests it.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    /// The revision that the edit follows; `None` creates a document.
    pub(crate) rev: Option<Rev>,
    pub(crate) deleted: bool,
    pub(crate) body: Map<String, Value>,
}

impl Edit {
    pub(crate) fn create(body: Map<String, Value>) -> Self {
        Self { rev: None, deleted: false, body }
    }

    pub(crate) fn delete(rev: Option<Rev>) -> Self {
        Self { rev, deleted: true, body: Map::new() }
    }
}

/// The refusal of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EditError {
    /// The edit follows a revision that is not a leaf, or creates a document that exists.
    Conflict,
}

impl Doc {
    /// The leaf that readers see. A live leaf wins over a deleted one, then the longest history, then the greatest
    /// digest.
    fn winner(&self) -> Option<&Leaf> {
        self.leaves.iter().max_by_key(|leaf| (!leaf.deleted, &leaf.path[0]))
    }

    /// The winning revision and its body; `None` if the document is deleted.
    pub fn live(&self) -> Option<(&Rev, &Map<String, Value>)> {
        self.winner().filter(|w| !w.deleted).map(|w| (&w.path[0], &w.body))
    }

    /// The live revisions that lost against the winner, the greatest first.
    pub fn conflicts(&self) -> Vec<&Rev> {
        let winner = self.winner().map(|w| &w.path[0]);
        let mut revs: Vec<&Rev> = self
            .leaves
            .iter()
            .filter(|l| !l.deleted)
            .map(|l| &l.path[0])
            .filter(|r| Some(*r) != winner)
            .collect();
        revs.sort_by(|a, b| b.cmp(a));
        revs
    }

    /// Applies an edit. Returns its revision.
    pub(crate) fn edit(&mut self, edit: Edit) -> Result<Rev, EditError> {
        let Edit { rev, deleted, body } = edit;
        let parent = match rev {
            Some(rev) => Some(self.leaves.iter().position(|l| l.path[0] == rev).ok_or(EditError::Conflict)?),
            None if self.live().is_some() => return Err(EditError::Conflict),
            // A document that is created again continues the history of the deleted one.
            None => self.winner().and_then(|w| self.leaves.iter().position(|l| l == w)),
        };
        let mut path = parent.map(|i| self.leaves.remove(i).path).unwrap_or_default();
        let new = Rev::of_edit(path.first(), deleted, &body);
        path.insert(0, new.clone());
        self.leaves.push(Leaf { path, deleted, body });
        Ok(new)
    }

    /// Merges the leaves of another copy, as replication does. Returns `true` if one of them is new.
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for leaf in &other.leaves {
            // A leaf that is part of a longer history here is known; one that continues a leaf here replaces it.
            if self.leaves.iter().any(|mine| mine.path.contains(&leaf.path[0])) {
                continue;
            }
            self.leaves.retain(|mine| !leaf.path.contains(&mine.path[0]));
            self.leaves.push(leaf.clone());
            changed = true;
        }
        changed
    }

    /// Removes a leaf without a trace in the history, as a purge does. Returns `true` if it was there.
    fn purge(&mut self, rev: &Rev) -> bool {
        let before = self.leaves.len();
        self.leaves.retain(|leaf| leaf.path[0] != *rev);
        self.leaves.len() < before
    }

    /// The revision that readers see, and `true` if it is a deletion. `None` without any revision.
    pub(crate) fn version(&self) -> Option<(&Rev, bool)> {
        self.winner().map(|w| (&w.path[0], w.deleted))
    }

    /// A document with a given revision, for content from which the real revision can't be computed.
    pub(crate) fn with_rev(rev: Rev, body: Map<String, Value>) -> Self {
        Self { leaves: vec![Leaf { path: vec![rev], deleted: false, body }] }
    }
}

/// One database file: the documents of `_nodes`, of `_dbs`, or of one shard copy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Docs {
    docs: BTreeMap<String, Doc>,
    /// `_local/..` documents, which are not replicated and not listed, and have no history.
    pub(crate) local: BTreeMap<String, Map<String, Value>>,
    /// Distinguishes the file from one of the same name on another volume.
    pub(crate) salt: String,
    /// `update_seq`: the number of edits and merges, of purges, and of changed properties.
    pub(crate) seq: u64,
    /// The ids of the documents by the sequence of their last change, as `_changes` lists them.
    by_seq: BTreeMap<u64, String>,
    /// The sequence of each document's last change.
    changed_at: BTreeMap<String, u64>,
}

impl Docs {
    /// The document with this id, also if it is deleted.
    pub fn get(&self, id: &str) -> Option<&Doc> {
        self.docs.get(id)
    }

    /// Ids, revisions and bodies of the live documents, ordered by id.
    pub fn live(&self) -> impl Iterator<Item = (&String, &Rev, &Map<String, Value>)> {
        self.docs.iter().filter_map(|(id, doc)| doc.live().map(|(rev, body)| (id, rev, body)))
    }

    /// Copies the winner of document `from` to document `to`. Has no effect if `from` is missing or deleted.
    pub fn copy(&mut self, from: &str, to: &str) {
        if let Some((rev, body)) = self.get(from).and_then(Doc::live) {
            let (rev, body) = (rev.clone(), body.clone());
            self.put_with_rev(to, rev, body);
        }
    }

    /// `true` if both files contain the same documents with the same histories.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.docs == other.docs
    }

    /// The number of deleted documents.
    pub(crate) fn deleted_count(&self) -> usize {
        self.docs.values().filter(|d| d.live().is_none()).count()
    }

    pub(crate) fn edit(&mut self, id: &str, edit: Edit) -> Result<Rev, EditError> {
        // A refused edit must not leave an empty document behind.
        let mut doc = self.docs.get(id).cloned().unwrap_or_default();
        let rev = doc.edit(edit)?;
        self.docs.insert(id.to_owned(), doc);
        self.changed(id);
        Ok(rev)
    }

    pub(crate) fn put_with_rev(&mut self, id: &str, rev: Rev, body: Map<String, Value>) {
        self.merge_doc(id, &Doc::with_rev(rev, body));
    }

    /// Merges all documents of another copy. Returns `true` if something is new.
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (id, doc) in &other.docs {
            changed |= self.merge_doc(id, doc);
        }
        changed
    }

    pub(crate) fn merge_doc(&mut self, id: &str, doc: &Doc) -> bool {
        let changed = match self.docs.get_mut(id) {
            Some(mine) if mine == doc => false,
            Some(mine) => mine.merge(doc),
            None => self.docs.insert(id.to_owned(), doc.clone()).is_none(),
        };
        if changed {
            self.changed(id);
        }
        changed
    }

    /// Gives the document the next sequence.
    fn changed(&mut self, id: &str) {
        self.seq += 1;
        if let Some(before) = self.changed_at.insert(id.to_owned(), self.seq) {
            self.by_seq.remove(&before);
        }
        self.by_seq.insert(self.seq, id.to_owned());
    }

    /// The sequence of the last change of a document; 0 if there is none.
    pub(crate) fn last_change(&self) -> u64 {
        self.by_seq.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// The documents that were changed after `since`, in the order of their last changes.
    pub(crate) fn changes_since(
        &self,
        since: u64,
    ) -> impl DoubleEndedIterator<Item = (u64, &String, &Doc)> + '_ {
        let changes = self.by_seq.range(since.saturating_add(1)..);
        changes.filter_map(|(seq, id)| self.docs.get(id).map(|doc| (*seq, id, doc)))
    }

    /// Purges revisions of a document. Returns those that were there.
    pub(crate) fn purge(&mut self, id: &str, revs: &[Rev]) -> Vec<Rev> {
        // Each purge has a sequence, also one that finds nothing, but it is no change of a document.
        self.seq += 1;
        let Some(doc) = self.docs.get_mut(id) else { return Vec::new() };
        let purged: Vec<Rev> = revs.iter().filter(|rev| doc.purge(rev)).cloned().collect();
        if doc.leaves.is_empty() {
            self.docs.remove(id);
            if let Some(seq) = self.changed_at.remove(id) {
                self.by_seq.remove(&seq);
            }
        }
        purged
    }

    /// All documents, deleted ones included, ordered by id.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &Doc)> {
        self.docs.iter()
    }
}

fn push_value(term: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => push_atom(term, "null"),
        Value::Bool(b) => push_atom(term, if *b { "true" } else { "false" }),
        Value::Number(n) => match n.as_i64() {
            Some(int) => push_int(term, int),
            None => {
                term.push(70);
                term.extend(n.as_f64().unwrap_or_default().to_be_bytes());
            }
        },
        Value::String(s) => push_binary(term, s.as_bytes()),
        Value::Array(items) => push_list(term, items),
        Value::Object(object) => push_object(term, object),
    }
}

fn push_atom(term: &mut Vec<u8>, name: &str) {
    term.extend([100, 0, name.len() as u8]);
    term.extend(name.as_bytes());
}

fn push_int(term: &mut Vec<u8>, int: i64) {
    // SMALL_INTEGER_EXT, INTEGER_EXT or SMALL_BIG_EXT: Erlang picks the shortest form.
    if let Ok(small) = u8::try_from(int) {
        term.extend([97, small]);
    } else if let Ok(medium) = i32::try_from(int) {
        term.push(98);
        term.extend(medium.to_be_bytes());
    } else {
        let digits: Vec<u8> = int.unsigned_abs().to_le_bytes().into_iter().collect();
        let length = digits.iter().rposition(|d| *d != 0).map_or(0, |p| p + 1);
        term.extend([110, length as u8, u8::from(int < 0)]);
        term.extend(&digits[..length]);
    }
}

fn push_binary(term: &mut Vec<u8>, bytes: &[u8]) {
    term.push(109);
    term.extend((bytes.len() as u32).to_be_bytes());
    term.extend(bytes);
}

fn push_list(term: &mut Vec<u8>, items: &[Value]) {
    if items.is_empty() {
        return term.push(106);
    }
    // Erlang encodes a list of small integers as a string; `shard_suffix` is one.
    let bytes: Option<Vec<u8>> =
        items.iter().map(|i| i.as_u64().and_then(|n| u8::try_from(n).ok())).collect();
    if let Some(bytes) = bytes {
        term.push(107);
        term.extend((bytes.len() as u16).to_be_bytes());
        return term.extend(bytes);
    }
    term.push(108);
    term.extend((items.len() as u32).to_be_bytes());
    items.iter().for_each(|item| push_value(term, item));
    term.push(106);
}

/// Appends an object as CouchDB represents it: a tuple with a list of pairs.
fn push_object(term: &mut Vec<u8>, object: &Map<String, Value>) {
    term.extend([104, 1]);
    if object.is_empty() {
        return term.push(106);
    }
    term.push(108);
    term.extend((object.len() as u32).to_be_bytes());
    for (key, value) in object {
        term.extend([104, 2]);
        push_binary(term, key.as_bytes());
        push_value(term, value);
    }
    term.push(106);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    // Each of these revisions was recorded on a real node.
    #[test]
    fn revisions_are_those_of_real_nodes() {
        for (body, hash) in [
            (json!({}), "967a00dff5e02add41819138abb3284d"),
            (json!({"a": 1}), "23202479633c2b380f79507a776743d5"),
            (json!({"a": 5}), "8bf226e57847cf49b0d45065383cf323"),
            (json!({"zone": "z1"}), "00b019011e27e1bb031581a17399d890"),
            (json!({"by_range": {}, "by_node": {}}), "c712e33b4dab7feb17c12383052922cb"),
            (
                json!({"views": {"x": {"map": "function(doc){emit(doc.k,1)}", "reduce": "_count"}},
                       "validate_doc_update": "function(n,o,u){ if(n.bad) throw({forbidden:\"no\"}) }"}),
                "60a5f759308c364aeeb4a8c7a3353201",
            ),
        ] {
            assert_eq!(Rev::of_edit(None, false, &object(body.clone())).hash, hash, "{body}");
        }
    }

    #[test]
    fn a_member_that_is_added_again_gets_its_third_revision() {
        let mut docs = Docs::default();
        let first = docs.edit("N1", Edit::create(Map::new())).unwrap();
        assert_eq!(docs.edit("N1", Edit::create(Map::new())), Err(EditError::Conflict));
        let second = docs.edit("N1", Edit::delete(Some(first))).unwrap();
        assert_eq!(second.to_string(), "2-eec205a9d413992850a6e32678485900");
        let third = docs.edit("N1", Edit::create(Map::new())).unwrap();
        assert_eq!(third.to_string(), "3-5570e8bbb34412db757c2df4bfa1099b");
    }

    #[test]
    fn a_member_without_a_zone_wins_over_one_with_a_zone() {
        let (mut ours, mut theirs) = (Docs::default(), Docs::default());
        ours.edit("N2", Edit::create(object(json!({"zone": "z1"})))).unwrap();
        theirs.edit("N2", Edit::create(Map::new())).unwrap();
        assert!(ours.merge(&theirs));
        assert!(!ours.merge(&theirs), "merging again changes nothing");
        let doc = ours.get("N2").unwrap();
        assert_eq!(doc.live().unwrap().0.to_string(), "1-967a00dff5e02add41819138abb3284d");
        assert_eq!(doc.conflicts()[0].to_string(), "1-00b019011e27e1bb031581a17399d890");
    }

    #[test]
    fn a_deletion_is_replicated_and_an_old_revision_does_not_undo_it() {
        let mut ours = Docs::default();
        let first = ours.edit("N1", Edit::create(Map::new())).unwrap();
        let mut theirs = ours.clone();
        ours.edit("N1", Edit::delete(Some(first))).unwrap();
        assert!(!ours.merge(&theirs));
        assert!(theirs.merge(&ours));
        assert_eq!(theirs.live().count(), 0);
    }
}
