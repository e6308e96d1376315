//! The messages of steps, and of pods that are not ready.

use std::collections::BTreeSet;

use super::explainer::Explainer;
use super::explanation::{Explanation, agreeing};
use super::names::admin;
use crate::decide::{IdentityDifference, IdentitySource, MoveTask, NotReady, Step, StepKind};
use crate::facts::{IdentityPart, SystemDatabase};

impl Explainer<'_> {
    /// Explains a step.
    pub fn step(&self, step: &Step) -> Explanation {
        let (reason, message) = match step {
            Step::AddCopies(databases) => (
                "AddingCopies",
                format!("{} {} too few copies: adding one on this node", names(databases), agreeing(databases, "has", "have")),
            ),
            Step::Adopt(difference) => ("AdoptingIdentity", self.adoption(difference)),
            // Alerts may match the reason, which therefore keeps its old name.
            Step::CompareVolume { .. } => (
                "ProvingWhole",
                "comparing the shards on this node with the other copies, to detect a volume that came to its cluster \
                 empty"
                    .to_owned(),
            ),
            Step::CreateDatabase(database) => {
                ("CreatingDatabase", format!("no member has {}: creating it", database.name()))
            }
            Step::EnableCluster { node_count } => (
                "EnablingCluster",
                format!(
                    "CouchDB listens on loopback only, or has no admin: enabling it for a cluster of {node_count} nodes"
                ),
            ),
            Step::EnterMaintenance => (
                "EnteringMaintenance",
                "the volume of this node is incomplete: taking the node out of reads and writes until it is filled"
                    .to_owned(),
            ),
            Step::Fill { .. } => (
                "Filling",
                "out of reads and writes until every shard on this node has what the other copies have".to_owned(),
            ),
            Step::Found => (
                "Founding",
                "every node answers, is connected and holds no data: forming the cluster".to_owned(),
            ),
            Step::Join(peer) => ("Joining", format!("joining {}", self.pod(*peer))),
            Step::MakeSessionSecret => (
                "MakingSessionSecret",
                "CouchDB has no secret for session cookies, which a cluster needs: generating one".to_owned(),
            ),
            Step::Move { task, .. } => self.move_task(task),
            Step::NoteFilling => (
                "NotingFilling",
                "this node will receive copies of the cluster's data: noting on its volume that they are incomplete"
                    .to_owned(),
            ),
            Step::Readmit(node) => (
                "ReadmittingNode",
                format!("{} was removed and has come back empty: adding it to the members again", self.pod(*node)),
            ),
            Step::RemoveMember(node) => (
                "RemovingMember",
                format!("{} is drained and its pod is gone: removing it from the members", self.pod(*node)),
            ),
            Step::RecordFounding { size, .. } => {
                ("RecordingFounding", format!("recording in {} that {size} nodes formed a cluster", self.lease()))
            }
            Step::RemoveEmptyDatabases => (
                "RemovingEmptyDatabases",
                "this node holds empty system databases of its own, which an image or a script has created, and no other \
                 data: removing them, to join the others"
                    .to_owned(),
            ),
            Step::ReleaseLease => ("ReleasingLease", format!("releasing {}", self.lease())),
            Step::SetZone(zone) => (
                "SettingZone",
                format!("writing zone '{zone}' into the _nodes entry of this node: CouchDB places copies by it"),
            ),
            Step::Settled => ("Settled", "the cluster is formed, and every member confirms it".to_owned()),
            Step::TakeLease => (
                "TakingLease",
                format!("acquiring {}, under which one agent acts at a time", self.lease()),
            ),
            Step::Refuse(refusal) => return self.refusal(refusal),
            Step::Dial { wait, .. } | Step::Wait(wait) => return self.wait(wait),
        };
        Explanation::new(reason, message)
    }

    /// Explains why the pod is not ready. `step` is the current step, if there has been a round.
    pub fn not_ready(&self, reason: &NotReady, step: Option<&Step>) -> Explanation {
        if let NotReady::Refused(refusal) = reason {
            return self.refusal(refusal);
        }
        if let NotReady::Closed(mode) = reason {
            return self.closed(*mode);
        }
        if *reason == NotReady::NotServing {
            return Explanation::new(
                "WaitingForCouchDb",
                format!("CouchDB at {} does not answer /_up as it should", self.couchdb_url),
            );
        }
        let Some(step) = step.filter(|_| *reason != NotReady::FirstLook) else {
            return Explanation::first_look();
        };
        // A node that is being filled may wait for something else besides, which does not make it unready.
        if *reason == NotReady::Filling && step.kind() != StepKind::Act {
            return self.step(&Step::Fill { from: BTreeSet::new() });
        }
        self.step(step)
    }

    /// Explains moves.
    fn move_task(&self, task: &MoveTask) -> (&'static str, String) {
        match task {
            MoveTask::Drain(node) => {
                ("DrainingNode", format!("moving all copies of {} to the pods that stay", self.pod(*node)))
            }
            MoveTask::Finish => ("FinishingMoves", "finishing moves of copies that were begun".to_owned()),
            MoveTask::Raise { copies } => (
                "RaisingCopies",
                format!("giving databases that have fewer than {copies} copies more of them"),
            ),
            MoveTask::Rebalance => {
                ("Rebalancing", "spreading the copies of all databases over all pods".to_owned())
            }
            MoveTask::Restore(nodes) => (
                "RestoringNode",
                format!(
                    "{} {} no longer drained: allowing new copies there again",
                    self.pods(nodes),
                    agreeing(nodes, "is", "are")
                ),
            ),
        }
    }

    fn adoption(&self, IdentityDifference { part, from, .. }: &IdentityDifference) -> String {
        let part = match part {
            IdentityPart::Admin(name) => format!("password hash of admin '{}'", admin(name)),
            IdentityPart::SessionSecret => "session secret".to_owned(),
            IdentityPart::Uuid => "uuid".to_owned(),
        };
        let from = match from {
            IdentitySource::Member(from) => self.pod(*from),
            IdentitySource::Record { .. } => "the founding record".to_owned(),
        };
        format!("the {part} of this node differs from the cluster's: copying it from {from}")
    }
}

fn names(databases: &BTreeSet<SystemDatabase>) -> String {
    Vec::from_iter(databases.iter().map(|database| database.name())).join(" and ")
}
