//! What the agent shows of itself: the page behind `/status`, and what the probes answer.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Naming, PodFqdn};
use serde::Serialize;

use crate::kubernetes::Record;
use crate::ready::Readiness;
use crate::step::{Api, Node, Observed, Step, Unseen};
use crate::words::{Speaker, Words, first_look};

/// Everything that the agent shows. Never a secret.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The agent's version.
    pub version: &'static str,
    /// The pod's full name.
    pub pod: String,
    /// The name that CouchDB must have to Erlang.
    pub node: String,
    /// Whether the pod may be given clients.
    pub ready: bool,
    /// Why not, or what is so.
    pub readiness: Said,
    /// What the agent does now.
    pub step: Said,
    /// Since when it does that, RFC 3339.
    pub since: String,
    /// The rounds since the agent started: it grows while the agent is alive.
    pub rounds: u64,
    /// The pods that are to be members.
    pub expected: Vec<String>,
    /// The pods that must all be there to found.
    pub founders: Vec<String>,
    /// What the Kubernetes API last was: `current`, `forbidden`, `missing`, `off` or `silent`.
    pub kubernetes: &'static str,
    /// The admin that the agent is to CouchDB, and where it has him from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// The founding record: `absent`, `forbidden`, `formed`, `newer` or `unread`.
    pub record: &'static str,
    /// What was seen of each node in the last round.
    pub nodes: BTreeMap<String, Sight>,
    /// How far a step has come that takes several rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The last error of a call that was to change something, if the last such call failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What the page tells of earlier rounds.
#[derive(Clone, Debug)]
pub struct History {
    /// When the step was first decided, RFC 3339.
    pub since: String,
    /// The rounds since the agent started.
    pub rounds: u64,
    /// The last error of a call that was to change something.
    pub last_error: Option<String>,
    /// How far a step has come that takes several rounds.
    pub progress: Option<String>,
}

/// A reason for machines and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// CamelCase, stable.
    pub reason: &'static str,
    /// What is so, and what to do about it.
    pub message: String,
    /// What was seen that makes it so, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// What to do about it, where something can be done: the end of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// Whom the agent is to CouchDB. Never the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// The name.
    pub user: String,
    /// Where name and password come from.
    pub source: String,
}

/// What was seen of a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum Sight {
    /// It answered.
    #[serde(rename_all = "camelCase")]
    Seen {
        /// The pods that it expects.
        members: Vec<String>,
        /// The pods that it is connected to.
        connected: Vec<String>,
        /// Names in its `_nodes` that are none of ours.
        #[serde(skip_serializing_if = "BTreeSet::is_empty")]
        strangers: BTreeSet<String>,
        /// The databases that it knows.
        databases: u64,
        /// The copies of each system database's thinnest range.
        system_database_copies: BTreeMap<&'static str, u32>,
        /// The release series of its CouchDB.
        #[serde(skip_serializing_if = "Option::is_none")]
        release: Option<String>,
    },
    /// It did not.
    #[serde(rename_all = "camelCase")]
    Unseen {
        /// Why.
        unseen: &'static str,
    },
}

impl Page {
    /// The page before the first round.
    pub fn at_start(me: &PodFqdn, since: String) -> Self {
        Self::waiting(me, first_look(), since)
    }

    /// The page of an agent that can't go round yet.
    pub fn waiting(me: &PodFqdn, why: Words, since: String) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pod: me.to_string(),
            node: Naming::usual(me).node(me.pod().ordinal()).to_string(),
            ready: false,
            readiness: why.clone().into(),
            step: why.into(),
            since,
            rounds: 0,
            expected: vec![],
            founders: vec![],
            kubernetes: word(Api::Silent),
            admin: None,
            record: record(&Record::Unread),
            nodes: BTreeMap::new(),
            last_error: None,
            progress: None,
        }
    }

    /// The page after a round.
    pub fn after(
        speaker: &Speaker<'_>,
        observed: &Observed,
        step: &Step,
        readiness: &Readiness,
        History { since, rounds, last_error, progress }: History,
    ) -> Self {
        let name = |ordinal: &u32| format!("{}-{ordinal}", speaker.me.pod().set());
        let names = |ordinals: &BTreeSet<u32>| ordinals.iter().map(name).collect::<Vec<_>>();
        let local = std::iter::once((&observed.me, &observed.local));
        let nodes = local.chain(&observed.peers).map(|(ordinal, node)| (name(ordinal), sight(node, &names)));
        let evidence = speaker.evidence(observed, step);
        let said = Said { evidence: evidence.clone(), ..speaker.step(step).into() };
        Self {
            node: speaker.naming.node(observed.me).to_string(),
            ready: *readiness == Readiness::Ready,
            readiness: match readiness {
                Readiness::Ready => said.clone(),
                Readiness::NotReady(why) => Said { evidence, ..speaker.not_ready(why, Some(step)).into() },
            },
            step: said,
            expected: names(&observed.expected),
            founders: names(&observed.founders),
            kubernetes: word(observed.api),
            admin: Some(Admin {
                user: speaker.credentials.user.clone(),
                source: speaker.credentials.source.clone(),
            }),
            record: record(&observed.record),
            nodes: nodes.collect(),
            rounds,
            last_error,
            progress,
            ..Self::at_start(speaker.me, since)
        }
    }
}

impl From<Words> for Said {
    fn from(Words { reason, message, cure }: Words) -> Self {
        Self { reason, message, evidence: vec![], cure }
    }
}

fn sight(node: &Result<Node, Unseen>, names: &dyn Fn(&BTreeSet<u32>) -> Vec<String>) -> Sight {
    match node {
        Ok(node) => Sight::Seen {
            members: names(&node.members),
            connected: names(&node.connected),
            strangers: node.strangers.clone(),
            databases: node.databases,
            system_database_copies: node
                .system
                .iter()
                .map(|(database, spread)| (database.name(), spread.copies))
                .collect(),
            release: node.release.as_ref().map(ToString::to_string),
        },
        Err(unseen) => Sight::Unseen {
            unseen: match unseen {
                Unseen::Busy => "busy",
                Unseen::Garbled => "garbled",
                Unseen::LockedOut => "lockedOut",
                Unseen::Misnamed(_) => "misnamed",
                Unseen::NameUnknown => "nameUnknown",
                Unseen::NoAnswer => "noAnswer",
                Unseen::Rejects => "rejects",
                Unseen::Unreachable => "unreachable",
                Unseen::Untrusted => "untrusted",
            },
        },
    }
}

fn record(record: &Record) -> &'static str {
    match record {
        Record::Absent => "absent",
        Record::Forbidden => "forbidden",
        Record::Formed { .. } => "formed",
        Record::Newer => "newer",
        Record::Unread => "unread",
    }
}

fn word(api: Api) -> &'static str {
    match api {
        Api::Current => "current",
        Api::Forbidden => "forbidden",
        Api::Missing => "missing",
        Api::Off => "off",
        Api::Silent => "silent",
    }
}
