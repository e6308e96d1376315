//! Decides what one agent does next. Pure: no clock, no network, no log, no memory.
//!
//! Every round starts from facts alone, so an agent that was killed between any two calls decides the same as one
//! that was not. The rules, in the order in which they bind:
//!
//! * a node joins by writing one peer into its **own** `_nodes`; membership then replicates by itself
//! * only the lowest founder founds, and only when every founder answers, lists and is connected to every other,
//!   and none holds a database: a node that lost its volume looks like one that never began
//! * anyone established: nobody founds, the fresh ones join
//! * two groups that hold data are never brought together, and nothing is ever removed

use std::collections::{BTreeMap, BTreeSet};

use crate::kubernetes::Record;

/// What one agent saw in one round. Every field is a fact, none is a wish.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observed {
    /// My ordinal.
    pub me: u32,
    /// The ordinals that are to be members now. Empty: nobody could tell yet.
    pub expected: BTreeSet<u32>,
    /// The ordinals that must all be there to found the first cluster; differs from `expected` when the user
    /// pinned the size.
    pub founders: BTreeSet<u32>,
    /// How `expected` came to be known.
    pub api: Api,
    /// Whether a cluster was founded here before.
    pub record: Record,
    /// The uuid of a lost cluster that a person gave up, so that a new one may be founded.
    pub form_anew: Option<String>,
    /// The CouchDB beside me.
    pub local: Result<Node, Unseen>,
    /// Whether it has left `cluster_disabled`: it listens to others and has an admin.
    pub enabled: bool,
    /// Whether it says `cluster_finished`: it can open the system databases just now.
    pub finished: bool,
    /// Whether it has a secret to sign sessions with, without which it can't finish a cluster. Asked of a virgin only.
    pub session_secret: bool,
    /// The copies that it makes of a new database, `[cluster] n`. Asked of an established node only.
    pub wanted_copies: u32,
    /// Every other ordinal of `expected` and `founders`.
    pub peers: BTreeMap<u32, Result<Node, Unseen>>,
}

/// What the Kubernetes API last was to this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// It told the StatefulSet's spec, and a watch keeps it current.
    Current,
    /// It refuses: the role is missing. As [`Api::Off`], with a warning.
    Forbidden,
    /// It answers and knows no such StatefulSet. What was last known counts, and nothing is founded.
    Missing,
    /// It is not asked. The injected size counts.
    Off,
    /// It doesn't answer, now or yet. What was last known counts, and nothing is founded.
    Silent,
}

/// A CouchDB that answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Our ordinals in its `_nodes`, itself included: whom it expects.
    pub members: BTreeSet<u32>,
    /// Our ordinals that it is connected to just now, itself included.
    pub connected: BTreeSet<u32>,
    /// Names in its `_nodes` that are none of our StatefulSet's pods.
    pub strangers: BTreeSet<String>,
    /// The databases that its `_dbs` has, system databases included. None: it is virgin.
    pub databases: u64,
    /// Of each system database that its `_dbs` has: the copies of the range that has the fewest.
    pub system: BTreeMap<SystemDatabase, u32>,
}

/// The databases that make a set of nodes a finished cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SystemDatabase {
    /// `_replicator`
    Replicator,
    /// `_users`
    Users,
}

/// Why a CouchDB could not be seen, as far as it can be told from here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unseen {
    /// It answers that it can't answer just now. A fresh CouchDB does for some 100 ms, while it makes `_dbs`.
    Busy,
    /// It answers something that CouchDB does not answer.
    Garbled,
    /// Its name is not in DNS.
    NameUnknown,
    /// It takes the call and does not answer in time.
    NoAnswer,
    /// It has locked the admin out after too many wrong passwords.
    LockedOut,
    /// It calls itself by another name than its pod's.
    Misnamed(String),
    /// It refuses user or password.
    Rejects,
    /// Nothing listens there, or no way leads there.
    Unreachable,
}

