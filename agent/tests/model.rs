//! Every reachable state of a small cluster, and from each of them the end.
//!
//! Deciding and acting are separate events, so a step may be carried out on facts that are no longer true. Nodes
//! crash, come back, lose their volume and are cut off; finish_cluster may die half way.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use agent::kubernetes::Record;
use agent::step::{
    Api, Identity, Lock, Mode, Node, Note, Observed, Refusal, Sort, Spread, Step, SystemDatabase, Unseen,
    next_step,
};

/// A cluster small enough to enumerate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    nodes: Vec<Couch>,
    /// What each agent has decided and not yet done.
    decided: Vec<Option<Step>>,
    /// Pairs that no packet crosses, the lower ordinal first.
    cut: BTreeSet<(u8, u8)>,
    left: Faults,
    /// Whether the agents may read and write the founding record, and whether it is written.
    asks_kubernetes: bool,
    record: bool,
    /// Who holds the Lease.
    lease: Option<u8>,
}

/// The faults that may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Faults {
    crashes: u8,
    cuts: u8,
    wipes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Couch {
    up: bool,
    enabled: bool,
    secret: bool,
    incarnation: u8,
    members: BTreeSet<u8>,
    /// Each database, with whoever made it: two makers of one name are a conflict, and one side's data is gone.
    databases: BTreeMap<(SystemDatabase, Maker), Map>,
    /// What is written down on its volume.
    note: Note,
    /// Whether it is kept out of reads. A crash forgets it.
    maintenance: bool,
    /// Whether it has all documents of the copies that it is said to hold.
    filled: bool,
}

/// Who holds a database. Of two changes that follow one revision CouchDB keeps one and forgets the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Map {
    revision: u8,
    holders: BTreeSet<u8>,
}

/// Who made a database: the node, its incarnation, and the members that it then had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Maker {
    node: u8,
    incarnation: u8,
    copies: u8,
}

impl World {
    /// All are down: they come up in any order.
    fn new(nodes: Vec<Couch>, left: Faults) -> Self {
        let nodes: Vec<_> = nodes.into_iter().map(|node| Couch { up: false, ..node }).collect();
        let decided = vec![None; nodes.len()];
        Self {
            nodes,
            decided,
            cut: BTreeSet::new(),
            left,
            asks_kubernetes: false,
            record: false,
            lease: None,
        }
    }

    /// `n` nodes as the official image starts them.
    fn fresh(n: u8, left: Faults) -> Self {
        Self::new((0..n).map(Couch::fresh).collect(), left)
    }

    fn ordinals(&self) -> std::ops::Range<u8> {
        0..u8::try_from(self.nodes.len()).unwrap()
    }

    fn node(&self, i: u8) -> &Couch {
        &self.nodes[usize::from(i)]
    }

    fn linked(&self, i: u8, j: u8) -> bool {
        let reachable = |node: &Couch| node.up && node.enabled;
        i == j
            || (reachable(self.node(i))
                && reachable(self.node(j))
                && !self.cut.contains(&(i.min(j), i.max(j))))
    }

    fn connected(&self, i: u8, j: u8) -> bool {
        let knows = self.node(i).members.contains(&j) || self.node(j).members.contains(&i);
        i == j || (knows && self.linked(i, j))
    }

    fn see(&self, i: u8) -> Node {
        let node = self.node(i);
        let maps = |database| node.databases.iter().filter(move |((name, _), _)| *name == database);
        let spread = |(_, map): (_, &Map)| Spread {
            copies: u32::try_from(map.holders.len()).unwrap(),
            holders: map.holders.iter().map(|o| (*o).into()).collect(),
        };
        let spread = |database| Some((database, maps(database).next().map(spread)?));
        Node {
            members: node.members.iter().map(|o| (*o).into()).collect(),
            connected: self.ordinals().filter(|j| self.connected(i, *j)).map(u32::from).collect(),
            strangers: BTreeSet::new(),
            databases: u64::try_from(node.databases.len()).unwrap(),
            identity: Identity::default(),
            system: SystemDatabase::ALL.into_iter().filter_map(spread).collect(),
        }
    }

