//! The observations behind a step, one line each.

use std::collections::BTreeSet;

use super::explainer::Explainer;
use super::explanation::predicate;
use super::names::{FirstNames, cut_name};
use super::refusals::lost_ranges;
use super::waits::map_problems;
use crate::decide::{Evidence, Refusal, Step, WaitFor, former_ordinal};
use crate::facts::{KnownRecord, Node, Observed, PortCheck, Unseen};

impl Explainer<'_> {
    /// Returns the observations that `step`, decided from `observed`, is based on. Empty where the message contains
    /// everything.
    pub fn evidence(&self, observed: &Observed, step: &Step) -> Vec<String> {
        if let Step::Refuse(refusal) = step {
            return self.behind_refusal(observed, refusal);
        }
        if let Step::Dial { wait, .. } | Step::Wait(wait) = step {
            return self.behind_wait(observed, wait);
        }
        // Every other step changes something, and states what.
        vec![]
    }

    fn behind_refusal(&self, observed: &Observed, refusal: &Refusal) -> Vec<String> {
        match refusal {
            Refusal::Displaced { by } => vec![format!("Kubernetes: pod '{}' has uid '{by}'", self.me.pod())],
            Refusal::ForeignData { .. } | Refusal::SplitCluster { .. } => self.nodes(observed),
            Refusal::FormedBefore { .. } => {
                let mut lines = vec![self.record(&observed.record)];
                lines.extend(self.nodes(observed));
                lines
            }
            Refusal::NodeNameMismatch { actual } => {
                vec![format!("GET /_node/_local: name '{}'", cut_name(actual))]
            }
            Refusal::NodeRenamed { strangers } => self.strangers(observed, strangers),
            Refusal::ShardsLost { lost, .. } => lost_ranges(lost),
        }
    }

    fn behind_wait(&self, observed: &Observed, wait: &WaitFor) -> Vec<String> {
        match wait.evidence() {
            Evidence::Message => vec![],
            Evidence::Nodes => self.nodes(observed),
            Evidence::Particulars => self.particulars(observed, wait),
            Evidence::Ports => self.ports(observed),
        }
    }

    fn particulars(&self, observed: &Observed, wait: &WaitFor) -> Vec<String> {
        if let WaitFor::LocalCouchDb(_) = wait {
            return vec![format!("user '{}' from {}", self.user, self.credentials_source)];
        }
        if let WaitFor::BrokenMaps(broken) = wait {
            return map_problems(broken);
        }
        if let WaitFor::Strangers(strangers) = wait {
            return self.strangers(observed, strangers);
        }
        // By the local node's map, from which the turn follows.
        if let WaitFor::Copies { database, .. } = wait
            && let Some(spread) = observed.local.as_ref().ok().and_then(|node| node.system.get(database))
        {
            return vec![format!("{} has all ranges on {}", database.name(), self.pods(&spread.holders))];
        }
        vec![]
    }

    fn record(&self, record: &KnownRecord) -> String {
        let lease = self.lease();
        match record {
            KnownRecord::Formed { uuid, .. } => format!("{lease} records cluster '{uuid}'"),
            KnownRecord::Newer => format!("{lease} has a record of a newer schema"),
            KnownRecord::Absent | KnownRecord::Forbidden | KnownRecord::Unread => lease,
        }
    }

    /// One line for each node, in the order of their ordinals.
    pub(super) fn nodes(&self, observed: &Observed) -> Vec<String> {
        let mut nodes = observed.peers.clone();
        nodes.insert(observed.me, observed.local.clone());
        nodes.iter().map(|(ordinal, node)| self.node(*ordinal, node)).collect()
    }

    fn node(&self, ordinal: u32, node: &Result<Node, Unseen>) -> String {
        let pod = self.pod(ordinal);
        let node = match node {
            Ok(node) => node,
            Err(unseen) => return format!("{pod} {}", predicate(unseen)),
        };
        let databases = match node.databases {
            0 => "no database".to_owned(),
            1 => "1 database".to_owned(),
            count => format!("{count} databases"),
        };
        let (members, connected) = (self.pods(&node.members), self.pods(&node.connected));
        format!("{pod} holds {databases}, lists {members}, is connected to {connected}")
    }

    fn ports(&self, observed: &Observed) -> Vec<String> {
        observed.port_checks.iter().map(|(peer, check)| self.port_check(*peer, *check)).collect()
    }

    fn port_check(&self, peer: u32, check: PortCheck) -> String {
        let pod = self.pod(peer);
        match check {
            PortCheck::Blocked(port) => format!("{pod}: port {port} cannot be reached"),
            PortCheck::Open => format!("{pod}: port 4369 and the port of its node are open"),
            PortCheck::Unregistered => {
                format!("{pod}: port 4369 is open, but no node '{}' is registered there", self.naming.name())
            }
        }
    }

    /// One line for each of the first strangers.
    pub(super) fn strangers(&self, observed: &Observed, strangers: &BTreeSet<String>) -> Vec<String> {
        let FirstNames { names, more } = FirstNames::of(strangers);
        let others = (more > 0).then(|| format!("{more} more names that belong to no pod"));
        names.iter().map(|stranger| self.renamed(observed, stranger)).chain(others).collect()
    }

    /// The old name, and the present name of the same pod where the old name contains its ordinal.
    fn renamed(&self, observed: &Observed, stranger: &str) -> String {
        match former_ordinal(stranger).filter(|ordinal| observed.expected.contains(ordinal)) {
            Some(ordinal) => format!("'{stranger}' -> '{}'", self.naming.node(ordinal)),
            None => format!("'{stranger}' belongs to no pod"),
        }
    }
}
