//! The messages of waits.

use std::collections::{BTreeMap, BTreeSet};

use contract::objects;

use super::explainer::Explainer;
use super::explanation::{Explanation, agreeing, clauses, predicate, quoted};
use super::names::{cut_name, in_command};
use crate::decide::WaitFor;
use crate::facts::{BrokenMaps, MaintenanceMode, MapProblem, Release, Unseen};

impl Explainer<'_> {
    /// Explains a wait.
    pub(super) fn wait(&self, wait: &WaitFor) -> Explanation {
        match wait {
            WaitFor::Adoption(by) => Explanation::new(
                "WaitingForAdoption",
                format!("joined: waiting for the shard maps of {}", self.pods(by)),
            ),
            WaitFor::BrokenMaps(broken) => self.broken_maps(broken),
            WaitFor::ClosedByHand(mode) => self.closed(*mode),
            WaitFor::Connections(missing) => Explanation::with_fix(
                "WaitingForConnections",
                self.table(missing, "is not connected to"),
                format!(
                    // The ports of the mapper and of the node; the official image fixes the latter.
                    "if this lasts, check that all pods have the same COUCHDB_ERLANG_COOKIE, and that ports 4369 and \
                     9100 are open between them: {}",
                    self.kubectl("get networkpolicies")
                ),
            ),
            WaitFor::CookieMismatch(peers) => Explanation::with_fix(
                "CookieMismatch",
                format!(
                    "the Erlang ports of {} are open, but Erlang does not connect: most likely the cookies differ",
                    self.pods(peers)
                ),
                format!(
                    "set the same COUCHDB_ERLANG_COOKIE on all pods, then restart them: {}",
                    self.kubectl(&format!("rollout restart statefulset/{}", self.me.pod().set()))
                ),
            ),
            WaitFor::Copies { database, turn, have, want } => Explanation::new(
                "SystemDatabaseUnderReplicated",
                format!(
                    "{} has {have} of {want} copies: it was created when the cluster was smaller{}",
                    database.name(),
                    turn.map(|turn| format!("; {} adds the next one", self.pod(turn))).unwrap_or_default()
                ),
            ),
            WaitFor::ForeignPeers(peers) => Explanation::with_fix(
                "ForeignPeers",
                format!(
                    "{} {} databases that this cluster does not know, so {} not joined",
                    self.pods(peers),
                    agreeing(peers, "holds", "hold"),
                    agreeing(peers, "it is", "they are")
                ),
                "save the data there, then empty the volume: a node joins with an empty one",
            ),
            WaitFor::Founding(lowest) => Explanation::new(
                "WaitingForFounding",
                format!("waiting until {} forms the cluster", self.pod(*lowest)),
            ),
            WaitFor::JoinedBefore { joined, others } => Explanation::with_fix(
                "WaitingForJoined",
                format!(
                    "this node joined {} before, which {} not answer; until {}, {} may be another cluster, and {} \
                     not joined",
                    self.pods(joined),
                    agreeing(joined, "does", "do"),
                    agreeing(joined, "it does", "they do"),
                    self.pods(others),
                    agreeing(others, "is", "are")
                ),
                format!("bring {} back: {}", self.pods(joined), self.kubectl("get pods")),
            ),
            WaitFor::KubernetesApi => Explanation::with_fix(
                "WaitingForKubernetes",
                format!(
                    "the Kubernetes API has not reported the size of {}, and no cluster is formed with an uncertain size",
                    self.stateful_set()
                ),
                "where there is no Kubernetes API, set COUCHDISCOVER_KUBERNETES=off",
            ),
            WaitFor::Lease(by) => Explanation::new(
                "WaitingForLease",
                format!("the agent of {by} holds {}, under which one agent acts at a time", self.lease()),
            ),
            WaitFor::LocalCouchDb(unseen) => self.local(unseen),
            WaitFor::Membership(missing) => {
                Explanation::new("WaitingForMembership", self.table(missing, "does not list"))
            }
            WaitFor::MembersBeyondSize(pods) => Explanation::with_fix(
                "MembersBeyondSize",
                format!(
                    "{} {} beyond the size of {}, and not drained: no member is removed that may hold the only copy of data",
                    self.pods(pods),
                    agreeing(pods, "is a member", "are members"),
                    self.stateful_set()
                ),
                format!(
                    "scale up again ({}), then drain them: {} --replicas N",
                    self.kubectl(&format!("scale statefulset/{} --replicas=M", self.me.pod().set())),
                    self.couchdiscover(&format!("scale {}", self.me.pod().set()))
                ),
            ),
            WaitFor::NotExpected => Explanation::new(
                "NotExpected",
                format!(
                    "{} is beyond the size of {}: it neither joins nor leaves",
                    self.me.pod(),
                    self.stateful_set()
                ),
            ),
            WaitFor::NotListed(by) => self.not_listed(by),
            WaitFor::NotPublished(pods) => self.not_published(pods),
            WaitFor::OneRelease(releases) => Explanation::new("MixedReleases", self.releases(releases)),
            WaitFor::OtherMembers(joined) => self.other_members(joined),
            WaitFor::Peers(unseen) => self.peers(unseen),
            WaitFor::PortsBlocked(blocked) => Explanation::with_fix(
                "PortsBlocked",
                format!(
                    "{}; CouchDB answers there, but its nodes need these ports between all pods",
                    clauses(blocked.iter().map(|(peer, port)| self.port(*peer, *port)))
                ),
                format!(
                    "allow them in NetworkPolicies, and exempt them from service meshes: {}",
                    self.kubectl("get networkpolicies")
                ),
            ),
            WaitFor::Resharding => Explanation::new(
                "WaitingForResharding",
                "a system database has too few copies, and a resharding job is running: a copy is added when it has ended",
            ),
            WaitFor::Service(pods) => self.no_service(pods),
            WaitFor::Size => Explanation::with_fix(
                "SizeUnknown",
                "the number of nodes is unknown: COUCHDB_CLUSTER_SIZE is not set, and the Kubernetes API is not available",
                format!(
                    "set COUCHDB_CLUSTER_SIZE, or bind the agent's role: {}",
                    self.kubectl(&format!(
                        "create rolebinding {role} --clusterrole={role} --serviceaccount={}:NAME",
                        self.me.namespace(),
                        role = objects::AGENT_CLUSTER_ROLE
                    ))
                ),
            ),
            WaitFor::Strangers(names) => self.strangers_listed(names),
            WaitFor::SystemDatabase { by, database } => Explanation::new(
                "WaitingForSystemDatabase",
                format!("waiting until {} creates {}", self.pod(*by), database.name()),
            ),
            WaitFor::SystemDatabasesOpen => Explanation::with_fix(
                "SystemDatabasesClosed",
                "the system databases exist, but cannot be opened",
                format!(
                    "check that no node that holds them is in maintenance mode: {}",
                    self.curl("/_node/_local/_config/couchdb/maintenance_mode", "")
                ),
            ),
            WaitFor::SystemDatabasesSpread(missing) => Explanation::new(
                "WaitingForMaps",
                format!("waiting until the shard maps of the system databases reach {}", self.pods(missing)),
            ),
        }
    }

    /// Explains names in `_nodes` that belong to no pod and serve nothing.
    pub(super) fn strangers_listed(&self, names: &BTreeSet<String>) -> Explanation {
        Explanation::with_fix(
            "StrangersListed",
            format!(
                "_nodes contains {}, which {} to no pod of {} and {} not connected",
                quoted(names),
                agreeing(names, "belongs", "belong"),
                self.stateful_set(),
                agreeing(names, "is", "are")
            ),
            format!(
                "if this is no node that will return, remove the entry: {}",
                clauses(names.iter().take(COMMANDS).map(|name| self.forget(name)))
            ),
        )
    }

    fn other_members(&self, joined: &BTreeSet<String>) -> Explanation {
        if !joined.is_empty() {
            return Explanation::new(
                "WaitingForOtherMembers",
                format!("joined: waiting for the shard maps of {}", quoted(joined)),
            );
        }
        let annotation = contract::keys::OTHER_MEMBERS;
        Explanation::with_fix(
            "WaitingForOtherMembers",
            format!(
                "annotation {annotation} of {} names members of an existing cluster, so no cluster is formed here, and this \
                 node has not joined them",
                self.stateful_set()
            ),
            format!(
                "add one of them by its Erlang name: {}; or, to form a new cluster, remove the annotation: {}",
                self.curl("/_node/_local/_nodes/NAME@HOST", " -X PUT -d '{}'"),
                self.kubectl(&format!("annotate statefulset/{} {annotation}-", self.me.pod().set()))
            ),
        )
    }

    /// The command that removes an entry from `_nodes`.
    fn forget(&self, name: &str) -> String {
        self.couchdiscover(&format!("forget {}", in_command(name)))
    }

    fn broken_maps(&self, broken: &BrokenMaps) -> Explanation {
        // An Event has room for a few names only.
        let mut problems = map_problems(broken);
        let more = broken.count - broken.named.len();
        if more > 0 {
            problems.push(format!("{more} more databases have such problems"));
        }
        Explanation::with_fix(
            "ShardMapsBroken",
            clauses(problems),
            format!(
                "no revision is chosen automatically. Read the map ({}), save what is hidden or unreachable, then correct \
                 the document there",
                self.curl("/_node/_local/_dbs/DATABASE?conflicts=true", "")
            ),
        )
    }

    /// Explains a node that is closed, other than by an agent.
    pub(super) fn closed(&self, mode: MaintenanceMode) -> Explanation {
        let value = match mode {
            MaintenanceMode::NoLb => "nolb",
            MaintenanceMode::Off => {
                return Explanation::with_fix(
                    "CouchDbClosed",
                    format!(
                        "/_up of CouchDB at {} answers 404: the node is in maintenance mode, or still pulls from its \
                         seeds",
                        self.couchdb_url
                    ),
                    format!("if this lasts, read the answer: {}", self.curl("/_up", "")),
                );
            }
            MaintenanceMode::On => "true",
        };
        Explanation::with_fix(
            "ClosedByHand",
            format!(
                "maintenance_mode of this node is '{value}', set manually: the pod is not ready until it ends; left \
                 unchanged"
            ),
            self.couchdiscover(&format!("open {}", self.me.pod())),
        )
    }

    fn not_listed(&self, by: &BTreeSet<u32>) -> Explanation {
        Explanation::with_fix(
            "NotListed",
            format!(
                "{} no longer {} this node: it was removed from their _nodes",
                self.pods(by),
                agreeing(by, "lists", "list")
            ),
            format!(
                "to add the node again: {}; to remove it for good, scale {} down",
                self.couchdiscover(&format!("readmit {}", self.me.pod())),
                self.stateful_set()
            ),
        )
    }

    fn not_published(&self, pods: &BTreeSet<u32>) -> Explanation {
        let service = self.me.service();
        Explanation::with_fix(
            "NotPublished",
            format!(
                "{} {} not in DNS: Service '{service}' publishes pods only once they are ready, but they become ready \
                 only once they are in DNS",
                self.pods(pods),
                agreeing(pods, "is", "are")
            ),
            self.kubectl(&format!(
                r#"patch service {service} -p '{{"spec":{{"publishNotReadyAddresses":true}}}}'"#
            )),
        )
    }

    fn no_service(&self, pods: &BTreeSet<u32>) -> Explanation {
        let service = self.me.service();
        Explanation::with_fix(
            "NotPublished",
            format!(
                "{} {} not in DNS: Service '{service}', the serviceName of {}, does not exist or selects none of its pods",
                self.pods(pods),
                agreeing(pods, "is", "are"),
                self.stateful_set()
            ),
            format!(
                "create it, headless (clusterIP: None), with publishNotReadyAddresses: true and the pods' labels as its \
                 selector; see {}",
                self.kubectl(&format!("get service {service} -o yaml"))
            ),
        )
    }

    fn releases(&self, releases: &BTreeMap<Option<Release>, BTreeSet<u32>>) -> String {
        let releases = releases.iter().map(|(release, pods)| {
            let release = release.map_or_else(|| "unknown".to_owned(), |release| release.to_string());
            format!("{release}: {}", self.pods(pods))
        });
        format!("the nodes run more than one release ({}): waiting until they run one", clauses(releases))
    }

    fn peers(&self, unseen: &BTreeMap<u32, Unseen>) -> Explanation {
        let message =
            clauses(unseen.iter().map(|(peer, reason)| format!("{} {}", self.pod(*peer), predicate(reason))));
        let fixes: BTreeSet<String> = unseen.values().filter_map(|reason| self.peer_fix(reason)).collect();
        if fixes.is_empty() {
            return Explanation::new("WaitingForPeers", message);
        }
        Explanation::with_fix("WaitingForPeers", message, Vec::from_iter(fixes).join(". "))
    }

    /// The fix for a peer that could not be observed, where one is known.
    fn peer_fix(&self, unseen: &Unseen) -> Option<String> {
        match unseen {
            Unseen::NameUnknown => Some(format!(
                "if this lasts, set publishNotReadyAddresses: true on Service '{}', and check that the pod exists: {}",
                self.me.service(),
                self.kubectl("get pods")
            )),
            // A rolling restart that changes the password leaves two passwords in the cluster for its duration.
            Unseen::Rejects => Some(
                "if a rolling restart is bringing a new password, wait for its end; otherwise give all pods the same \
                 admin, and restart those with another one"
                    .to_owned(),
            ),
            Unseen::NotReported => Some(format!(
                "run the agent in every pod, and allow port {} between the pods: {}",
                contract::ports::AGENT,
                self.kubectl("get pods,networkpolicies")
            )),
            Unseen::Untrusted => Some(
                "issue its certificate by the same authority as the others', for its pod's full DNS name".to_owned(),
            ),
            Unseen::Busy
            | Unseen::Garbled
            | Unseen::LockedOut
            | Unseen::LoginIgnored
            | Unseen::Misnamed(_)
            | Unseen::NoAnswer
            | Unseen::NotConnected
            | Unseen::Unreachable => None,
        }
    }

    fn port(&self, peer: u32, port: Option<u16>) -> String {
        let pod = self.pod(peer);
        match port {
            Some(port) => format!("port {port} of {pod} cannot be reached"),
            None => format!("no Erlang node '{}' is registered at {pod}", self.naming.name()),
        }
    }

    /// `couchdb-1 does not list couchdb-0; couchdb-2 does not list couchdb-0, couchdb-1`
    fn table(&self, missing: &BTreeMap<u32, BTreeSet<u32>>, verb: &str) -> String {
        let rows = missing.iter();
        clauses(rows.map(|(node, peers)| format!("{} {verb} {}", self.pod(*node), self.pods(peers))))
    }
}

/// Commands that remove entries, of those in one message.
const COMMANDS: usize = 4;

/// The problems of the maps that are named, one sentence each.
pub(super) fn map_problems(broken: &BrokenMaps) -> Vec<String> {
    let mut problems = vec![];
    for (database, problem) in &broken.named {
        problems.push(match problem {
            MapProblem::Conflict => {
                format!("the shard map of '{database}' has conflicts: CouchDB uses one revision and hides the others")
            }
            MapProblem::MissingRange => {
                format!("the shard map of '{database}' is missing a range: no node holds part of its documents")
            }
            MapProblem::UnknownHolder(name) => {
                format!("the shard map of '{database}' lists '{}', which is not a member", cut_name(name))
            }
        });
    }
    problems
}