/// The one thing to do now. Doing it twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Make a system database that no member has, on an established cluster.
    CreateDatabase(SystemDatabase),
    /// Wait, and make the local CouchDB dial members that answer and that it isn't connected to. By itself it would
    /// dial them every 37 s only.
    Dial {
        /// Whom.
        peers: BTreeSet<u32>,
        /// What is waited for.
        wait: WaitFor,
    },
    /// Let the local CouchDB listen to others.
    EnableCluster {
        /// The size to tell it.
        node_count: u32,
    },
    /// Finish the cluster: equal admins, uuid and secret everywhere, then the system databases.
    Found,
    /// Write this peer into the local `_nodes`.
    Join(u32),
    /// Give the local CouchDB a secret to sign sessions with.
    MakeSessionSecret,
    /// Write down in Kubernetes that a cluster was founded here.
    RecordFounding {
        /// By so many nodes.
        size: u32,
        /// In place of this lost cluster, which a person gave up.
        instead_of: Option<String>,
    },
    /// Do nothing until a person has looked: every step from here could lose data.
    Refuse(Refusal),
    /// All is as it should be: formed, and proven on every node.
    Settled,
    /// Do nothing until something changes by itself.
    Wait(WaitFor),
}

/// What is waited for. None of these needs a person unless it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WaitFor {
    /// Established members that I joined, to send me their databases' maps.
    Adoption(BTreeSet<u32>),
    /// More copies of a system database than it was founded with.
    Copies {
        /// Which.
        database: SystemDatabase,
        /// The copies of its thinnest range.
        have: u32,
        /// The least that would survive what CouchDB promises.
        want: u32,
    },
    /// Members to connect to each other: (who, to whom it isn't connected).
    Connections(BTreeMap<u32, BTreeSet<u32>>),
    /// Peers with data of their own that are no members; the cluster goes on without them.
    ForeignPeers(BTreeSet<u32>),
    /// The lowest founder, to found the cluster.
    Founding(u32),
    /// The Kubernetes API, to say how many nodes to expect before anything is founded.
    KubernetesApi,
    /// The nodes that I joined before and that are silent now: until one of them speaks, nobody knows whether the
    /// established nodes that do answer are the same cluster.
    JoinedBefore {
        /// Whom I joined.
        joined: BTreeSet<u32>,
        /// Who answers and is established.
        others: BTreeSet<u32>,
    },
    /// The CouchDB beside me.
    LocalCouchDb(Unseen),
    /// Nodes to list every member: (who, whom it doesn't list).
    Membership(BTreeMap<u32, BTreeSet<u32>>),
    /// This pod to be taken away, or the size to grow: its ordinal is not among those expected.
    NotExpected,
    /// The members to list me again: somebody took me out of their `_nodes`.
    NotListed(BTreeSet<u32>),
    /// Pods beyond the StatefulSet's size that are still members.
    Outsized(BTreeSet<u32>),
    /// Peers that can't be seen.
    Peers(BTreeMap<u32, Unseen>),
    /// Anything that tells how many nodes to expect.
    Size,
    /// The lowest member, to make a system database.
    SystemDatabase {
        /// Who will.
        by: u32,
        /// Which.
        database: SystemDatabase,
    },
    /// A system database that all have in their maps, to be readable.
    SystemDatabasesOpen,
    /// The maps of the system databases, to reach these nodes.
    SystemDatabasesSpread(BTreeSet<u32>),
}

/// What a person has to decide.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// This node holds databases that the cluster doesn't know; joining would make one side's vanish.
    ForeignData {
        /// The nodes of the cluster.
        cluster: BTreeSet<u32>,
    },
    /// A cluster was founded here before, and every node is empty: its data is gone, or not here.
    FormedBefore {
        /// The lost cluster's uuid; none when a newer agent wrote it down.
        uuid: Option<String>,
    },
    /// CouchDB calls itself by another name than its pod's, so that no peer would find it.
    NodeNameMismatch {
        /// What it calls itself.
        actual: String,
    },
    /// `_nodes` holds names that are none of ours: a renamed volume, or ghosts.
    NodeRenamed {
        /// Those names.
        strangers: BTreeSet<String>,
    },
    /// Two groups hold data and don't know each other.
    SplitCluster {
        /// The groups.
        groups: Vec<BTreeSet<u32>>,
    },
}

