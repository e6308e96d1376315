//! The objects, their versions and what happened to them: the pure core.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::path::{Key, Target};
use super::select::Selector;
use super::status::ApiError;
use crate::date::rfc3339;
use crate::random::Random;
use std::time::Duration;

/// How many events a watch can be late; the real one keeps some minutes.
const HISTORY: usize = 10_000;

/// One change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) key: Key,
    /// `None`: it was made.
    pub(crate) before: Option<Value>,
    /// `None`: it was deleted.
    pub(crate) after: Option<Value>,
    /// The object as it was last, with the version of its deletion.
    pub(crate) last: Value,
}

/// Everything that the API server knows.
#[derive(Debug)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Value>,
    version: u64,
    /// Changes up to this version are forgotten.
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

    /// What `generateName` gets appended.
    pub(crate) fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(LETTERS[self.random.below(LETTERS.len() as u64) as usize])).collect()
    }

    /// Stores a new object; its metadata are completed.
    pub(crate) fn create(&mut self, key: Key, mut object: Value, now: Duration) -> Value {
        let meta = &mut object["metadata"];
        meta["uid"] = json!(self.uid());
        meta["creationTimestamp"] = json!(rfc3339(now));
        if object.get("spec").is_some() {
            object["metadata"]["generation"] = json!(1);
        }
        self.put(key, None, object)
    }

    /// Stores a changed object. What the server owns stays; a changed spec is a new generation; a change that
    /// changes nothing isn't one.
    pub(crate) fn update(&mut self, key: Key, old: &Value, mut object: Value) -> Value {
        for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "resourceVersion"] {
            match old["metadata"].get(field) {
                Some(value) => object["metadata"][field] = value.clone(),
                None => remove(&mut object["metadata"], field),
            }
        }
        if old.get("spec") != object.get("spec") {
            object["metadata"]["generation"] = json!(old["metadata"]["generation"].as_u64().unwrap_or(1) + 1);
        }
        if without_managed_fields(old) == without_managed_fields(&object) {
            return old.clone();
        }
        let deleting = object["metadata"].get("deletionTimestamp").is_some();
        if deleting && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            return self.remove(&key, object);
        }
        self.put(key, Some(old.clone()), object)
    }

    /// Deletes an object, or marks it when someone's finalizer is on it. The object as it is then.
    pub(crate) fn delete(&mut self, key: &Key, old: Value, now: Duration) -> (Value, bool) {
        if old["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            return (self.remove(key, old), true);
        }
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
            self.forgotten = oldest.version;
        }
    }

    /// Forgets what happened so far: watches that are behind get a 410.
    pub(crate) fn forget_history(&mut self) {
        self.forgotten = self.version;
        self.history.clear();
    }

    /// What a watch that has seen everything up to `since` is told.
    pub(crate) fn changes(
        &self,
        target: &Target,
        selector: &Selector,
        since: u64,
    ) -> Result<Vec<Value>, ApiError> {
        if since < self.forgotten {
            return Err(ApiError::Expired { asked: since, oldest: self.forgotten });
        }
        let new = self.history.iter().skip_while(|change| change.version <= since);
        Ok(new
            .filter(|change| target.covers(&change.key))
            .filter_map(|change| event(change, selector))
            .collect())
    }
}

/// To a watch with a selector, an object that begins or ceases to match is made or deleted.
fn event(change: &Change, selector: &Selector) -> Option<Value> {
    let matched = change.before.as_ref().is_some_and(|object| selector.matches(object));
    let matches = change.after.as_ref().is_some_and(|object| selector.matches(object));
    let word = match (matched, matches) {
        (false, false) => return None,
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => "DELETED",
    };
    Some(json!({"type": word, "object": change.last}))
}

fn without_managed_fields(object: &Value) -> Value {
    let mut bare = object.clone();
    remove(&mut bare["metadata"], "managedFields");
    bare
}

pub(crate) fn remove(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.shift_remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_221_961);

    fn target() -> Target {
        Target::parse("/apis/apps/v1/namespaces/t1/statefulsets").unwrap()
    }

    #[test]
    fn generations_and_versions() {
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
    fn finalizers_hold_an_object() {
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
    fn a_watch_sees_what_begins_and_ceases_to_match() {
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
