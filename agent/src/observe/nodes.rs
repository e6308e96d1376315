//! The answers of CouchDB nodes, as facts.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::decide::{LocalName, NameRule, Names};
use agent_core::facts::{Identity, MaintenanceMode, Node, Release, Spread, Unseen};
use contract::error::chain;
use contract::{Naming, PodName};
use reqwest::StatusCode;
use tokio::time::Instant;
use tracing::debug;

use super::directory::Directory;
use crate::couch::{Couch, CouchError, Databases, IdentityReport, Membership, Note, Pulse, Standing};
use crate::settings::Secret;

/// The answers of one node, with names as the node reports them.
pub(crate) struct Report {
    /// The node's Erlang name.
    name: String,
    /// The naming rule that its name implies for all nodes.
    naming: Naming,
    release: Option<Release>,
    membership: Membership,
    databases: Databases,
    identity: Identity,
    /// The hash of the agent's admin, which shows a member's password without a login.
    pub(super) admin_hash: Option<Secret>,
}

/// The answers of the local node that show which peers are its members.
pub(super) struct Introduction {
    name: String,
    naming: Naming,
    membership: Membership,
    databases: Result<Databases, Unseen>,
}

impl Introduction {
    /// The pods of `ordinals` that the local node lists.
    pub(super) fn listed(&self, ordinals: &BTreeSet<u32>) -> BTreeSet<u32> {
        let listed =
            |ordinal: &u32| self.membership.cluster_nodes.contains(&self.naming.node(*ordinal).to_string());
        ordinals.iter().copied().filter(listed).collect()
    }

    /// `true` if the local node holds data and lists another one. A pristine node joins its peers before it is connected to
    /// them, and one that lists only itself may still have to join.
    pub(super) fn has_joined(&self) -> bool {
        let is_alone = self.membership.cluster_nodes.iter().all(|listed| *listed == self.name);
        // A node whose databases are unknown may be a member.
        let is_pristine = self.databases.as_ref().is_ok_and(|databases| databases.count == 0);
        !is_alone && !is_pristine
    }

    /// The members that the local node is connected to: the pods of `ordinals`, and those outside of the StatefulSet.
    pub(super) fn members(&self, ordinals: &BTreeSet<u32>, names: &NameRule) -> Connected {
        let Membership { all_nodes, cluster_nodes } = &self.membership;
        let connected = cluster_nodes.iter().filter(|name| all_nodes.contains(name));
        let Names { pods, colleagues, .. } = names.sort(&self.naming, connected);
        let pods =
            pods.intersection(ordinals).map(|ordinal| (*ordinal, self.naming.node(*ordinal).to_string()));
        Connected { pods: pods.collect(), colleagues }
    }
}

/// The nodes that the local node is asked about.
#[derive(Default)]
pub(super) struct Connected {
    /// The Erlang names of pods, by ordinal.
    pub(super) pods: BTreeMap<u32, String>,
    /// The members outside of the StatefulSet.
    pub(super) colleagues: BTreeSet<String>,
}

/// Facts that are read from the local node only.
#[derive(Default)]
pub(super) struct LocalFacts {
    pub(super) enabled: bool,
    pub(super) finished: bool,
    pub(super) session_secret: bool,
    pub(super) wanted_copies: u32,
    pub(super) note: Note,
    pub(super) maintenance: MaintenanceMode,
    pub(super) compared: bool,
    pub(super) holds_nothing: bool,
}

impl Report {
    pub(crate) fn new(
        (name, naming): (String, Naming),
        release: Option<Release>,
        membership: Membership,
        databases: Databases,
        IdentityReport { identity, admin_hash }: IdentityReport,
    ) -> Self {
        Self { name, naming, release, membership, databases, identity, admin_hash }
    }

    pub(super) fn naming(&self) -> &Naming {
        &self.naming
    }

    /// `true` if the node holds databases.
    pub(super) fn is_established(&self) -> bool {
        self.databases.count > 0
    }

    pub(super) fn local_name(&self) -> LocalName<'_> {
        LocalName { naming: &self.naming, pristine: self.databases.count == 0 }
    }

    /// The node with ordinals instead of names, if its name follows the common rule.
    pub(crate) fn resolve(self, naming: &Naming, names: &NameRule) -> Result<Node, Unseen> {
        if self.naming != *naming {
            return Err(Unseen::Misnamed(self.name));
        }
        let listed = names.sort(naming, &self.membership.cluster_nodes);
        let connected = names.sort(naming, &self.membership.all_nodes);
        let mut holding_strangers = BTreeSet::new();
        let mut system = BTreeMap::new();
        for (database, held) in self.databases.system {
            let holders = names.sort(naming, &held.everywhere);
            holding_strangers.extend(holders.strangers);
            system.insert(database, Spread { copies: held.copies, holders: holders.pods });
        }
        Ok(Node {
            members: listed.pods,
            connected: connected.pods,
            connected_colleagues: connected.colleagues.intersection(&listed.colleagues).cloned().collect(),
            colleagues: listed.colleagues,
            strangers: listed.strangers,
            connected_strangers: connected.strangers,
            holding_strangers,
            databases: self.databases.count,
            identity: self.identity,
            system,
            release: self.release,
        })
    }
}