    fn observe(&self, me: u8) -> Observed {
        let local = self.node(me);
        let expected: BTreeSet<u32> = self.ordinals().map(u32::from).collect();
        let peer = |p: u8| if self.linked(me, p) { Ok(self.see(p)) } else { Err(Unseen::Unreachable) };
        let peers: BTreeMap<_, _> =
            self.ordinals().filter(|p| *p != me).map(|p| (p.into(), peer(p))).collect();
        Observed {
            me: me.into(),
            founders: expected.clone(),
            expected,
            api: if self.asks_kubernetes { Api::Current } else { Api::Off },
            record: match (self.asks_kubernetes, self.record) {
                (false, _) => Record::Forbidden,
                (true, false) => Record::Absent,
                (true, true) => Record::Formed { uuid: "u".to_owned(), instead_of: None },
            },
            lock: match (self.asks_kubernetes, self.lease) {
                (false, _) => Lock::Unasked,
                (true, None) => Lock::Free,
                (true, Some(holder)) if holder == me => Lock::Mine,
                (true, Some(holder)) => Lock::Held(format!("db-{holder}")),
            },
            displaced_by: None,
            form_anew: None,
            local: if local.up { Ok(self.see(me)) } else { Err(Unseen::Unreachable) },
            enabled: local.enabled,
            finished: local.databases.len() >= 2,
            session_secret: local.secret,
            wanted_copies: 3,
            note: local.note,
            mode: if local.maintenance { Mode::Maintenance } else { Mode::Serving },
            peers,
            paths: BTreeMap::new(),
        }
    }

    fn decide(&mut self, me: u8) {
        let step = next_step(&self.observe(me));
        let on_itself_alone = matches!(
            step,
            Step::EnterMaintenance | Step::Fill { .. } | Step::NoteFilling | Step::ProveWhole { .. }
        );
        self.decided[usize::from(me)] = (step.sort() == Sort::Act).then_some(step);
        // These touch nothing that others see, and look again when they are done: a pause before them shows no more.
        if on_itself_alone {
            self.act(me, true);
        }
    }

    /// Does what was decided; against a node that is down this fails and is forgotten. `whole` is false for a
    /// finish_cluster that dies after its first database.
    fn act(&mut self, me: u8, whole: bool) {
        let Some(step) = self.decided[usize::from(me)].take() else { return };
        // Of two who take it at the same time one fails.
        if step == Step::TakeLease {
            self.lease = self.lease.or(Some(me));
        } else if step == Step::ReleaseLease {
            self.lease = self.lease.filter(|holder| *holder != me);
        }
        if !self.node(me).up {
            return;
        }
        // finish_cluster pings every member and gives up when one doesn't answer.
        let all_answer = self.node(me).members.iter().all(|p| self.linked(me, *p));
        let node = &mut self.nodes[usize::from(me)];
        match step {
            Step::AddCopies(databases) => node.add_copies(me, &databases),
            Step::EnterMaintenance => node.maintenance = true,
            Step::Fill { .. } if node.filled => (node.maintenance, node.note) = (false, Note::Whole),
            Step::Fill { .. } => {}
            Step::NoteFilling => node.note = Note::Filling,
            Step::ProveWhole { .. } => node.note = if node.filled { Note::Whole } else { Note::Filling },
            Step::EnableCluster { .. } => node.enabled = true,
            Step::Join(peer) => drop(node.members.insert(u8::try_from(peer).unwrap())),
            Step::MakeSessionSecret => node.secret = true,
            Step::CreateDatabase(database) => node.make(me, database),
            Step::RecordFounding { .. } => self.record = true,
            Step::ReleaseLease | Step::TakeLease => {}
            Step::Found => {
                assert!(node.secret, "finish_cluster fails for ever without a secret");
                if all_answer {
                    node.make(me, SystemDatabase::Users);
                    if whole {
                        node.make(me, SystemDatabase::Replicator);
                    }
                }
            }
            Step::Adopt(_) | Step::Dial { .. } | Step::Refuse(_) | Step::Settled | Step::Wait(_) => {
                unreachable!("not an act")
            }
        }
    }

    /// `_nodes` and `_dbs` go from a node to a member that it is connected to.
    fn replicate(&mut self, from: u8, to: u8) {
        if from == to || !self.linked(from, to) || !self.node(from).members.contains(&to) {
            return;
        }
        let source = self.node(from).clone();
        let target = &mut self.nodes[usize::from(to)];
        target.members.extend(source.members);
        for (name, map) in source.databases {
            match target.databases.get(&name) {
                Some(theirs) if theirs.revision == map.revision => {
                    assert_eq!(*theirs, map, "two changes to one map, and one is forgotten");
                }
                Some(theirs) if theirs.revision > map.revision => {}
                Some(_) | None => drop(target.databases.insert(name, map)),
            }
        }
    }

