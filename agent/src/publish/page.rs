//! The page behind `/status`: the constructors of [`Page`] from what a round found.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::decide::{Readiness, Step};
use agent_core::explain::{Explainer, Explanation};
use agent_core::facts::{ApiState, KnownRecord, Node, Observed, Unseen};
use contract::status::{Admin, KubernetesState, NodeReport, Page, RecordState, SeenNode, StateReport};
use contract::{Naming, PodFqdn};

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
    }
}

/// The page after a round.
pub fn after(
    explainer: &Explainer<'_>,
    observed: &Observed,
    step: &Step,
    readiness: &Readiness,
    History { since, rounds, last_error, progress }: History,
) -> Page {
    let name = |ordinal: &u32| format!("{}-{ordinal}", explainer.me.pod().set());
    let names = |ordinals: &BTreeSet<u32>| ordinals.iter().map(name).collect::<Vec<_>>();
    let local = std::iter::once((&observed.me, &observed.local));
    let nodes = local.chain(&observed.peers).map(|(ordinal, node)| (name(ordinal), report(node, &names)));
    let evidence = explainer.evidence(observed, step);
    let current = state(explainer.step(step), evidence.clone());
    Page {
        node: explainer.naming.node(observed.me).to_string(),
        ready: *readiness == Readiness::Ready,
        readiness: match readiness {
            Readiness::Ready => current.clone(),
            Readiness::NotReady(why) => state(explainer.not_ready(why, Some(step)), evidence),
        },
        step: current,
        expected: names(&observed.expected),
        founders: names(&observed.founders),
        kubernetes: kubernetes_state(observed.api),
        admin: Some(Admin {
            user: explainer.user.to_owned(),
            source: explainer.credentials_source.to_owned(),
        }),
        record: record_state(&observed.record),
        nodes: nodes.collect(),
        rounds,
        last_error,
        progress,
        ..at_start(explainer.me, since)
    }
}

fn state(Explanation { reason, message, fix }: Explanation, evidence: Vec<String>) -> StateReport {
    StateReport { reason: reason.to_owned(), message, evidence, cure: fix }
}

fn report(node: &Result<Node, Unseen>, names: &dyn Fn(&BTreeSet<u32>) -> Vec<String>) -> NodeReport {
    match node {
        Ok(node) => NodeReport::Seen(SeenNode {
            members: names(&node.members),
            connected: names(&node.connected),
            strangers: node.strangers.clone(),
            databases: node.databases,
            system_database_copies: node
                .system
                .iter()
                .map(|(database, spread)| (database.name().to_owned(), spread.copies))
                .collect(),
            release: node.release.as_ref().map(ToString::to_string),
        }),
        Err(unseen) => NodeReport::Unseen { unseen: unseen_word(unseen).to_owned() },
    }
}

fn unseen_word(unseen: &Unseen) -> &'static str {
    match unseen {
        Unseen::Busy => "busy",
        Unseen::Garbled => "garbled",
        Unseen::LockedOut => "lockedOut",
        Unseen::Misnamed(_) => "misnamed",
        Unseen::NameUnknown => "nameUnknown",
        Unseen::NoAnswer => "noAnswer",
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
        ApiState::Off => KubernetesState::Off,
        ApiState::Silent => KubernetesState::Silent,
    }
}
