//! What CouchDB answers, as far as the agent reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::facts::{MaintenanceMode, SystemDatabase};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What `GET /_cluster_setup` says. It is computed anew at each call and stored nowhere.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum SetupState {
    /// It listens on loopback only, or has no admin.
    ClusterDisabled,
    /// It listens to others; a system database can't be opened, or isn't there.
    ClusterEnabled,
    /// All system databases can be opened.
    ClusterFinished,
    /// `[cluster] n` is 1, and a system database can't be opened.
    SingleNodeDisabled,
    /// `[cluster] n` is 1 or `[couchdb] single_node` is set, and all system databases can be opened.
    SingleNodeEnabled,
}

/// What `GET /_membership` says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Membership {
    /// Connected just now, itself included.
    pub all_nodes: Vec<String>,
    /// In the node's `_nodes`: whom it expects.
    pub cluster_nodes: Vec<String>,
}

/// What a node's `_dbs` says: how many databases, and how the system databases are spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases {
    /// How many there are.
    pub count: u64,
    /// How each system database is spread.
    pub system: BTreeMap<SystemDatabase, Held>,
}

/// Who holds a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The copies of the range that has the fewest.
    pub copies: u32,
    /// The names of the nodes that hold every range.
    pub everywhere: BTreeSet<String>,
}

/// What tells cheaply whether a node is still the same: `GET /_node/_local/_system`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Pulse {
    /// Seconds since its start.
    pub uptime: u64,
    /// The nodes that it has a distribution socket to.
    #[serde(default, rename = "distribution", deserialize_with = "keys")]
    pub connected: BTreeSet<String>,
}

impl Pulse {
    /// Whether the node restarted, lost somebody or met somebody in the time between this and `later`.
    pub fn is_another_than(&self, later: &Self, between: Duration) -> bool {
        let restarted = later.uptime + ROUNDING < self.uptime + between.as_secs();
        restarted || later.connected != self.connected
    }

    /// Whether the node may have started after a connection to it was opened that lasted so long and has just ended. Of
    /// one that ended right after a start nobody can tell, and then it is so.
    pub fn began_within(&self, lasted: Duration) -> bool {
        self.uptime <= lasted.as_secs().max(ROUNDING)
    }
}

impl SetupState {
    /// Whether the node listens to others and has an admin.
    pub fn is_enabled(self) -> bool {
        match self {
            Self::ClusterDisabled => false,
            Self::ClusterEnabled
            | Self::ClusterFinished
            | Self::SingleNodeDisabled
            | Self::SingleNodeEnabled => true,
        }
    }

    /// Whether the node can open its system databases.
    pub fn is_finished(self) -> bool {
        match self {
            Self::ClusterFinished | Self::SingleNodeEnabled => true,
            Self::ClusterDisabled | Self::ClusterEnabled | Self::SingleNodeDisabled => false,
        }
    }
}

/// `_dbs/_all_docs` as CouchDB writes it.
/// What a node's own configuration says of its part in the cluster just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it takes part in reads and writes.
    pub mode: MaintenanceMode,
    /// Whether its shards have been compared with the other copies since it started.
    pub compared: bool,
}

#[derive(Deserialize)]
pub(super) struct Maps {
    total_rows: u64,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    doc: Option<Map>,
}

/// A shard map: which nodes hold which range.
#[derive(Deserialize)]
struct Map {
    #[serde(default)]
    by_range: BTreeMap<String, BTreeSet<String>>,
}

impl Map {
    fn held(&self) -> Held {
        let ranges = || self.by_range.values();
        let copies = ranges().map(|nodes| u32::try_from(nodes.len()).unwrap_or(u32::MAX)).min();
        let everywhere = ranges().cloned().reduce(|all, nodes| all.intersection(&nodes).cloned().collect());
        Held { copies: copies.unwrap_or_default(), everywhere: everywhere.unwrap_or_default() }
    }
}

impl From<Maps> for Databases {
    fn from(Maps { total_rows, rows }: Maps) -> Self {
        // A design document in `_dbs` is no database.
        let designs = rows.iter().filter(|row| row.id.starts_with("_design/")).count();
        let system = SystemDatabase::ALL.into_iter().filter_map(|database| {
            let row = rows.iter().find(|row| row.id == database.name())?;
            Some((database, row.doc.as_ref().map(Map::held).unwrap_or_default()))
        });
        let designs = u64::try_from(designs).unwrap_or_default();
        Self { count: total_rows.saturating_sub(designs), system: system.collect() }
    }
}

/// Uptimes are whole seconds, and so is the time between them.
const ROUNDING: u64 = 3;

fn keys<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    BTreeMap::<String, IgnoredAny>::deserialize(deserializer).map(|map| map.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn databases(text: &str) -> Databases {
        serde_json::from_str::<Maps>(text).unwrap().into()
    }

    #[test]
    fn a_node_is_virgin_when_its_dbs_holds_design_documents_at_most() {
        assert_eq!(databases(r#"{"total_rows":0,"offset":0,"rows":[]}"#), Databases::default());
        let design = r#"{"total_rows":1,"offset":0,"rows":[{"id":"_design/x","key":"_design/x","value":{},"doc":{}}]}"#;
        assert_eq!(databases(design).count, 0);
        assert_eq!(databases(r#"{"total_rows":7,"offset":2,"rows":[]}"#).count, 7);
    }

    #[test]
    fn a_pulse_tells_a_restart_and_a_lost_connection() {
        let pulse = |text: &str| serde_json::from_str::<Pulse>(text).unwrap();
        let before = pulse(r#"{"uptime":60,"memory":{},"distribution":{"couchdb@b":{"send_pend":0}}}"#);
        let after = |text| before.is_another_than(&pulse(text), Duration::from_secs(100));
        assert!(!after(r#"{"uptime":160,"distribution":{"couchdb@b":{}}}"#));
        assert!(!after(r#"{"uptime":158,"distribution":{"couchdb@b":{}}}"#), "both are whole seconds");
        assert!(
            after(r#"{"uptime":97,"distribution":{"couchdb@b":{}}}"#),
            "a restart, though it has been up longer since"
        );
        assert!(after(r#"{"uptime":160,"distribution":{}}"#));
    }

    #[test]
    fn a_pulse_tells_whether_a_connection_ended_with_the_process_or_by_itself() {
        let pulse = |uptime| Pulse { uptime, connected: BTreeSet::new() };
        assert!(pulse(0).began_within(Duration::from_secs(4)), "a restart, however soon after the start");
        assert!(pulse(2).began_within(Duration::from_millis(100)));
        assert!(!pulse(302).began_within(Duration::from_secs(300)), "CouchDB ended a silent connection");
    }

    #[test]
    fn the_thinnest_range_counts_and_whoever_holds_all() {
        let text = r#"{"total_rows":2,"offset":0,"rows":[
            {"id":"_replicator","key":"_replicator","value":{},"doc":{"by_range":{"00000000-7fffffff":["a","b"],"80000000-ffffffff":["a"]}}},
            {"id":"_users","key":"_users","value":{},"doc":{"by_range":{}}}]}"#;
        let held = Held { copies: 1, everywhere: ["a".to_owned()].into() };
        let expected = [(SystemDatabase::Replicator, held), (SystemDatabase::Users, Held::default())];
        assert_eq!(databases(text).system, BTreeMap::from(expected));
    }
}
