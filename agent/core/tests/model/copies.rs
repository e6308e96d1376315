//! Every order in which clients write, CouchDB replicates and the agent of a closed node compares, for one database whose
//! copies have documents of their own. Nothing in this model knows which copy is complete: it compares documents.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use agent_core::facts::VolumeNote;
use agent_core::shards::{
    Compared, FileState, LocalShard, Next, OtherCopy, Properties, Property, Purpose, ShardMap, ShardState,
    Survey,
};
use serde_json::{Value, json};

/// The documents: one in the lower half of the hashes, one in the upper half.
const DOCUMENTS: [usize; 2] = [0, 1];
const ALL: &str = "00000000-ffffffff";
const LOW: &str = "00000000-7fffffff";
const HIGH: &str = "80000000-ffffffff";

/// The node and the range of a copy.
type Key = (u8, &'static str);

/// One copy of a range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct File {
    uuid: u8,
    /// The revision of each document; 0 if it is missing.
    revisions: [u8; 2],
    /// The sequence of each document's last change.
    changed: [u8; 2],
    seq: u8,
    revs_limit: u8,
    /// The checkpoints: the sequence up to which this file was replicated, by the uuid of the target.
    sent: BTreeMap<u8, u8>,
}

impl File {
    fn new(uuid: u8) -> Self {
        Self { uuid, revisions: [0; 2], changed: [0; 2], seq: 0, revs_limit: 100, sent: BTreeMap::new() }
    }

    fn write(&mut self, document: usize, revision: u8) {
        if revision > self.revisions[document] {
            self.seq += 1;
            (self.revisions[document], self.changed[document]) = (revision, self.seq);
        }
    }

    fn last_change(&self) -> u8 {
        self.changed.into_iter().max().unwrap_or_default()
    }

    fn state(&self) -> FileState {
        let documents = self.revisions.iter().filter(|revision| **revision > 0).count();
        let properties = Properties { security: json!({}), revs_limit: self.revs_limit.into() };
        FileState {
            uuid: Some(self.uuid.to_string()),
            documents: u64::try_from(documents).unwrap(),
            // The limit of revisions is a change of its own.
            update_seq: u64::from(self.seq) + u64::from(self.revs_limit != 100),
            purge_seq: 0,
            properties: Some(properties),
        }
    }
}

/// The copies of all nodes. Node 0 lost its volume, and is closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Copies {
    files: BTreeMap<Key, File>,
    down: BTreeSet<u8>,
    /// Nodes with volumes that are noted incomplete.
    incomplete: BTreeSet<u8>,
    survey: Survey,
    /// The revisions that copies had at the first look of the agent.
    floor: Option<[u8; 2]>,
    /// Documents that were written since then. Internal replication may pass over them for a moment.
    edited: [bool; 2],
    opened: bool,
    writes: u8,
    losses: u8,
    failures: u8,
    next_uuid: u8,
}

fn covers(range: &str, document: usize) -> bool {
    range == ALL || range == [LOW, HIGH][document]
}

impl Copies {
    /// The holders of each range. The other nodes have both documents, and another limit of revisions than a new file.
    fn new(layout: &[Key]) -> Self {
        let mut copies = Self {
            files: BTreeMap::new(),
            down: BTreeSet::new(),
            incomplete: BTreeSet::new(),
            survey: Survey::new(Purpose::Completeness),
            floor: None,
            edited: [false; 2],
            opened: false,
            writes: 2,
            losses: 1,
            failures: 0,
            next_uuid: 0,
        };
        for (node, range) in layout {
            let mut file = File::new(copies.take_uuid());
            if *node > 0 {
                file.revs_limit = 50;
                DOCUMENTS
                    .into_iter()
                    .filter(|document| covers(range, *document))
                    .for_each(|d| file.write(d, 1));
            }
            copies.files.insert((*node, range), file);
        }
        copies
    }

    fn take_uuid(&mut self) -> u8 {
        self.next_uuid += 1;
        self.next_uuid
    }

    fn map(&self) -> ShardMap {
        let mut by_range: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (node, range) in self.files.keys() {
            by_range.entry(range).or_default().push(node.to_string());
        }
        serde_json::from_value(json!({ "by_range": by_range })).unwrap()
    }

    fn revision_of(&self, node: u8, document: usize) -> u8 {
        let files =
            self.files.iter().filter(|((holder, range), _)| *holder == node && covers(range, document));
        files.map(|(_, file)| file.revisions[document]).max().unwrap_or_default()
    }