/// The one next step.
pub fn next_step(observed: &Observed) -> Step {
    let Observed { me, expected, founders, local, peers, .. } = observed;
    let node = match local {
        Err(Unseen::Misnamed(actual)) => {
            return Step::Refuse(Refusal::NodeNameMismatch { actual: actual.clone() });
        }
        Err(unseen) => return Step::Wait(WaitFor::LocalCouchDb(unseen.clone())),
        Ok(node) => node,
    };
    if founders.is_empty() {
        let scaled_to_nothing = observed.api == Api::Current;
        return Step::Wait(if scaled_to_nothing { WaitFor::NotExpected } else { WaitFor::Size });
    }
    if !observed.enabled {
        return Step::EnableCluster { node_count: count(founders) };
    }
    if !node.strangers.is_empty() {
        return Step::Refuse(Refusal::NodeRenamed { strangers: node.strangers.clone() });
    }
    let view = View { me: *me, local: node, peers };
    let groups = view.groups();
    let established: BTreeSet<u32> = groups.iter().flatten().copied().collect();
    let step = match (node.databases, groups.len()) {
        (0, 0) => found(&view, observed),
        (0, 1) => take_part(&view, &established),
        (0, _) => Step::Refuse(Refusal::SplitCluster { groups }),
        (_, _) => match keep(&view, expected, groups) {
            Some(step) => step,
            None => prove(&view, observed),
        },
    };
    match (step, view.undialled()) {
        (Step::Wait(wait), peers) if wait.ends_by_connecting() && !peers.is_empty() => {
            Step::Dial { peers, wait }
        }
        (step, _) => step,
    }
}

/// Nobody is established: come together, then the lowest founds.
fn found(view: &View<'_>, observed: &Observed) -> Step {
    let Observed { founders, api, session_secret, .. } = observed;
    let Some(lowest) = founders.first().copied().filter(|_| founders.contains(&view.me)) else {
        return Step::Wait(match founders.first() {
            Some(lowest) => WaitFor::Founding(*lowest),
            None => WaitFor::Size,
        });
    };
    if !view.local.members.contains(&lowest) && view.may_join(lowest) {
        return Step::Join(lowest);
    }
    let unseen = view.unseen(founders);
    if !unseen.is_empty() {
        return Step::Wait(WaitFor::Peers(unseen));
    }
    if let Some(uuid) = formed_before(observed) {
        return Step::Refuse(Refusal::FormedBefore { uuid });
    }
    if view.me != lowest {
        return Step::Wait(WaitFor::Founding(lowest));
    }
    match (api, &observed.record) {
        (Api::Silent | Api::Missing, _) | (Api::Current, Record::Unread) => {
            return Step::Wait(WaitFor::KubernetesApi);
        }
        (Api::Current | Api::Forbidden | Api::Off, _) => {}
    }
    if let Some(wait) = view.incomplete(founders) {
        return Step::Wait(wait);
    }
    // finish_cluster pings whoever is listed and gives up when one of them doesn't answer.
    let outsized = view.outsized(founders);
    if !outsized.is_empty() {
        return Step::Wait(WaitFor::Outsized(outsized));
    }
    match *session_secret {
        true => Step::Found,
        false => Step::MakeSessionSecret,
    }
}

/// The cluster that was founded here and that nobody gave up.
fn formed_before(observed: &Observed) -> Option<Option<String>> {
    match &observed.record {
        record if record.is_given_up(observed.form_anew.as_ref()) => None,
        Record::Formed { uuid, .. } => Some(Some(uuid.clone())),
        Record::Newer => Some(None),
        Record::Absent | Record::Forbidden | Record::Unread => None,
    }
}

/// I hold nothing and one established group answers: join it, then wait to be adopted.
fn take_part(view: &View<'_>, established: &BTreeSet<u32>) -> Step {
    if !view.local.members.is_disjoint(established) {
        return Step::Wait(WaitFor::Adoption(established.clone()));
    }
    match established.iter().find(|peer| view.may_join(**peer)) {
        Some(peer) => Step::Join(*peer),
        None => Step::Wait(WaitFor::JoinedBefore { joined: view.others(), others: established.clone() }),
    }
}

/// I hold data: what hinders the cluster from being whole, if anything does.
fn keep(view: &View<'_>, expected: &BTreeSet<u32>, groups: Vec<BTreeSet<u32>>) -> Option<Step> {
    let (mine, others): (Vec<_>, Vec<_>) = groups.iter().cloned().partition(|group| group.contains(&view.me));
    let mine: BTreeSet<u32> = mine.into_iter().flatten().collect();
    let larger = others.iter().find(|group| group.len() > 1);
    match (mine.len(), larger, others.is_empty()) {
        (_, _, true) => {}
        (1, Some(cluster), false) => {
            return Some(Step::Refuse(Refusal::ForeignData { cluster: cluster.clone() }));
        }
        (1, None, false) | (_, Some(_), false) => {
            return Some(Step::Refuse(Refusal::SplitCluster { groups }));
        }
        // Many of us against single nodes: it is they who must not come in, and they say so themselves.
        (_, None, false) => {
            return Some(Step::Wait(WaitFor::ForeignPeers(others.into_iter().flatten().collect())));
        }
    }
    if !expected.contains(&view.me) {
        return Some(Step::Wait(WaitFor::NotExpected));
    }
    if let Some(deaf) = view.not_listed_by() {
        return Some(Step::Wait(WaitFor::NotListed(deaf)));
    }
    let unseen = view.unseen(expected);
    if !unseen.is_empty() {
        return Some(Step::Wait(WaitFor::Peers(unseen)));
    }
    view.incomplete(expected).map(Step::Wait)
}

