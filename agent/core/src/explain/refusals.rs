//! The messages of refusals: states that a person has to decide about.

use contract::{Naming, keys};

use super::explainer::Explainer;
use super::explanation::{Explanation, agreeing, clauses, quoted};
use super::names::cut_name;
use crate::decide::Refusal;
use crate::facts::LostRanges;

impl Explainer<'_> {
    /// Explains a refusal.
    pub(super) fn refusal(&self, refusal: &Refusal) -> Explanation {
        match refusal {
            Refusal::Displaced { by } => Explanation::with_fix(
                "Displaced",
                format!(
                    "another pod is named '{}' now (uid '{by}'): this one was deleted while its machine was cut off, and \
                     must not run",
                    self.me.pod()
                ),
                "shut down the machine of this pod, or check that the pod no longer runs on it",
            ),
            Refusal::ForeignData { cluster } => Explanation::with_fix(
                "ForeignData",
                format!(
                    "this node holds databases that the cluster of {} does not know; if it joined, one side's databases \
                     would vanish",
                    self.pods(cluster)
                ),
                "save the data of this node, then empty its volume: it joins with an empty one",
            ),
            Refusal::FormedBefore { uuid: Some(uuid) } => Explanation::with_fix(
                "FormedBefore",
                format!(
                    "cluster '{uuid}' was formed here before, but no node holds data: its data is lost, or on volumes \
                     that are not mounted"
                ),
                format!(
                    "mount the volumes again, or give the cluster up: {}",
                    self.kubectl(&format!(
                        "annotate statefulset/{} {}={uuid}",
                        self.me.pod().set(),
                        keys::FORM_ANEW
                    ))
                ),
            ),
            Refusal::FormedBefore { uuid: None } => Explanation::with_fix(
                "FormedBefore",
                "a newer agent recorded that a cluster was formed here, but no node holds data",
                "run that version of the agent, which can read the record",
            ),
            Refusal::NodeNameMismatch { actual } => self.name_mismatch(cut_name(actual)),
            Refusal::NodeRenamed { strangers } => Explanation::with_fix(
                "NodeRenamed",
                format!(
                    "the databases of this node are filed under {}, which {} to no pod of {}: its volume was used under \
                     another name",
                    quoted(strangers),
                    agreeing(strangers, "belongs", "belong"),
                    self.stateful_set()
                ),
                "restore the pods' old names (of the StatefulSet, its Service and the cluster's domain), or set NODENAME \
                 on the CouchDB container so that the nodes have their old names",
            ),
            Refusal::ShardsLost { lost, token } => Explanation::with_fix(
                "ShardsLost",
                format!(
                    "the volume of this node was lost, and it held the only copies of some documents of {}: the node \
                     stays out of reads and writes",
                    clauses(lost_ranges(lost))
                ),
                format!(
                    "mount the volume again, or a backup of it; to give these documents up for good: {}",
                    self.kubectl(&format!(
                        "annotate statefulset/{} --overwrite {}={token}",
                        self.me.pod().set(),
                        keys::ACCEPT_LOSS
                    ))
                ),
            ),
            Refusal::SplitCluster { groups } => Explanation::with_fix(
                "SplitCluster",
                format!(
                    "{} groups of nodes hold data and do not list each other: {}; if they were connected, one side's \
                     databases would vanish",
                    groups.len(),
                    Vec::from_iter(groups.iter().map(|group| self.pods(group))).join(" | ")
                ),
                "choose the group that stays, save the data of the others, then empty their volumes: they join with \
                 empty ones",
            ),
        }
    }

    fn name_mismatch(&self, actual: &str) -> Explanation {
        let node = self.naming.node(self.me.pod().ordinal());
        let fix = if *self.naming == Naming::usual(self.me) {
            format!("set ERL_FLAGS='-name couchdb' or NODENAME='{}' on the CouchDB container", self.me)
        } else {
            "name it like its peers, by ERL_FLAGS or NODENAME on the CouchDB container".to_owned()
        };
        let state = format!("CouchDB runs as '{actual}', but its peers look for '{node}'");
        Explanation::with_fix("NodeNameMismatch", state, fix)
    }
}

/// The databases that are named, each with its lost ranges, and the number of the others.
pub(super) fn lost_ranges(lost: &LostRanges) -> Vec<String> {
    let named = lost.named.iter();
    let mut lines: Vec<String> =
        named.map(|(database, ranges)| format!("'{database}' ({})", ranges.join(", "))).collect();
    let more = lost.count.saturating_sub(lost.named.len());
    if more > 0 {
        lines.push(format!("{more} more"));
    }
    lines
}
