//! The page behind `/status`: the constructors of [`Page`] from what a round found.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::decide::{Decision, Readiness, Step};
use agent_core::explain::{ExplainedDecision, Explanation, FirstNames};
use agent_core::facts::{ApiState, KnownRecord, Node, Observed, Unseen};
use contract::moves::Moves;
use contract::status::{Admin, KubernetesState, NodeReport, Page, RecordState, SeenNode, StateReport};
use contract::{Label, Naming, PodFqdn};

use crate::observe::Directory;
use crate::settings::Credentials;

/// The parts of the page that come from earlier rounds.
#[derive(Clone, Debug)]
pub struct History {
    /// When the step was first decided, RFC 3339.
    pub since: String,
    /// Rounds since the agent started.
    pub rounds: u64,
    /// The error of the last call that was to change something; `None` if that call succeeded.
    pub last_error: Option<String>,
    /// Progress of a step that takes several rounds.
    pub progress: Option<String>,
    /// Moves that this agent leads.
    pub moves: Option<Moves>,
}

/// The page before the first round.
pub fn at_start(me: &PodFqdn, since: String) -> Page {
    waiting(me, Explanation::first_look(), since)
}

/// The page of an agent that can't begin its rounds yet.
pub fn waiting(me: &PodFqdn, why: Explanation, since: String) -> Page {
    Page {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pod: me.to_string(),
        node: Naming::usual(me).node(me.pod().ordinal()).to_string(),
        ready: false,
        readiness: state(why.clone(), vec![]),
        step: state(why, vec![]),
        conditions: vec![],
        since,
        rounds: 0,
        expected: vec![],
        founders: vec![],
        kubernetes: KubernetesState::Silent,
        admin: None,
        record: RecordState::Unread,
        nodes: BTreeMap::new(),
        last_error: None,
        progress: None,
        moves: None,
    }
}

/// The results of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round<'a> {
    pub(crate) observed: &'a Observed,
    pub(crate) decision: &'a Decision,
    pub(crate) explained: &'a ExplainedDecision,
}

/// The page after a round.
pub(crate) fn after(directory: &Directory, round: Round<'_>, admin: Admin, history: History) -> Page {
    let Round { observed, decision, explained } = round;
    let History { since, rounds, last_error, progress, moves } = history;
    let ExplainedDecision { step, readiness, evidence, conditions } = explained.clone();
    let pods = Pods(directory.me.pod().set());
    let local = std::iter::once((&observed.me, &observed.local));
    Page {
        node: directory.node(observed.me),
        ready: decision.readiness == Readiness::Ready,
        readiness: state(readiness, evidence.clone()),
        step: state(step, evidence),
        conditions: conditions
            .into_iter()
            .map(|condition| state(condition.explanation, condition.evidence))
            .collect(),
        expected: pods.names(&observed.expected),
        founders: pods.names(&observed.founders),
        kubernetes: kubernetes_state(observed.api),
        admin: Some(admin),
        record: record_state(&observed.record),
        nodes: local
            .chain(&observed.peers)
            .map(|(ordinal, node)| (pods.name(*ordinal), pods.report(node)))
            .collect(),
        rounds,
        last_error,
        progress,
        moves: moves.map(|moves| pausing(moves, decision, explained)),
        ..at_start(&directory.me, since)
    }
}

/// The moves, with the reason why they are paused: another step comes first.
fn pausing(moves: Moves, decision: &Decision, explained: &ExplainedDecision) -> Moves {
    if matches!(decision.step, Step::Move { .. } | Step::TakeLease) {
        return moves;
    }
    Moves { paused: Some(explained.step.message.clone()), ..moves }
}

/// The CouchDB admin in use, without the password.
pub(crate) fn admin(credentials: &Credentials) -> Admin {
    Admin { user: credentials.user.clone(), source: credentials.source.clone() }
}

fn state(Explanation { reason, message, fix }: Explanation, evidence: Vec<String>) -> StateReport {
    StateReport { reason: reason.to_owned(), message, evidence, cure: fix }
}

/// The pod names of a StatefulSet.
struct Pods<'a>(&'a Label);

impl Pods<'_> {
    fn name(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.0)
    }

    fn names(&self, ordinals: &BTreeSet<u32>) -> Vec<String> {
        ordinals.iter().map(|ordinal| self.name(*ordinal)).collect()
    }

    fn report(&self, node: &Result<Node, Unseen>) -> NodeReport {
        let node = match node {
            Ok(node) => node,
            Err(unseen) => return NodeReport::Unseen { unseen: unseen_word(unseen).to_owned() },
        };
        let FirstNames { names, more } = FirstNames::of(&node.strangers);
        let copies = node.system.iter().map(|(database, spread)| (database.name().to_owned(), spread.copies));
        NodeReport::Seen(SeenNode {
            members: self.names(&node.members),
            connected: self.names(&node.connected),
            other_members: FirstNames::of(&node.colleagues).names.into_iter().collect(),
            strangers: names.into_iter().collect(),
            more_strangers: u64::try_from(more).unwrap_or(u64::MAX),
            databases: node.databases,
            system_database_copies: copies.collect(),
            release: node.release.as_ref().map(ToString::to_string),
        })
    }
}

fn unseen_word(unseen: &Unseen) -> &'static str {
    match unseen {
        Unseen::Busy => "busy",
        Unseen::Garbled => "garbled",
        Unseen::LockedOut => "lockedOut",
        Unseen::LoginIgnored => "loginIgnored",
        Unseen::Misnamed(_) => "misnamed",
        Unseen::NameUnknown => "nameUnknown",
        Unseen::NoAnswer => "noAnswer",
        Unseen::NotConnected => "notConnected",
        Unseen::NotReported => "notReported",
        Unseen::Rejects => "rejects",
        Unseen::Unreachable => "unreachable",
        Unseen::Untrusted => "untrusted",
    }
}

fn record_state(record: &KnownRecord) -> RecordState {
    match record {
        KnownRecord::Absent => RecordState::Absent,
        KnownRecord::Forbidden => RecordState::Forbidden,
        KnownRecord::Formed { .. } => RecordState::Formed,
        KnownRecord::Newer => RecordState::Newer,
        KnownRecord::Unread => RecordState::Unread,
    }
}

fn kubernetes_state(api: ApiState) -> KubernetesState {
    match api {
        ApiState::Current => KubernetesState::Current,
        ApiState::Forbidden => KubernetesState::Forbidden,
        ApiState::Missing => KubernetesState::Missing,
        ApiState::NoToken => KubernetesState::NoToken,
        ApiState::Off => KubernetesState::Off,
        ApiState::Silent => KubernetesState::Silent,
    }
}
