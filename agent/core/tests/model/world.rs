//! The cluster, what its agents see of it, and everything that can happen to it.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::decide::{IdentityDifference, IdentitySource, Step, StepKind, next_step};
use agent_core::facts::{
    ApiState, BrokenMaps, Digest, Identity, KnownRecord, LeaseState, MaintenanceMode, Node, Observed,
    Publication, Spread, SystemDatabase, Unseen, VolumeNote,
};

use crate::couch::{Couch, Map, RESTARTED};

/// A cluster small enough to enumerate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Couch>,
    /// What each agent has decided and not yet done.
    pub(crate) decided: Vec<Option<Step>>,
    /// Who can't open a connection to whom.
    pub(crate) cut: BTreeSet<(u8, u8)>,
    pub(crate) left: Faults,
    /// Whether the agents may read and write the founding record, and whether it is written.
    pub(crate) asks_kubernetes: bool,
    pub(crate) record: bool,
    /// Which identity was written down.
    pub(crate) recorded: u8,
    /// Who holds the Lease.
    pub(crate) lease: Option<u8>,
    /// How many pods there are to be, and the fewest that there ever were to be.
    pub(crate) size: u8,
    pub(crate) smallest: u8,
    /// How often a node has restarted without its ini.
    pub(crate) forgotten: u8,
    /// Whether anybody asks who nodes take themselves for. Where none restarts it would only multiply the states.
    pub(crate) asks_identity: bool,
    /// Whether nodes are only ever away for a restart. Else two that restarted while the third was away agree on what one
    /// of them made up, and the third follows the majority.
    pub(crate) nobody_stays_away: bool,
}

/// The faults that may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    pub(crate) crashes: u8,
    /// Pairs that are parted in both directions.
    pub(crate) cuts: u8,
    /// Pairs in which one can't open a connection to the other.
    pub(crate) half_cuts: u8,
    pub(crate) wipes: u8,
    /// Restarts of a container that keeps its volume and loses its ini, and with it its identity.
    pub(crate) restarts: u8,
    /// Changes of `spec.replicas`.
    pub(crate) resizes: u8,
    /// Losses of the founding record.
    pub(crate) lost_records: u8,
}

impl World {
    /// All are down: they come up in any order.
    pub(crate) fn new(nodes: Vec<Couch>, left: Faults) -> Self {
        let nodes: Vec<_> = nodes.into_iter().map(|node| Couch { up: false, ..node }).collect();
        let decided = vec![None; nodes.len()];
        let size = u8::try_from(nodes.len()).unwrap();
        Self {
            nodes,
            decided,
            cut: BTreeSet::new(),
            left,
            asks_kubernetes: false,
            record: false,
            recorded: 0,
            lease: None,
            size,
            smallest: size,
            forgotten: 0,
            asks_identity: left.restarts > 0,
            nobody_stays_away: left == Faults { restarts: left.restarts, ..Faults::default() },
        }
    }

    /// `n` nodes as the official image starts them.
    pub(crate) fn fresh(n: u8, left: Faults) -> Self {
        Self::new((0..n).map(Couch::fresh).collect(), left)
    }

    /// So many pods to begin with; the others come when there are to be more.
    pub(crate) fn of_size(self, size: u8) -> Self {
        Self { size, smallest: size, ..self }
    }

    /// The pods that exist.
    pub(crate) fn ordinals(&self) -> std::ops::Range<u8> {
        0..self.size
    }

    /// Also those that are gone and left a volume, or are still to come.
    pub(crate) fn volumes(&self) -> std::ops::Range<u8> {
        0..u8::try_from(self.nodes.len()).unwrap()
    }

    pub(crate) fn node(&self, i: u8) -> &Couch {
        &self.nodes[usize::from(i)]
    }

    /// Whether `i` can open a connection to `j`.
    pub(crate) fn reaches(&self, i: u8, j: u8) -> bool {
        let listens = |node: &Couch| node.up && node.enabled;
        i == j || (listens(self.node(i)) && listens(self.node(j)) && !self.cut.contains(&(i, j)))
    }

    /// Whether Erlang is connected: whoever lists the other dials, and what is dialled carries both ways.
    pub(crate) fn connected(&self, i: u8, j: u8) -> bool {
        let dials = |i: u8, j: u8| self.node(i).members.contains(&j) && self.reaches(i, j);
        i == j || dials(i, j) || dials(j, i)
    }