/// Asks the local node for its name, its members and its databases.
pub(super) async fn ask_introduction(couch: &Couch, directory: &Directory) -> Result<Introduction, Unseen> {
    let base = directory.local();
    let begun = Instant::now();
    let name = couch.name(&base).await.map_err(|error| unseen(&error))?;
    couch.note_own_login(begun.elapsed());
    let naming = naming_of(&name, directory.me.pod())?;
    let membership = couch.membership(&base).await.map_err(|error| unseen(&error))?;
    let databases = couch.databases(&base).await.map_err(|error| unseen(&error));
    Ok(Introduction { name, naming, membership, databases })
}

/// Asks the local node for everything else.
pub(super) async fn ask_local(
    couch: &Couch,
    directory: &Directory,
    introduction: Result<&Introduction, Unseen>,
) -> Result<(Report, LocalFacts), Unseen> {
    let Introduction { name, naming, membership, databases } = introduction?;
    let databases = databases.clone()?;
    let base = directory.local();
    let ask = async {
        let release = couch.welcome(&base).await?.release();
        let identity = ask_identity(couch, &base, &databases).await?;
        let names = (name.clone(), naming.clone());
        let report = Report::new(names, release, membership.clone(), databases, identity);
        let mut facts = ask_local_facts(couch, &base, !report.is_established()).await?;
        facts.holds_nothing =
            may_hold_nothing(&report) && has_only_empty_databases(couch, &base, &report.databases).await?;
        Ok((report, facts))
    };
    ask.await.map_err(|error: CouchError| unseen(&error))
}

/// `true` if the node lists no other, and holds system databases alone and nothing else.
fn may_hold_nothing(report: &Report) -> bool {
    let Report { name, membership, databases, .. } = report;
    let only_system = usize::try_from(databases.count).is_ok_and(|count| count == databases.system.len());
    databases.count > 0
        && only_system
        && membership.cluster_nodes.iter().eq([name])
        && databases.system.values().all(|held| held.is_only_on(name))
}

async fn has_only_empty_databases(
    couch: &Couch,
    base: &str,
    databases: &Databases,
) -> Result<bool, CouchError> {
    for database in databases.system.keys() {
        if !couch.is_empty(base, *database).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The identity of a node, once it is established.
pub(super) async fn ask_identity(
    couch: &Couch,
    base: &str,
    databases: &Databases,
) -> Result<IdentityReport, CouchError> {
    if databases.count == 0 {
        return Ok(IdentityReport::default());
    }
    let Pulse { uptime, .. } = couch.pulse(base).await?;
    couch.identity(base, uptime).await
}

async fn ask_local_facts(couch: &Couch, base: &str, pristine: bool) -> Result<LocalFacts, CouchError> {
    let state = couch.setup_state(base).await?;
    let Standing { mode: maintenance, compared } = couch.standing(base).await?;
    Ok(LocalFacts {
        enabled: state.is_enabled(),
        finished: state.is_finished(),
        // The secret matters before the cluster is formed, the number of copies after it.
        session_secret: pristine && couch.has_session_secret(base).await?,
        wanted_copies: if pristine { 0 } else { couch.copies(base).await? },
        note: couch.note(base).await?,
        maintenance,
        compared,
        holds_nothing: false,
    })
}

/// The naming rule that a node's name implies.
pub(crate) fn naming_of(name: &str, pod: &PodName) -> Result<Naming, Unseen> {
    let naming = name.parse().ok().and_then(|node| Naming::of(&node, pod));
    naming.ok_or_else(|| Unseen::Misnamed(name.to_owned()))
}

/// The fact behind a failed call. The details go to the debug log only: the same failure would fill the log otherwise.
pub(super) fn unseen(error: &CouchError) -> Unseen {
    debug!(error = chain(error), "failed to observe a node");
    match error {
        // The local node has lost the connection to the member.
        CouchError::Refused { error, .. } if error == "nodedown" => Unseen::Unreachable,
        // A node that starts answers 500, and 409 where a call below `/_node/_local/` meets the creation of `_users`.
        CouchError::Refused { status, .. } if status.is_server_error() || *status == StatusCode::CONFLICT => {
            Unseen::Busy
        }
        CouchError::Garbled { .. } | CouchError::Refused { .. } | CouchError::TooLong { .. } => {
            Unseen::Garbled
        }
        CouchError::LockedOut { .. } => Unseen::LockedOut,
        CouchError::LoginIgnored { .. } => Unseen::LoginIgnored,
        CouchError::NameUnknown { .. } => Unseen::NameUnknown,
        CouchError::NoAnswer { .. } => Unseen::NoAnswer,
        CouchError::Rejects { .. } => Unseen::Rejects,
        CouchError::Unreachable { .. } => Unseen::Unreachable,
        CouchError::Untrusted { .. } => Unseen::Untrusted,
        // The connection was lost within the round.
        CouchError::Withheld { .. } => Unseen::NotConnected,
    }
}
