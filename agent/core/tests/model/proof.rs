//! The invariants of every state, and of the state that each settles in.

use std::collections::{BTreeSet, HashSet, VecDeque};

use agent_core::decide::{Step, next_step};
use agent_core::facts::{SystemDatabase, VolumeNote};

use crate::couch::{Couch, FOREIGN, IMPOSTOR, Maker};
use crate::world::{Faults, FinishCluster, World};

/// No reachable state breaks an invariant, and from each all agents settle, with one identity.
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

/// No reachable state breaks an invariant, and from each the agents settle in these refusals or waits.
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
    /// Every state that can be reached.
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
        self.no_data_vanishes();
        self.no_cluster_is_formed_too_small();
        self.only_expected_nodes_are_members();
        self.settled_agents_see_a_complete_cluster();
        self.incomplete_nodes_are_not_noted_complete();
        self.only_filling_nodes_are_closed();
        self.identity_flows_to_restarted_nodes_only();
        self.no_identity_comes_from_an_impostor();
        self.no_document_is_removed();
        self.no_cluster_is_formed_beside_a_machine();
    }

    /// The cluster of the pods is that of the machine.
    fn no_cluster_is_formed_beside_a_machine(&self) {
        let mut makers = self.nodes.iter().flat_map(|node| node.databases.keys()).map(|(_, maker)| maker);
        let formed = !self.machines.is_empty() && makers.any(|maker| maker.node < FOREIGN);
        assert!(!formed, "formed a cluster beside the machine's: {self:?}");
    }

    /// A node into whose databases a client wrote keeps them.
    fn no_document_is_removed(&self) {
        let lost = self.written.iter().any(|i| self.node(*i).databases.is_empty());
        assert!(!lost, "removed a database with documents: {self:?}");
    }

    /// A host that no node lists, or is connected to, has no vote.
    fn no_identity_comes_from_an_impostor(&self) {
        let fine = self.nodes.iter().all(|node| node.identity != IMPOSTOR);
        assert!(fine, "adopted the identity of a host that is not connected: {self:?}");
    }

    /// A node that got its identity from the founding, and has not restarted since, keeps it.
    fn identity_flows_to_restarted_nodes_only(&self) {
        let remembers = |node: &Couch| node.remembers.is_none_or(|founded| founded == node.identity);
        let well = !self.only_restarts || self.nodes.iter().all(remembers);
        assert!(well, "adopted the identity that a restarted node generated: {self:?}");
    }

    /// Where every complete copy was lost, an empty one has everything that exists.
    fn incomplete_nodes_are_not_noted_complete(&self) {
        let complete_copies = self.volumes().any(|i| self.node(i).filled && self.node(i).holds_a_copy(i));
        for i in self.volumes().filter(|_| complete_copies) {
            let node = self.node(i);
            let fine = node.filled || !node.holds_a_copy(i) || node.note != VolumeNote::Complete;
            assert!(fine, "an empty copy answers: {self:?}");
        }
    }

    /// Agents close a node only to fill it.
    fn only_filling_nodes_are_closed(&self) {
        for node in &self.nodes {
            assert!(
                !node.maintenance || node.note == VolumeNote::Filling,
                "closed without a reason: {self:?}"
            );
        }
    }

    /// A database name has one maker on every node that has it.
    fn no_data_vanishes(&self) {
        for node in &self.nodes {
            for database in SystemDatabase::ALL {
                let makers = node.databases.keys().filter(|(name, _)| *name == database).count();
                assert!(makers <= 1, "two databases {} meet: {self:?}", database.name());
            }
        }
    }

    /// A database is created only by a node that lists as many members as the smallest size so far.
    fn no_cluster_is_formed_too_small(&self) {
        let all = self.smallest;
        let made_here = |maker: &Maker| maker.node < FOREIGN;
        let mut makers = self.nodes.iter().flat_map(|node| node.databases.keys()).map(|(_, maker)| maker);
        assert!(makers.all(|maker| !made_here(maker) || maker.copies >= all), "formed too small: {self:?}");
    }

    fn only_expected_nodes_are_members(&self) {
        assert!(
            self.nodes.iter().flat_map(|node| &node.members).all(|member| self.volumes().contains(member))
        );
    }

    /// An agent is settled only when every node is a member and has every system database.
    fn settled_agents_see_a_complete_cluster(&self) {
        for i in self.ordinals() {
            if self.node(i).up && next_step(&self.observe(i)) == Step::Settled {
                let whole = |node: &Couch| {
                    let names: BTreeSet<_> = node.databases.keys().map(|(name, _)| name).collect();
                    node.up && node.members == self.hosts() && names.len() == 2
                };
                assert!(self.ordinals().all(|i| whole(self.node(i))), "{i} is settled too early: {self:?}");
            }
        }
    }

    /// Ends all faults, and runs rounds of every agent until nothing changes. Panics if that does not happen.
    pub(crate) fn settle(mut self) -> Self {
        self.ordinals().for_each(|i| self.nodes[usize::from(i)].up = true);
        self.cut.clear();
        self.impostors.clear();
        self.left = Faults::default();
        self.lease = None;
        for _ in 0..40 {
            let before = self.clone();
            for i in self.ordinals() {
                self.decide(i);
                self.act(i, FinishCluster::Completes);
                self.fill(i);
            }
            for i in self.hosts() {
                for j in self.hosts() {
                    self.replicate(i, j);
                }
            }
            if self == before {
                return self;
            }
        }
        panic!("never settles: {self:?}");
    }

    /// Returns `true` if a session cookie of one node is valid on all.
    fn is_one_to_clients(&self) -> bool {
        let identities: BTreeSet<u8> = self.ordinals().map(|i| self.node(i).identity).collect();
        identities.len() == 1 || !self.has_identity
    }

    /// The step that each agent decides in this state.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.ordinals().map(|i| next_step(&self.observe(i))).collect()
    }
}