    pub(crate) fn see(&self, i: u8) -> Node {
        let node = self.node(i);
        let maps = |database| node.databases.iter().filter(move |((name, _), _)| *name == database);
        let spread = |(_, map): (_, &Map)| Spread {
            copies: u32::try_from(map.holders.len()).unwrap(),
            holders: map.holders.iter().map(|o| (*o).into()).collect(),
        };
        let spread = |database| Some((database, maps(database).next().map(spread)?));
        Node {
            members: node.members.iter().map(|o| (*o).into()).collect(),
            connected: self.volumes().filter(|j| self.connected(i, *j)).map(u32::from).collect(),
            strangers: BTreeSet::new(),
            databases: u64::try_from(node.databases.len()).unwrap(),
            // Nobody asks a virgin.
            identity: match self.asks_identity && !node.databases.is_empty() {
                true => node.identity(),
                false => Identity::default(),
            },
            system: SystemDatabase::ALL.into_iter().filter_map(spread).collect(),
            release: None,
        }
    }

    pub(crate) fn observe(&self, me: u8) -> Observed {
        let local = self.node(me);
        let expected: BTreeSet<u32> = self.ordinals().map(u32::from).collect();
        let peer = |p: u8| if self.reaches(me, p) { Ok(self.see(p)) } else { Err(Unseen::Unreachable) };
        let peers: BTreeMap<_, _> =
            self.ordinals().filter(|p| *p != me).map(|p| (p.into(), peer(p))).collect();
        Observed {
            me: me.into(),
            founders: expected.clone(),
            expected,
            api: if self.asks_kubernetes { ApiState::Current } else { ApiState::Off },
            record: match (self.asks_kubernetes, self.record) {
                (false, _) => KnownRecord::Forbidden,
                (true, false) => KnownRecord::Absent,
                (true, true) => KnownRecord::Formed { uuid: self.recorded.to_string(), instead_of: None },
            },
            lease: match (self.asks_kubernetes, self.lease) {
                (false, _) => LeaseState::NotUsed,
                (true, None) => LeaseState::Free,
                (true, Some(holder)) if holder == me => LeaseState::Mine,
                (true, Some(holder)) => LeaseState::Held(format!("db-{holder}")),
            },
            displaced_by: None,
            form_anew: None,
            local: if local.up { Ok(self.see(me)) } else { Err(Unseen::Unreachable) },
            enabled: local.enabled,
            finished: local.databases.len() >= 2,
            session_secret: local.secret,
            wanted_copies: 3,
            note: local.note,
            // Volumes lose everything here, their notes too: what else a comparison could find doesn't come about.
            compared: true,
            maintenance: if local.maintenance { MaintenanceMode::On } else { MaintenanceMode::Off },
            peers,
            broken_maps: BrokenMaps::default(),
            port_checks: BTreeMap::new(),
            publication: Publication::default(),
        }
    }

    pub(crate) fn decide(&mut self, me: u8) {
        let step = next_step(&self.observe(me));
        let on_itself_alone = matches!(
            step,
            Step::EnterMaintenance | Step::Fill { .. } | Step::NoteFilling | Step::CompareVolume { .. }
        );
        self.decided[usize::from(me)] = (step.kind() == StepKind::Act).then_some(step);
        // These touch nothing that others see, and look again when they are done: a pause before them shows no more.
        if on_itself_alone {
            self.act(me, true);
        }
    }

    /// Does what was decided; against a node that is down this fails and is forgotten. `whole` is false for a
    /// finish_cluster that dies after its first database.
    pub(crate) fn act(&mut self, me: u8, whole: bool) {
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
        let all_answer = self.node(me).members.iter().all(|p| self.connected(me, *p));
        let identity = self.node(me).identity;
        if step == Step::Found && all_answer && self.asks_identity {
            let members = self.node(me).members.clone();
            for member in members {
                let node = &mut self.nodes[usize::from(member)];
                (node.identity, node.remembers) = (identity, Some(identity));
            }
        }
        if let Step::Adopt(IdentityDifference { from, digest, .. }) = &step {
            let theirs = match from {
                IdentitySource::Member(from) => {
                    let from = u8::try_from(*from).unwrap();
                    Some(self.node(from).identity).filter(|_| self.reaches(me, from))
                }
                IdentitySource::Record { uuid } => uuid.parse().ok(),
            };
            if let Some(theirs) = theirs.filter(|theirs| Digest::of([theirs.to_string()]) == *digest) {
                self.nodes[usize::from(me)].identity = theirs;
            }
        }
        if let Step::RecordFounding { uuid, .. } = &step
            && uuid.is_none_or(|uuid| Digest::of([identity.to_string()]) == uuid)
        {
            (self.record, self.recorded) = (true, if self.asks_identity { identity } else { 0 });
        }
        let node = &mut self.nodes[usize::from(me)];
        match step {
            Step::AddCopies(databases) => node.add_copies(me, &databases),
            Step::EnterMaintenance => node.maintenance = true,
            Step::Fill { .. } if node.filled => (node.maintenance, node.note) = (false, VolumeNote::Complete),
            Step::Fill { .. } => {}
            Step::NoteFilling => node.note = VolumeNote::Filling,
            Step::CompareVolume { .. } => {
                node.note = if node.filled { VolumeNote::Complete } else { VolumeNote::Filling }
            }
            Step::EnableCluster { .. } => node.enabled = true,
            Step::Join(peer) => drop(node.members.insert(u8::try_from(peer).unwrap())),
            Step::MakeSessionSecret => node.secret = true,
            Step::CreateDatabase(database) => node.make(me, database),
            Step::RecordFounding { .. } | Step::ReleaseLease | Step::TakeLease => {}
            Step::Found => {
                assert!(node.secret, "finish_cluster fails for ever without a secret");
                if all_answer {
                    node.make(me, SystemDatabase::Users);
                    if whole {
                        node.make(me, SystemDatabase::Replicator);
                    }
                }
            }
            Step::Adopt(_) => {}
            Step::Dial { .. } | Step::Refuse(_) | Step::Settled | Step::Wait(_) => {
                unreachable!("not an act")
            }
        }
    }