    /// An empty copy is filled by a full one. Where there is none, there is nothing to be had.
    fn fill(&mut self, me: u8) {
        let mine = self.node(me);
        let has_data = |i: &u8| *i != me && !self.node(*i).databases.is_empty();
        let nobody_has_more = self.ordinals().filter(has_data).all(|i| !self.node(i).filled);
        let brings = |i: u8| self.linked(me, i) && (self.node(i).filled || nobody_has_more);
        let filled = mine.up && !mine.databases.is_empty() && self.ordinals().filter(has_data).any(brings);
        self.nodes[usize::from(me)].filled |= filled;
    }

    /// Everything that can happen next.
    fn successors(&self) -> Vec<Self> {
        let mut next = vec![];
        let mut event = |f: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            f(&mut world);
            next.push(world);
        };
        for i in self.ordinals() {
            let at = usize::from(i);
            event(&|w| w.decide(i));
            event(&|w| w.act(i, true));
            if self.decided[at] == Some(Step::Found) {
                event(&|w| w.act(i, false));
            }
            if !self.node(i).up {
                event(&|w| w.nodes[at].up = true);
            } else if self.left.crashes > 0 {
                event(&|w| {
                    w.nodes[at].up = false;
                    w.nodes[at].maintenance = false;
                    w.left.crashes -= 1;
                });
            }
            if self.left.wipes > 0 {
                event(&|w| {
                    let incarnation = w.nodes[at].incarnation + 1;
                    let others = w.nodes.iter().enumerate().filter(|(j, _)| *j != at);
                    let filled = others.into_iter().all(|(_, node)| node.databases.is_empty());
                    w.nodes[at] = Couch { incarnation, filled, note: Note::None, ..Couch::fresh(i) };
                    w.decided[at] = None; // the agent lived in the same pod
                    w.left.wipes -= 1;
                });
            }
            if self.lease == Some(i) {
                // Whoever holds it dies, or is silent for too long.
                event(&|w| w.lease = None);
            }
            if !self.node(i).filled {
                event(&|w| w.fill(i));
            }
            for j in self.ordinals() {
                event(&|w| w.replicate(i, j));
                if i < j && self.cut.contains(&(i, j)) {
                    event(&|w| w.cut.retain(|pair| *pair != (i, j)));
                } else if i < j && self.left.cuts > 0 {
                    event(&|w| {
                        w.cut.insert((i, j));
                        w.left.cuts -= 1;
                    });
                }
            }
        }
        next
    }

    fn reachable(self) -> HashSet<Self> {
        let mut seen = HashSet::from([self.clone()]);
        let mut queue = VecDeque::from([self]);
        while let Some(world) = queue.pop_front() {
            for next in world.successors() {
                if !seen.contains(&next) {
                    next.check_invariants();
                    seen.insert(next.clone());
                    queue.push_back(next);
                }
            }
        }
        seen
    }

    fn check_invariants(&self) {
        self.nothing_vanishes();
        self.nothing_is_founded_too_small();
        self.only_expected_nodes_are_members();
        self.what_is_settled_is_whole();
        self.who_lacks_data_is_not_taken_for_whole();
        self.only_who_is_filled_is_closed();
    }

    fn who_lacks_data_is_not_taken_for_whole(&self) {
        let fine = |node: &Couch| node.filled || node.note != Note::Whole;
        assert!(self.nodes.iter().all(fine), "an empty copy answers: {self:?}");
    }

    /// Agents close no node but one that is to be filled, and one that never lacked anything they close only to give
    /// it a copy.
    fn only_who_is_filled_is_closed(&self) {
        for node in &self.nodes {
            assert!(!node.maintenance || node.note == Note::Filling, "closed without a reason: {self:?}");
        }
    }

    /// A database name has one maker on every node that has it.
    fn nothing_vanishes(&self) {
        for node in &self.nodes {
            for database in SystemDatabase::ALL {
                let makers = node.databases.keys().filter(|(name, _)| *name == database).count();
                assert!(makers <= 1, "two {} meet: {self:?}", database.name());
            }
        }
    }

    /// A database is made by a node that has every other as a member.
    fn nothing_is_founded_too_small(&self) {
        let all = self.ordinals().end;
        let made_here = |maker: &Maker| maker.node < FOREIGN;
        let mut makers = self.nodes.iter().flat_map(|node| node.databases.keys()).map(|(_, maker)| maker);
        assert!(makers.all(|maker| !made_here(maker) || maker.copies == all), "founded too small: {self:?}");
    }

    fn only_expected_nodes_are_members(&self) {
        assert!(
            self.nodes.iter().flat_map(|node| &node.members).all(|member| self.ordinals().contains(member))
        );
    }

    /// An agent that is content is content with a whole cluster.
    fn what_is_settled_is_whole(&self) {
        for i in self.ordinals() {
            if self.node(i).up && next_step(&self.observe(i)) == Step::Settled {
                let whole = |node: &Couch| {
                    let names: BTreeSet<_> = node.databases.keys().map(|(name, _)| name).collect();
                    node.up && node.members == self.ordinals().collect() && names.len() == 2
                };
                assert!(self.nodes.iter().all(whole), "{i} is content too early: {self:?}");
            }
        }
    }

    /// Faults end, and everybody goes round until nothing changes. Fails when that never happens.
    fn settle(mut self) -> Self {
        self.nodes.iter_mut().for_each(|node| node.up = true);
        self.cut.clear();
        self.left = Faults::default();
        self.lease = None;
        for _ in 0..40 {
            let before = self.clone();
            for i in self.ordinals() {
                self.decide(i);
                self.act(i, true);
                self.fill(i);
                for j in self.ordinals() {
                    self.replicate(i, j);
                }
            }
            if self == before {
                return self;
            }
        }
        panic!("never comes to rest: {self:?}");
    }

    fn steps(&self) -> Vec<Step> {
        self.ordinals().map(|i| next_step(&self.observe(i))).collect()
    }
}

