//! A cluster with one database, as far as moves of copies depend on it. Nodes replicate like CouchDB 3.5.0: an update is pushed
//! after 5 s by the map that the node has then, a restart forgets what was to be pushed, and a map reaches the other nodes
//! one after another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::moves::{
    Action, Change, Document, Facts, FileFacts, FileKey, Loads, Pace, Phase, Roster, Work, drain,
};
use agent_core::shards::{Fill, Properties, ShardMap, decides_quorum};
use serde_json::{Map, Value, json};

const RANGES: [&str; 2] = ["00000000-7fffffff", "80000000-ffffffff"];
const TICK: Duration = Duration::from_millis(500);
const PUSHED_AFTER: Duration = Duration::from_secs(5);
/// The age from which a document must be in every copy: it was pushed, and the push may have met an older map once.
const REPLICATED_WITHIN: Duration = Duration::from_secs(14);

/// Documents that one pass copies, so that a copy takes several.
const BATCH: usize = 6;

/// Something that goes wrong.
pub(crate) enum Fault {
    /// A random node is killed, and restarted some seconds later.
    Kill,
    /// The same with the node that is drained.
    KillSource,
    /// Another agent leads, without the memory of the first.
    LeaderEnds,
    /// The file of a target is lost.
    LoseTarget,
    /// The target's volume was lost and refilled by the other holders, and another agent leads.
    RefillTarget,
    /// All disks are full from now on.
    FullDisks,
    /// There is room on all disks again.
    Room,
}

#[derive(Clone)]
struct CopyFile {
    uuid: String,
    /// Each document with the sequence at which it came.
    docs: BTreeMap<u64, u64>,
    seq: u64,
    checkpoints: BTreeMap<String, u64>,
    properties: Properties,
}

struct Node {
    up: bool,
    back_at: Duration,
    revision: usize,
    files: BTreeMap<&'static str, CopyFile>,
    /// Updated ranges, each with the time of its push.
    pushes: BTreeMap<&'static str, Duration>,
    redirects: BTreeMap<String, String>,
    full: bool,
}

