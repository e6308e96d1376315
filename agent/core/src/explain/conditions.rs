//! The messages of conditions: problems that are reported beside the step.

use std::collections::{BTreeMap, BTreeSet};

use super::explainer::Explainer;
use super::explanation::{Explanation, agreeing, clauses, quoted, visible};
use super::local::BASIC_HANDLER;
use super::names::admin;
use crate::decide::{Condition, WaitFor};
use crate::facts::{NamedDatabases, Observed, Pause, Stalled, Unseen, WriteFailure};

/// A condition, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedCondition {
    /// Reason and message. Where the condition is also a step, those of the step.
    pub explanation: Explanation,
    /// The observations behind it, one per line.
    pub evidence: Vec<String>,
}

impl Explainer<'_> {
    /// Explains a condition of the round that observed `observed`.
    pub fn condition(&self, observed: &Observed, condition: &Condition) -> ExplainedCondition {
        let login = vec![format!("user '{}' from {}", self.user, self.credentials_source)];
        let (explanation, evidence) = match condition {
            Condition::AdminPasswordsDiffer(peers) => (self.passwords_differ(peers), self.nodes(observed)),
            Condition::AdminsOnSomeNodes(admins) => (self.partial_admins(observed, admins), vec![]),
            Condition::BasicAuthenticationOff if observed.local.is_err() => {
                (self.local(&Unseen::LoginIgnored), login)
            }
            Condition::BasicAuthenticationOff => (self.basic_authentication_off(), login),
            Condition::ClosedByHand(mode) => (self.closed(*mode), vec![]),
            Condition::CopiesDisagree(databases) => (self.copies_disagree(databases), vec![]),
            Condition::CredentialsLockedOut => (self.local(&Unseen::LockedOut), login),
            Condition::CredentialsRejected => (self.local(&Unseen::Rejects), login),
            Condition::FillingStalled(stalled) => {
                (self.stalled(stalled), self.behind_standstill(observed, stalled))
            }
            Condition::KubernetesTokenMissing => (self.token_missing(), vec![]),
            Condition::MembersBeyondSize(pods) => {
                (self.wait(&WaitFor::MembersBeyondSize(pods.clone())), self.nodes(observed))
            }
            Condition::MovesPaused(pause) => (self.moves_paused(pause), vec![]),
            Condition::SingleCopies(databases) => (single_copies(databases), vec![]),
            Condition::StrangersListed(names) => {
                (self.strangers_listed(names), self.strangers(observed, names))
            }
            Condition::ZoneUnknown => (self.zone_unknown(), vec![]),
        };
        ExplainedCondition { explanation, evidence: evidence.into_iter().map(visible).collect() }
    }

    fn zone_unknown(&self) -> Explanation {
        Explanation::with_fix(
            "ZoneUnknown",
            format!(
                "annotation {} asks for the zone of the Kubernetes node, and pod {} has no label {}: the zone in _nodes stays as \
                 it is",
                contract::keys::ZONE,
                self.me.pod(),
                contract::keys::TOPOLOGY_ZONE
            ),
            format!(
                "Kubernetes 1.35 and later set the label on new pods, if the node has a zone; before that, label the pod with \
                 the zone of its node: {}",
                self.kubectl(&format!("label pod {} {}=ZONE", self.me.pod(), contract::keys::TOPOLOGY_ZONE))
            ),
        )
    }

    fn token_missing(&self) -> Explanation {
        let set = self.me.pod().set();
        Explanation::with_fix(
            "KubernetesTokenMissing",
            format!(
                "the agent of {} has no token for the Kubernetes API: {} is neither read nor written, so a cluster is formed \
                 without record and lock, and a new size or annotation of {} has no effect",
                self.me.pod(),
                self.lease(),
                self.stateful_set()
            ),
            format!(
                "let the webhook add the agent's own token, which restarts the pods one by one: {}; or, if the agents are not \
                 to use the API, set annotation {}=off as well",
                self.kubectl(&format!(
                    "annotate statefulset/{set} --overwrite {}=\"$(date +%s)\"",
                    contract::keys::REFRESH
                )),
                contract::keys::KUBERNETES
            ),
        )
    }

    fn copies_disagree(&self, databases: &NamedDatabases) -> Explanation {
        Explanation::with_fix(
            "CopiesDisagree",
            format!(
                "the copies of {} on the other nodes have different _security or _revs_limit: the same request is allowed \
                 at some nodes only",
                named(databases)
            ),
            format!(
                "set the right values once more, for all copies: {}, and the same with _revs_limit",
                self.curl("/DATABASE/_security", " -X PUT -d @security.json")
            ),
        )
    }

    fn stalled(&self, Stalled { database, write_error }: &Stalled) -> Explanation {
        let behind =
            format!("this node is being filled, and nothing has arrived for '{database}' for some minutes");
        let is_full = match write_error {
            Some(WriteFailure::NoSpace(_)) => Some("is full"),
            Some(WriteFailure::Other(_)) => Some("is probably full"),
            None => None,
        };
        match is_full {
            Some(is_full) => Explanation::with_fix(
                "FillingStalled",
                format!(
                    "{behind}: CouchDB cannot write to its volume, which {is_full}. What has arrived stays, and the rest follows \
                     when there is space"
                ),
                format!(
                    "enlarge the claim of {}: {}",
                    self.me.pod(),
                    self.kubectl(
                        r#"patch pvc CLAIM -p '{"spec":{"resources":{"requests":{"storage":"<size>"}}}}'"#
                    )
                ),
            ),
            None => Explanation::with_fix(
                "FillingStalled",
                format!("{behind}; what has arrived stays"),
                format!(
                    "read the log of CouchDB on this node and on the holders: {}; check that the volume is not full",
                    self.kubectl(&format!("logs {} -c CONTAINER --tail=50", self.me.pod()))
                ),
            ),
        }
    }

    /// The error of the write that was tried, and the holders that the node is filled from.
    fn behind_standstill(&self, observed: &Observed, Stalled { write_error, .. }: &Stalled) -> Vec<String> {
        let error = write_error.iter().map(|failure| match failure {
            WriteFailure::NoSpace(error) | WriteFailure::Other(error) => error.clone(),
        });
        error.chain(self.nodes(observed)).collect()
    }

    fn moves_paused(&self, pause: &Pause) -> Explanation {
        let fix = match pause {
            Pause::ForeignRedirects(node) => format!(
                "remove the entries: {}",
                self.curl(&format!("/_node/{node}/_config/mem3.redirects/NAME"), " -X DELETE")
            ),
            Pause::Hindered { .. } => format!(
                "repair these databases ({}); the moves go on by themselves",
                self.curl("/_node/_local/_dbs/DATABASE?conflicts=true", "")
            ),
            Pause::Maintenance(node) => self.end_maintenance(node),
            Pause::Resharding => format!("wait for the end of the jobs: {}", self.curl("/_reshard/jobs", "")),
            Pause::Stalled { node, .. } => format!(
                "look at the free space and the log of node '{node}': {}",
                self.kubectl("get pods -o wide")
            ),
            Pause::UntriedRelease(_) => "update CouchDB to 3.5, or move the copies manually".to_owned(),
            Pause::UnprovedFile(_) => {
                "if the file is of an earlier life of the node, delete it; otherwise add the node to the database's shard \
                 map again"
                    .to_owned()
            }
        };
        Explanation::with_fix("MovesPaused", format!("no copy is moved: {pause}"), fix)
    }

    /// The fix for a node of this name that is in maintenance mode.
    fn end_maintenance(&self, node: &str) -> String {
        let ordinal = node.parse().ok().and_then(|node| self.naming.ordinal_of(&node));
        let command = match ordinal {
            Some(ordinal) => self.couchdiscover(&format!("open {}", self.pod(ordinal))),
            // Not one of this StatefulSet's pods: no agent runs beside it.
            None => {
                let path = format!("/_node/{node}/_config/couchdb/maintenance_mode");
                self.curl(&path, r#" -X PUT -d '"false"'"#)
            }
        };
        format!("wait until the node is filled, or end it if it was set manually: {command}")
    }

    fn passwords_differ(&self, peers: &BTreeSet<u32>) -> Explanation {
        let pods = Vec::from_iter(peers.iter().map(|peer| self.pod(*peer))).join(" ");
        Explanation::with_fix(
            "AdminPasswordsDiffer",
            format!(
                "{} {} the password of user '{}' that this node accepts: clients can log in at some nodes only",
                self.pods(peers),
                agreeing(peers, "rejects", "reject"),
                self.user
            ),
            format!(
                "if a rolling restart is bringing a new password, wait for its end; otherwise restart the nodes with \
                 another password: {}",
                self.kubectl(&format!("delete pod {pods}"))
            ),
        )
    }

    fn basic_authentication_off(&self) -> Explanation {
        Explanation::with_fix(
            "BasicAuthenticationOff",
            format!(
                "CouchDB at {} ignores basic authentication: [chttpd] authentication_handlers does not contain \
                 default_authentication_handler. The agent uses session cookies instead",
                self.couchdb_url
            ),
            format!(
                "if other clients need basic authentication, add '{BASIC_HANDLER}' to [chttpd] authentication_handlers"
            ),
        )
    }

    fn partial_admins(&self, observed: &Observed, admins: &BTreeMap<String, BTreeSet<u32>>) -> Explanation {
        let first = admins
            .iter()
            .take(FEW)
            .map(|(name, nodes)| format!("admin '{}' exists on {} only", admin(name), self.pods(nodes)));
        let more = admins.len().saturating_sub(FEW);
        let more = (more > 0).then(|| format!("{more} more admins exist on some members only"));
        let me = self.pod(observed.me);
        Explanation::with_fix(
            "AdminsOnSomeNodes",
            format!(
                "{}: logins fail on the other members, and the next restart of these nodes forgets the admin",
                clauses(first.chain(more))
            ),
            format!(
                "create an admin on every member (PUT /_node/<node>/_config/admins/<name> for each name that GET \
                 /_membership lists, for example at {me}), and put it into an ini file that every pod mounts; or create \
                 a user in _users instead, which all members share"
            ),
        )
    }
}

fn single_copies(databases: &NamedDatabases) -> Explanation {
    Explanation::with_fix(
        "SingleCopies",
        format!(
            "{} {} a single copy of some documents in a cluster of several nodes: when a node is down they cannot be read, \
             and with its volume they are lost",
            named(databases),
            if databases.count == 1 { "has" } else { "have" }
        ),
        "create such databases with n=2 or more ([cluster] n, or PUT /DATABASE?n=3), and replicate their documents into them",
    )
}

/// The databases that are named, and the number of the others.
fn named(databases: &NamedDatabases) -> String {
    let more = databases.count.saturating_sub(databases.named.len());
    let names = quoted(&databases.named);
    if more > 0 { format!("{names} and {more} more") } else { names }
}

/// Admins that are named in one message.
const FEW: usize = 4;