impl Couch {
    fn fresh(i: u8) -> Self {
        Self {
            up: true,
            enabled: true,
            secret: true,
            incarnation: 0,
            members: [i].into(),
            databases: BTreeMap::new(),
            note: Note::Whole,
            maintenance: false,
            filled: true,
        }
    }

    /// With data of another life: its system databases were made by someone who is not here.
    fn foreign(i: u8, maker: u8, members: &[u8]) -> Self {
        let maker =
            Maker { node: FOREIGN + maker, incarnation: 0, copies: u8::try_from(members.len()).unwrap() };
        let map = Map { revision: 0, holders: members.iter().copied().chain([i]).collect() };
        let databases = SystemDatabase::ALL.map(|database| ((database, maker), map.clone())).into();
        Self { members: members.iter().copied().chain([i]).collect(), databases, ..Self::fresh(i) }
    }

    fn make(&mut self, me: u8, database: SystemDatabase) {
        if self.databases.keys().all(|(name, _)| *name != database) {
            let copies = u8::try_from(self.members.len()).unwrap();
            let maker = Maker { node: me, incarnation: self.incarnation, copies };
            let map = Map { revision: 0, holders: self.members.iter().copied().take(3).collect() };
            self.databases.insert((database, maker), map);
        }
    }

    fn add_copies(&mut self, me: u8, to: &BTreeSet<SystemDatabase>) {
        for ((database, _), map) in &mut self.databases {
            if to.contains(database) && map.holders.insert(me) {
                map.revision += 1;
                self.filled = false;
            }
        }
    }
}

/// Makers from here on are of another life.
const FOREIGN: u8 = 100;

fn every_state_ends_settled(world: World) {
    let states = world.reachable();
    for state in &states {
        let end = state.clone().settle();
        end.check_invariants();
        assert!(
            end.steps().iter().all(|step| *step == Step::Settled),
            "{:?}\nfrom {state:?}\nto {end:?}",
            end.steps()
        );
    }
    assert!(states.len() > 40, "a model with {} states has lost its events", states.len());
}

/// No reachable state breaks an invariant, and each ends where every agent stands in one of these refusals or waits.
fn every_state_ends_refused(world: World, refused: &dyn Fn(&[Step]) -> bool) {
    let states = world.reachable();
    for state in &states {
        let end = state.clone().settle();
        end.check_invariants();
        assert!(refused(&end.steps()), "{:?}\nfrom {state:?}\nto {end:?}", end.steps());
    }
    assert!(states.len() > 40, "a model with {} states has lost its events", states.len());
}

/// Where the record can be written, a cluster that lost every volume is not founded again: it stands refused. One that
/// lost them before it was written down is founded, and no state is in between.
#[test]
fn a_cluster_that_was_written_down_is_never_founded_over() {
    for n in 1..=2 {
        let mut world = World::fresh(n, Faults { crashes: 1, wipes: n + 1, cuts: 0 });
        world.asks_kubernetes = true;
        for state in world.reachable() {
            let empty = state.nodes.iter().all(|node| node.databases.is_empty());
            let (lost, end) = (empty && state.record, state.settle());
            end.check_invariants();
            let refused =
                end.steps().iter().all(|step| matches!(step, Step::Refuse(Refusal::FormedBefore { .. })));
            let settled = end.steps().iter().all(|step| *step == Step::Settled);
            // A stale decision to found, from before the record, is none that a node without data can still hold:
            // its agent went with the volume.
            assert!(if lost { refused } else { settled }, "{:?}\n{end:?}", end.steps());
        }
    }
}

