//! What was seen that makes a step what it is, a line each, for whoever has to judge it. Pure.

use contract::{NodeName, PodName};

use super::explainer::{Explainer, how, quoted};
use super::waits::ailments;
use crate::decide::{Refusal, Step, WaitFor};
use crate::facts::{KnownRecord, Node, Observed, PortCheck, Spread, Unseen};

impl Explainer<'_> {
    /// What `step`, decided from `observed`, stands on. Nothing, where the step itself says all.
    pub fn evidence(&self, observed: &Observed, step: &Step) -> Vec<String> {
        match step {
            Step::Refuse(refusal) => self.of_refusal(observed, refusal),
            Step::Dial { wait, .. } | Step::Wait(wait) => self.of_wait(observed, wait),
            Step::AddCopies(_)
            | Step::Adopt(_)
            | Step::CreateDatabase(_)
            | Step::EnableCluster { .. }
            | Step::EnterMaintenance
            | Step::Fill { .. }
            | Step::Found
            | Step::Join(_)
            | Step::MakeSessionSecret
            | Step::NoteFilling
            | Step::CompareVolume { .. }
            | Step::RecordFounding { .. }
            | Step::ReleaseLease
            | Step::Settled
            | Step::TakeLease => vec![],
        }
    }

    fn of_refusal(&self, observed: &Observed, refusal: &Refusal) -> Vec<String> {
        match refusal {
            Refusal::Displaced { by } => vec![format!("Kubernetes: pod '{}' has uid '{by}'", self.me.pod())],
            Refusal::ForeignData { .. } | Refusal::SplitCluster { .. } => self.nodes(observed),
            Refusal::FormedBefore { .. } => {
                let lease = contract::objects::companion(self.me.pod().set().as_str());
                let records = match &observed.record {
                    KnownRecord::Formed { uuid, .. } => {
                        format!("Lease '{lease}' records cluster '{uuid}'")
                    }
                    KnownRecord::Newer => format!("Lease '{lease}' has a record of a newer schema"),
                    KnownRecord::Absent | KnownRecord::Forbidden | KnownRecord::Unread => {
                        format!("Lease '{lease}'")
                    }
                };
                std::iter::once(records).chain(self.nodes(observed)).collect()
            }
            Refusal::NodeNameMismatch { actual } => vec![format!("GET /_node/_local: name '{actual}'")],
            Refusal::NodeRenamed { strangers } => {
                strangers.iter().map(|stranger| self.renamed(observed, stranger)).collect()
            }
        }
    }

    fn of_wait(&self, observed: &Observed, wait: &WaitFor) -> Vec<String> {
        match wait {
            WaitFor::LocalCouchDb(Unseen::Rejects | Unseen::LockedOut) => {
                vec![format!("user '{}' from {}", self.user, self.credentials_source)]
            }
            WaitFor::Connections(_)
            | WaitFor::ForeignPeers(_)
            | WaitFor::JoinedBefore { .. }
            | WaitFor::Membership(_)
            | WaitFor::NotListed(_)
            | WaitFor::NotPublished(_)
            | WaitFor::MembersBeyondSize(_)
            | WaitFor::Service(_) => self.nodes(observed),
            WaitFor::CookieMismatch(_) | WaitFor::PortsBlocked(_) => {
                observed.port_checks.iter().map(|(peer, path)| self.path(*peer, *path)).collect()
            }
            WaitFor::Copies { database, .. } => {
                let local = observed.local.iter().filter_map(|node| node.system.get(database));
                let held = |spread: &Spread| self.pods(&spread.holders);
                local.map(|spread| format!("{} is whole on {}", database.name(), held(spread))).collect()
            }
            WaitFor::BrokenMaps(ailing) => ailments(ailing),
            WaitFor::Adoption(_)
            | WaitFor::ClosedByHand(_)
            | WaitFor::Founding(_)
            | WaitFor::KubernetesApi
            | WaitFor::Lease(_)
            | WaitFor::LocalCouchDb(_)
            | WaitFor::NotExpected
            | WaitFor::OneRelease(_)
            | WaitFor::Peers(_)
            | WaitFor::Size
            | WaitFor::SystemDatabase { .. }
            | WaitFor::SystemDatabasesOpen
            | WaitFor::SystemDatabasesSpread(_) => vec![],
        }
    }

    /// What each node said.
    fn nodes(&self, observed: &Observed) -> Vec<String> {
        let local = std::iter::once((&observed.me, &observed.local));
        let mut nodes: Vec<_> = local.chain(&observed.peers).collect();
        nodes.sort_by_key(|(ordinal, _)| **ordinal);
        let said = |(ordinal, node): (&u32, &Result<Node, Unseen>)| match node {
            Ok(node) => format!(
                "{} holds {}, lists {}, is connected to {}",
                self.pod(*ordinal),
                match node.databases {
                    0 => "no database".to_owned(),
                    1 => "1 database".to_owned(),
                    count => format!("{count} databases"),
                },
                self.pods(&node.members),
                self.pods(&node.connected)
            ),
            Err(unseen) => format!("{} {}", self.pod(*ordinal), how(unseen)),
        };
        nodes.into_iter().map(said).collect()
    }

    fn path(&self, peer: u32, path: PortCheck) -> String {
        let pod = self.pod(peer);
        match path {
            PortCheck::Blocked(port) => format!("{pod}: port {port} can't be reached"),
            PortCheck::Open => format!("{pod}: port 4369 and the one of its node answer"),
            PortCheck::Unregistered => {
                format!("{pod}: port 4369 answers, and knows no node '{}'", self.naming.name())
            }
        }
    }

    /// The old name and the one that this pod has now, where the old one tells which pod it was.
    fn renamed(&self, observed: &Observed, stranger: &str) -> String {
        let pod = |node: &NodeName| node.host().split('.').next()?.parse::<PodName>().ok();
        let was = stranger.parse().ok().as_ref().and_then(pod).map(|was| was.ordinal());
        match was.filter(|was| observed.expected.contains(was)) {
            Some(was) => format!("'{stranger}' -> '{}'", self.naming.node(was)),
            None => format!("{} is no pod's", quoted([stranger])),
        }
    }
}
