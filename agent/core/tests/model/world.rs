//! The cluster, what its agents observe, and every event that can happen.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use agent_core::decide::{
    IdentityDifference, IdentitySource, Step, StepKind, checks_origin, is_remembered, next_step,
};
use agent_core::facts::{
    ApiState, Digest, Identity, IdentityPart, KnownRecord, LeaseState, MaintenanceMode, Node, Observed,
    Spread, SystemDatabase, Unseen, VolumeNote, VolumeOrigin,
};
use agent_core::shards::{LocalShard, Next, OtherCopy, Purpose, ShardMap, ShardState, Survey};
use contract::OtherMembers;
use serde_json::json;

use crate::couch::{Couch, IMPOSTOR, Map, RESTARTED};
use crate::support::round;

/// A cluster small enough to enumerate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Couch>,
    /// Members of the cluster that are no pods, named by the user. They are always up, and no agent runs beside them.
    pub(crate) machines: BTreeSet<u8>,
    /// The node that holds the only copy of a database, whose map every member has.
    pub(crate) only_holder: Option<u8>,
    /// The volumes of other nodes that the agents have noted on their own, each by its incarnation: (whose note, of which node).
    pub(crate) remembered: BTreeMap<(u8, u8), u8>,
    /// `true` if the volume with the only copy was lost while another node remembered it.
    pub(crate) lost_remembered: bool,
    /// The step that each agent has decided and not yet carried out.
    pub(crate) decided: Vec<Option<Step>>,
    /// Pairs (node, peer) in which the node can't open a connection to the peer.
    pub(crate) cut: BTreeSet<(u8, u8)>,
    /// Pods at whose name another host answers, while their node is down. It reports whatever serves it, and is
    /// connected to no node.
    pub(crate) impostors: BTreeSet<u8>,
    /// Nodes into whose own system databases a client wrote.
    pub(crate) written: BTreeSet<u8>,
    /// The faults that may still happen.
    pub(crate) left: Faults,
    /// `true` if the agents read and write the founding record and the Lease.
    pub(crate) asks_kubernetes: bool,
    /// `true` if there is a founding record.
    pub(crate) record: bool,
    /// The identity in the founding record.
    pub(crate) recorded: u8,
    /// The holder of the Lease.
    pub(crate) lease: Option<u8>,
    /// `spec.replicas`.
    pub(crate) size: u8,
    /// The smallest size so far.
    pub(crate) smallest: u8,
    /// The restarts so far that lost an identity.
    pub(crate) forgotten: u8,
    /// `true` if nodes have an identity. Without restarts it would only multiply the states.
    pub(crate) has_identity: bool,
    /// `true` if nodes are unreachable for a restart only. Otherwise two nodes that restart while the third is away agree
    /// on a generated identity, and the third follows the majority.
    pub(crate) only_restarts: bool,
}

/// The outcome of a `finish_cluster`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinishCluster {
    /// It creates all system databases.
    Completes,
    /// It ends after the first one.
    EndsHalfWay,
}

/// The faults that may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    pub(crate) crashes: u8,
    /// Pairs that are cut off in both directions.
    pub(crate) cuts: u8,
    /// Pairs that are cut off in one direction.
    pub(crate) half_cuts: u8,
    pub(crate) wipes: u8,
    /// Restarts of a container, which keeps its volume and loses its ini file and with it its identity.
    pub(crate) restarts: u8,
    /// Changes of `spec.replicas`.
    pub(crate) resizes: u8,
    /// Losses of the founding record.
    pub(crate) lost_records: u8,
    /// Pods whose name leads to another host.
    pub(crate) impostors: u8,
    /// Documents that clients write into the system databases of a node.
    pub(crate) writes: u8,
    /// Entries of a machine that a person adds to the `_nodes` of a pod.
    pub(crate) additions: u8,
}