#[test]
fn one_node_through_crashes_and_a_lost_volume() {
    every_state_ends_settled(World::fresh(1, Faults { crashes: 2, wipes: 1, cuts: 0 }));
}

#[test]
fn two_nodes_through_crashes_cuts_and_lost_volumes() {
    every_state_ends_settled(World::fresh(2, Faults { crashes: 1, cuts: 1, wipes: 2 }));
    let mut unknown = World::fresh(2, Faults { crashes: 1, cuts: 0, wipes: 1 });
    unknown.nodes.iter_mut().for_each(|node| node.note = Note::None);
    every_state_ends_settled(unknown);
}

#[test]
fn three_nodes_through_crashes() {
    every_state_ends_settled(World::fresh(3, Faults { crashes: 3, ..Faults::default() }));
}

#[test]
fn three_nodes_through_crashes_and_lost_volumes() {
    every_state_ends_settled(World::fresh(3, Faults { crashes: 1, wipes: 2, cuts: 0 }));
}

#[test]
fn three_nodes_through_a_crash_a_lost_volume_and_cuts() {
    every_state_ends_settled(World::fresh(3, Faults { crashes: 1, wipes: 1, cuts: 2 }));
}

#[test]
fn four_nodes_through_a_crash_or_a_lost_volume() {
    every_state_ends_settled(World::fresh(4, Faults { crashes: 1, wipes: 1, cuts: 0 }));
}

#[test]
fn nodes_that_are_disabled_or_lack_a_secret_are_helped() {
    let mut world = World::fresh(3, Faults::default());
    world.nodes[0].secret = false;
    world.nodes[1].enabled = false;
    world.nodes[1].secret = false;
    every_state_ends_settled(world);
}

/// The same under the Lease, which its holder may lose at any time: order alone keeps two changes apart then.
#[test]
fn a_cluster_grows_under_the_lease() {
    for n in 2..=3 {
        let mut world = World::fresh(n, Faults { crashes: u8::from(n == 2), ..Faults::default() });
        world.nodes[0] = Couch::foreign(0, 1, &[]);
        (world.asks_kubernetes, world.record) = (true, true);
        every_state_ends_settled(world);
    }
}

/// A cluster of one that grows: the others join it, out of all reads until they have what it has, and one after the
/// other gets copies of the system databases.
#[test]
fn a_node_with_data_of_its_own_is_joined_and_never_founded_over() {
    for faults in [Faults { crashes: 1, ..Faults::default() }, Faults { cuts: 1, ..Faults::default() }] {
        let mut world = World::fresh(3, faults);
        world.nodes[1] = Couch::foreign(1, 1, &[]);
        every_state_ends_settled(world);
    }
}

#[test]
fn of_two_that_lost_their_volumes_neither_waits_for_the_other() {
    let nodes = [0, 1, 2].map(|i| Couch::foreign(i, 1, &[0, 1, 2]));
    every_state_ends_settled(World::new(nodes.into(), Faults { wipes: 2, ..Faults::default() }));
}

#[test]
fn a_foreign_node_is_never_taken_into_a_cluster() {
    let nodes = vec![Couch::foreign(0, 1, &[0, 1]), Couch::foreign(1, 1, &[0, 1]), Couch::foreign(2, 2, &[])];
    let world = World::new(nodes, Faults { crashes: 1, cuts: 1, wipes: 0 });
    every_state_ends_refused(world, &|steps| {
        let cluster = BTreeSet::from([0, 1]);
        steps[2] == Step::Refuse(Refusal::ForeignData { cluster })
            && steps[..2].iter().all(|step| matches!(step, Step::Wait(_)))
    });
}

#[test]
fn clusters_of_one_are_never_brought_together_not_even_by_fresh_nodes_between_them() {
    let faults = Faults { crashes: 1, cuts: 1, wipes: 0 };
    for fresh in [&[2][..], &[2, 3]] {
        let mut nodes = vec![Couch::foreign(0, 1, &[]), Couch::foreign(1, 2, &[])];
        nodes.extend(fresh.iter().copied().map(Couch::fresh));
        // Which of them is the lowest must not matter.
        for turn in 0..nodes.len() {
            let world = World::new(turned(&nodes, turn), faults);
            every_state_ends_refused(world, &|steps| !steps.contains(&Step::Settled));
        }
    }
}

/// The same nodes under other ordinals.
fn turned(nodes: &[Couch], by: usize) -> Vec<Couch> {
    let mut nodes = nodes.to_vec();
    nodes.rotate_left(by);
    for (i, node) in nodes.iter_mut().enumerate() {
        node.members = [u8::try_from(i).unwrap()].into();
    }
    nodes
}
