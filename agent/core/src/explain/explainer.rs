//! What a step, a refusal or a readiness is called, and what a person is told about it. Pure.

use std::collections::BTreeSet;
use std::fmt::Display;

use contract::{Naming, PodFqdn};

use crate::decide::{IdentityDifference, IdentitySource, NotReady, Step, StepKind};
use crate::facts::{IdentityPart, SystemDatabase, Unseen};

/// A word for machines and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// CamelCase, stable: a label in metrics and the reason of an event.
    pub reason: &'static str,
    /// What is so, and what to do about it.
    pub message: String,
    /// What to do about it: the end of the message. Nothing, where it comes by itself or needs nobody.
    pub fix: Option<String>,
}

impl Explanation {
    /// An explanation without a fix.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), fix: None }
    }

    /// The state before the first round.
    pub fn first_look() -> Self {
        Self::new("FirstLook", "nothing has been looked at yet")
    }
}

/// Puts steps into words, with the pod names of one StatefulSet.
#[derive(Clone, Copy, Debug)]
pub struct Explainer<'a> {
    /// This agent's pod.
    pub me: &'a PodFqdn,
    /// What Erlang calls the nodes.
    pub naming: &'a Naming,
    /// The name of the CouchDB admin that the agent uses.
    pub user: &'a str,
    /// The source of the admin's credentials.
    pub credentials_source: &'a str,
}

impl Explainer<'_> {
    /// What this step is.
    pub fn step(&self, step: &Step) -> Explanation {
        let (reason, message) = match step {
            Step::AddCopies(databases) => (
                "AddingCopies",
                format!("{} have too few copies: this node gets one", names(databases)),
            ),
            Step::Adopt(IdentityDifference { part, from, .. }) => {
                let what = match part {
                    IdentityPart::Admin(name) => format!("hash of admin '{name}'"),
                    IdentityPart::SessionSecret => "session secret".to_owned(),
                    IdentityPart::Uuid => "uuid".to_owned(),
                };
                let from = match from {
                    IdentitySource::Member(from) => self.pod(*from),
                    IdentitySource::Record { .. } => "the founding record".to_owned(),
                };
                (
                    "AdoptingIdentity",
                    format!("the {what} differs from the cluster's: taking it over from {from}"),
                )
            }
            Step::CreateDatabase(database) => {
                ("CreatingDatabase", format!("no member has {}: making it", database.name()))
            }
            Step::EnableCluster { node_count } => (
                "EnablingCluster",
                format!("CouchDB listens to nobody yet: enabling it for a cluster of {node_count}"),
            ),
            Step::EnterMaintenance => (
                "EnteringMaintenance",
                "this node's volume has to be filled first: keeping it out of reads and writes until then".to_owned(),
            ),
            Step::Fill { .. } => (
                "Filling",
                "out of reads and writes until every shard here has what the other copies have".to_owned(),
            ),
            Step::Found => {
                ("Founding", "every node answers, is connected and empty: founding the cluster".to_owned())
            }
            Step::Join(peer) => ("Joining", format!("joining {}", self.pod(*peer))),
            Step::MakeSessionSecret => (
                "MakingSessionSecret",
                "CouchDB has no session secret, which a cluster needs: making one".to_owned(),
            ),
            Step::NoteFilling => (
                "NotingFilling",
                "copies of the cluster's data will come to this node: writing down on its volume that they are not \
                 complete"
                    .to_owned(),
            ),
            Step::CompareVolume { .. } => (
                "ProvingWhole",
                "comparing the shards here with the other copies, to see whether this volume came without its data".to_owned(),
            ),
            Step::RecordFounding { size, .. } => {
                ("RecordingFounding", format!("writing down that {size} nodes founded a cluster here"))
            }
            Step::Refuse(refusal) => return self.refusal(refusal),
            Step::ReleaseLease => {
                ("ReleasingLease", "done with what only one agent may do at a time".to_owned())
            }
            Step::Settled => ("Settled", "the cluster is formed, and every member confirms it".to_owned()),
            Step::TakeLease => (
                "TakingLease",
                format!(
                    "taking Lease '{}', for what only one agent may do at a time",
                    contract::objects::companion(self.me.pod().set().as_str())
                ),
            ),
            Step::Dial { wait, .. } | Step::Wait(wait) => return self.wait(wait),
        };
        plain(reason, message)
    }

    /// Why the pod is not ready.
    pub fn not_ready(&self, why: &NotReady, step: Option<&Step>) -> Explanation {
        match (why, step) {
            (NotReady::Refused(refusal), _) => self.refusal(refusal),
            (NotReady::FirstLook, _)
            | (NotReady::Filling | NotReady::Joining | NotReady::LocalCouchDb | NotReady::NotListed, None) => {
                Explanation::first_look()
            }
            (NotReady::Filling, Some(step)) if step.kind() != StepKind::Act => {
                self.step(&Step::Fill { from: BTreeSet::new() })
            }
            (
                NotReady::Filling | NotReady::Joining | NotReady::LocalCouchDb | NotReady::NotListed,
                Some(step),
            ) => self.step(step),
        }
    }

    pub(super) fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.me.pod().set())
    }

    pub(super) fn pods(&self, ordinals: &BTreeSet<u32>) -> String {
        list(ordinals.iter().map(|ordinal| self.pod(*ordinal)))
    }
}

