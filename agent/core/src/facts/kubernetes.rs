//! The facts about the StatefulSet, from Kubernetes and from the injected settings.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use contract::OtherMembers;

use super::moves::Rebalance;

/// The state of the Kubernetes API, by the last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiState {
    /// The StatefulSet has been read, and a watch keeps it current.
    Current,
    /// The role is missing. Treated as [`ApiState::Off`], with a warning.
    Forbidden,
    /// There is no such StatefulSet. The last known size remains valid, and no cluster is formed.
    Missing,
    /// The pod runs in Kubernetes, and the agent has no token for the API. Treated as [`ApiState::Off`], with a condition.
    NoToken,
    /// The API is not used. The injected size is valid.
    Off,
    /// The API has not answered yet, or no longer answers. The last known size remains valid, and no cluster is formed.
    Silent,
}

/// The founding record in the StatefulSet's Lease, as far as this agent knows it. The Lease outlives every volume, so the
/// record distinguishes a cluster that lost
/// all its data from one that was never formed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KnownRecord {
    /// Kubernetes has no record of a cluster.
    Absent,
    /// The record can't be read: the role is missing, or the API is not used.
    Forbidden,
    /// A cluster was formed here.
    Formed {
        /// The cluster's uuid.
        uuid: String,
        /// The lost cluster that the user gave up for it. Where the uuid is configured, the next cluster has the same
        /// one; to give that up again, the user deletes the Lease.
        instead_of: Option<String>,
    },
    /// The record has the schema of a newer agent.
    Newer,
    /// The record has not been read yet.
    Unread,
}

/// The holder of the StatefulSet's Lease, from one agent's point of view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LeaseState {
    /// Unheld, or its holder missed its renewal deadline.
    Free,
    /// Held by the agent of this pod.
    Held(String),
    /// Held by this agent.
    Mine,
    /// The Lease is not used: Kubernetes refuses it, or is not asked. The order of the rules is the only lock.
    NotUsed,
    /// The Lease has not been read yet.
    Unknown,
}

/// The pods that the headless Service publishes, by its EndpointSlices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Publication {
    /// The Service lists no pod of the StatefulSet, not even this one: it doesn't exist, or its selector matches
    /// others.
    NoPods,
    /// The slices have not been read, can't be read, or don't explain why a name is missing.
    #[default]
    Unknown,
    /// The Service keeps these pods out of DNS until they are ready.
    Withheld(BTreeSet<u32>),
}

/// The fields of the StatefulSet that decide what the agent does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetFacts {
    /// `spec.replicas`; 1 where absent.
    pub replicas: u16,
    /// `spec.ordinals.start`; 0 where absent.
    pub start: u32,
    /// `spec.podManagementPolicy`; `OrderedReady` where absent.
    pub pod_management: PodManagement,
    /// The uuid of a lost cluster that the user gave up by an annotation.
    pub form_anew: Option<String>,
    /// The tokens of losses that the user accepted by an annotation.
    pub accept_loss: Option<String>,
    /// The members outside of the StatefulSet that the user names by an annotation.
    pub other_members: OtherMembers,
    /// The source of the node's zone, by an annotation.
    pub zone: Option<ZoneRule>,
    /// The number of nodes that the user wants to keep, by an annotation: the others are drained.
    pub target_size: Option<u16>,
    /// The databases that are spread over all nodes, by an annotation.
    pub rebalance: Rebalance,
    /// The number of copies that the user wants every database to have, by an annotation.
    pub copies: Option<u16>,
}

/// The source of the zone in a node's `_nodes` entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ZoneRule {
    /// The user names it.
    Literal(String),
    /// The zone of the Kubernetes node.
    Topology,
}

/// The zone of the local node, as the user wants it and as it is. CouchDB places the copies of new databases by zones, where
/// `[cluster] placement` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ZoneFacts {
    /// The source; `None` where the user leaves zones alone, or the entry in `_nodes` could not be read.
    pub rule: Option<ZoneRule>,
    /// The zone of this pod's Kubernetes node, where it is known.
    pub of_pod: Option<String>,
    /// The zone in the local node's entry in its `_nodes`. Read only under a rule.
    pub own: Option<String>,
}

impl ZoneFacts {
    /// The zone that the node should have, where it is known.
    pub fn wanted(&self) -> Option<&String> {
        match self.rule.as_ref()? {
            ZoneRule::Literal(zone) => Some(zone),
            ZoneRule::Topology => self.of_pod.as_ref(),
        }
    }
}

/// A StatefulSet's `podManagementPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodManagement {
    /// A pod is created when all lower ordinals are ready.
    OrderedReady,
    /// All pods are created at once.
    Parallel,
}

/// The cluster's size in the agent's environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The number of nodes.
    pub nodes: NonZeroU16,
    /// `true` if the user set it, so that the cluster is formed with it instead of `spec.replicas`.
    pub pinned: bool,
    /// The ordinal of the first pod.
    pub start: u32,
}

/// A running pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodInstance {
    /// `metadata.uid`.
    pub uid: String,
    /// `status.podIP`.
    pub ip: IpAddr,
}

impl KnownRecord {
    /// Returns `true` if `form_anew` gives up the recorded cluster, and no cluster was formed for this annotation yet.
    pub fn is_given_up(&self, form_anew: Option<&String>) -> bool {
        match self {
            Self::Formed { uuid, instead_of } => form_anew == Some(uuid) && instead_of.as_ref() != Some(uuid),
            Self::Absent | Self::Forbidden | Self::Newer | Self::Unread => false,
        }
    }
}

impl From<&str> for ZoneRule {
    fn from(value: &str) -> Self {
        if value == contract::keys::ZONE_TOPOLOGY { Self::Topology } else { Self::Literal(value.to_owned()) }
    }
}

impl FromStr for PodManagement {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "OrderedReady" => Ok(Self::OrderedReady),
            "Parallel" => Ok(Self::Parallel),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_given_up_by_its_uuid_and_once() {
        let (u, v) = ("u".to_owned(), "v".to_owned());
        let formed = |instead_of| KnownRecord::Formed { uuid: "u".to_owned(), instead_of };
        assert!(formed(None).is_given_up(Some(&u)));
        assert!(formed(Some("v".to_owned())).is_given_up(Some(&u)));
        assert!(!formed(None).is_given_up(Some(&v)));
        assert!(!formed(None).is_given_up(None));
        assert!(!formed(Some("u".to_owned())).is_given_up(Some(&u)), "this annotation has been used");
    }
}
