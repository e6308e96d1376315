//! The labelled StatefulSets, and when each must be provided for next. No clock, no call.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::needs::{Key, Labelled, Needs};
use crate::backoff::{Backoff, Streak};

/// All labelled StatefulSets, in the order in which they are due.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    sets: HashMap<Arc<Key>, Entry>,
    due: BTreeSet<(Instant, Arc<Key>)>,
    /// The part of the current list that has come in; `None` outside of a list.
    listed: Option<HashSet<Arc<Key>>>,
    /// Namespaces whose StatefulSets are ignored.
    excluded: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    needs: Needs,
    stage: Stage,
    /// Failed attempts since the last one that succeeded.
    failures: u32,
    /// The problems of the last attempt.
    problems: Vec<String>,
    /// Deletions of what was provided.
    losses: Streak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits until then.
    Due(Instant),
    /// The calls are being made.
    InProgress,
    /// The calls are being made, and must be repeated: the needs have changed since, or an object was deleted.
    Outdated,
    Provided,
}

/// The problems of an attempt, compared with those of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Unchanged,
    /// Other problems, or none where there were some.
    Changed,
}

impl Queue {
    /// A queue without the StatefulSets of these namespaces.
    pub(crate) fn except(excluded: Vec<String>) -> Self {
        Self { excluded, ..Self::default() }
    }

    /// The number of labelled StatefulSets.
    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }

    /// The number of labelled StatefulSets without the agent in their template.
    pub(crate) fn uninjected(&self) -> usize {
        self.sets.values().filter(|entry| !entry.needs.injected).count()
    }

    /// The number of labelled StatefulSets that may be missing an object.
    pub(crate) fn unprovided(&self) -> usize {
        self.sets.values().filter(|entry| entry.stage != Stage::Provided).count()
    }

    pub(crate) fn observe(&mut self, event: Event<Labelled>, now: Instant) {
        match event {
            Event::Init => self.listed = Some(HashSet::new()),
            Event::InitApply(set) | Event::Apply(set) => {
                let key = Arc::new(Key::of(&set));
                if self.excluded.contains(&key.namespace) {
                    return;
                }
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                // One that is being deleted is removed before the deletion itself is seen.
                match Needs::of(&set) {
                    Some(needs) => self.update(key, needs, now),
                    None => self.remove(&key),
                }
            }
            Event::Delete(set) => self.remove(&Arc::new(Key::of(&set))),
            // Those deleted while the watch was interrupted cause no event, and are missing from the list.
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<_> = self.sets.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                for key in gone {
                    self.remove(&key);
                }
            }
        }
    }

    /// Takes the next StatefulSet out of the queue, if one is due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(Arc<Key>, Needs)> {
        if self.next_due()? > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        let entry = self.sets.get_mut(&key)?;
        entry.stage = Stage::InProgress;
        Some((key, entry.needs.clone()))
    }

    /// The time at which the next StatefulSet is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Records the result of an attempt. `jitter`, from 0 to 1, spreads the retries of those that failed together.
    pub(crate) fn finish(
        &mut self,
        key: &Arc<Key>,
        problems: Vec<String>,
        now: Instant,
        jitter: f32,
    ) -> News {
        // Deleted during the attempt.
        let Some(entry) = self.sets.get_mut(key) else { return News::Unchanged };
        let news = if entry.problems == problems { News::Unchanged } else { News::Changed };
        entry.failures = if problems.is_empty() { 0 } else { entry.failures.saturating_add(1) };
        entry.problems = problems;
        if entry.stage == Stage::Outdated {
            self.schedule(key.clone(), now);
        } else if entry.failures > 0 {
            let retry = now + retry_delay(entry.failures, jitter);
            self.schedule(key.clone(), retry);
        } else {
            entry.stage = Stage::Provided;
        }
        news
    }

    /// Schedules a StatefulSet after the deletion of its RoleBinding, later each time while deletions go on. Returns
    /// `true` unless an attempt was due already.
    pub(crate) fn provide_again(&mut self, key: &Key, now: Instant) -> bool {
        let Some(entry) = self.sets.get_mut(key) else { return false };
        match entry.stage {
            Stage::Due(_) => return false,
            // The deletion may have come before or after the write, which can't be known.
            Stage::InProgress | Stage::Outdated => entry.stage = Stage::Outdated,
            Stage::Provided => {
                let losses = entry.losses.record(now, LOSS_QUIET);
                self.schedule(Arc::new(key.clone()), now + LOSS_BACKOFF.delay(losses));
            }
        }
        true
    }

    /// The StatefulSets that are provided for and have no RoleBinding among `bindings`.
    pub(crate) fn missing_from(&self, bindings: &HashSet<Key>) -> Vec<Key> {
        let mut missing = vec![];
        for (key, entry) in &self.sets {
            if entry.stage == Stage::Provided && !bindings.contains(key.as_ref()) {
                missing.push(key.as_ref().clone());
            }
        }
        missing
    }

    fn update(&mut self, key: Arc<Key>, needs: Needs, now: Instant) {
        let Some(entry) = self.sets.get_mut(&key) else {
            let stage = Stage::Due(now);
            let entry = Entry { needs, stage, failures: 0, problems: vec![], losses: Streak::default() };
            self.sets.insert(key.clone(), entry);
            self.due.insert((now, key));
            return;
        };
        if entry.needs == needs {
            return;
        }
        entry.needs = needs;
        match entry.stage {
            Stage::InProgress | Stage::Outdated => entry.stage = Stage::Outdated,
            Stage::Due(before) => {
                // New needs are worth an attempt now, whatever the delay of the last failure.
                self.due.remove(&(before, key.clone()));
                self.schedule(key, now);
            }
            Stage::Provided => self.schedule(key, now),
        }
    }

    fn schedule(&mut self, key: Arc<Key>, at: Instant) {
        if let Some(entry) = self.sets.get_mut(&key) {
            entry.stage = Stage::Due(at);
            self.due.insert((at, key));
        }
    }

    fn remove(&mut self, key: &Arc<Key>) {
        if let Some(Entry { stage: Stage::Due(due), .. }) = self.sets.remove(key) {
            self.due.remove(&(due, key.clone()));
        }
    }
}