impl World {
    /// A cluster whose nodes are all down. They start in any order.
    pub(crate) fn new(nodes: Vec<Couch>, left: Faults) -> Self {
        let nodes: Vec<_> = nodes.into_iter().map(|node| Couch { up: false, ..node }).collect();
        let decided = vec![None; nodes.len()];
        let size = u8::try_from(nodes.len()).unwrap();
        Self {
            nodes,
            machines: BTreeSet::new(),
            only_holder: None,
            remembered: BTreeMap::new(),
            lost_remembered: false,
            decided,
            cut: BTreeSet::new(),
            impostors: BTreeSet::new(),
            written: BTreeSet::new(),
            left,
            asks_kubernetes: false,
            record: false,
            recorded: 0,
            lease: None,
            size,
            smallest: size,
            forgotten: 0,
            has_identity: left.restarts > 0,
            only_restarts: left == Faults { restarts: left.restarts, ..Faults::default() },
        }
    }

    /// `n` nodes as the official image starts them.
    pub(crate) fn pristine(n: u8, left: Faults) -> Self {
        Self::new((0..n).map(Couch::pristine).collect(), left)
    }

    /// The same cluster with fewer pods at first. The others start when the size grows.
    pub(crate) fn of_size(self, size: u8) -> Self {
        Self { size, smallest: size, ..self }
    }

    /// The same pods beside a machine with the data of their cluster, which the user names.
    pub(crate) fn beside_a_machine(self) -> Self {
        let mut world = self;
        let machine = u8::try_from(world.nodes.len()).unwrap();
        world.nodes.push(Couch::foreign(machine, 1, &[]));
        world.decided.push(None);
        world.machines.insert(machine);
        world
    }

    /// The pods that exist, and the machines.
    pub(crate) fn hosts(&self) -> BTreeSet<u8> {
        self.ordinals().chain(self.machines.iter().copied()).collect()
    }

    /// The pods that exist.
    pub(crate) fn ordinals(&self) -> std::ops::Range<u8> {
        0..self.size
    }

    /// The ordinals of all volumes, including those of pods that do not exist at this size.
    pub(crate) fn volumes(&self) -> std::ops::Range<u8> {
        0..u8::try_from(self.nodes.len()).unwrap()
    }

    pub(crate) fn node(&self, i: u8) -> &Couch {
        &self.nodes[usize::from(i)]
    }

    /// Returns `true` if `i` can open a connection to `j`.
    pub(crate) fn reaches(&self, i: u8, j: u8) -> bool {
        let listens = |node: &Couch| node.up && node.enabled;
        i == j || (listens(self.node(i)) && listens(self.node(j)) && !self.cut.contains(&(i, j)))
    }

    /// Returns `true` if Erlang is connected: a node that lists the other dials it, and a connection works both ways.
    pub(crate) fn connected(&self, i: u8, j: u8) -> bool {
        let dials = |i: u8, j: u8| self.node(i).members.contains(&j) && self.reaches(i, j);
        i == j || dials(i, j) || dials(j, i)
    }

    /// The report of node `i`.
    pub(crate) fn see(&self, i: u8) -> Node {
        let node = self.node(i);
        let maps = |database| node.databases.iter().filter(move |((name, _), _)| *name == database);
        let spread = |(_, map): (_, &Map)| Spread {
            copies: u32::try_from(map.holders.len()).unwrap(),
            holders: map.holders.iter().map(|o| (*o).into()).collect(),
        };
        let spread = |database| Some((database, maps(database).next().map(spread)?));
        Node {
            members: node.members.difference(&self.machines).map(|o| (*o).into()).collect(),
            connected: self.volumes().filter(|j| self.connected(i, *j)).map(u32::from).collect(),
            colleagues: node.members.intersection(&self.machines).map(|m| machine_name(*m)).collect(),
            connected_colleagues: self.connected_machines(i).map(machine_name).collect(),
            databases: u64::try_from(node.databases.len()).unwrap() + u64::from(node.orders),
            // Read on established nodes only.
            identity: if self.has_identity && !node.databases.is_empty() {
                node.identity()
            } else {
                Identity::default()
            },
            system: SystemDatabase::ALL.into_iter().filter_map(spread).collect(),
            ..Node::default()
        }
    }

