//! Who needs what, and when to see to it next. No clock, no call.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::needs::{Key, Labelled, Needs, Problem};

/// Every labelled StatefulSet.
#[derive(Debug, Default)]
pub(crate) struct Book {
    sets: HashMap<Arc<Key>, Entry>,
    due: BTreeSet<(Instant, Arc<Key>)>,
    /// Those of the list that is coming in; `None`: none is.
    listed: Option<HashSet<Arc<Key>>>,
}

#[derive(Debug)]
struct Entry {
    needs: Needs,
    stage: Stage,
    /// How often in a row it failed.
    failures: u32,
    /// What was wrong the last time.
    problems: Vec<Problem>,
    losses: Losses,
}

/// How often in a row what it had was taken from it, and when last.
#[derive(Debug, Default)]
struct Losses {
    count: u32,
    last: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be seen to then.
    Due(Instant),
    /// Being seen to.
    Making,
    /// The same, and its needs have changed in the meantime.
    Outdated,
    /// It has what it needs.
    Provided,
}

impl Book {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }

    /// How many of them carry no agent.
    pub(crate) fn uninjected(&self) -> usize {
        self.sets.values().filter(|entry| !entry.needs.injected).count()
    }

    /// How many of them lack something.
    pub(crate) fn unprovided(&self) -> usize {
        self.sets.values().filter(|entry| entry.stage != Stage::Provided).count()
    }

    pub(crate) fn hear(&mut self, event: Event<Labelled>, now: Instant) {
        match event {
            Event::Init => self.listed = Some(HashSet::new()),
            Event::InitApply(set) | Event::Apply(set) => {
                let key = key(&set);
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                match Needs::of(&set) {
                    Some(needs) => self.needs(key, needs, now),
                    None => self.forget(&key),
                }
            }
            Event::Delete(set) => self.forget(&key(&set)),
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<_> = self.sets.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                gone.iter().for_each(|key| self.forget(key));
            }
        }
    }

    /// The next one to see to, if one is due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(Arc<Key>, Needs)> {
        if self.due()? > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        let entry = self.sets.get_mut(&key)?;
        entry.stage = Stage::Making;
        Some((key, entry.needs.clone()))
    }

    /// When the next one is.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Says whether there is something new to tell. `chance`, from 0 to 1, keeps those that failed together apart.
    pub(crate) fn done(&mut self, key: &Key, problems: &[Problem], now: Instant, chance: f32) -> bool {
        let Some((key, _)) = self.sets.get_key_value(key) else { return false };
        let key = key.clone();
        let Some(entry) = self.sets.get_mut(&key) else { return false };
        let outdated = entry.stage == Stage::Outdated;
        let news = entry.problems != problems;
        entry.failures = if problems.is_empty() { 0 } else { entry.failures.saturating_add(1) };
        entry.problems = problems.to_vec();
        let again = match (outdated, problems.is_empty()) {
            (true, _) => Some(now),
            (false, false) => Some(now + pause(entry.failures, chance)),
            (false, true) => None,
        };
        entry.stage = again.map_or(Stage::Provided, Stage::Due);
        self.due.extend(again.map(|again| (again, key)));
        news
    }

    /// Its RoleBinding was deleted: it is made anew soon; ever later where somebody goes on deleting it. Says whether
    /// there is anything to make.
    pub(crate) fn lost(&mut self, key: &Key, now: Instant) -> bool {
        let Some((key, _)) = self.sets.get_key_value(key) else { return false };
        let key = key.clone();
        let Some(entry) = self.sets.get_mut(&key) else { return false };
        match entry.stage {
            Stage::Due(_) => return false,
            Stage::Making | Stage::Outdated => entry.stage = Stage::Outdated,
            Stage::Provided => {
                let due = now + entry.losses.pause(now);
                entry.stage = Stage::Due(due);
                self.due.insert((due, key));
            }
        }
        true
    }

    /// Those that should have a RoleBinding which is not among these.
    pub(crate) fn without(&self, bindings: &HashSet<Key>) -> Vec<Arc<Key>> {
        let provided = self.sets.iter().filter(|(_, entry)| entry.stage == Stage::Provided);
        provided.map(|(key, _)| key).filter(|key| !bindings.contains(key.as_ref())).cloned().collect()
    }

    fn needs(&mut self, key: Arc<Key>, needs: Needs, now: Instant) {
        let Some(entry) = self.sets.get_mut(&key) else {
            let entry = Entry {
                needs,
                stage: Stage::Due(now),
                failures: 0,
                problems: vec![],
                losses: Losses::default(),
            };
            self.due.insert((now, key.clone()));
            self.sets.insert(key, entry);
            return;
        };
        if entry.needs == needs {
            return;
        }
        entry.needs = needs;
        match entry.stage {
            Stage::Making | Stage::Outdated => entry.stage = Stage::Outdated,
            Stage::Due(before) => {
                entry.stage = Stage::Due(now);
                self.due.remove(&(before, key.clone()));
                self.due.insert((now, key));
            }
            Stage::Provided => {
                entry.stage = Stage::Due(now);
                self.due.insert((now, key));
            }
        }
    }

    fn forget(&mut self, key: &Arc<Key>) {
        if let Some(Entry { stage: Stage::Due(due), .. }) = self.sets.remove(key) {
            self.due.remove(&(due, key.clone()));
        }
    }
}

