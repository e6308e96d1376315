//! The words for what is waited for, and for what a person has to decide. Pure.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Naming, keys};

use super::explainer::{Explainer, Explanation, fix_for, how, list, plain, quoted, with_fix};
use crate::decide::{Refusal, WaitFor};
use crate::facts::{BrokenMaps, MaintenanceMode, MapProblem, Unseen};

impl Explainer<'_> {
    pub(super) fn wait(&self, wait: &WaitFor) -> Explanation {
        match wait {
            WaitFor::Adoption(by) => plain(
                "WaitingForAdoption",
                format!("joined; waiting for the databases' maps of {}", self.pods(by)),
            ),
            WaitFor::ClosedByHand(mode) => self.closed(*mode),
            WaitFor::Connections(lacking) => with_fix(
                "WaitingForConnections",
                self.table(lacking, "isn't connected to"),
                "If it lasts: is the Erlang cookie the same everywhere, and are ports 4369 and 9100 open between the \
                 pods?",
            ),
            WaitFor::CookieMismatch(peers) => with_fix(
                "CookieMismatch",
                format!(
                    "{} can be reached at every port, and Erlang does not connect: the Erlang cookies differ, most likely",
                    self.pods(peers)
                ),
                "Give all pods the same COUCHDB_ERLANG_COOKIE, and restart them",
            ),
            WaitFor::Copies { database, turn, have, want } => plain(
                "SystemDatabaseUnderReplicated",
                format!(
                    "{} has {have} {} and {want} are wanted: it was made when the cluster was smaller{}",
                    database.name(),
                    if *have == 1 { "copy" } else { "copies" },
                    turn.map(|turn| format!("; {} takes the next one", self.pod(turn))).unwrap_or_default()
                ),
            ),
            WaitFor::ForeignPeers(peers) => with_fix(
                "ForeignPeers",
                format!("outside stay, with data that this cluster doesn't know: {}", self.pods(peers)),
                "Save what they hold, then empty their volumes to let them join",
            ),
            WaitFor::Founding(lowest) => {
                plain("WaitingForFounding", format!("waiting until {} founds the cluster", self.pod(*lowest)))
            }
            WaitFor::JoinedBefore { joined, others } => with_fix(
                "WaitingForJoined",
                format!(
                    "joined {} before, which doesn't answer; until it does, {} may be another cluster, and is not joined",
                    self.pods(joined),
                    self.pods(others)
                ),
                format!("Bring {} back", self.pods(joined)),
            ),
            WaitFor::KubernetesApi => with_fix(
                "WaitingForKubernetes",
                "the Kubernetes API doesn't say how many nodes to expect, and nothing is founded on a guess",
                "Where there is none, set COUCHDISCOVER_KUBERNETES=off",
            ),
            WaitFor::Lease(by) => plain(
                "WaitingForLease",
                format!("the agent of {by} does what only one may do at a time, and holds the Lease"),
            ),
            WaitFor::LocalCouchDb(unseen) => self.local(unseen),
            WaitFor::BrokenMaps(ailing) => with_fix(
                "ShardMapsBroken",
                match ailing.count - ailing.named.len() {
                    0 => list(ailments(ailing).into_iter()),
                    more => format!("{} and {more} more", list(ailments(ailing).into_iter())),
                },
                "Nothing is chosen by itself: look at GET /_node/_local/_dbs/<database>?conflicts=true, save what is \
                 hidden or unreachable, then change the document there",
            ),
            WaitFor::Membership(lacking) => {
                plain("WaitingForMembership", self.table(lacking, "doesn't list"))
            }
            WaitFor::NotExpected => plain(
                "NotExpected",
                format!("{} is beyond the StatefulSet's size: it neither joins nor leaves", self.me.pod()),
            ),
            WaitFor::NotListed(by) => with_fix(
                "NotListed",
                format!("somebody removed this node: it is no longer listed by {}", self.pods(by)),
                "To take it back, PUT its name into their _nodes; to let it go, scale down",
            ),
            WaitFor::NotPublished(pods) => with_fix(
                "NotPublished",
                format!(
                    "not in DNS: {}. Service '{}' publishes pods only once they are ready, and they become ready by \
                     being found",
                    self.pods(pods),
                    self.me.service()
                ),
                format!("Set publishNotReadyAddresses: true in the spec of Service '{}'", self.me.service()),
            ),
            WaitFor::OneRelease(releases) => plain(
                "MixedReleases",
                format!(
                    "the nodes are of more than one release ({}): waiting until they are of one",
                    list(releases.iter().map(|(release, pods)| format!("{release}: {}", self.pods(pods))))
                ),
            ),
            WaitFor::MembersBeyondSize(pods) => with_fix(
                "MembersBeyondSize",
                format!(
                    "members beyond the StatefulSet's size: {}; nothing is removed by itself",
                    self.pods(pods)
                ),
                "Scale back up, or drain them and DELETE their documents in /_node/_local/_nodes",
            ),
            WaitFor::Peers(unseen) => self.peers(unseen),
            WaitFor::PortsBlocked(blocked) => with_fix(
                "PortsBlocked",
                format!(
                    "{}; CouchDB answers there, and its nodes need these ports between all pods",
                    list(blocked.iter().map(|(peer, port)| self.port(*peer, *port)))
                ),
                "Look at NetworkPolicies, and at meshes, which must leave them alone",
            ),
            WaitFor::Service(pods) => with_fix(
                "NotPublished",
                format!(
                    "not in DNS: {}. Service '{}', which the StatefulSet's serviceName names, doesn't exist or selects \
                     none of its pods",
                    self.pods(pods),
                    self.me.service()
                ),
                "Create it, headless (clusterIP: None), with publishNotReadyAddresses: true and with the pods' labels \
                 as its selector",
            ),
            WaitFor::Size => with_fix(
                "SizeUnknown",
                "nothing tells how many nodes to expect: the Kubernetes API can't be asked",
                "Set COUCHDB_CLUSTER_SIZE, or give the pod's service account the agent's role",
            ),
            WaitFor::SystemDatabase { by, database } => plain(
                "WaitingForSystemDatabase",
                format!("waiting until {} makes {}", self.pod(*by), database.name()),
            ),
            WaitFor::SystemDatabasesOpen => with_fix(
                "SystemDatabasesClosed",
                "the system databases are in the maps and can't be opened",
                "Are the nodes that hold them in maintenance mode?",
            ),
            WaitFor::SystemDatabasesSpread(lacking) => plain(
                "WaitingForMaps",
                format!("waiting until the databases' maps reach {}", self.pods(lacking)),
            ),
        }
    }

    fn closed(&self, mode: MaintenanceMode) -> Explanation {
        let mode = match mode {
            MaintenanceMode::On => "true",
            MaintenanceMode::NoLb => "nolb",
            MaintenanceMode::Off => "false",
        };
        with_fix(
            "ClosedByHand",
            format!(
                "the cluster is formed; maintenance_mode of this node is '{mode}' by somebody's hand, and stays as it is"
            ),
            "To open it, PUT \"false\" to /_node/_local/_config/couchdb/maintenance_mode",
        )
    }

    fn peers(&self, unseen: &BTreeMap<u32, Unseen>) -> Explanation {
        let message = list(unseen.iter().map(|(who, why)| format!("{} {}", self.pod(*who), how(why))));
        let cures: BTreeSet<&str> = unseen.values().filter_map(fix_for).collect();
        match cures.is_empty() {
            true => plain("WaitingForPeers", message),
            false => with_fix("WaitingForPeers", message, Vec::from_iter(cures).join(". ")),
        }
    }

    fn port(&self, peer: u32, port: Option<u16>) -> String {
        match port {
            Some(port) => format!("port {port} of {} can't be reached", self.pod(peer)),
            None => format!("no Erlang node 'couchdb' is registered at {}", self.pod(peer)),
        }
    }

    fn local(&self, unseen: &Unseen) -> Explanation {
        let Self { user, credentials_source: source, .. } = self;
        match unseen {
            Unseen::LockedOut => with_fix(
                "CredentialsLockedOut",
                format!(
                    "CouchDB has locked '{user}' out after too many wrong passwords; it opens again after 5 minutes"
                ),
                "Find who else in this pod uses a wrong password",
            ),
            Unseen::Rejects => with_fix(
                "CredentialsRejected",
                format!(
                    "CouchDB rejects user '{user}' or the password from {source}; the next try is in 75 s"
                ),
                "If they were changed since CouchDB or the agent was started, delete this pod: both then start with \
                 the present ones. If that doesn't help, CouchDB keeps an admin of its own in an ini file on a volume: \
                 change the password there",
            ),
            Unseen::Garbled => with_fix(
                "CouchDbUnclear",
                "what answers beside the agent is no CouchDB that it understands",
                "Run CouchDB 3.0 or later, and see that COUCHDISCOVER_COUCHDB_URL names its port",
            ),
            Unseen::Untrusted => with_fix(
                "CouchDbUntrusted",
                format!("the local CouchDB {}", how(unseen)),
                format!(
                    "Name the Secret of its authority in annotation '{}' (by hand the file, in COUCHDISCOVER_CA_FILE; \
                     without it the system's count), and see that the certificate has the name '{}'",
                    keys::COUCHDB_CA_SECRET,
                    self.me
                ),
            ),
            Unseen::Busy
            | Unseen::NameUnknown
            | Unseen::NoAnswer
            | Unseen::Unreachable
            | Unseen::Misnamed(_) => plain("WaitingForCouchDb", format!("the local CouchDB {}", how(unseen))),
        }
    }

    pub(super) fn refusal(&self, refusal: &Refusal) -> Explanation {
        match refusal {
            Refusal::Displaced { by } => with_fix(
                "Displaced",
                format!(
                    "pod '{}' is another one now, with uid '{by}': this one was deleted while its machine was cut off, \
                     and should not be alive",
                    self.me.pod()
                ),
                "Make sure that its machine is shut down, or that this pod is gone from it",
            ),
            Refusal::ForeignData { cluster } => with_fix(
                "ForeignData",
                format!(
                    "this node holds databases that the cluster of {} doesn't know; joined, one side's data would vanish",
                    self.pods(cluster)
                ),
                "Save what is here, then empty its volume to let it join",
            ),
            Refusal::FormedBefore { uuid: Some(uuid) } => with_fix(
                "FormedBefore",
                format!(
                    "cluster '{uuid}' was founded here before, and every node is empty: its data is gone, or on volumes \
                     that are not mounted"
                ),
                format!(
                    "Bring the volumes back, or give it up by annotating the StatefulSet with {}={uuid}",
                    keys::FORM_ANEW
                ),
            ),
            Refusal::FormedBefore { uuid: None } => with_fix(
                "FormedBefore",
                "a newer agent wrote down that a cluster was founded here, and every node is empty",
                "Run that version of the agent",
            ),
            Refusal::NodeNameMismatch { actual } => {
                let node = self.naming.node(self.me.pod().ordinal());
                let usual = *self.naming == Naming::usual(self.me);
                let cure = match usual {
                    true => {
                        format!(
                            "Set ERL_FLAGS='-name couchdb' or NODENAME='{}' on the CouchDB container",
                            self.me
                        )
                    }
                    false => "Give it a name like theirs, by ERL_FLAGS or NODENAME on the CouchDB container"
                        .to_owned(),
                };
                let fact = format!("CouchDB calls itself '{actual}', and its peers will look for '{node}'");
                with_fix("NodeNameMismatch", fact, cure)
            }
            Refusal::NodeRenamed { strangers } => with_fix(
                "NodeRenamed",
                format!(
                    "_nodes lists {}, which {} no pod of '{}' here: the volume was used under another name, or a wrong \
                     host was added by hand",
                    quoted(strangers),
                    if strangers.len() == 1 { "is" } else { "are" },
                    self.me.pod().set()
                ),
                "Give the pods their old names back, or, where nothing is kept under these names, DELETE their \
                 documents in /_node/_local/_nodes",
            ),
            Refusal::SplitCluster { groups } => with_fix(
                "SplitCluster",
                format!(
                    "there are {} groups that hold data and don't know each other: {}. Brought together, one side's \
                     databases would vanish",
                    groups.len(),
                    groups.iter().map(|group| self.pods(group)).collect::<Vec<_>>().join(" | ")
                ),
                "Choose the one that stays, save what the others hold, then empty their volumes to let them join",
            ),
        }
    }

    fn table(&self, lacking: &BTreeMap<u32, BTreeSet<u32>>, lacks: &str) -> String {
        list(lacking.iter().map(|(who, whom)| format!("{} {lacks} {}", self.pod(*who), self.pods(whom))))
    }
}

/// What is wrong with the maps that are named.
pub(super) fn ailments(ailing: &BrokenMaps) -> Vec<String> {
    let said = |(database, ailment): (&String, &MapProblem)| match ailment {
        MapProblem::Conflict => {
            format!("'{database}' has conflicting maps: CouchDB shows one and hides the others")
        }
        MapProblem::MissingRange => {
            format!("the map of '{database}' lacks a range: a part of its documents is nobody's")
        }
        MapProblem::UnknownHolder(name) => {
            format!("the map of '{database}' names '{name}', which is no member")
        }
    };
    ailing.named.iter().map(said).collect()
}