    /// The observations of the agent of pod `me`.
    pub(crate) fn observe(&self, me: u8) -> Observed {
        let local = self.node(me);
        let sees = |peer: u8| if peer == me { local.up } else { self.reaches(me, peer) };
        let see = |peer: u8| {
            let joined = !local.databases.is_empty() && local.members.len() > 1;
            let is_member = !local.databases.is_empty() && local.members.contains(&peer);
            let answers = self.impostors.contains(&peer) || sees(peer);
            if answers && is_member && !self.connected(me, peer) {
                Err(Unseen::NotConnected)
            } else if answers {
                let node = if self.impostors.contains(&peer) { self.impostor() } else { self.see(peer) };
                Ok(if joined && !is_member { as_its_agent_reports(node) } else { node })
            } else {
                Err(Unseen::Unreachable)
            }
        };
        let nodes = self.ordinals().map(|peer| (peer.into(), see(peer)));
        let observed = Observed {
            api: if self.asks_kubernetes { ApiState::Current } else { ApiState::Off },
            record: self.known_record(),
            lease: self.lease_state(me),
            other_members: self.other_members(),
            enabled: local.enabled,
            finished: local.databases.len() >= 2,
            session_secret: local.secret,
            holds_nothing: local.holds_nothing(me),
            note: local.note,
            // The volume after a lost one had no note before.
            first_note: self.only_holder.is_some() && local.incarnation > 0,
            maintenance: if local.maintenance { MaintenanceMode::On } else { MaintenanceMode::Off },
            compared: local.compared,
            ..round(me.into(), nodes.collect())
        };
        self.with_origin(me, observed)
    }

    /// Adds what the members remember of the volume of `me`, and the ranges that only it held.
    fn with_origin(&self, me: u8, mut observed: Observed) -> Observed {
        if checks_origin(&observed) && self.is_replaced(me) {
            observed.origin = VolumeOrigin::Replaced { present: self.node(me).incarnation.to_string() };
            if self.only_holder == Some(me) {
                observed.lost.add("orders", vec!["00000000-ffffffff".to_owned()]);
            }
        }
        observed
    }

    /// Returns `true` if a connected member remembers another volume of this node.
    fn is_replaced(&self, me: u8) -> bool {
        let present = self.node(me).incarnation;
        let members = self.node(me).members.iter().filter(|member| self.connected(me, **member));
        members.into_iter().any(|member| {
            self.remembered.get(&(*member, me)).is_some_and(|incarnation| *incarnation != present)
        })
    }

    /// The machines that are members of node `i`, and that it is connected to.
    fn connected_machines(&self, i: u8) -> impl Iterator<Item = u8> {
        let listed = self.node(i).members.intersection(&self.machines).copied();
        listed.filter(move |machine| self.connected(i, *machine))
    }

    /// The annotation.
    fn other_members(&self) -> OtherMembers {
        let pattern = if self.machines.is_empty() { "" } else { "couchdb@machine-*" };
        OtherMembers::parse(pattern).0
    }

    /// The report of an impostor: a member of everything, longer than any other.
    fn impostor(&self) -> Node {
        let everything = self.volumes().map(u32::from).collect();
        let spread = Spread { copies: self.size.into(), holders: self.volumes().map(u32::from).collect() };
        Node {
            members: self.volumes().map(u32::from).collect(),
            connected: everything,
            databases: 2,
            identity: Identity { uptime: Duration::from_secs(u64::MAX), ..Couch::with_identity(IMPOSTOR) },
            system: SystemDatabase::ALL.map(|database| (database, spread.clone())).into(),
            ..Node::default()
        }
    }

    fn known_record(&self) -> KnownRecord {
        if !self.asks_kubernetes {
            return KnownRecord::Forbidden;
        }
        if !self.record {
            return KnownRecord::Absent;
        }
        KnownRecord::Formed { uuid: self.recorded.to_string(), instead_of: None }
    }

    fn lease_state(&self, me: u8) -> LeaseState {
        if !self.asks_kubernetes {
            return LeaseState::NotUsed;
        }
        match self.lease {
            None => LeaseState::Free,
            Some(holder) if holder == me => LeaseState::Mine,
            Some(holder) => LeaseState::Held(format!("db-{holder}")),
        }
    }

    /// The agent of pod `me` completes a round up to its decision.
    pub(crate) fn decide(&mut self, me: u8) {
        let step = next_step(&self.observe(me));
        let on_itself_alone = matches!(
            step,
            Step::EnterMaintenance | Step::Fill { .. } | Step::NoteFilling | Step::CompareVolume { .. }
        );
        self.decided[usize::from(me)] = (step.kind() == StepKind::Act).then_some(step);
        // These change nothing that other nodes see, so a pause before them leads to no further state.
        if on_itself_alone {
            self.act(me, FinishCluster::Completes);
        }
    }

