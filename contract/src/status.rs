//! The page that the agent serves at [`ports::STATUS`](crate::ports::STATUS), as JSON.
//!
//! The agent and its readers may be of different releases: a missing field reads as its default, an unknown field is
//! ignored, and an unknown word in [`Page::kubernetes`] or [`Page::record`] reads as `Unknown`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::moves::Moves;

/// The state of an agent after its last round. Contains no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Page {
    /// The agent's release.
    pub version: String,
    /// The pod's DNS name with service, namespace and domain.
    pub pod: String,
    /// The Erlang node name that this pod's CouchDB must have.
    pub node: String,
    /// `true` if the readiness probe succeeds.
    pub ready: bool,
    /// The reason why the pod is not ready; for a ready pod, the same as [`step`](Self::step).
    pub readiness: StateReport,
    /// The agent's current step.
    pub step: StateReport,
    /// Problems beside the step, any number at once. None of them stops the agent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<StateReport>,
    /// When the current step was first decided, RFC 3339.
    pub since: String,
    /// Rounds since the agent started. Grows as long as the agent works.
    pub rounds: u64,
    /// The pods that must be members, by name.
    pub expected: Vec<String>,
    /// The pods that must all answer before a cluster is formed, by name.
    pub founders: Vec<String>,
    /// Result of the last contact with the Kubernetes API.
    pub kubernetes: KubernetesState,
    /// The CouchDB admin user, and the source of its credentials. `None` before the first round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// State of the founding record.
    pub record: RecordState,
    /// State of each node in the last round, by pod name.
    pub nodes: BTreeMap<String, NodeReport>,
    /// Progress of a step that takes several rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Copies that are being moved. Only on the page of the agent that leads the moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moves: Option<Moves>,
    /// The error of the last call that was to change something; `None` if that call succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A state of the agent: a reason for machines, a sentence for people, and the facts behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateReport {
    /// CamelCase and stable across releases.
    pub reason: String,
    /// The state in a sentence or two, ending with the [`cure`](Self::cure) if there is one.
    pub message: String,
    /// The observations that led to this state, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// The end of the message: how a person can repair it. `None` if nothing has to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl StateReport {
    /// The message without the [`cure`](Self::cure) at its end.
    pub fn fact(&self) -> &str {
        let fact = self.cure.as_ref().and_then(|cure| self.message.strip_suffix(cure.as_str()));
        // The message ends with `. Fix: ` and the cure.
        fact.map_or(self.message.as_str(), |fact| fact.trim_end_matches("Fix: ").trim_end_matches(['.', ' ']))
    }
}

/// The CouchDB admin user that the agent authenticates as. Contains no password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Admin {
    /// The user's name.
    pub user: String,
    /// The variables or objects that name and password were read from.
    pub source: String,
}

/// The last contact of an agent with the Kubernetes API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KubernetesState {
    /// The StatefulSet is known, and a watch keeps it current.
    Current,
    /// The agent's Role does not allow to read the StatefulSet.
    Forbidden,
    /// The API server answers that there is no such StatefulSet.
    Missing,
    /// The pod runs in Kubernetes, and the agent has no token for the API.
    NoToken,
    /// The agent is configured not to call the API.
    Off,
    /// The API server does not answer.
    Silent,
    /// Missing on the page, or a word of another release.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The founding record as an agent knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecordState {
    /// No cluster was formed.
    Absent,
    /// The record may not be read, or the Kubernetes API is not called.
    Forbidden,
    /// A cluster was formed.
    Formed,
    /// The record has a schema that the agent does not know.
    Newer,
    /// The record was not read yet.
    Unread,
    /// Missing on the page, or a word of another release.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The state of one node in a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NodeReport {
    // First: a reader tries the variants in this order, and any object can be read as a `Seen`.
    /// The node did not answer, or not as CouchDB does.
    Unseen {
        /// The reason, a camelCase word such as `unreachable`.
        unseen: String,
    },
    /// The node answered.
    Seen(SeenNode),
}

