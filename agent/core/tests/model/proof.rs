//! What must be true in every state, and of the end that each comes to.

use std::collections::{BTreeSet, HashSet, VecDeque};

use agent_core::decide::{Step, next_step};
use agent_core::facts::{SystemDatabase, VolumeNote};

use crate::couch::{Couch, FOREIGN, Maker};
use crate::world::{Faults, World};

pub(crate) fn every_state_ends_settled(world: World) {
    let states = world.reachable();
    for state in &states {
        let end = state.clone().settle();
        end.check_invariants();
        assert!(
            end.steps().iter().all(|step| *step == Step::Settled),
            "{:?}\nfrom {state:?}\nto {end:?}",
            end.steps()
        );
        assert!(end.is_one_to_clients(), "two identities: {end:?}\nfrom {state:?}");
    }
    assert!(states.len() > 40, "a model with {} states has lost its events", states.len());
}

/// No reachable state breaks an invariant, and each ends where every agent stands in one of these refusals or waits.
pub(crate) fn every_state_ends_refused(world: World, refused: &dyn Fn(&[Step]) -> bool) {
    let states = world.reachable();
    for state in &states {
        let end = state.clone().settle();
        end.check_invariants();
        assert!(refused(&end.steps()), "{:?}\nfrom {state:?}\nto {end:?}", end.steps());
    }
    assert!(states.len() > 40, "a model with {} states has lost its events", states.len());
}

impl World {
    pub(crate) fn reachable(self) -> HashSet<Self> {
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

    pub(crate) fn check_invariants(&self) {
        self.nothing_vanishes();
        self.nothing_is_founded_too_small();
        self.only_expected_nodes_are_members();
        self.what_is_settled_is_whole();
        self.who_lacks_data_is_not_taken_for_whole();
        self.only_who_is_filled_is_closed();
        self.who_remembers_is_never_changed();
    }

    /// Identity flows to the node that has lost it: one that was founded with it, and has had no restart since, has it
    /// still.
    fn who_remembers_is_never_changed(&self) {
        let remembers = |node: &Couch| node.remembers.is_none_or(|founded| founded == node.identity);
        let well = !self.nobody_stays_away || self.nodes.iter().all(remembers);
        assert!(well, "took over what a restarted node made up: {self:?}");
    }

    fn who_lacks_data_is_not_taken_for_whole(&self) {
        let fine = |node: &Couch| node.filled || node.note != VolumeNote::Complete;
        assert!(self.nodes.iter().all(fine), "an empty copy answers: {self:?}");
    }

    /// Agents close no node but one that is to be filled, and one that never lacked anything they close only to give
    /// it a copy.
    fn only_who_is_filled_is_closed(&self) {
        for node in &self.nodes {
            assert!(
                !node.maintenance || node.note == VolumeNote::Filling,
                "closed without a reason: {self:?}"
            );
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

    /// A database is made by a node that has every other as a member, as many as there were to be at some time.
    fn nothing_is_founded_too_small(&self) {
        let all = self.smallest;
        let made_here = |maker: &Maker| maker.node < FOREIGN;
        let mut makers = self.nodes.iter().flat_map(|node| node.databases.keys()).map(|(_, maker)| maker);
        assert!(makers.all(|maker| !made_here(maker) || maker.copies >= all), "founded too small: {self:?}");
    }

    fn only_expected_nodes_are_members(&self) {
        assert!(
            self.nodes.iter().flat_map(|node| &node.members).all(|member| self.volumes().contains(member))
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
                assert!(self.ordinals().all(|i| whole(self.node(i))), "{i} is content too early: {self:?}");
            }
        }
    }

    /// Faults end, and everybody goes round until nothing changes. Fails when that never happens.
    pub(crate) fn settle(mut self) -> Self {
        self.ordinals().for_each(|i| self.nodes[usize::from(i)].up = true);
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

    /// A session that one node gave is good on all.
    fn is_one_to_clients(&self) -> bool {
        let identities: BTreeSet<u8> = self.ordinals().map(|i| self.node(i).identity).collect();
        identities.len() == 1 || !self.asks_identity
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.ordinals().map(|i| next_step(&self.observe(i))).collect()
    }
}