    fn others(&self) -> BTreeSet<u8> {
        self.files.keys().map(|(node, _)| *node).filter(|node| *node > 0).collect()
    }

    /// A client writes a document. All copies that are open get it; the closed one does not.
    fn write(&mut self, document: usize) {
        let newest =
            self.others().iter().map(|node| self.revision_of(*node, document)).max().unwrap_or_default();
        for ((node, range), file) in &mut self.files {
            if *node > 0
                && !self.down.contains(node)
                && !self.incomplete.contains(node)
                && covers(range, document)
            {
                file.write(document, newest + 1);
            }
        }
        self.edited[document] |= self.floor.is_some();
        self.writes -= 1;
    }

    /// Internal replication copies the next change, and writes the checkpoint.
    fn push(&mut self, from: Key, to: Key) {
        let (source, target) = (&self.files[&from], &self.files[&to]);
        let sent = source.sent.get(&target.uuid).copied().unwrap_or_default();
        let next = DOCUMENTS.into_iter().filter(|document| source.changed[*document] > sent);
        let Some(document) = next.min_by_key(|document| source.changed[*document]) else { return };
        let (revision, seq, uuid) = (source.revisions[document], source.changed[document], target.uuid);
        if covers(to.1, document) {
            self.files.get_mut(&to).unwrap().write(document, revision);
        }
        self.files.get_mut(&from).unwrap().sent.insert(uuid, seq);
    }

    fn pushes(&self) -> Vec<(Key, Key)> {
        let keys = || self.files.keys().copied();
        let overlap = |a: &str, b: &str| DOCUMENTS.into_iter().any(|d| covers(a, d) && covers(b, d));
        let pairs = keys().flat_map(|from| keys().map(move |to| (from, to)));
        let live = |node: u8| !self.down.contains(&node);
        pairs
            .filter(|(from, to)| from.0 != to.0 && live(from.0) && live(to.0) && overlap(from.1, to.1))
            .collect()
    }

    /// The files of a node that lost its volume are other files.
    fn lose(&mut self, node: u8) {
        for key in self.files.keys().copied().filter(|(holder, _)| *holder == node).collect::<Vec<_>>() {
            let uuid = self.take_uuid();
            self.files.insert(key, File::new(uuid));
        }
        self.incomplete.insert(node);
        self.losses -= 1;
    }

    /// The agent of node 0 looks at its shards.
    fn look(&mut self) {
        let answering: Vec<u8> = self.others().into_iter().filter(|node| !self.down.contains(node)).collect();
        let newest = |document| answering.iter().map(|node| self.revision_of(*node, document)).max();
        let floor = DOCUMENTS.map(|document| newest(document).unwrap_or_default());
        self.floor.get_or_insert(floor);
        let states: Vec<_> = self
            .map()
            .local_shards("db", "0")
            .into_iter()
            .map(|shard| (shard.clone(), self.state(&shard)))
            .collect();
        match self.survey.compare("db", &states, Duration::ZERO) {
            (Compared::Differs(repairs), _) => {
                for repair in repairs {
                    let Property::RevsLimit(limit) = repair.property else { panic!("{repair:?}") };
                    let range =
                        [ALL, LOW, HIGH].into_iter().find(|range| repair.file.contains(range)).unwrap();
                    self.files.get_mut(&(0, range)).unwrap().revs_limit = u8::try_from(limit).unwrap();
                }
            }
            (_, Next::Continue) => self.opened = true,
            (_, Next::Stop) => {}
        }
    }

    fn state(&self, shard: &LocalShard) -> ShardState {
        let find = |name: &str| [ALL, LOW, HIGH].into_iter().find(|range| name.contains(range)).unwrap();
        let mine = &self.files[&(0, find(&shard.file))];
        let theirs = shard.others.iter().enumerate().filter_map(|(index, other)| {
            let node: u8 = other.node.parse().unwrap();
            let file = &self.files[&(node, find(&other.file))];
            let note =
                if self.incomplete.contains(&node) { VolumeNote::Filling } else { VolumeNote::Complete };
            let mut copy = OtherCopy::new(shard, index, note, file.state())?;
            copy.last_change = file.last_change().into();
            copy.checkpoint = file.sent.get(&mine.uuid).copied().unwrap_or_default().into();
            (!self.down.contains(&node)).then_some(copy)
        });
        ShardState { mine: mine.state(), theirs: theirs.collect() }
    }