    /// `_nodes` and `_dbs` go from a node to a member that it is connected to.
    pub(crate) fn replicate(&mut self, from: u8, to: u8) {
        if from == to || !self.connected(from, to) || !self.node(from).members.contains(&to) {
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
    pub(crate) fn fill(&mut self, me: u8) {
        let mine = self.node(me);
        let has_data = |i: &u8| *i != me && !self.node(*i).databases.is_empty();
        let nobody_has_more = self.volumes().filter(has_data).all(|i| !self.node(i).filled);
        let brings = |i: u8| self.connected(me, i) && (self.node(i).filled || nobody_has_more);
        let filled = mine.up && !mine.databases.is_empty() && self.ordinals().filter(has_data).any(brings);
        self.nodes[usize::from(me)].filled |= filled;
    }

    /// CouchDB ends, and with it what it holds in memory.
    fn stop(&mut self, i: u8) {
        let node = &mut self.nodes[usize::from(i)];
        (node.up, node.maintenance) = (false, false);
    }

    /// The image keeps the ini on no volume, and makes up another identity.
    fn forget(&mut self, i: u8) {
        if !self.asks_identity {
            return;
        }
        // Until everybody has the databases, who has none is not asked.
        if self.nodes.iter().any(|node| node.databases.len() < SystemDatabase::ALL.len()) {
            self.nodes.iter_mut().for_each(|node| node.remembers = None);
        }
        self.forgotten += 1;
        let node = &mut self.nodes[usize::from(i)];
        (node.identity, node.remembers) = (RESTARTED + self.forgotten, None);
        node.started = self.forgotten;
    }

    /// Kubernetes stops the highest pods, and keeps their volumes.
    fn resize(&mut self, size: u8) {
        for gone in size..self.size {
            self.stop(gone);
            self.decided[usize::from(gone)] = None;
            self.lease = self.lease.filter(|holder| *holder != gone);
        }
        self.size = size;
        self.smallest = self.smallest.min(size);
        self.left.resizes -= 1;
    }

    /// Everything that can happen next.
    pub(crate) fn successors(&self) -> Vec<Self> {
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
                    w.stop(i);
                    w.left.crashes -= 1;
                });
            }
            if self.node(i).up && self.left.restarts > 0 {
                event(&|w| {
                    w.stop(i);
                    w.forget(i);
                    w.left.restarts -= 1;
                });
            }
            if self.left.wipes > 0 {
                event(&|w| {
                    let incarnation = w.nodes[at].incarnation + 1;
                    let others = w.nodes.iter().enumerate().filter(|(j, _)| *j != at);
                    let filled = others.into_iter().all(|(_, node)| node.databases.is_empty());
                    w.nodes[at] = Couch { incarnation, filled, note: VolumeNote::None, ..Couch::fresh(i) };
                    w.forget(i);
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
            for j in self.ordinals().filter(|j| *j != i) {
                event(&|w| w.replicate(i, j));
                if self.cut.contains(&(i, j)) {
                    event(&|w| w.cut.retain(|pair| ![(i, j), (j, i)].contains(pair)));
                    continue;
                }
                if i < j && self.left.cuts > 0 {
                    event(&|w| {
                        w.cut.extend([(i, j), (j, i)]);
                        w.left.cuts -= 1;
                    });
                }
                if self.left.half_cuts > 0 {
                    event(&|w| {
                        w.cut.insert((i, j));
                        w.left.half_cuts -= 1;
                    });
                }
            }
        }
        if self.left.resizes > 0 {
            for size in self.volumes().map(|i| i + 1).filter(|size| *size != self.size) {
                event(&|w| w.resize(size));
            }
        }
        if self.record && self.left.lost_records > 0 {
            event(&|w| {
                w.record = false;
                w.left.lost_records -= 1;
            });
        }
        next
    }
}
