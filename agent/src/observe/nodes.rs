//! The answers of CouchDB nodes, as facts.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::decide::{LocalName, ours_and_strangers};
use agent_core::facts::{Identity, MaintenanceMode, Node, Release, Spread, Unseen};
use contract::error::chain;
use contract::{Naming, PodName};
use futures::StreamExt;
use reqwest::StatusCode;
use tokio::time::Instant;
use tracing::debug;

use super::directory::Directory;
use crate::couch::{Couch, CouchError, Databases, Membership, Note, Standing};

/// The answers of one node, with names as the node reports them.
pub(super) struct Report {
    /// The node's Erlang name.
    name: String,
    /// The naming rule that its name implies for all nodes.
    naming: Naming,
    release: Option<Release>,
    membership: Membership,
    databases: Databases,
    identity: Identity,
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
}

impl Report {
    pub(super) fn naming(&self) -> &Naming {
        &self.naming
    }

    pub(super) fn local_name(&self) -> LocalName<'_> {
        LocalName { naming: &self.naming, pristine: self.databases.count == 0 }
    }

    /// The node with ordinals instead of names, if its name follows the common rule.
    pub(super) fn resolve(self, naming: &Naming) -> Result<Node, Unseen> {
        if self.naming != *naming {
            return Err(Unseen::Misnamed(self.name));
        }
        let (members, strangers) = ours_and_strangers(naming, &self.membership.cluster_nodes);
        let (connected, connected_strangers) = ours_and_strangers(naming, &self.membership.all_nodes);
        let mut holding_strangers = BTreeSet::new();
        let mut system = BTreeMap::new();
        for (database, held) in self.databases.system {
            let (holders, strangers) = ours_and_strangers(naming, &held.everywhere);
            holding_strangers.extend(strangers);
            system.insert(database, Spread { copies: held.copies, holders });
        }
        Ok(Node {
            members,
            connected,
            strangers,
            connected_strangers,
            holding_strangers,
            databases: self.databases.count,
            identity: self.identity,
            system,
            release: self.release,
        })
    }
}

/// Asks the local node.
pub(super) async fn ask_local(couch: &Couch, directory: &Directory) -> Result<(Report, LocalFacts), Unseen> {
    let base = directory.local();
    let begun = Instant::now();
    let report = ask(couch, &base, directory.me.pod()).await?;
    couch.note_own_login(begun.elapsed());
    let facts = ask_local_facts(couch, &base, report.databases.count == 0).await;
    Ok((report, facts.map_err(|error| unseen(&error))?))
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
    })
}

/// Asks the nodes of these ordinals.
pub(super) async fn ask_peers(
    couch: &Couch,
    directory: &Directory,
    ordinals: BTreeSet<u32>,
) -> BTreeMap<u32, Result<Report, Unseen>> {
    futures::stream::iter(ordinals)
        .map(|ordinal| async move { (ordinal, ask_peer(couch, directory, ordinal).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Notes which of these nodes answer, without a login.
pub(super) async fn greet_peers(couch: &Couch, directory: &Directory, ordinals: &BTreeSet<u32>) {
    futures::stream::iter(ordinals)
        .filter_map(|ordinal| async { directory.me.sibling(*ordinal).ok() })
        .for_each_concurrent(AT_ONCE, |peer| async move { couch.greet(&directory.peer(&peer)).await })
        .await;
}

async fn ask_peer(couch: &Couch, directory: &Directory, ordinal: u32) -> Result<Report, Unseen> {
    // A name with this ordinal would be too long for DNS.
    let peer = directory.me.sibling(ordinal).map_err(|_| Unseen::NameUnknown)?;
    let base = directory.peer(&peer);
    couch.until_its_own_agent_logged_in(&base).await;
    let report = ask(couch, &base, peer.pod()).await;
    couch.note_peer_login(&base, report.is_ok());
    report
}

/// Asks the node of `pod` for its name, members and databases, and for its identity once it is established.
async fn ask(couch: &Couch, base: &str, pod: &PodName) -> Result<Report, Unseen> {
    let (name, release, membership, databases) =
        ask_cluster(couch, base).await.map_err(|error| unseen(&error))?;
    let Some(naming) = name.parse().ok().and_then(|node| Naming::of(&node, pod)) else {
        return Err(Unseen::Misnamed(name));
    };
    let identity = match databases.count {
        0 => Identity::default(),
        _ => couch.identity(base).await.map_err(|error| unseen(&error))?,
    };
    Ok(Report { name, naming, release, membership, databases, identity })
}

async fn ask_cluster(
    couch: &Couch,
    base: &str,
) -> Result<(String, Option<Release>, Membership, Databases), CouchError> {
    let (name, release) = couch.name(base).await?;
    Ok((name, release, couch.membership(base).await?, couch.databases(base).await?))
}

/// The fact behind a failed call. The details go to the debug log only: the same failure would fill the log otherwise.
fn unseen(error: &CouchError) -> Unseen {
    debug!(error = chain(error), "failed to observe a node");
    match error {
        // A node that starts answers 500, and 409 where a call below `/_node/_local/` meets the creation of `_users`.
        CouchError::Refused { status, .. } if status.is_server_error() || *status == StatusCode::CONFLICT => {
            Unseen::Busy
        }
        CouchError::Garbled { .. } | CouchError::Refused { .. } | CouchError::TooLong { .. } => {
            Unseen::Garbled
        }
        CouchError::LockedOut { .. } => Unseen::LockedOut,
        CouchError::NameUnknown { .. } => Unseen::NameUnknown,
        CouchError::NoAnswer { .. } => Unseen::NoAnswer,
        CouchError::Rejects { .. } => Unseen::Rejects,
        CouchError::Unreachable { .. } => Unseen::Unreachable,
        CouchError::Untrusted { .. } => Unseen::Untrusted,
    }
}

/// Peers that are asked at the same time.
const AT_ONCE: usize = 16;