/// What an unseen node does.
pub(super) fn how(unseen: &Unseen) -> String {
    match unseen {
        Unseen::Busy => "is not up yet".to_owned(),
        Unseen::Garbled => "answers something unclear".to_owned(),
        Unseen::LockedOut => "has locked the admin out after too many wrong passwords".to_owned(),
        Unseen::Misnamed(actual) => format!("calls itself '{actual}'"),
        Unseen::NameUnknown => "is not in DNS".to_owned(),
        Unseen::NoAnswer => "does not answer in time".to_owned(),
        Unseen::Rejects => "rejects the admin's name or password".to_owned(),
        Unseen::Unreachable => "can't be reached".to_owned(),
        Unseen::Untrusted => "shows no certificate for its name from an authority that is trusted".to_owned(),
    }
}

/// What a person can do about a node that can't be seen, where it is known.
pub(super) fn fix_for(unseen: &Unseen) -> Option<&'static str> {
    match unseen {
        Unseen::NameUnknown => {
            Some("Has the Service publishNotReadyAddresses: true, and does the pod exist?")
        }
        Unseen::Rejects => Some(
            "While a new password is brought by a rolling restart this ends by itself; else give all pods the same \
             admin, and restart those that lack it",
        ),
        Unseen::Untrusted => Some(
            "See that its certificate is of the same authority as the others', and has its pod's full DNS name",
        ),
        Unseen::Busy
        | Unseen::Garbled
        | Unseen::LockedOut
        | Unseen::Misnamed(_)
        | Unseen::NoAnswer
        | Unseen::Unreachable => None,
    }
}

/// What needs nobody, or nobody knows what.
pub(super) fn plain(reason: &'static str, message: impl Into<String>) -> Explanation {
    Explanation { reason, message: message.into(), fix: None }
}

/// What is so, and what to do about it.
pub(super) fn with_fix(reason: &'static str, fact: impl Display, fix: impl Into<String>) -> Explanation {
    let fix = fix.into();
    Explanation { reason, message: format!("{fact}. {fix}"), fix: Some(fix) }
}

fn names(databases: &BTreeSet<SystemDatabase>) -> String {
    databases.iter().map(|database| database.name()).collect::<Vec<_>>().join(" and ")
}

pub(super) fn list(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

pub(super) fn quoted<T: Display>(words: impl IntoIterator<Item = T>) -> String {
    list(words.into_iter().map(|word| format!("'{word}'")))
}