    /// Carries the decided step out. If the node is down, the step fails and is dropped.
    pub(crate) fn act(&mut self, me: u8, finish: FinishCluster) {
        let Some(step) = self.decided[usize::from(me)].take() else { return };
        // The Lease is in Kubernetes. Of two agents that take it at the same time, one fails.
        if step == Step::TakeLease {
            self.lease = self.lease.or(Some(me));
        } else if step == Step::ReleaseLease {
            self.lease = self.lease.filter(|holder| *holder != me);
        }
        if !self.node(me).up {
            return;
        }
        if step == Step::Found {
            self.finish_cluster(me, finish);
        } else if step == Step::RemoveEmptyDatabases {
            // By a second look.
            if self.node(me).holds_nothing(me) {
                self.nodes[usize::from(me)].databases.clear();
            }
        } else if let Step::Adopt(difference) = &step {
            self.adopt(me, difference);
        } else if let Step::RecordFounding { uuid, .. } = &step {
            self.record_founding(me, *uuid);
        } else if let Step::Fill { from } = &step {
            self.compare(me, from, Purpose::Completeness);
        } else if let Step::CompareVolume { with } = &step {
            self.compare(me, with, Purpose::Volume);
        } else {
            self.nodes[usize::from(me)].act(me, &step);
        }
    }

    fn finish_cluster(&mut self, me: u8, finish: FinishCluster) {
        let Couch { secret, identity, members, .. } = self.node(me).clone();
        assert!(secret, "finish_cluster always fails without a secret");
        // It pings every member and fails if one does not answer.
        if !members.iter().all(|member| self.connected(me, *member)) {
            return;
        }
        if self.has_identity {
            for member in members {
                let node = &mut self.nodes[usize::from(member)];
                (node.identity, node.remembers) = (identity, Some(identity));
            }
        }
        let node = &mut self.nodes[usize::from(me)];
        node.make(me, SystemDatabase::Users);
        if finish == FinishCluster::Completes {
            node.make(me, SystemDatabase::Replicator);
        }
    }

    /// Compares the copies of `me` with those of the nodes `with`. A node that can't be reached fails the comparison.
    fn compare(&mut self, me: u8, with: &BTreeSet<u32>, purpose: Purpose) {
        let mut survey = Survey::new(purpose);
        for ((database, _), map) in &self.node(me).databases {
            if !map.holders.contains(&me) {
                continue;
            }
            let others = with.iter().map(|ordinal| u8::try_from(*ordinal).unwrap());
            let others = others.chain(self.connected_machines(me));
            let others: Vec<u8> = others.filter(|other| map.holders.contains(other)).collect();
            if others.iter().any(|other| !self.reaches(me, *other)) {
                return;
            }
            let shard = shard_on(&map.holders, me);
            let theirs = shard.others.iter().enumerate().filter_map(|(index, file)| {
                let other = self.node(*others.iter().find(|other| other.to_string() == file.node)?);
                let mut copy = OtherCopy::new(&shard, index, other.note, other.file())?;
                copy.last_change = other.documents();
                // Every pass copies everything, from one complete copy.
                copy.checkpoint = if self.node(me).filled { other.documents() } else { 0 };
                Some(copy)
            });
            let state = ShardState { mine: self.node(me).file(), theirs: theirs.collect() };
            if let (_, Next::Stop) = survey.compare(database.name(), &[(shard, state)], Duration::ZERO) {
                return;
            }
        }
        let node = &mut self.nodes[usize::from(me)];
        node.note = survey.note();
        node.maintenance &= purpose == Purpose::Volume;
        node.compared = true;
        if self.only_holder.is_some() && self.node(me).note == VolumeNote::Complete {
            for other in with.iter().map(|ordinal| u8::try_from(*ordinal).unwrap()) {
                let (present, note) = (self.node(other).incarnation.to_string(), self.node(other).note);
                let before = self.remembered.get(&(me, other)).map(ToString::to_string);
                if is_remembered(before.as_deref(), &present, note) {
                    self.remembered.insert((me, other), self.node(other).incarnation);
                }
            }
        }
    }