    fn successors(&self) -> Vec<Self> {
        let mut next = vec![];
        if self.opened {
            return next;
        }
        let after = |event: &dyn Fn(&mut Self)| {
            let mut copies = self.clone();
            event(&mut copies);
            copies
        };
        next.push(after(&|c| c.look()));
        next.extend(self.pushes().into_iter().map(|(from, to)| after(&|c| c.push(from, to))));
        if self.writes > 0 {
            next.extend(DOCUMENTS.map(|document| after(&|c| c.write(document))));
        }
        if self.losses > 0 {
            next.push(after(&|c| c.lose(0)));
        }
        for node in self.others() {
            if self.down.contains(&node) {
                next.push(after(&|c| {
                    c.down.remove(&node);
                }));
            } else if self.failures > 0 {
                next.push(after(&|c| {
                    c.down.insert(node);
                    c.failures -= 1;
                }));
            }
        }
        next
    }

    /// An open node has every document that the others had when its agent first looked, and their properties.
    fn check(&self) {
        if !self.opened || self.others().is_empty() {
            return;
        }
        for document in DOCUMENTS {
            let (mine, floor) = (self.revision_of(0, document), self.floor.unwrap_or_default()[document]);
            let passed_over = self.edited[document];
            assert!(mine >= floor || passed_over, "opened with revision {mine} instead of {floor}: {self:?}");
        }
        let mut mine = self.files.iter().filter(|((node, _), _)| *node == 0);
        assert!(mine.all(|(_, file)| file.revs_limit == 50), "opened with other properties: {self:?}");
    }

    /// Ends all faults, and replicates and looks until the node is open.
    fn settle(mut self) {
        self.down.clear();
        for _ in 0..40 {
            self.pushes().into_iter().for_each(|(from, to)| self.push(from, to));
            if !self.opened {
                self.look();
                self.check();
            }
        }
        assert!(self.opened, "never opens: {self:?}");
        for (document, node) in
            DOCUMENTS.into_iter().flat_map(|d| self.others().into_iter().map(move |n| (d, n)))
        {
            assert_eq!(self.revision_of(0, document), self.revision_of(node, document), "{self:?}");
        }
    }
}

fn every_order_is_right(first: Copies) {
    let mut seen = HashSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    while let Some(copies) = queue.pop_front() {
        // Every path to a state settles as the state itself does.
        copies.clone().settle();
        for next in copies.successors() {
            if !seen.contains(&next) {
                next.check();
                seen.insert(next.clone());
                queue.push_back(next);
            }
        }
    }
    assert!(seen.len() > 40, "a model with {} states has lost its events", seen.len());
}

#[test]
fn a_copy_of_two_is_opened_only_with_everything_that_the_other_one_had() {
    every_order_is_right(Copies::new(&[(0, ALL), (1, ALL)]));
}

#[test]
fn a_copy_of_three_is_opened_only_with_everything_that_the_others_had() {
    every_order_is_right(Copies { writes: 1, losses: 0, ..Copies::new(&[(0, ALL), (1, ALL), (2, ALL)]) });
}

#[test]
fn a_whole_range_is_compared_with_the_parts_that_another_node_has() {
    every_order_is_right(Copies { writes: 1, ..Copies::new(&[(0, ALL), (1, LOW), (1, HIGH)]) });
}

#[test]
fn parts_of_a_range_are_compared_with_the_whole_that_another_node_has() {
    every_order_is_right(Copies { writes: 1, ..Copies::new(&[(0, LOW), (0, HIGH), (1, ALL)]) });
}

/// Two nodes lost their volumes, and the only complete one may be down at any time.
#[test]
fn two_empty_copies_do_not_prove_each_other_complete() {
    let mut copies = Copies::new(&[(0, ALL), (1, ALL), (2, ALL)]);
    copies.lose(1);
    let full = copies.clone();
    every_order_is_right(Copies { writes: 0, losses: 0, failures: 1, floor: Some([1, 1]), ..full });
}

#[test]
fn an_only_copy_is_opened_at_once() {
    let mut copies = Copies::new(&[(0, ALL)]);
    copies.look();
    assert!(copies.opened);
}

/// The values of JSON are compared as such: the order of members does not matter.
#[test]
fn equal_security_objects_need_no_repair() {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (a, b) = (parse(r#"{"members":{},"admins":{}}"#), parse(r#"{"admins":{},"members":{}}"#));
    assert_eq!(Properties { security: a, revs_limit: 1 }, Properties { security: b, revs_limit: 1 });
}