/// Everyone is in: the system databases must be there, everywhere, and readable.
fn prove(view: &View<'_>, observed: &Observed) -> Step {
    let Observed { expected, wanted_copies, finished, .. } = observed;
    for database in SystemDatabase::ALL {
        let lacking: BTreeSet<u32> =
            view.nodes().filter(|(_, node)| !node.system.contains_key(&database)).map(|(o, _)| o).collect();
        let nobody_has_it = lacking.len() == view.nodes().count();
        match expected.first() {
            Some(lowest) if nobody_has_it && *lowest == view.me => return Step::CreateDatabase(database),
            Some(lowest) if nobody_has_it => {
                return Step::Wait(WaitFor::SystemDatabase { by: *lowest, database });
            }
            Some(_) | None if !lacking.is_empty() => {
                return Step::Wait(WaitFor::SystemDatabasesSpread(lacking));
            }
            Some(_) | None => {}
        }
    }
    let want = (*wanted_copies).min(count(expected));
    for database in SystemDatabase::ALL {
        let have = view.nodes().filter_map(|(_, node)| node.system.get(&database)).min().copied();
        if let Some(have) = have.filter(|have| *have < want) {
            return Step::Wait(WaitFor::Copies { database, have, want });
        }
    }
    let outsized = view.outsized(expected);
    if !outsized.is_empty() {
        return Step::Wait(WaitFor::Outsized(outsized));
    }
    if !finished {
        return Step::Wait(WaitFor::SystemDatabasesOpen);
    }
    match expected.first() == Some(&view.me) && lacks_a_record(observed) {
        true => {
            let instead_of = observed.form_anew.clone().filter(|_| observed.record != Record::Absent);
            Step::RecordFounding { size: count(expected), instead_of }
        }
        false => Step::Settled,
    }
}

/// Whether the founding is still to be written down: it never was, or what was is of a cluster that was given up.
fn lacks_a_record(observed: &Observed) -> bool {
    let given_up = observed.record.is_given_up(observed.form_anew.as_ref());
    observed.api == Api::Current && (observed.record == Record::Absent || given_up)
}

/// The local node and the peers of one round.
pub(crate) struct View<'a> {
    pub(crate) me: u32,
    pub(crate) local: &'a Node,
    pub(crate) peers: &'a BTreeMap<u32, Result<Node, Unseen>>,
}

