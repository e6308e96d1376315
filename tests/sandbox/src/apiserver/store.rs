//! The objects, their versions and the history of changes: the pure core of the server.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::path::{Key, Target};
use super::select::Selector;
use super::status::ApiError;
use crate::date::rfc3339;
use crate::json::remove;
use crate::random::Random;

/// The number of changes that a watch can be behind. A real server keeps those of some minutes.
const HISTORY: usize = 10_000;

/// One change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) key: Key,
    /// `None` for a creation.
    pub(crate) before: Option<Value>,
    /// `None` for a deletion.
    pub(crate) after: Option<Value>,
    /// The object after the change. For a deletion: its last content, with the version of the deletion.
    pub(crate) last: Value,
}

/// All objects, and their recent changes.
#[derive(Debug)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Value>,
    version: u64,
    /// The version up to which changes are no longer in the history.
    forgotten: u64,
    history: VecDeque<Change>,
    random: Random,
}

impl Store {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            version: 1,
            forgotten: 0,
            history: VecDeque::new(),
            random: Random::new(seed),
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    pub(crate) fn list<'a>(
        &'a self,
        target: &'a Target,
        selector: &'a Selector,
    ) -> impl Iterator<Item = &'a Value> {
        self.objects
            .iter()
            .filter(|(key, object)| target.covers(key) && selector.matches(object))
            .map(|(_, object)| object)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter()
    }

    /// A new uid, in the form of a version 4 UUID.
    pub(crate) fn uid(&mut self) -> String {
        let hex = self.random.hex32();
        format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
    }

    /// The random letters that `generateName` gets appended. There are no vowels, so they spell no words.
    pub(crate) fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(LETTERS[self.random.below(LETTERS.len() as u64) as usize])).collect()
    }

    /// Stores a new object, with the metadata that the server sets.
    pub(crate) fn create(&mut self, key: Key, mut object: Value, now: Duration) -> Value {
        let meta = &mut object["metadata"];
        meta["uid"] = json!(self.uid());
        meta["creationTimestamp"] = json!(rfc3339(now));
        if object.get("spec").is_some() {
            object["metadata"]["generation"] = json!(1);
        }
        self.put(key, None, object)
    }

    /// Stores a changed object. Metadata of the server are kept; a changed spec increments the generation; an update
    /// that changes nothing gets no new version.
    pub(crate) fn update(&mut self, key: Key, old: &Value, mut object: Value) -> Value {
        // Clients cannot change these.
        for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "resourceVersion"] {
            match old["metadata"].get(field) {
                Some(value) => object["metadata"][field] = value.clone(),
                None => remove(&mut object["metadata"], field),
            }
        }
        if old.get("spec") != object.get("spec") {
            object["metadata"]["generation"] = json!(old["metadata"]["generation"].as_u64().unwrap_or(1) + 1);
        }
        // Managed fields contain the time of the request, so they differ even if nothing else does.
        if without_managed_fields(old) == without_managed_fields(&object) {
            return old.clone();
        }
        // Removal of the last finalizer completes a pending deletion.
        let deleting = object["metadata"].get("deletionTimestamp").is_some();
        if deleting && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            return self.remove(&key, object);
        }
        self.put(key, Some(old.clone()), object)
    }

    /// Deletes an object, or marks it as being deleted if it has finalizers. Returns its last state, and `true` if it is
    /// gone.
    pub(crate) fn delete(&mut self, key: &Key, old: Value, now: Duration) -> (Value, bool) {
        if old["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            return (self.remove(key, old), true);
        }
        // The first request has marked it already.
        if old["metadata"].get("deletionTimestamp").is_some() {
            return (old, false);
        }
        let mut marked = old.clone();
        marked["metadata"]["deletionTimestamp"] = json!(rfc3339(now));
        (self.put(key.clone(), Some(old), marked), false)
    }

    fn put(&mut self, key: Key, before: Option<Value>, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.remember(key, before, Some(object.clone()), object.clone());
        object
    }

    fn remove(&mut self, key: &Key, mut last: Value) -> Value {
        self.version += 1;
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let before = self.objects.remove(key);
        self.remember(key.clone(), before, None, last.clone());
        last
    }

    fn remember(&mut self, key: Key, before: Option<Value>, after: Option<Value>, last: Value) {
        self.history.push_back(Change { version: self.version, key, before, after, last });
        if self.history.len() > HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            // A watch that starts at an older version would miss this change.
            self.forgotten = oldest.version;
        }
    }

    /// Clears the history: watches that are behind get a 410.
    pub(crate) fn forget_history(&mut self) {
        self.forgotten = self.version;
        self.history.clear();
    }

    /// The events for a watch that has seen all changes up to `since`.
    pub(crate) fn changes(
        &self,
        target: &Target,
        selector: &Selector,
        since: u64,
    ) -> Result<Vec<Value>, ApiError> {
        if since < self.forgotten {
            return Err(ApiError::Expired { requested: since, oldest: self.forgotten });
        }
        let new = self.history.iter().skip_while(|change| change.version <= since);
        Ok(new
            .filter(|change| target.covers(&change.key))
            .filter_map(|change| event(change, selector))
            .collect())
    }
}

