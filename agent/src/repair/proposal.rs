//! What a repair changes, and what may be lost. Pure.

use std::fmt::{self, Display};

use agent_core::facts::{MaintenanceMode, VolumeNote};
use contract::status::{Page, StateReport};
use thiserror::Error;

use crate::couch::Membership;

/// A change that a person can agree to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Ends the maintenance mode of the own node, which was set manually.
    EndMaintenance,
    /// Notes on the own volume that its copies are complete, although that is not proved, and ends the maintenance mode.
    OpenUnproved,
    /// Adds this name to the own `_nodes`.
    List(String),
    /// Removes this name from the own `_nodes`.
    Unlist(String),
}

/// A repair that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The change; `None` if nothing is to be done.
    pub change: Option<Change>,
    /// The state that was found, a sentence.
    pub state: String,
    /// What is changed, a sentence.
    pub effect: String,
    /// What may be lost, a sentence.
    pub loss: String,
}

/// The reason why a repair is not carried out, with what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refused(String);

/// The facts about the own node that decide about `open`.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnNode {
    pub(super) mode: MaintenanceMode,
    pub(super) note: VolumeNote,
    /// `true` if its entry in `_nodes` says that it gets no new copies.
    pub(super) leaving: bool,
}

/// The owner of a name in `_nodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is the node of a pod that must be a member.
    StatefulSet,
    /// The user named it as a member that is no pod.
    OtherMembers,
    /// Neither.
    Nothing,
}

impl Proposal {
    fn nothing(state: String) -> Self {
        Self { change: None, state, effect: "nothing has to be changed".to_owned(), loss: String::new() }
    }

    /// Opens the node of `pod`; `page` is that of its agent.
    pub(super) fn open(pod: &str, page: &Page, node: OwnNode) -> Result<Self, Refused> {
        // Its copies are on other nodes, and may be older here.
        if node.leaving {
            return Err(Refused(format!(
                "{pod} is drained, or being drained, and stays out of reads. Fix: remove the annotation \
                 couchdiscover.io/target-size to cancel the drain"
            )));
        }
        if let Some(lost) =
            [&page.readiness, &page.step].into_iter().find(|state| state.reason == SHARDS_LOST)
        {
            return Err(refused_by(pod, lost));
        }
        match (node.mode, node.note) {
            (MaintenanceMode::Off, _) => {
                let reason = &page.readiness.reason;
                let state = if page.ready { "is ready".to_owned() } else { format!("is not ready: {reason}") };
                Ok(Self::nothing(format!("maintenance_mode of {pod} is not set; the pod {state}")))
            }
            // Agents set `true` only, and only while they fill a volume.
            (MaintenanceMode::NoLb, _) | (MaintenanceMode::On, VolumeNote::Complete) => Ok(Self {
                change: Some(Change::EndMaintenance),
                state: format!("maintenance_mode of {pod} was set manually"),
                effect: "maintenance_mode becomes false, in the configuration files of the node as well".to_owned(),
                loss: "nothing is lost: changes that the node has missed arrive by internal replication, and until then \
                       reads may miss them"
                    .to_owned(),
            }),
            (MaintenanceMode::On, VolumeNote::Filling | VolumeNote::None) => Ok(Self {
                change: Some(Change::OpenUnproved),
                state: format!("{pod} is kept out of reads: its copies are not proved to be complete"),
                effect: "the volume is noted as complete without a proof, and maintenance_mode becomes false; after the next \
                         start of CouchDB the agent compares the copies again"
                    .to_owned(),
                loss: "documents that only a copy on a node that does not answer has are missing from now on; reads here \
                       miss documents until internal replication has brought them. The node opens by itself once the \
                       other copies answer: go on only if they are lost for good"
                    .to_owned(),
            }),
        }
    }