impl Losses {
    /// 200 ms, doubling to about 4 minutes, until it was left alone for 10. Not at once: where the StatefulSet itself
    /// was deleted, that is heard within this time, too.
    fn pause(&mut self, now: Instant) -> Duration {
        let left_alone = self.last.is_none_or(|last| now - last >= CALM);
        self.count = if left_alone { 0 } else { self.count.saturating_add(1) };
        self.last = Some(now);
        Duration::from_millis(200 << self.count.min(10))
    }
}

/// Longer than the longest pause, or somebody who goes on deleting would always be met at once.
const CALM: Duration = Duration::from_secs(600);

fn key(set: &Labelled) -> Arc<Key> {
    let metadata = kube::Resource::meta(set);
    let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
    Arc::new(Key { namespace: namespace.unwrap_or_default(), name: name.unwrap_or_default() })
}

/// 1 s, doubling to about 4 minutes, and up to a half more.
fn pause(failures: u32, chance: f32) -> Duration {
    let seconds = 1_u32 << failures.saturating_sub(1).min(8);
    Duration::from_secs(seconds.into()).mul_f32(1.0 + chance.clamp(0.0, 1.0) / 2.0)
}

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

    fn taken(book: &mut Book, now: Instant) -> Vec<(String, String)> {
        std::iter::from_fn(|| book.take(now)).map(|(key, needs)| (key.name.clone(), needs.account)).collect()
    }

    fn of(name: &str) -> Key {
        Key { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn pair(name: &str, account: &str) -> (String, String) {
        (name.to_owned(), account.to_owned())
    }

    #[test]
    fn each_is_seen_to_once_and_again_when_its_needs_change() {
        let (mut book, now) = (Book::default(), Instant::now());
        for event in
            [Event::Init, Event::InitApply(set("a", "x")), Event::InitApply(set("b", "x")), Event::InitDone]
        {
            book.hear(event, now);
        }
        assert_eq!((book.len(), book.uninjected()), (2, 2));
        assert_eq!(taken(&mut book, now), [pair("a", "x"), pair("b", "x")]);
        assert!(!book.done(&of("a"), &[], now, 0.0), "nothing to tell");
        assert_eq!(book.unprovided(), 1);
        book.hear(Event::Apply(set("a", "x")), now);
        book.hear(Event::Apply(set("b", "y")), now);
        assert_eq!(taken(&mut book, now), [], "one is provided for, one is being seen to");
        book.done(&of("b"), &[], now, 0.0);
        assert_eq!(taken(&mut book, now), [pair("b", "y")], "its needs changed in the meantime");
        book.done(&of("b"), &[], now, 0.0);
        book.hear(Event::Apply(set("a", "z")), now);
        assert_eq!(taken(&mut book, now), [pair("a", "z")]);
    }

    #[test]
    fn what_fails_is_told_once_and_tried_ever_later() {
        let (mut book, mut now) = (Book::default(), Instant::now());
        let begun = now;
        book.hear(Event::Apply(set("a", "x")), now);
        let (mut told, mut tried) = (0, vec![]);
        while now < begun + Duration::from_secs(3600) {
            for _ in taken(&mut book, now) {
                tried.push((now - begun).as_secs());
                told += usize::from(book.done(&of("a"), &[Problem::example("quota")], now, 0.0));
            }
            now = book.due().unwrap();
        }
        assert_eq!((told, &tried[..6]), (1, &[0, 1, 3, 7, 15, 31][..]));
        assert!(tried.len() < 30, "{tried:?}");
        taken(&mut book, now);
        assert!(book.done(&of("a"), &[Problem::example("forbidden")], now, 0.0), "another reason");
        let due = book.due().unwrap();
        taken(&mut book, due);
        assert!(book.done(&of("a"), &[], now, 0.0), "and that it is well");
        assert_eq!(book.due(), None);
    }

    #[test]
    fn what_is_taken_away_is_made_anew_and_ever_later_while_that_goes_on() {
        let (mut book, begun) = (Book::default(), Instant::now());
        assert!(!book.lost(&of("a"), begun), "nobody knows it");
        book.hear(Event::Apply(set("a", "x")), begun);
        assert!(!book.lost(&of("a"), begun), "it is to be made anyway");
        assert_eq!(taken(&mut book, begun).len(), 1);
        assert!(book.lost(&of("a"), begun), "whether before it was made or after can't be known");
        book.done(&of("a"), &[], begun, 0.0);
        let (mut now, mut made) = (begun, vec![]);
        while now < begun + Duration::from_secs(3600) {
            made.extend(taken(&mut book, now).iter().map(|_| (now - begun).as_millis()));
            book.done(&of("a"), &[], now, 0.0);
            assert!(book.lost(&of("a"), now));
            now = book.due().unwrap();
        }
        assert_eq!(made[..5], [0, 200, 600, 1400, 3000]);
        assert!(made.len() < 40, "{made:?}");
        taken(&mut book, now);
        book.done(&of("a"), &[], now, 0.0);
        now += CALM;
        assert!(book.lost(&of("a"), now));
        assert_eq!(book.due(), Some(now + Duration::from_millis(200)), "forgiven");
    }

    #[test]
    fn who_lacks_its_binding_in_a_list_is_known() {
        let (mut book, now) = (Book::default(), Instant::now());
        for name in ["a", "b", "c"] {
            book.hear(Event::Apply(set(name, "x")), now);
        }
        taken(&mut book, now);
        book.done(&of("a"), &[], now, 0.0);
        book.done(&of("b"), &[], now, 0.0);
        let without: Vec<_> =
            book.without(&HashSet::from([of("a")])).iter().map(|key| key.name.clone()).collect();
        assert_eq!(without, ["b"], "the one of c is being made");
    }

    #[test]
    fn who_is_gone_is_forgotten_also_when_nobody_said_so() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.hear(Event::Apply(set("a", "x")), now);
        book.hear(Event::Apply(set("b", "x")), now);
        book.hear(Event::Delete(set("b", "x")), now);
        assert_eq!(book.len(), 1);
        for event in [Event::Init, Event::InitApply(set("c", "x")), Event::InitDone] {
            book.hear(event, now);
        }
        assert_eq!(taken(&mut book, now), [pair("c", "x")]);
        book.hear(Event::Delete(set("c", "x")), now);
        assert!(!book.done(&of("c"), &[Problem::example("gone")], now, 0.0));
        assert_eq!((book.len(), book.due()), (0, None));
    }
}