/// Delays after failures, before jitter.
const RETRY_BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(256) };

/// The delay of [`RETRY_BACKOFF`], and up to a half more.
fn retry_delay(failures: u32, jitter: f32) -> Duration {
    RETRY_BACKOFF.delay(failures).mul_f32(1.0 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// Delays after deletions. The first is not 0: if the StatefulSet itself was deleted, that event arrives within it.
const LOSS_BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(200), longest: Duration::from_millis(204_800) };
/// Longer than the longest delay, or a program that keeps deleting would start over each time.
const LOSS_QUIET: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(name: &str, account: &str) -> Labelled {
        let set = json!({
            "metadata": { "namespace": "shop", "name": name, "uid": name },
            "spec": { "template": { "spec": { "containers": [], "serviceAccountName": account } } },
        });
        serde_json::from_value(set).unwrap()
    }

    fn taken(queue: &mut Queue, now: Instant) -> Vec<(String, String)> {
        std::iter::from_fn(|| queue.take(now)).map(|(key, needs)| (key.name.clone(), needs.account)).collect()
    }

    fn key(name: &str) -> Arc<Key> {
        Arc::new(Key { namespace: "shop".to_owned(), name: name.to_owned() })
    }

    fn pair(name: &str, account: &str) -> (String, String) {
        (name.to_owned(), account.to_owned())
    }

    #[test]
    fn each_is_provided_for_once_and_again_when_its_needs_change() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for event in
            [Event::Init, Event::InitApply(set("a", "x")), Event::InitApply(set("b", "x")), Event::InitDone]
        {
            queue.observe(event, now);
        }
        assert_eq!((queue.len(), queue.uninjected()), (2, 2));
        assert_eq!(taken(&mut queue, now), [pair("a", "x"), pair("b", "x")]);
        assert_eq!(queue.finish(&key("a"), vec![], now, 0.0), News::Unchanged, "no problem before either");
        assert_eq!(queue.unprovided(), 1);
        queue.observe(Event::Apply(set("a", "x")), now);
        queue.observe(Event::Apply(set("b", "y")), now);
        assert_eq!(taken(&mut queue, now), [], "a is provided for, b is in progress");
        queue.finish(&key("b"), vec![], now, 0.0);
        assert_eq!(taken(&mut queue, now), [pair("b", "y")], "its needs changed in the meantime");
        queue.finish(&key("b"), vec![], now, 0.0);
        queue.observe(Event::Apply(set("a", "z")), now);
        assert_eq!(taken(&mut queue, now), [pair("a", "z")]);
    }

    #[test]
    fn a_failure_is_reported_once_and_retried_with_growing_delays() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        let begun = now;
        queue.observe(Event::Apply(set("a", "x")), now);
        let (mut reported, mut tried) = (0, vec![]);
        while now < begun + Duration::from_secs(3600) {
            for _ in taken(&mut queue, now) {
                tried.push((now - begun).as_secs());
                let news = queue.finish(&key("a"), vec!["quota".to_owned()], now, 0.0);
                reported += usize::from(news == News::Changed);
            }
            now = queue.next_due().unwrap();
        }
        assert_eq!((reported, &tried[..6]), (1, &[0, 1, 3, 7, 15, 31][..]));
        assert!(tried.len() < 30, "{tried:?}");
        taken(&mut queue, now);
        let news = queue.finish(&key("a"), vec!["forbidden".to_owned()], now, 0.0);
        assert_eq!(news, News::Changed, "another problem");
        let due = queue.next_due().unwrap();
        taken(&mut queue, due);
        assert_eq!(queue.finish(&key("a"), vec![], now, 0.0), News::Changed, "no problem any more");
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn a_deleted_binding_is_provided_again_with_growing_delays() {
        let (mut queue, begun) = (Queue::default(), Instant::now());
        assert!(!queue.provide_again(&key("a"), begun), "not in the queue");
        queue.observe(Event::Apply(set("a", "x")), begun);
        assert!(!queue.provide_again(&key("a"), begun), "due anyway");
        assert_eq!(taken(&mut queue, begun).len(), 1);
        assert!(queue.provide_again(&key("a"), begun), "deleted before or after the write");
        queue.finish(&key("a"), vec![], begun, 0.0);
        let (mut now, mut made) = (begun, vec![]);
        while now < begun + Duration::from_secs(3600) {
            made.extend(taken(&mut queue, now).iter().map(|_| (now - begun).as_millis()));
            queue.finish(&key("a"), vec![], now, 0.0);
            assert!(queue.provide_again(&key("a"), now));
            now = queue.next_due().unwrap();
        }
        assert_eq!(made[..5], [0, 200, 600, 1400, 3000]);
        assert!(made.len() < 40, "{made:?}");
        taken(&mut queue, now);
        queue.finish(&key("a"), vec![], now, 0.0);
        now += LOSS_QUIET;
        assert!(queue.provide_again(&key("a"), now));
        assert_eq!(queue.next_due(), Some(now + Duration::from_millis(200)), "a new streak");
    }

    #[test]
    fn only_provided_statefulsets_miss_a_binding() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["a", "b", "c"] {
            queue.observe(Event::Apply(set(name, "x")), now);
        }
        taken(&mut queue, now);
        queue.finish(&key("a"), vec![], now, 0.0);
        queue.finish(&key("b"), vec![], now, 0.0);
        let missing: Vec<_> = queue
            .missing_from(&HashSet::from([key("a").as_ref().clone()]))
            .iter()
            .map(|key| key.name.clone())
            .collect();
        assert_eq!(missing, ["b"], "c is in progress");
    }

    #[test]
    fn a_statefulset_is_removed_by_a_deletion_or_by_missing_from_a_list() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.observe(Event::Apply(set("a", "x")), now);
        queue.observe(Event::Apply(set("b", "x")), now);
        queue.observe(Event::Delete(set("b", "x")), now);
        assert_eq!(queue.len(), 1);
        for event in [Event::Init, Event::InitApply(set("c", "x")), Event::InitDone] {
            queue.observe(event, now);
        }
        assert_eq!(taken(&mut queue, now), [pair("c", "x")]);
        queue.observe(Event::Delete(set("c", "x")), now);
        let news = queue.finish(&key("c"), vec!["gone".to_owned()], now, 0.0);
        assert_eq!(news, News::Unchanged);
        assert_eq!((queue.len(), queue.next_due()), (0, None));
    }

    #[test]
    fn statefulsets_of_excluded_namespaces_are_ignored() {
        let mut queue = Queue::except(vec!["kube-system".to_owned()]);
        let now = Instant::now();
        let set = |namespace: &str| {
            let set = serde_json::json!({
                "metadata": { "namespace": namespace, "name": "db", "uid": "u" },
                "spec": { "template": { "spec": { "containers": [] } } },
            });
            serde_json::from_value::<Labelled>(set).unwrap()
        };
        for event in [Event::Init, Event::InitApply(set("kube-system")), Event::InitDone] {
            queue.observe(event, now);
        }
        queue.observe(Event::Apply(set("kube-system")), now);
        assert_eq!((queue.len(), queue.take(now)), (0, None));
        queue.observe(Event::Apply(set("shop")), now);
        assert_eq!(queue.len(), 1);
    }
}