/// The event for a watch. With a selector, an object that starts to match is added, and one that stops to match is
/// deleted.
fn event(change: &Change, selector: &Selector) -> Option<Value> {
    let matched = change.before.as_ref().is_some_and(|object| selector.matches(object));
    let matches = change.after.as_ref().is_some_and(|object| selector.matches(object));
    if !matched && !matches {
        return None;
    }
    let kind = if !matched {
        "ADDED"
    } else if matches {
        "MODIFIED"
    } else {
        "DELETED"
    };
    Some(json!({"type": kind, "object": change.last}))
}

fn without_managed_fields(object: &Value) -> Value {
    let mut bare = object.clone();
    remove(&mut bare["metadata"], "managedFields");
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_221_961);

    fn target() -> Target {
        Target::parse("/apis/apps/v1/namespaces/t1/statefulsets").unwrap()
    }

    #[test]
    fn a_changed_spec_increments_the_generation_and_no_change_keeps_the_version() {
        let mut store = Store::new(1);
        let key = target().key("web");
        let made =
            store.create(key.clone(), json!({"metadata": {"name": "web"}, "spec": {"replicas": 1}}), NOW);
        assert_eq!(made["metadata"]["generation"], 1);
        assert_eq!(made["metadata"]["creationTimestamp"], "2026-11-21T00:46:01Z");
        assert_eq!(made["metadata"]["uid"].as_str().unwrap().len(), 36);

        let same = store.update(key.clone(), &made, made.clone());
        assert_eq!(same["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
        let mut labelled = made.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        let labelled = store.update(key.clone(), &made, labelled);
        assert_eq!(labelled["metadata"]["generation"], 1);
        let mut scaled = labelled.clone();
        scaled["spec"]["replicas"] = json!(3);
        assert_eq!(store.update(key, &labelled, scaled)["metadata"]["generation"], 2);
    }

    #[test]
    fn an_object_with_finalizers_is_kept_until_the_last_is_removed() {
        let mut store = Store::new(1);
        let key = target().key("web");
        let made = store.create(key.clone(), json!({"metadata": {"name": "web", "finalizers": ["x"]}}), NOW);
        let (marked, gone) = store.delete(&key, made, NOW);
        assert!(!gone && marked["metadata"]["deletionTimestamp"].is_string());
        let mut free = marked.clone();
        free["metadata"]["finalizers"] = json!([]);
        store.update(key.clone(), &marked, free);
        assert!(store.get(&key).is_none());
    }

    #[test]
    fn objects_that_start_or_stop_to_match_are_added_or_deleted() {
        let mut store = Store::new(1);
        let key = target().key("web");
        let start = store.version();
        let made = store.create(key.clone(), json!({"metadata": {"name": "web"}}), NOW);
        let mut labelled = made.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        let labelled = store.update(key.clone(), &made, labelled);
        store.delete(&key, labelled, NOW);
        let words = |selector: &Selector| -> Vec<String> {
            let events = store.changes(&target(), selector, start).unwrap();
            events.iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(words(&Selector::default()), ["ADDED", "MODIFIED", "DELETED"]);
        assert_eq!(words(&Selector::parse(Some("a=b"), None)), ["ADDED", "DELETED"]);
        store.forget_history();
        let late = store.changes(&target(), &Selector::default(), start);
        assert!(matches!(late, Err(ApiError::Expired { .. })));
    }
}
