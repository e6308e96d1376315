//! The answers of peers, each asked in its way.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::facts::Unseen;
use contract::PodName;
use futures::StreamExt;

use super::directory::Directory;
use super::nodes::{Report, ask_identity, naming_of, unseen};
use super::ways::{Way, Ways};
use crate::couch::{Couch, CouchError, IdentityReport, Membership, Pulse};

/// Asks the nodes of these ordinals, apart from those whose agents are asked.
pub(super) async fn ask_peers(
    couch: &Couch,
    directory: &Directory,
    ways: &Ways,
    ordinals: &BTreeSet<u32>,
) -> BTreeMap<u32, Result<Report, Unseen>> {
    futures::stream::iter(ordinals - &ways.agents())
        .map(|ordinal| async move { (ordinal, ask_peer(couch, directory, ordinal, ways).await) })
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

async fn ask_peer(couch: &Couch, directory: &Directory, ordinal: u32, ways: &Ways) -> Result<Report, Unseen> {
    // A name with this ordinal would be too long for DNS.
    let peer = directory.me.sibling(ordinal).map_err(|_| Unseen::NameUnknown)?;
    let base = directory.peer(&peer);
    match ways.to(ordinal) {
        Way::Member(name) => ask_member(couch, &base, name, peer.pod()).await,
        Way::Agent => Err(Unseen::NotReported),
        Way::Unconnected => {
            Err(couch.answers(&base).await.map_or_else(|error| unseen(&error), |()| Unseen::NotConnected))
        }
        Way::Address => {
            couch.until_its_own_agent_logged_in(&base).await;
            let report = ask_stranger(couch, &base, peer.pod()).await;
            couch.note_peer_login(&base, report.is_ok());
            report
        }
    }
}

/// Asks the local node about the member `name`. No answer comes from the host at `base`.
async fn ask_member(couch: &Couch, base: &str, name: &str, pod: &PodName) -> Result<Report, Unseen> {
    let naming = naming_of(name, pod)?;
    let ask = async {
        let release = couch.welcome(base).await?.release();
        let cluster_nodes = couch.listed(base).await?;
        let Pulse { uptime, connected } = couch.pulse(base).await?;
        let all_nodes = connected.into_iter().chain([name.to_owned()]).collect();
        let databases = couch.databases(base).await?;
        let identity = match databases.count {
            0 => IdentityReport::default(),
            _ => couch.identity(base, uptime).await?,
        };
        let membership = Membership { all_nodes, cluster_nodes };
        Ok(Report::new((name.to_owned(), naming), release, membership, databases, identity))
    };
    ask.await.map_err(|error: CouchError| unseen(&error))
}

/// Asks a node that is no connected member at its own address, with the password: before it has joined, there is no other
/// way.
async fn ask_stranger(couch: &Couch, base: &str, pod: &PodName) -> Result<Report, Unseen> {
    let ask = async {
        let name = couch.name(base).await?;
        let release = couch.welcome(base).await?.release();
        Ok((name, release, couch.membership(base).await?, couch.databases(base).await?))
    };
    let (name, release, membership, databases) = ask.await.map_err(|error: CouchError| unseen(&error))?;
    let naming = naming_of(&name, pod)?;
    let identity = ask_identity(couch, base, &databases).await.map_err(|error| unseen(&error))?;
    Ok(Report::new((name, naming), release, membership, databases, identity))
}

/// Peers that are asked at the same time.
pub(super) const AT_ONCE: usize = 16;