    fn adopt(&mut self, me: u8, IdentityDifference { from, digest, .. }: &IdentityDifference) {
        let theirs = match from {
            IdentitySource::Member(from) => {
                let from = u8::try_from(*from).unwrap();
                // Over Erlang, by the local node. A host that answers at the name by now is never asked.
                self.connected(me, from).then(|| self.node(from).identity)
            }
            IdentitySource::Record { uuid } => uuid.parse().ok(),
        };
        if let Some(theirs) = theirs.filter(|theirs| Digest::of([theirs.to_string()]) == *digest) {
            self.nodes[usize::from(me)].identity = theirs;
        }
    }

    fn record_founding(&mut self, me: u8, decided: Option<Digest>) {
        let identity = self.node(me).identity;
        if decided.is_none_or(|decided| Digest::of([identity.to_string()]) == decided) {
            (self.record, self.recorded) = (true, if self.has_identity { identity } else { 0 });
        }
    }

    /// `_nodes` and `_dbs` replicate from a node to a member that it is connected to.
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
                    assert_eq!(*theirs, map, "two concurrent edits of one map, one of which is dropped");
                }
                Some(theirs) if theirs.revision > map.revision => {}
                Some(_) | None => {
                    target.databases.insert(name, map);
                }
            }
        }
    }

    /// An empty copy is filled from a complete one.
    pub(crate) fn fill(&mut self, me: u8) {
        let mine = self.node(me);
        let can_receive = mine.up && !mine.databases.is_empty();
        let sends = |i: u8| {
            let node = self.node(i);
            i != me && node.filled && node.holds_a_copy(i) && self.connected(me, i)
        };
        let filled = can_receive && self.hosts().into_iter().any(sends);
        self.nodes[usize::from(me)].filled |= filled;
    }

    /// CouchDB ends, and loses what it holds in memory.
    fn stop(&mut self, i: u8) {
        let node = &mut self.nodes[usize::from(i)];
        (node.up, node.maintenance) = (false, false);
        // Elsewhere a volume loses everything or nothing, its note included, so a comparison could find nothing else.
        node.compared = self.only_holder.is_none();
    }

    /// The image keeps the ini file on no volume, and generates another identity.
    fn forget(&mut self, i: u8) {
        if !self.has_identity {
            return;
        }
        // Before every node has the databases, a node without them is not asked for its identity.
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

    /// Every state that can follow.
    pub(crate) fn successors(&self) -> Vec<Self> {
        let mut next = vec![];
        for i in self.ordinals() {
            self.agent_events(i, &mut next);
            self.node_events(i, &mut next);
        }
        for i in self.hosts() {
            for j in self.hosts().into_iter().filter(|j| *j != i) {
                self.pair_events(i, j, &mut next);
            }
        }
        if self.left.additions > 0 {
            for (i, machine) in
                self.ordinals().flat_map(|i| self.machines.iter().map(move |machine| (i, *machine)))
            {
                next.push(self.after(|w| {
                    w.nodes[usize::from(i)].members.insert(machine);
                    w.left.additions -= 1;
                }));
            }
        }
        self.kubernetes_events(&mut next);
        next
    }

    fn agent_events(&self, i: u8, next: &mut Vec<Self>) {
        next.push(self.after(|w| w.decide(i)));
        next.push(self.after(|w| w.act(i, FinishCluster::Completes)));
        if self.decided[usize::from(i)] == Some(Step::Found) {
            next.push(self.after(|w| w.act(i, FinishCluster::EndsHalfWay)));
        }
        if self.lease == Some(i) {
            // The holder ends, or misses its renewal deadline.
            next.push(self.after(|w| w.lease = None));
        }
    }

    fn node_events(&self, i: u8, next: &mut Vec<Self>) {
        let at = usize::from(i);
        let node = self.node(i);
        if !node.up {
            next.push(self.after(|w| {
                w.nodes[at].up = true;
                w.impostors.remove(&i);
            }));
            if self.left.impostors > 0 {
                next.push(self.after(|w| {
                    w.impostors.insert(i);
                    w.left.impostors -= 1;
                }));
            }
        } else if self.left.crashes > 0 {
            next.push(self.after(|w| {
                w.stop(i);
                w.left.crashes -= 1;
            }));
        }
        if node.up && self.left.restarts > 0 {
            next.push(self.after(|w| {
                w.stop(i);
                w.forget(i);
                w.left.restarts -= 1;
            }));
        }
        // A map reaches a machine within milliseconds, and a pod needs seconds for another volume.
        let maps_agree = || self.hosts().into_iter().all(|j| self.node(j).databases == node.databases);
        if self.left.wipes > 0 && (self.machines.is_empty() || maps_agree()) {
            next.push(self.after(|w| w.wipe(i)));
        }
        if !node.filled {
            next.push(self.after(|w| w.fill(i)));
        }
        if self.left.writes > 0 && node.up && !node.databases.is_empty() && !node.has_users {
            next.push(self.after(|w| {
                w.nodes[at].has_users = true;
                w.written.insert(i);
                w.left.writes -= 1;
            }));
        }
    }

    fn pair_events(&self, i: u8, j: u8, next: &mut Vec<Self>) {
        next.push(self.after(|w| w.replicate(i, j)));
        if self.cut.contains(&(i, j)) {
            next.push(self.after(|w| w.cut.retain(|pair| ![(i, j), (j, i)].contains(pair))));
            return;
        }
        if i < j && self.left.cuts > 0 {
            next.push(self.after(|w| {
                w.cut.extend([(i, j), (j, i)]);
                w.left.cuts -= 1;
            }));
        }
        if self.left.half_cuts > 0 {
            next.push(self.after(|w| {
                w.cut.insert((i, j));
                w.left.half_cuts -= 1;
            }));
        }
    }

    fn kubernetes_events(&self, next: &mut Vec<Self>) {
        if self.left.resizes > 0 {
            for size in self.volumes().map(|i| i + 1).filter(|size| *size != self.size) {
                next.push(self.after(|w| w.resize(size)));
            }
        }
        if self.record && self.left.lost_records > 0 {
            next.push(self.after(|w| {
                w.record = false;
                w.left.lost_records -= 1;
            }));
        }
    }

    fn after(&self, event: impl FnOnce(&mut Self)) -> Self {
        let mut world = self.clone();
        event(&mut world);
        world
    }

    /// The volume is lost, and with it the pod that used it.
    fn wipe(&mut self, i: u8) {
        let at = usize::from(i);
        let incarnation = self.nodes[at].incarnation + 1;
        let mut others = self.nodes.iter().enumerate().filter(|(other, _)| *other != at);
        let filled = others.all(|(_, node)| node.databases.is_empty());
        self.nodes[at] = Couch { incarnation, filled, note: VolumeNote::None, ..Couch::pristine(i) };
        let is_known = self.remembered.keys().any(|(_, of)| *of == i);
        self.lost_remembered |= self.only_holder == Some(i) && is_known;
        self.remembered.retain(|(noted_by, _), _| *noted_by != i);
        self.forget(i);
        self.decided[at] = None; // the agent ran in the same pod
        self.left.wipes -= 1;
    }
}

/// A node that gets no password from a member that does not list it: its agent is asked.
fn as_its_agent_reports(mut node: Node) -> Node {
    node.identity.parts.retain(|part, _| *part == IdentityPart::Uuid);
    node.system.values_mut().for_each(|spread| spread.holders.clear());
    let identity = Identity { parts: node.identity.parts, ..Identity::default() };
    Node { identity, connected_colleagues: BTreeSet::new(), ..node }
}

fn machine_name(machine: u8) -> String {
    format!("couchdb@machine-{machine}")
}

thread_local! {
    /// Maps are few, and parsing one takes longer than a comparison.
    static SHARDS: RefCell<HashMap<(BTreeSet<u8>, u8), LocalShard>> = RefCell::default();
}

/// The shard of a database with one range on these nodes, as `me` holds it.
fn shard_on(holders: &BTreeSet<u8>, me: u8) -> LocalShard {
    let parse = || {
        let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
        let map: ShardMap =
            serde_json::from_value(json!({"by_range": {"00000000-ffffffff": names}})).unwrap();
        map.local_shards("db", &me.to_string()).remove(0)
    };
    SHARDS.with_borrow_mut(|shards| shards.entry((holders.clone(), me)).or_insert_with(parse).clone())
}