    /// Lists `node` again in the `_nodes` of `me`, which lists `listed`.
    pub(super) fn readmit(node: &str, me: &str, listed: &[String]) -> Result<Self, Refused> {
        let is_listed = |name: &str| listed.iter().any(|listed| listed == name);
        if node == me {
            return Err(Refused(format!(
                "'{node}' is the node of this pod. Fix: run this in the pod of a member that lists the others"
            )));
        }
        // A node that was removed itself lists itself alone, and would split off a cluster of two.
        if !is_listed(me) || listed.len() < 2 {
            return Err(Refused(format!(
                "'{me}' lists no other member. Fix: run this in the pod of a member that lists the others"
            )));
        }
        if is_listed(node) {
            return Ok(Self::nothing(format!("'{me}' lists '{node}'")));
        }
        Ok(Self {
            change: Some(Change::List(node.to_owned())),
            state: format!("'{me}' does not list '{node}'"),
            effect: format!("'{node}' is added to _nodes, and the members replicate that to each other"),
            loss: "nothing is lost: changes that the node has missed arrive by internal replication, and until then reads \
                   there may miss them. A node that was drained brings documents back that were deleted since: empty its \
                   volume instead"
                .to_owned(),
        })
    }

    /// Removes `node` from the `_nodes` of `me`; `copies` is the number of databases whose map contains it.
    pub(super) fn forget(
        node: &str,
        me: &str,
        members: &Membership,
        owner: Owner,
        copies: u64,
    ) -> Result<Self, Refused> {
        let is_in = |names: &[String]| names.iter().any(|name| name == node);
        if node == me {
            return Err(Refused(format!(
                "'{node}' is the node of this pod, which removes no entry of its own"
            )));
        }
        match owner {
            Owner::StatefulSet => {
                return Err(Refused(format!(
                    "'{node}' is a pod of the StatefulSet. Fix: drain it with 'kubectl couchdiscover scale'"
                )));
            }
            Owner::OtherMembers => {
                return Err(Refused(format!(
                    "'{node}' is named by the annotation couchdiscover.io/other-members. Fix: remove it there first"
                )));
            }
            Owner::Nothing => {}
        }
        if !is_in(&members.cluster_nodes) {
            return Ok(Self::nothing(format!("'{me}' does not list '{node}'")));
        }
        if is_in(&members.all_nodes) {
            return Err(Refused(format!(
                "'{node}' is connected: it runs, and would be cut off from the cluster. Fix: stop it first"
            )));
        }
        if copies > 0 {
            return Err(Refused(format!(
                "the shard maps of {copies} databases name '{node}': what only its copies contain would be given up. Fix: \
                 see 'couchdiscover explain ShardMapsBroken', or bring the node back and drain it"
            )));
        }
        Ok(Self {
            change: Some(Change::Unlist(node.to_owned())),
            state: format!("'{me}' lists '{node}', which is not connected, and no shard map names it"),
            effect: format!("'{node}' is removed from _nodes, and the members replicate that to each other"),
            loss: "nothing is lost by the maps of this node; files on the volume of the removed node are not used any more"
                .to_owned(),
        })
    }
}

impl Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State: {}\nChange: {}", self.state, self.effect)?;
        if self.change.is_some() {
            write!(f, "\nLoss: {}", self.loss)?;
        }
        Ok(())
    }
}

/// The agent's own refusal of a state that opening the node would hide.
fn refused_by(pod: &str, state: &StateReport) -> Refused {
    let fix = state.cure.as_ref().map_or_else(String::new, |cure| format!(". Fix: {cure}"));
    Refused(format!("{pod} is {}: {}{fix}", state.reason, state.fact()))
}