pub(crate) struct World {
    seed: u64,
    now: Duration,
    nodes: Vec<Node>,
    /// Every revision of the map, the latest last.
    maps: Vec<Map<String, Value>>,
    acknowledged: BTreeMap<u64, Duration>,
    next_document: u64,
    next_file: u64,
    roster: Roster,
    work: Option<Work>,
    phase_since: Duration,
    leaving: u32,
    /// The number of calls that leaders have made.
    pub(crate) calls: u64,
    /// `true` once nothing is left to move.
    pub(crate) ended: bool,
    /// `true` if a source has returned into the map.
    pub(crate) returned: bool,
    killed: bool,
    copies: usize,
    /// The time in which something may go wrong.
    pub(crate) faults_for: Duration,
    /// The reasons for which the moves were given up.
    pub(crate) given_up: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, nodes: usize, copies: usize) -> Self {
        let names: BTreeMap<u32, String> = (0..nodes).map(|i| (u32::try_from(i).unwrap(), name(i))).collect();
        let leaving = u32::try_from(nodes - 1).unwrap();
        let mut world = Self {
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: Duration::ZERO,
            nodes: vec![],
            maps: vec![],
            acknowledged: BTreeMap::new(),
            next_document: 0,
            next_file: 0,
            roster: Roster::new(names, [leaving].into()),
            work: None,
            phase_since: Duration::ZERO,
            leaving,
            calls: 0,
            ended: false,
            returned: false,
            killed: false,
            copies,
            faults_for: Duration::from_secs(120),
            given_up: vec![],
        };
        // The node that is drained holds both ranges.
        let holders = |offset: usize| -> Vec<String> {
            (0..copies).map(|i| name((nodes - 1 + i * offset) % nodes)).collect()
        };
        // In half of the runs the node holds the first range only, and the other one decides the quorum.
        let second: Vec<String> = match seed % 2 {
            0 => holders(nodes - 1),
            _ => (0..copies).map(|i| name(i % (nodes - 1))).collect(),
        };
        let by_range = json!({ RANGES[0]: holders(1), RANGES[1]: second });
        let mut by_node: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for range in RANGES {
            for holder in by_range[range].as_array().unwrap() {
                by_node.entry(holder.as_str().unwrap().to_owned()).or_default().push(range);
            }
        }
        let map = json!({ "_id": "orders", "_rev": "1-a", "shard_suffix": [46, 49], "changelog": [],
            "by_range": by_range, "by_node": by_node });
        world.maps.push(map.as_object().unwrap().clone());
        for i in 0..nodes {
            let mut files = BTreeMap::new();
            for range in RANGES {
                if world.document(0).holds(range, &name(i)) {
                    files.insert(range, world.new_file(json!({"admins": ["a"]})));
                }
            }
            world.nodes.push(Node {
                up: true,
                back_at: Duration::ZERO,
                revision: 0,
                files,
                pushes: BTreeMap::new(),
                redirects: BTreeMap::new(),
                full: false,
            });
        }
        for _ in 0..30 {
            world.write();
        }
        world
    }

    /// Drains the node, with `meanwhile` called twice a second, then lets everything calm down.
    pub(crate) fn drain(&mut self, leaving: u32, mut meanwhile: impl FnMut(&mut Self) -> Option<Fault>) {
        self.leaving = leaving;
        let end = self.now + Duration::from_secs(1200);
        let calm = self.now + self.faults_for;
        while self.now < end {
            self.tick();
            if self.now < calm
                && let Some(fault) = meanwhile(self)
            {
                self.fail(&fault);
            }
            if self.nodes.iter().all(|node| node.up) && self.lead() {
                self.ended = true;
                break;
            }
        }
        for _ in 0..60 {
            self.tick();
        }
    }

    /// The files of nodes that no map lists.
    pub(crate) fn orphans(&self) -> usize {
        let document = self.document(self.maps.len() - 1);
        let mut orphans = 0;
        for (i, node) in self.nodes.iter().enumerate() {
            orphans += node.files.keys().filter(|range| !document.holds(range, &name(i))).count();
        }
        orphans
    }

    /// The placeholders in the map.
    pub(crate) fn placeholders(&self) -> usize {
        let document = self.document(self.maps.len() - 1);
        RANGES.into_iter().map(|range| document.fills(range).count()).sum()
    }

    pub(crate) fn assert_drained(&self, leaving: u32) {
        let document = self.document(self.maps.len() - 1);
        let leaving = self.roster.name(leaving).unwrap();
        assert_eq!(document.moves(&self.roster), [], "a later leader would look at them again");
        // A copy that is moved counts once, so that a report about single copies neither ends nor begins meanwhile.
        for map in &self.maps {
            let map: ShardMap = serde_json::from_value(Value::Object(map.clone())).unwrap();
            assert_eq!(map.fewest_copies(), self.copies.min(self.nodes.len() - 1), "{map:?}");
        }
        for range in RANGES {
            assert!(!document.holds(range, leaving), "still in the map");
            assert_eq!(document.fills(range).count(), 0, "a placeholder is left");
            let holders: Vec<&str> = document.holders(range).collect();
            assert_eq!(holders.len(), self.copies.min(self.nodes.len() - 1), "{holders:?}");
            for holder in holders {
                let file = &self.nodes[self.index(holder)].files[range];
                for id in self.acknowledged.keys().filter(|id| range_of(**id) == range) {
                    assert!(file.docs.contains_key(id), "{id} is missing on {holder}, of {:?}", self.seed);
                }
                assert_eq!(file.properties, properties(json!({"admins": ["a"]})), "{holder}");
            }
        }
    }

    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    pub(crate) fn phase(&self) -> Option<Phase> {
        self.work.as_ref().map(Work::phase)
    }

    /// The time since the phase began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.phase_since
    }

    /// A client writes a document at a random node.
    pub(crate) fn write(&mut self) {
        let Some(coordinator) = self.some_node() else { return };
        self.next_document += 1;
        let (id, now) = (self.next_document, self.now);
        let range = range_of(id);
        let document = self.document(self.nodes[coordinator].revision);
        let quorum = quorum(&document);
        let holders: Vec<usize> = document.holders(range).map(|holder| self.index(holder)).collect();
        let mut written = 0;
        for holder in holders.into_iter().filter(|holder| self.nodes[*holder].up).collect::<Vec<_>>() {
            self.file(holder, range).add(id);
            self.nodes[holder].pushes.entry(range).or_insert(now + PUSHED_AFTER);
            written += 1;
        }
        if written >= quorum {
            self.acknowledged.insert(id, now);
        }
    }

    /// A client reads all documents of a range from the copy that answers first, at a random node.
    pub(crate) fn read(&mut self) {
        let Some(coordinator) = self.some_node() else { return };
        let range = RANGES[usize::try_from(self.random(2)).unwrap()];
        let document = self.document(self.nodes[coordinator].revision);
        let holders: Vec<usize> = document.holders(range).map(|holder| self.index(holder)).collect();
        let fastest = holders[usize::try_from(self.random(holders.len() as u64)).unwrap()];
        let old = self
            .acknowledged
            .iter()
            .filter(|(id, at)| range_of(**id) == range && **at + REPLICATED_WITHIN < self.now);
        let old: Vec<u64> = old.map(|(id, _)| *id).collect();
        self.read_back();
        let file = self.file(fastest, range);
        let missing = old.iter().filter(|id| !file.docs.contains_key(id)).count();
        assert!(missing == 0 || self.killed, "{missing} documents are missing on {}", name(fastest));
    }

    /// A client reads a document that was just acknowledged, from as many copies as make a quorum.
    fn read_back(&mut self) {
        let Some((&id, _)) = self.acknowledged.last_key_value() else { return };
        let Some(coordinator) = self.some_node() else { return };
        let (range, document) = (range_of(id), self.document(self.nodes[coordinator].revision));
        let mut holders: Vec<usize> = document.holders(range).map(|holder| self.index(holder)).collect();
        while holders.len() > quorum(&document) {
            let left_out = self.random(holders.len() as u64);
            holders.remove(usize::try_from(left_out).unwrap());
        }
        let found = holders.iter().any(|holder| self.file(*holder, range).docs.contains_key(&id));
        assert!(found || self.killed, "{id} was acknowledged and is not found");
    }

    fn tick(&mut self) {
        self.now += TICK;
        for i in 0..self.nodes.len() {
            if !self.nodes[i].up && self.nodes[i].back_at <= self.now {
                self.nodes[i].up = true;
                // A node that comes up gets what the others hold by their maps, and pushes what it holds. A file that is in no
                // map is not pushed.
                for node in 0..self.nodes.len() {
                    let document = self.document(self.nodes[node].revision);
                    for range in RANGES.into_iter().filter(|range| document.holds(range, &name(node))) {
                        self.push(node, range, usize::MAX);
                    }
                }
            }
        }
        // A new revision of the map reaches one more node at each tick.
        let latest = self.maps.len() - 1;
        if let Some(node) = self.nodes.iter_mut().find(|node| node.up && node.revision < latest) {
            node.revision = latest;
        }
        for i in 0..self.nodes.len() {
            let (now, node) = (self.now, &mut self.nodes[i]);
            if node.up {
                let due: Vec<&'static str> =
                    node.pushes.iter().filter(|(_, at)| **at <= now).map(|(range, _)| *range).collect();
                for range in due {
                    self.nodes[i].pushes.remove(range);
                    self.push(i, range, usize::MAX);
                }
            }
        }
    }

    /// Replicates a file to the other holders, by the map that its node has.
    fn push(&mut self, from: usize, range: &'static str, batch: usize) {
        let document = self.document(self.nodes[from].revision);
        let holders: Vec<String> = document.holders(range).map(str::to_owned).collect();
        for holder in holders {
            self.replicate(from, range, &holder, batch);
        }
    }

    /// Replicates up to `batch` documents, in the order in which they came.
    fn replicate(&mut self, from: usize, range: &'static str, to: &str, batch: usize) {
        let to = self.index(to);
        let Some(source) = self.nodes[from].files.get(range).cloned() else { return };
        if from == to || !self.nodes[from].up || !self.nodes[to].up {
            return;
        }
        let full = self.nodes[to].full;
        let target = self.file(to, range);
        let uuid = target.uuid.clone();
        let since = source.checkpoints.get(&uuid).copied().unwrap_or_default();
        let mut changes: Vec<(u64, u64)> =
            source.docs.iter().filter(|(_, seq)| **seq > since).map(|(id, seq)| (*seq, *id)).collect();
        changes.sort_unstable();
        changes.truncate(if full { 0 } else { batch });
        changes.iter().for_each(|(_, id)| target.add(*id));
        // What came by replication is pushed like any update.
        if !changes.is_empty() {
            let due = self.now + PUSHED_AFTER;
            self.nodes[to].pushes.entry(range).or_insert(due);
        }
        let reached = changes.last().map_or(since, |(seq, _)| *seq);
        self.nodes[from].files.get_mut(range).unwrap().checkpoints.insert(uuid, reached);
    }

    /// `POST _sync_shards` on the first node.
    fn sync(&mut self) {
        let document = self.document(self.nodes[0].revision);
        for range in RANGES {
            let holders: Vec<String> = document.holders(range).map(str::to_owned).collect();
            let fills: Vec<Fill> = document.fills(range).collect();
            for from in &holders {
                let from = self.index(from);
                for to in &holders {
                    self.replicate(from, range, to, BATCH);
                }
                for fill in &fills {
                    if let Some(to) = self.nodes[from].redirects.get(&fill.to_string()).cloned() {
                        self.replicate(from, range, &to, BATCH);
                    }
                }
            }
        }
    }

    /// One call of the agent that leads. Returns `true` once nothing is left to do.
    fn lead(&mut self) -> bool {
        let document = self.document(self.nodes[0].revision);
        let roster = self.roster.clone();
        let mut work = match self.work.take() {
            Some(work) => work,
            None => match Work::begun(&document, &roster) {
                Some(work) => work,
                None => {
                    let mut loads = Loads::new(&roster);
                    loads.count(&document, &roster);
                    let moves = drain(&document, self.leaving, &roster, &mut loads);
                    if moves.is_empty() {
                        return true;
                    }
                    Work::planned(&document, moves)
                }
            },
        };
        let redirects: BTreeMap<String, String> = work
            .moves()
            .iter()
            .filter_map(|one| Some((one.fill().to_string(), roster.name(one.to?)?.to_owned())))
            .collect();
        self.nodes.iter_mut().for_each(|node| node.redirects.clone_from(&redirects));
        let files: BTreeMap<FileKey, FileFacts> =
            work.files(&document, &roster).into_iter().map(|key| (key.clone(), self.facts(&key))).collect();
        let spread = self.nodes.iter().all(|node| node.revision == self.nodes[0].revision);
        let facts = Facts { document: &document, conflicts: false, spread, files: &files, indexing: false };
        let readers = Duration::from_secs(4);
        let pace = Pace { readers, readers_while_raised: readers };
        let before = work.phase();
        let action = work.next(&facts, &roster, pace, self.now);
        if work.phase() != before {
            self.phase_since = self.now;
        }
        if !matches!(action, Action::Wait(_)) {
            self.calls += 1;
        }
        match action {
            Action::Change(changes) => {
                let source = roster.name(self.leaving).unwrap();
                self.returned |= changes.contains(&Change::add(RANGES[0], source))
                    || changes.contains(&Change::add(RANGES[1], source));
                let mut map = document.after(&changes).unwrap();
                map.insert("_rev".to_owned(), json!(format!("{}-a", self.maps.len() + 1)));
                self.maps.push(map);
                self.nodes[0].revision = self.maps.len() - 1;
                for range in RANGES {
                    // A node that finds itself in a map creates the file.
                    let holders: Vec<String> =
                        self.document(self.maps.len() - 1).holders(range).map(str::to_owned).collect();
                    for holder in holders {
                        let holder = self.index(&holder);
                        self.file(holder, range);
                    }
                }
            }
            Action::Copy(copies) => {
                for copy in copies {
                    let from = self.facts(&(copy.range.clone(), copy.from)).properties;
                    let range = range_named(&copy.range);
                    let to = self.index(&copy.to);
                    self.file(to, range).properties = from.unwrap();
                }
                work.copied();
            }
            Action::Delete((range, node)) => {
                let node = self.index(&node);
                self.nodes[node].files.remove(range_named(&range));
            }
            Action::Done => return false,
            Action::GiveUp(hindrance) => {
                self.given_up.push(hindrance.to_string());
                return false;
            }
            Action::Replicate => self.sync(),
            Action::Wait(_) => {}
        }
        self.work = Some(work);
        false
    }

    fn facts(&self, (range, node): &FileKey) -> FileFacts {
        let Some(file) = self.nodes[self.index(node)].files.get(range_named(range)) else {
            return FileFacts::default();
        };
        FileFacts {
            uuid: Some(file.uuid.clone()),
            last_change: file.seq,
            checkpoints: file.checkpoints.clone(),
            properties: Some(file.properties.clone()),
            ..FileFacts::default()
        }
    }

    fn fail(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill => {
                let node = usize::try_from(self.random(self.nodes.len() as u64)).unwrap();
                self.kill(node);
            }
            Fault::KillSource => self.kill(usize::try_from(self.leaving).unwrap()),
            Fault::LeaderEnds => self.work = None,
            Fault::RefillTarget => self.refill_target(),
            Fault::FullDisks => self.nodes.iter_mut().for_each(|node| node.full = true),
            Fault::Room => self.nodes.iter_mut().for_each(|node| node.full = false),
            Fault::LoseTarget => {
                let work = self.work.as_ref().unwrap();
                let targets: BTreeSet<usize> =
                    work.targets_of(&self.roster).map(|(_, node)| self.index(node)).collect();
                let document = self.document(self.maps.len() - 1);
                for target in targets {
                    let held = |range: &&str| document.holds(range, &name(target));
                    for range in RANGES.iter().filter(|range| !held(range)) {
                        self.nodes[target].files.remove(range);
                    }
                }
            }
        }
    }

    fn refill_target(&mut self) {
        let work = self.work.take().unwrap();
        let document = self.document(self.maps.len() - 1);
        for one in work.moves() {
            let (range, target) =
                (range_named(&one.range), one.to.and_then(|to| self.roster.name(to)).unwrap());
            let target = target.to_owned();
            let mut file = self.new_file(json!({"admins": ["a"]}));
            let others: Vec<usize> = document
                .holders(range)
                .filter(|other| *other != target)
                .map(|other| self.index(other))
                .collect();
            for other in others {
                let other = self.nodes[other].files.get_mut(range).unwrap();
                other.docs.keys().for_each(|id| file.add(*id));
                other.checkpoints.insert(file.uuid.clone(), other.seq);
            }
            let target = self.index(&target);
            self.nodes[target].files.insert(range, file);
            self.nodes[target].pushes.insert(range, self.now + PUSHED_AFTER);
        }
    }

    fn kill(&mut self, node: usize) {
        self.killed = true;
        let back_at = self.now + Duration::from_secs(2);
        let node = &mut self.nodes[node];
        (node.up, node.back_at) = (false, back_at);
        node.pushes.clear();
        node.redirects.clear();
    }

    fn some_node(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|i| self.nodes[*i].up).collect();
        let pick = self.random(up.len().max(1) as u64);
        up.get(usize::try_from(pick).unwrap()).copied()
    }

    /// The file of a range, created where it is missing: any request does that.
    fn file(&mut self, node: usize, range: &'static str) -> &mut CopyFile {
        if !self.nodes[node].files.contains_key(range) {
            let file = self.new_file(json!({"admins": ["_admin"]}));
            self.nodes[node].files.insert(range, file);
        }
        self.nodes[node].files.get_mut(range).unwrap()
    }

    fn new_file(&mut self, security: Value) -> CopyFile {
        self.next_file += 1;
        CopyFile {
            uuid: format!("file{}", self.next_file),
            docs: BTreeMap::new(),
            seq: 0,
            checkpoints: BTreeMap::new(),
            properties: properties(security),
        }
    }

    fn document(&self, revision: usize) -> Document {
        Document::parse("orders", self.maps[revision].clone()).unwrap()
    }

    fn index(&self, node: &str) -> usize {
        usize::try_from(self.roster.ordinal(node).unwrap()).unwrap()
    }
}

impl CopyFile {
    fn add(&mut self, id: u64) {
        if !self.docs.contains_key(&id) {
            self.seq += 1;
            self.docs.insert(id, self.seq);
        }
    }
}

/// The copies that a read and a write need, computed from one range for all.
fn quorum(document: &Document) -> usize {
    let range = RANGES.into_iter().find(|range| decides_quorum(range)).unwrap();
    let raised = usize::from(document.raised().is_some());
    (document.holders(range).count() + document.fills(range).count() + raised) / 2 + 1
}

fn properties(security: Value) -> Properties {
    Properties { security, revs_limit: 1000 }
}

fn name(i: usize) -> String {
    format!("couchdb@db-{i}.db")
}

fn range_of(id: u64) -> &'static str {
    RANGES[usize::from(id.is_multiple_of(2))]
}

fn range_named(range: &str) -> &'static str {
    RANGES.into_iter().find(|known| *known == range).unwrap()
}
