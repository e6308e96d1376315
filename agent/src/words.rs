//! What a step, a refusal or a readiness is called, and what a person is told about it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use contract::PodFqdn;

use crate::ready::NotReady;
use crate::resolve::ResolveError;
use crate::run::chain;
use crate::settings::Credentials;
use crate::step::{Difference, Mode, Refusal, Sort, Step, SystemDatabase, Trait, Unseen, WaitFor};

/// A word for machines and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// CamelCase, stable: a label in metrics and the reason of an event.
    pub reason: &'static str,
    /// What is so, and what to do about it.
    pub message: String,
}

/// Puts steps into words, with the pod names of one StatefulSet.
#[derive(Clone, Copy, Debug)]
pub struct Speaker<'a> {
    /// This agent's pod.
    pub me: &'a PodFqdn,
    /// The admin that it is.
    pub credentials: &'a Credentials,
}

impl Speaker<'_> {
    /// What this step is.
    pub fn step(&self, step: &Step) -> Words {
        let (reason, message) = match step {
            Step::AddCopies(databases) => (
                "AddingCopies",
                format!("{} have too few copies: this node gets one", names(databases)),
            ),
            Step::Adopt(Difference { what, from, .. }) => {
                let what = match what {
                    Trait::Admin(name) => format!("hash of admin '{name}'"),
                    Trait::SessionSecret => "session secret".to_owned(),
                    Trait::Uuid => "uuid".to_owned(),
                };
                (
                    "AdoptingIdentity",
                    format!("the {what} differs from the cluster's: taking it over from {}", self.pod(*from)),
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
            Step::ProveWhole { .. } => (
                "ProvingWhole",
                "comparing the shards here with the other copies, to see whether this volume came empty".to_owned(),
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
        Words { reason, message }
    }

    /// Why the pod is not ready.
    pub fn not_ready(&self, why: &NotReady, step: Option<&Step>) -> Words {
        match (why, step) {
            (NotReady::Refused(refusal), _) => self.refusal(refusal),
            (NotReady::FirstLook, _)
            | (NotReady::Filling | NotReady::Joining | NotReady::LocalCouchDb | NotReady::NotListed, None) => {
                first_look()
            }
            (NotReady::Filling, Some(step)) if step.sort() != Sort::Act => {
                self.step(&Step::Fill { from: BTreeSet::new() })
            }
            (
                NotReady::Filling | NotReady::Joining | NotReady::LocalCouchDb | NotReady::NotListed,
                Some(step),
            ) => self.step(step),
        }
    }

    fn wait(&self, wait: &WaitFor) -> Words {
        let (reason, message) = match wait {
            WaitFor::Adoption(by) => {
                ("WaitingForAdoption", format!("joined; waiting for the databases' maps of {}", self.pods(by)))
            }
            WaitFor::ClosedByHand(mode) => (
                "ClosedByHand",
                format!(
                    "the cluster is formed; maintenance_mode of this node is '{}' by somebody's hand, and stays as it is",
                    match mode {
                        Mode::Maintenance => "true",
                        Mode::NoClients => "nolb",
                        Mode::Serving => "false",
                    }
                ),
            ),
            WaitFor::CookieMismatch(peers) => (
                "CookieMismatch",
                format!(
                    "{} can be reached at every port, and Erlang does not connect: the Erlang cookies differ, most \
                     likely. Give all pods the same COUCHDB_ERLANG_COOKIE, and restart them",
                    self.pods(peers)
                ),
            ),
            WaitFor::PortsBlocked(blocked) => (
                "PortsBlocked",
                format!(
                    "{}. CouchDB answers there, and its nodes need these ports between all pods: look at NetworkPolicies, \
                     and at meshes, which must leave them alone",
                    list(blocked.iter().map(|(peer, port)| match port {
                        Some(port) => format!("port {port} of {} can't be reached", self.pod(*peer)),
                        None => format!("no Erlang node 'couchdb' is registered at {}", self.pod(*peer)),
                    }))
                ),
            ),
            WaitFor::Copies { database, turn, have, want } => (
                "SystemDatabaseUnderReplicated",
                format!(
                    "{} has {have} {} and {want} are wanted: it was made when the cluster was smaller{}",
                    database.name(),
                    if *have == 1 { "copy" } else { "copies" },
                    turn.map(|turn| format!("; {} takes the next one", self.pod(turn))).unwrap_or_default()
                ),
            ),
            WaitFor::Connections(lacking) => (
                "WaitingForConnections",
                format!(
                    "{}; if it lasts: is the Erlang cookie the same everywhere, and are ports 4369 and 9100 open between the pods?",
                    self.table(lacking, "isn't connected to")
                ),
            ),
            WaitFor::ForeignPeers(peers) => (
                "ForeignPeers",
                format!("outside stay, with data that this cluster doesn't know: {}", self.pods(peers)),
            ),
            WaitFor::Founding(lowest) => {
                ("WaitingForFounding", format!("waiting until {} founds the cluster", self.pod(*lowest)))
            }
            WaitFor::KubernetesApi => (
                "WaitingForKubernetes",
                "the Kubernetes API doesn't say how many nodes to expect, and nothing is founded on a guess; \
                 where there is none, set COUCHDISCOVER_KUBERNETES=off"
                    .to_owned(),
            ),
            WaitFor::Lease(by) => (
                "WaitingForLease",
                format!("the agent of {by} does what only one may do at a time, and holds the Lease"),
            ),
            WaitFor::JoinedBefore { joined, others } => (
                "WaitingForJoined",
                format!(
                    "joined {} before, which doesn't answer; until it does, {} may be another cluster, and is not joined",
                    self.pods(joined),
                    self.pods(others)
                ),
            ),
            WaitFor::LocalCouchDb(unseen) => return self.local(unseen),
            WaitFor::Membership(lacking) => ("WaitingForMembership", self.table(lacking, "doesn't list")),
            WaitFor::NotExpected => (
                "NotExpected",
                format!("{} is beyond the StatefulSet's size: it neither joins nor leaves", self.me.pod()),
            ),
            WaitFor::NotListed(by) => (
                "NotListed",
                format!(
                    "somebody removed this node: it is no longer listed by {}. To take it back, PUT its name into their \
                     _nodes; to let it go, scale down",
                    self.pods(by)
                ),
            ),
            WaitFor::Outsized(pods) => (
                "MembersBeyondSize",
                format!(
                    "members beyond the StatefulSet's size: {}. Nothing is removed by itself: scale back up, or drain \
                     them and DELETE their documents in /_node/_local/_nodes",
                    self.pods(pods)
                ),
            ),
            WaitFor::Peers(unseen) => ("WaitingForPeers", self.unseen(unseen)),
            WaitFor::Size => (
                "SizeUnknown",
                "nothing tells how many nodes to expect: the Kubernetes API can't be asked and COUCHDB_CLUSTER_SIZE is not set"
                    .to_owned(),
            ),
            WaitFor::SystemDatabase { by, database } => {
                ("WaitingForSystemDatabase", format!("waiting until {} makes {}", self.pod(*by), database.name()))
            }
            WaitFor::SystemDatabasesOpen => (
                "SystemDatabasesClosed",
                "the system databases are in the maps and can't be opened: are their nodes in maintenance mode?".to_owned(),
            ),
            WaitFor::SystemDatabasesSpread(lacking) => {
                ("WaitingForMaps", format!("waiting until the databases' maps reach {}", self.pods(lacking)))
            }
        };
        Words { reason, message }
    }

    fn local(&self, unseen: &Unseen) -> Words {
        let Credentials { user, source, .. } = self.credentials;
        let (reason, message) = match unseen {
            Unseen::LockedOut => (
                "CredentialsLockedOut",
                format!(
                    "CouchDB has locked '{user}' out after too many wrong passwords; it opens again after 5 minutes"
                ),
            ),
            Unseen::Rejects => (
                "CredentialsRejected",
                format!(
                    "CouchDB rejects user '{user}' or the password from {source}; the next try is in 75 s"
                ),
            ),
            Unseen::Garbled => (
                "CouchDbUnclear",
                "what answers beside the agent is no CouchDB that it understands (3.0 or later)".to_owned(),
            ),
            Unseen::Untrusted => ("CouchDbUntrusted", format!("the local CouchDB {}", how(unseen))),
            Unseen::Busy
            | Unseen::NameUnknown
            | Unseen::NoAnswer
            | Unseen::Unreachable
            | Unseen::Misnamed(_) => ("WaitingForCouchDb", format!("the local CouchDB {}", how(unseen))),
        };
        Words { reason, message }
    }

    fn refusal(&self, refusal: &Refusal) -> Words {
        let (reason, message) = match refusal {
            Refusal::Displaced { by } => (
                "Displaced",
                format!(
                    "pod '{}' is another one now, with uid '{by}': this one was deleted while its machine was cut off, \
                     and should not be alive. Make sure that its machine is shut down, or that this pod is gone from it",
                    self.me.pod()
                ),
            ),
            Refusal::ForeignData { cluster } => (
                "ForeignData",
                format!(
                    "this node holds databases that the cluster of {} doesn't know; joined, one side's data would vanish. \
                     Save what is here, then empty its volume to let it join",
                    self.pods(cluster)
                ),
            ),
            Refusal::FormedBefore { uuid: Some(uuid) } => (
                "FormedBefore",
                format!(
                    "cluster '{uuid}' was founded here before, and every node is empty: its data is gone, or on volumes \
                     that are not mounted. Bring the volumes back, or give it up by annotating the StatefulSet with \
                     {}={uuid}",
                    contract::keys::FORM_ANEW
                ),
            ),
            Refusal::FormedBefore { uuid: None } => (
                "FormedBefore",
                "a newer agent wrote down that a cluster was founded here, and every node is empty: run that version of \
                 the agent"
                    .to_owned(),
            ),
            Refusal::NodeNameMismatch { actual } => (
                "NodeNameMismatch",
                format!(
                    "CouchDB calls itself '{actual}', and its peers will look for '{}'. Set ERL_FLAGS='-name couchdb' or \
                     NODENAME='{}' on the CouchDB container",
                    self.me.node(),
                    self.me
                ),
            ),
            Refusal::NodeRenamed { strangers } => (
                "NodeRenamed",
                format!(
                    "_nodes lists {}, which {} no pod of '{}' here: was the volume used under another name, or a wrong \
                     host added by hand? Nothing is changed until those documents are gone from /_node/_local/_nodes",
                    quoted(strangers),
                    if strangers.len() == 1 { "is" } else { "are" },
                    self.me.pod().set()
                ),
            ),
            Refusal::SplitCluster { groups } => (
                "SplitCluster",
                format!(
                    "there are {} groups that hold data and don't know each other: {}. Brought together, one side's \
                     databases would vanish; a person has to choose",
                    groups.len(),
                    groups.iter().map(|group| self.pods(group)).collect::<Vec<_>>().join(" | ")
                ),
            ),
        };
        Words { reason, message }
    }

    fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.me.pod().set())
    }

    fn pods(&self, ordinals: &BTreeSet<u32>) -> String {
        list(ordinals.iter().map(|ordinal| self.pod(*ordinal)))
    }

    fn table(&self, lacking: &BTreeMap<u32, BTreeSet<u32>>, lacks: &str) -> String {
        list(lacking.iter().map(|(who, whom)| format!("{} {lacks} {}", self.pod(*who), self.pods(whom))))
    }

    fn unseen(&self, unseen: &BTreeMap<u32, Unseen>) -> String {
        list(unseen.iter().map(|(who, why)| format!("{} {}", self.pod(*who), how(why))))
    }
}

/// What is so before the first round.
pub(crate) fn first_look() -> Words {
    Words { reason: "FirstLook", message: "nothing has been looked at yet".to_owned() }
}

/// Why there are no credentials.
pub(crate) fn unresolved(error: &ResolveError) -> Words {
    let reason = match error {
        ResolveError::Absent { .. }
        | ResolveError::Container { .. }
        | ResolveError::Env(_)
        | ResolveError::Mistake(_)
        | ResolveError::NoApi
        | ResolveError::NoWorkload { .. } => "CredentialsMissing",
        ResolveError::Forbidden { .. } => "CredentialsForbidden",
        ResolveError::Garbled { .. } | ResolveError::Silent { .. } | ResolveError::Unanswered { .. } => {
            "WaitingForKubernetes"
        }
    };
    Words { reason, message: format!("no admin credentials were injected, and {}", chain(error)) }
}

/// What an unseen node does.
fn how(unseen: &Unseen) -> String {
    match unseen {
        Unseen::Busy => "is not up yet".to_owned(),
        Unseen::Garbled => "answers something unclear".to_owned(),
        Unseen::LockedOut => "has locked the admin out after too many wrong passwords".to_owned(),
        Unseen::Misnamed(actual) => format!("calls itself '{actual}'"),
        Unseen::NameUnknown => {
            "is not in DNS (has its Service publishNotReadyAddresses: true, and does the pod exist?)"
                .to_owned()
        }
        Unseen::NoAnswer => "does not answer in time".to_owned(),
        Unseen::Rejects => "rejects the admin's name or password".to_owned(),
        Unseen::Unreachable => "can't be reached".to_owned(),
        Unseen::Untrusted => {
            "shows no certificate for its name that COUCHDISCOVER_CA_FILE, or without it the system, \
                              vouches for"
                .to_owned()
        }
    }
}

fn names(databases: &BTreeSet<SystemDatabase>) -> String {
    databases.iter().map(|database| database.name()).collect::<Vec<_>>().join(" and ")
}

fn list(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn quoted<T: Display>(words: impl IntoIterator<Item = T>) -> String {
    list(words.into_iter().map(|word| format!("'{word}'")))
}