/// The reason of a node whose volume held the only copies of some documents.
const SHARDS_LOST: &str = "ShardsLost";

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::{from_value, json};

    use super::*;

    fn open(reason: &str, mode: MaintenanceMode, note: VolumeNote) -> Result<Proposal, Refused> {
        let state = json!({ "reason": reason, "message": "in words. Fix: do this", "cure": "do this" });
        let page: Page = from_value(json!({ "step": state, "readiness": state })).unwrap();
        Proposal::open("db-2", &page, OwnNode { mode, note, leaving: false })
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_node_is_opened_unless_it_lost_the_only_copies_or_is_drained() {
        let change = |reason, mode, note| open(reason, mode, note).map(|proposal| proposal.change);
        let (on, complete) = (MaintenanceMode::On, VolumeNote::Complete);
        assert_eq!(change("ClosedByHand", on, complete), Ok(Some(Change::EndMaintenance)));
        assert_eq!(
            change("ClosedByHand", MaintenanceMode::NoLb, VolumeNote::Filling),
            Ok(Some(Change::EndMaintenance))
        );
        assert_eq!(change("Filling", on, VolumeNote::Filling), Ok(Some(Change::OpenUnproved)));
        assert_eq!(change("FirstLook", on, VolumeNote::None), Ok(Some(Change::OpenUnproved)));
        assert_eq!(change("Settled", MaintenanceMode::Off, complete), Ok(None));
        let lost = change("ShardsLost", on, VolumeNote::Filling).unwrap_err();
        assert_snapshot!(lost, @"db-2 is ShardsLost: in words. Fix: do this");
        let leaving = OwnNode { mode: on, note: complete, leaving: true };
        assert!(Proposal::open("db-2", &Page::default(), leaving).is_err());
    }

    #[test]
    fn a_node_is_listed_again_by_a_member_that_lists_others() {
        let readmit =
            |node, listed: &[&str]| Proposal::readmit(node, "a@0", &names(listed)).map(|it| it.change);
        assert_eq!(readmit("a@2", &["a@0", "a@1"]), Ok(Some(Change::List("a@2".to_owned()))));
        assert_eq!(readmit("a@1", &["a@0", "a@1"]), Ok(None));
        for (node, listed) in [("a@0", vec!["a@0", "a@1"]), ("a@2", vec!["a@0"]), ("a@2", vec!["a@1", "a@3"])]
        {
            assert!(readmit(node, &listed).is_err(), "{node} {listed:?}");
        }
    }

    #[test]
    fn a_name_is_removed_only_if_no_pod_no_connection_and_no_map_has_it() {
        let members = Membership {
            all_nodes: names(&["a@0", "a@1"]),
            cluster_nodes: names(&["a@0", "a@1", "old@host"]),
        };
        let forget = |node, owner, copies| {
            Proposal::forget(node, "a@0", &members, owner, copies).map(|proposal| proposal.change)
        };
        assert_eq!(forget("old@host", Owner::Nothing, 0), Ok(Some(Change::Unlist("old@host".to_owned()))));
        assert_eq!(forget("never@seen", Owner::Nothing, 0), Ok(None));
        assert!(forget("a@0", Owner::Nothing, 0).is_err(), "itself");
        assert!(forget("a@1", Owner::Nothing, 0).is_err(), "connected");
        assert!(forget("old@host", Owner::StatefulSet, 0).is_err(), "a pod");
        assert!(forget("old@host", Owner::OtherMembers, 0).is_err(), "named by the user");
        let refused = forget("old@host", Owner::Nothing, 3).unwrap_err();
        assert_snapshot!(refused, @"the shard maps of 3 databases name 'old@host': what only its copies contain would be given up. Fix: see 'couchdiscover explain ShardMapsBroken', or bring the node back and drain it");
    }

    #[test]
    fn a_proposal_says_what_it_changes_and_what_may_be_lost() {
        assert_snapshot!(open("Filling", MaintenanceMode::On, VolumeNote::Filling).unwrap(), @"
        State: db-2 is kept out of reads: its copies are not proved to be complete
        Change: the volume is noted as complete without a proof, and maintenance_mode becomes false; after the next start of CouchDB the agent compares the copies again
        Loss: documents that only a copy on a node that does not answer has are missing from now on; reads here miss documents until internal replication has brought them. The node opens by itself once the other copies answer: go on only if they are lost for good
        ");
        assert_snapshot!(open("Settled", MaintenanceMode::Off, VolumeNote::Complete).unwrap(), @"
        State: maintenance_mode of db-2 is not set; the pod is not ready: Settled
        Change: nothing has to be changed
        ");
    }
}
