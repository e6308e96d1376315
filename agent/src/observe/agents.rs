//! Peers as their own agents report them, for nodes that get no password.
//!
//! The answers are authenticated by nothing, like those of a CouchDB that any host may run at a pod's name. So a peer that is
//! known in this way has no vote about the identity, and no copy is compared with its own.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::facts::{Digest, Identity, IdentityPart, Node, Release, Spread, SystemDatabase, Unseen};
use contract::status::{NodeReport, Page, SeenNode};
use contract::{PodFqdn, PodName};
use futures::StreamExt;

use super::directory::Directory;
use super::nodes::unseen;
use super::peers::AT_ONCE;
use crate::couch::Couch;

/// Asks the agents of these ordinals.
pub(super) async fn ask_agents(
    couch: &Couch,
    directory: &Directory,
    ordinals: BTreeSet<u32>,
) -> BTreeMap<u32, Result<Node, Unseen>> {
    futures::stream::iter(ordinals)
        .map(|ordinal| async move { (ordinal, ask_agent(couch, directory, ordinal).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn ask_agent(couch: &Couch, directory: &Directory, ordinal: u32) -> Result<Node, Unseen> {
    // A name with this ordinal would be too long for DNS.
    let peer = directory.me.sibling(ordinal).map_err(|_| Unseen::NameUnknown)?;
    let (base, agent) = (directory.peer(&peer), directory.agent(&peer));
    // A page may be older than the end of its CouchDB.
    couch.answers(&base).await.map_err(|error| unseen(&error))?;
    let (uuid, page) = tokio::join!(couch.uuid_without_login(&base), couch.page_of_agent(&agent));
    let node = page.ok().and_then(|page| reported(page, &peer)).ok_or(Unseen::NotReported)?;
    let parts = uuid.map(|uuid| (IdentityPart::Uuid, Digest::of([uuid]))).into_iter().collect();
    Ok(Node { identity: Identity { parts, ..Identity::default() }, ..node })
}

/// The node of the pod `peer`, as the page of its agent shows it.
fn reported(mut page: Page, peer: &PodFqdn) -> Option<Node> {
    if page.pod != peer.to_string() {
        return None;
    }
    match page.nodes.remove(&peer.pod().to_string()) {
        Some(NodeReport::Seen(seen)) => Some(node(seen, peer.pod())),
        Some(NodeReport::Unseen { .. }) | None => None,
    }
}

fn node(seen: SeenNode, pod: &PodName) -> Node {
    let mut system = BTreeMap::new();
    for database in SystemDatabase::ALL {
        if let Some(&copies) = seen.system_database_copies.get(database.name()) {
            system.insert(database, Spread { copies, holders: BTreeSet::new() });
        }
    }
    Node {
        members: ordinals(&seen.members, pod),
        connected: ordinals(&seen.connected, pod),
        databases: seen.databases,
        system,
        release: seen.release.as_deref().and_then(Release::from_version),
        colleagues: seen.other_members,
        strangers: seen.strangers,
        ..Node::default()
    }
}

/// The ordinals of the pods that belong to the StatefulSet of `pod`.
fn ordinals(names: &[String], pod: &PodName) -> BTreeSet<u32> {
    let pods = names.iter().filter_map(|name| name.parse::<PodName>().ok());
    pods.filter(|name| name.set() == pod.set()).map(|name| name.ordinal()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PodFqdn {
        "db-1.db.shop.svc.cluster.local".parse().unwrap()
    }

    fn page(node: NodeReport) -> Page {
        Page { pod: peer().to_string(), nodes: [("db-1".to_owned(), node)].into(), ..Page::default() }
    }

    #[test]
    fn a_page_shows_the_node_of_its_own_pod_only() {
        let seen = SeenNode {
            members: ["db-0", "db-1", "web-7", "?", "db-99999999999"].map(str::to_owned).to_vec(),
            databases: 3,
            system_database_copies: [("_users".to_owned(), 2), ("orders".to_owned(), 1)].into(),
            release: Some("3.5".to_owned()),
            ..SeenNode::default()
        };
        let found = reported(page(NodeReport::Seen(seen.clone())), &peer()).unwrap();
        assert_eq!((found.members, found.databases), ([0, 1].into(), 3));
        assert_eq!(found.system[&SystemDatabase::Users].copies, 2);
        assert_eq!(found.release, Some(Release { major: 3, minor: 5 }));
        let of_another =
            Page { pod: "db-2.db.shop.svc.cluster.local".to_owned(), ..page(NodeReport::Seen(seen)) };
        assert_eq!(reported(of_another, &peer()), None);
        let unseen = NodeReport::Unseen { unseen: "rejects".to_owned() };
        assert_eq!(reported(page(unseen), &peer()), None);
        assert_eq!(reported(Page { pod: peer().to_string(), ..Page::default() }, &peer()), None);
    }
}