impl View<'_> {
    /// Every node that was seen, me included, by ordinal.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (u32, &Node)> {
        let peers = self.peers.iter().filter_map(|(ordinal, peer)| Some((*ordinal, peer.as_ref().ok()?)));
        std::iter::once((self.me, self.local)).chain(peers)
    }

    /// Those that hold databases, in groups whose memberships overlap.
    pub(crate) fn groups(&self) -> Vec<BTreeSet<u32>> {
        let mut groups: Vec<(BTreeSet<u32>, BTreeSet<u32>)> = vec![];
        for (ordinal, node) in self.nodes().filter(|(_, node)| node.databases > 0) {
            let mut group = BTreeSet::from([ordinal]);
            let mut knows = node.members.clone();
            knows.insert(ordinal);
            let (linked, apart) = groups.into_iter().partition(|(_, theirs)| !theirs.is_disjoint(&knows));
            let linked: Vec<_> = linked;
            for (ordinals, theirs) in linked {
                group.extend(ordinals);
                knows.extend(theirs);
            }
            groups = apart;
            groups.push((group, knows));
        }
        let mut groups: Vec<BTreeSet<u32>> = groups.into_iter().map(|(group, _)| group).collect();
        groups.sort();
        groups
    }

    /// Whether `peer` answers, and joining it brings nobody together who doesn't know of each other: I may have
    /// joined a group before that is silent now, and be the bridge over which it meets another one's data.
    fn may_join(&self, peer: u32) -> bool {
        let alone = self.others().is_empty();
        let nobody_is_silent = self.peers.values().all(Result::is_ok);
        let acquainted = |node: &Node| !node.members.is_disjoint(&self.local.members);
        self.nodes().any(|(seen, node)| seen == peer && (alone || nobody_is_silent || acquainted(node)))
    }

    /// Whom I list besides me.
    fn others(&self) -> BTreeSet<u32> {
        self.local.members.iter().copied().filter(|member| *member != self.me).collect()
    }

    /// Members that answer and that I am not connected to.
    fn undialled(&self) -> BTreeSet<u32> {
        let lonely = |(ordinal, _): &(u32, &Node)| {
            self.local.members.contains(ordinal) && !self.local.connected.contains(ordinal)
        };
        self.nodes().filter(lonely).map(|(ordinal, _)| ordinal).collect()
    }

    fn unseen(&self, wanted: &BTreeSet<u32>) -> BTreeMap<u32, Unseen> {
        let failures =
            self.peers.iter().filter_map(|(ordinal, peer)| Some((*ordinal, peer.as_ref().err()?.clone())));
        failures.filter(|(ordinal, _)| wanted.contains(ordinal)).collect()
    }

    /// Who of `wanted` doesn't list, or isn't connected to, someone of `wanted`.
    fn incomplete(&self, wanted: &BTreeSet<u32>) -> Option<WaitFor> {
        let lacks = |have: &dyn Fn(&Node) -> BTreeSet<u32>| -> BTreeMap<u32, BTreeSet<u32>> {
            let of =
                |(ordinal, node): (u32, &Node)| (ordinal, wanted.difference(&have(node)).copied().collect());
            let nodes = self.nodes().filter(|(ordinal, _)| wanted.contains(ordinal));
            nodes.map(of).filter(|(_, lacks): &(u32, BTreeSet<u32>)| !lacks.is_empty()).collect()
        };
        let unlisted = lacks(&|node| node.members.clone());
        if !unlisted.is_empty() {
            return Some(WaitFor::Membership(unlisted));
        }
        let unconnected = lacks(&|node| node.connected.clone());
        (!unconnected.is_empty()).then_some(WaitFor::Connections(unconnected))
    }

    /// Members that `wanted` doesn't have.
    fn outsized(&self, wanted: &BTreeSet<u32>) -> BTreeSet<u32> {
        self.nodes().flat_map(|(_, node)| node.members.difference(wanted).copied()).collect()
    }

    /// The established members that answer, if there are any and none of them lists me.
    pub(crate) fn not_listed_by(&self) -> Option<BTreeSet<u32>> {
        let members = || {
            self.nodes().filter(|(ordinal, node)| {
                *ordinal != self.me && node.databases > 0 && self.local.members.contains(ordinal)
            })
        };
        let deaf: BTreeSet<u32> = members().map(|(ordinal, _)| ordinal).collect();
        let nobody_lists_me = members().all(|(_, node)| !node.members.contains(&self.me));
        (!deaf.is_empty() && nobody_lists_me).then_some(deaf)
    }
}

impl WaitFor {
    /// Whether a connection between members could be what is missing. Where data of two groups might meet, it is not.
    fn ends_by_connecting(&self) -> bool {
        match self {
            Self::Adoption(_)
            | Self::Connections(_)
            | Self::Founding(_)
            | Self::Membership(_)
            | Self::Peers(_)
            | Self::SystemDatabase { .. }
            | Self::SystemDatabasesOpen
            | Self::SystemDatabasesSpread(_) => true,
            Self::Copies { .. }
            | Self::ForeignPeers(_)
            | Self::JoinedBefore { .. }
            | Self::KubernetesApi
            | Self::LocalCouchDb(_)
            | Self::NotExpected
            | Self::NotListed(_)
            | Self::Outsized(_)
            | Self::Size => false,
        }
    }
}

impl SystemDatabase {
    /// All of them. `_global_changes` is made on request only since CouchDB 3.0.
    pub const ALL: [Self; 2] = [Self::Replicator, Self::Users];

    /// The database's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replicator => "_replicator",
            Self::Users => "_users",
        }
    }
}

fn count(ordinals: &BTreeSet<u32>) -> u32 {
    u32::try_from(ordinals.len()).unwrap_or(u32::MAX)
}