/// The answers of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SeenNode {
    /// The pods that are listed in its `_nodes`.
    pub members: Vec<String>,
    /// The pods that it is connected to.
    pub connected: Vec<String>,
    /// Members outside of the StatefulSet that the user has named, and that its `_nodes` lists: the first 32, each cut to 255
    /// bytes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub other_members: BTreeSet<String>,
    /// Entries of its `_nodes` that are not pods of this StatefulSet: the first 32, each cut to 255 bytes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub strangers: BTreeSet<String>,
    /// The number of further such entries.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_strangers: u64,
    /// The number of databases in its `_dbs`, system databases included.
    pub databases: u64,
    /// For each system database, the number of copies of the range that has the fewest.
    pub system_database_copies: BTreeMap<String, u32>,
    /// The release series of its CouchDB, such as `3.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl fmt::Display for KubernetesState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "current",
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
            Self::NoToken => "noToken",
            Self::Off => "off",
            Self::Silent => "silent",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for RecordState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "absent",
            Self::Forbidden => "forbidden",
            Self::Formed => "formed",
            Self::Newer => "newer",
            Self::Unread => "unread",
            Self::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, from_value, json, to_string, to_value};

    use super::*;

    fn page() -> Page {
        let seen = SeenNode {
            members: vec!["db-0".to_owned(), "db-1".to_owned()],
            connected: vec!["db-0".to_owned()],
            other_members: ["couchdb@machine".to_owned()].into(),
            strangers: ["couchdb@old".to_owned()].into(),
            more_strangers: 0,
            databases: 2,
            system_database_copies: [("_users".to_owned(), 1)].into(),
            release: Some("3.5".to_owned()),
        };
        let state = StateReport {
            reason: "WaitingForPeers".to_owned(),
            message: "db-1 does not answer".to_owned(),
            evidence: vec![],
            cure: None,
        };
        Page {
            version: "1.2.3".to_owned(),
            pod: "db-0.db.shop.svc.cluster.local".to_owned(),
            node: "couchdb@db-0.db.shop.svc.cluster.local".to_owned(),
            ready: true,
            readiness: StateReport {
                cure: Some("answer".to_owned()),
                evidence: vec!["seen".to_owned()],
                ..state.clone()
            },
            conditions: vec![StateReport { reason: "StrangersListed".to_owned(), ..state.clone() }],
            step: state,
            since: "2026-11-21T01:54:00Z".to_owned(),
            rounds: 7,
            expected: vec!["db-0".to_owned(), "db-1".to_owned()],
            founders: vec!["db-0".to_owned()],
            kubernetes: KubernetesState::Current,
            admin: Some(Admin { user: "admin".to_owned(), source: "COUCHDB_USER".to_owned() }),
            record: RecordState::Formed,
            nodes: [
                ("db-0".to_owned(), NodeReport::Seen(seen)),
                ("db-1".to_owned(), NodeReport::Unseen { unseen: "unreachable".to_owned() }),
            ]
            .into(),
            progress: Some("1 of 9".to_owned()),
            moves: None,
            last_error: Some("no answer".to_owned()),
        }
    }

    #[test]
    fn the_json_of_a_page_stays_the_same_across_releases() {
        insta::assert_snapshot!(to_string(&page()).unwrap(), @r#"{"version":"1.2.3","pod":"db-0.db.shop.svc.cluster.local","node":"couchdb@db-0.db.shop.svc.cluster.local","ready":true,"readiness":{"reason":"WaitingForPeers","message":"db-1 does not answer","evidence":["seen"],"cure":"answer"},"step":{"reason":"WaitingForPeers","message":"db-1 does not answer"},"conditions":[{"reason":"StrangersListed","message":"db-1 does not answer"}],"since":"2026-11-21T01:54:00Z","rounds":7,"expected":["db-0","db-1"],"founders":["db-0"],"kubernetes":"current","admin":{"user":"admin","source":"COUCHDB_USER"},"record":"formed","nodes":{"db-0":{"members":["db-0","db-1"],"connected":["db-0"],"otherMembers":["couchdb@machine"],"strangers":["couchdb@old"],"databases":2,"systemDatabaseCopies":{"_users":1},"release":"3.5"},"db-1":{"unseen":"unreachable"}},"progress":"1 of 9","lastError":"no answer"}"#);
        assert_eq!(from_str::<Page>(&to_string(&page()).unwrap()).unwrap(), page());
    }

    #[test]
    fn a_page_of_another_release_can_be_read() {
        assert_eq!(from_str::<Page>("{}").unwrap(), Page::default());
        let newer = json!({
            "pod": "db-0", "record": "sealed", "kubernetes": "slow", "brandNew": true,
            "step": { "reason": "Unheard" }, "nodes": { "db-0": { "databases": 3, "brandNew": 1 } },
        });
        let newer: Page = from_value(newer).unwrap();
        assert_eq!((newer.record, newer.kubernetes), (RecordState::Unknown, KubernetesState::Unknown));
        assert_eq!(newer.step, StateReport { reason: "Unheard".to_owned(), ..StateReport::default() });
        let seen = SeenNode { databases: 3, ..SeenNode::default() };
        assert_eq!(newer.nodes["db-0"], NodeReport::Seen(seen));
    }

    #[test]
    fn a_state_is_displayed_as_it_is_serialized() {
        for state in ["current", "forbidden", "missing", "noToken", "off", "silent", "unknown"] {
            let read: KubernetesState = from_value(json!(state)).unwrap();
            assert_eq!((read.to_string(), to_value(read).unwrap()), (state.to_owned(), json!(state)));
        }
        for state in ["absent", "forbidden", "formed", "newer", "unread", "unknown"] {
            let read: RecordState = from_value(json!(state)).unwrap();
            assert_eq!((read.to_string(), to_value(read).unwrap()), (state.to_owned(), json!(state)));
        }
    }
}
