//! The identity that clients see: uuid, session secret and admin hashes must be equal on all members.
//!
//! A container restart loses all of it, because the image keeps it in a file that is on no volume, and CouchDB generates
//! another one. Then the value counts that most members have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::record::former_cluster;
use super::step::{IdentityDifference, IdentitySource, Step};
use super::view::View;
use crate::facts::{Digest, IdentityPart, Node, Observed, Release};

/// Copies the first part of the identity that differs on the local node.
pub(super) fn heal(view: &View<'_>, observed: &Observed) -> Option<Step> {
    let recorded = former_cluster(observed).and_then(|cluster| cluster.uuid);
    difference(view.me, &voters(view), recorded.as_deref()).map(Step::Adopt)
}

/// The nodes that decide about the identity. A foreign node has an identity of its own, and a host that answers at a pod's
/// name may report any.
fn voters<'v>(view: &'v View<'_>) -> BTreeMap<u32, &'v Node> {
    view.connected_nodes().filter(|(_, node)| node.databases > 0).collect()
}

/// The admins that some member does not have and will not get, each with the members that have it: one that was created
/// through a load balancer, or removed on some nodes only.
pub(super) fn admins_on_some_nodes(view: &View<'_>) -> BTreeMap<String, BTreeSet<u32>> {
    let nodes = voters(view);
    let mut partial = BTreeMap::new();
    let parts: BTreeSet<&IdentityPart> = nodes.values().flat_map(|node| node.identity.parts.keys()).collect();
    for part in parts {
        let IdentityPart::Admin(name) = part else { continue };
        let (with, without): (BTreeSet<u32>, BTreeSet<u32>) =
            nodes.keys().partition(|node| nodes[node].identity.parts.contains_key(part));
        // A node that restarted copies what most of the others have.
        if without.iter().any(|node| from_members(*node, &nodes, part).is_none()) {
            partial.insert(name.clone(), with);
        }
    }
    partial
}

/// Returns the first part in which `me` differs from what most of `nodes` have.
///
/// If two values have as many nodes, the node that has been up longest decides: one that restarted has lost the
/// cluster's identity. Nodes that started within [`SAME_START`] of each other count as equally old. Then the lowest
/// ordinal decides, so that two agents that look a moment apart choose the same.
///
/// The uuid that was `recorded` when the cluster was formed counts as one more node, which has never restarted. A node
/// that sees no other member, being the only one or the first with a new password, may have generated its uuid.
fn difference(me: u32, nodes: &BTreeMap<u32, &Node>, recorded: Option<&str>) -> Option<IdentityDifference> {
    let parts: BTreeSet<&IdentityPart> = nodes.values().flat_map(|node| node.identity.parts.keys()).collect();
    parts.into_iter().find_map(|part| match recorded {
        Some(uuid) if *part == IdentityPart::Uuid && record_counts(uuid, nodes) => {
            from_record(me, nodes, uuid)
        }
        Some(_) | None => from_members(me, nodes, part),
    })
}

/// Returns `true` if no other uuid has more nodes than the recorded one, the record counted as a node.
fn record_counts(uuid: &str, nodes: &BTreeMap<u32, &Node>) -> bool {
    let recorded = Digest::of([uuid]);
    let mut supporters: BTreeMap<Digest, usize> = BTreeMap::from([(recorded, 1)]);
    for uuid in nodes.values().filter_map(|node| node.identity.parts.get(&IdentityPart::Uuid)) {
        *supporters.entry(*uuid).or_default() += 1;
    }
    supporters.values().max() == supporters.get(&recorded)
}

fn from_record(me: u32, nodes: &BTreeMap<u32, &Node>, uuid: &str) -> Option<IdentityDifference> {
    let digest = Digest::of([uuid]);
    let mine = nodes.get(&me)?.identity.parts.get(&IdentityPart::Uuid);
    if mine == Some(&digest) {
        return None;
    }
    let from = IdentitySource::Record { uuid: uuid.to_owned() };
    Some(IdentityDifference { part: IdentityPart::Uuid, from, digest })
}

fn from_members(me: u32, nodes: &BTreeMap<u32, &Node>, part: &IdentityPart) -> Option<IdentityDifference> {
    let votes = votes(nodes, part);
    let from = elect(&votes)?;
    let right = votes.get(&from)?.value;
    let mine = votes.get(&me).and_then(|vote| vote.value);
    // If most members have no such admin, it is not deleted from the others.
    let digest = right.filter(|_| mine != right)?;
    if let IdentityPart::Admin(name) = part {
        // A member that alone has an admin may have got it from an attacker, or lost the others' deletion.
        if mine.is_none() && votes.values().filter(|vote| vote.value == Some(digest)).count() < 2 {
            return None;
        }
        // This node keeps its own hash until it runs a release that can read the others'.
        if nodes.get(&from)?.identity.new_hashes.contains(name)
            && nodes.get(&me)?.release.is_none_or(|release| release < READS_NEW_HASHES)
        {
            return None;
        }
    }
    Some(IdentityDifference { part: part.clone(), from: IdentitySource::Member(from), digest })
}

/// An older release treats a hash of the new format as a password in clear text. It would hash it, and no client would
/// know the password.
const READS_NEW_HASHES: Release = Release { major: 3, minor: 4 };

/// One node's value of a part.
struct Vote {
    value: Option<Digest>,
    uptime: Duration,
}

fn votes(nodes: &BTreeMap<u32, &Node>, part: &IdentityPart) -> BTreeMap<u32, Vote> {
    let mut votes = BTreeMap::new();
    for (ordinal, node) in nodes {
        let value = node.identity.parts.get(part).copied();
        if value.is_some() || may_be_missing(part) {
            votes.insert(*ordinal, Vote { value, uptime: node.identity.uptime });
        }
    }
    votes
}

/// Returns `true` if a node without this part has a vote: an admin that one member alone has was created on it, or was
/// deleted from the others. A node without uuid or secret has only not been asked for them yet.
fn may_be_missing(part: &IdentityPart) -> bool {
    match part {
        IdentityPart::Admin(_) => true,
        IdentityPart::SessionSecret | IdentityPart::Uuid => false,
    }
}

/// Returns the node with the value that counts.
fn elect(votes: &BTreeMap<u32, Vote>) -> Option<u32> {
    let mut supporters: BTreeMap<Option<Digest>, usize> = BTreeMap::new();
    for vote in votes.values() {
        *supporters.entry(vote.value).or_default() += 1;
    }
    let most = supporters.values().max()?;
    let leading = || votes.iter().filter(|(_, vote)| supporters.get(&vote.value) == Some(most));
    let longest = leading().map(|(_, vote)| vote.uptime).max()?;
    // The lowest ordinal comes first.
    leading().find(|(_, vote)| vote.uptime.saturating_add(SAME_START) >= longest).map(|(ordinal, _)| *ordinal)
}

/// Uptimes are whole seconds, so each of two that are read at the same time may be off by one.
const SAME_START: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Identity;

    fn node(uuid: &str, uptime: u64) -> Node {
        let uptime = Duration::from_secs(uptime);
        let parts = [(IdentityPart::Uuid, Digest::of([uuid]))].into();
        Node { identity: Identity { parts, uptime, ..Identity::default() }, ..Node::default() }
    }

    fn choose(me: u32, nodes: &[(u32, Node)]) -> Option<u32> {
        match choose_with(me, nodes, None) {
            Some(IdentitySource::Member(from)) => Some(from),
            None => None,
            Some(IdentitySource::Record { uuid }) => panic!("{uuid} was not recorded"),
        }
    }

    fn choose_with(me: u32, nodes: &[(u32, Node)], recorded: Option<&str>) -> Option<IdentitySource> {
        let nodes = nodes.iter().map(|(ordinal, node)| (*ordinal, node)).collect();
        difference(me, &nodes, recorded).map(|difference| difference.from)
    }

    #[test]
    fn the_recorded_uuid_counts_as_one_more_node_that_never_restarted() {
        let record = || Some(IdentitySource::Record { uuid: "old".to_owned() });
        assert_eq!(
            choose_with(0, &[(0, node("new", 900))], Some("old")),
            record(),
            "a node that is alone generated its uuid"
        );
        assert_eq!(choose_with(0, &[(0, node("old", 900))], Some("old")), None);
        let two = [(0, node("new", 900)), (1, node("old", 3))];
        assert_eq!([0, 1].map(|me| choose_with(me, &two, Some("old"))), [record(), None]);
        let parted = [(0, node("x", 900)), (1, node("y", 3))];
        assert_eq!([0, 1].map(|me| choose_with(me, &parted, Some("old"))), [record(), record()]);
        let changed = [(0, node("new", 900)), (1, node("new", 3))];
        assert_eq!(
            [0, 1].map(|me| choose_with(me, &changed, Some("old"))),
            [None, None],
            "the majority has another one"
        );
        let changing = [(0, node("new", 900)), (1, node("new", 3)), (2, node("third", 3))];
        assert_eq!(choose_with(2, &changing, Some("old")), Some(IdentitySource::Member(0)));
    }

    #[test]
    fn a_node_that_differs_from_the_majority_copies_its_value() {
        let nodes = [(0, node("new", 1000)), (1, node("old", 5)), (2, node("old", 5))];
        assert_eq!(choose(0, &nodes), Some(1), "even when it has been up longest");
        assert_eq!(choose(1, &nodes), None);
        assert_eq!(choose(2, &nodes), None);
    }

    #[test]
    fn of_two_nodes_the_one_that_restarted_copies_the_value() {
        for (restarted, stayed) in [(0, 1), (1, 0)] {
            let nodes = [(restarted, node("new", 3)), (stayed, node("old", 500))];
            assert_eq!(choose(restarted, &nodes), Some(stayed));
            assert_eq!(choose(stayed, &nodes), None);
        }
    }

    #[test]
    fn a_hash_that_an_older_release_would_treat_as_a_password_is_not_copied_to_it() {
        let admin = |hash: &str, minor| {
            let parts = [(IdentityPart::Admin("admin".to_owned()), Digest::of([hash]))].into();
            let new_hashes = BTreeSet::from_iter((hash == "new").then(|| "admin".to_owned()));
            let release = Some(Release { major: 3, minor });
            Node {
                identity: Identity { parts, uptime: Duration::from_secs(9), new_hashes },
                release,
                ..Node::default()
            }
        };
        let with = |minor| [(0, admin("new", 5)), (1, admin("new", 5)), (2, admin("own", minor))];
        assert_eq!(choose(2, &with(3)), None);
        assert_eq!(choose(2, &with(4)), Some(0));
        let old = [(0, admin("old", 5)), (1, admin("old", 5)), (2, admin("own", 3))];
        assert_eq!(choose(2, &old), Some(0), "every release reads the old format");
    }

    #[test]
    fn the_longest_uptime_that_a_node_can_report_does_not_overflow() {
        let nodes = [(0, node("a", u64::MAX)), (1, node("b", u64::MAX))];
        assert_eq!([0, 1].map(|me| choose(me, &nodes)), [None, Some(0)]);
    }

    #[test]
    fn nodes_that_all_restarted_choose_the_same_value() {
        let nodes = [(0, node("a", 12)), (1, node("b", 13)), (2, node("c", 9))];
        assert_eq!([0, 1, 2].map(|me| choose(me, &nodes)), [None, Some(0), Some(0)]);
    }

    #[test]
    fn a_part_without_a_value_is_copied_from_no_node() {
        assert_eq!(choose(0, &[(0, Node::default()), (1, Node::default())]), None);
        assert_eq!(
            choose(0, &[(0, Node::default()), (1, node("a", 1))]),
            Some(1),
            "a missing value is copied"
        );
        assert_eq!(choose(1, &[(0, Node::default()), (1, node("a", 1))]), None);
    }

    #[test]
    fn each_admin_is_decided_by_itself_and_none_is_deleted() {
        let admins = |admins: &[(&str, &str)]| {
            let digest =
                |(name, hash): &(&str, &str)| (IdentityPart::Admin((*name).to_owned()), Digest::of([hash]));
            let parts = admins.iter().map(digest).collect();
            Node {
                identity: Identity { parts, uptime: Duration::from_secs(9), ..Identity::default() },
                ..Node::default()
            }
        };
        let mine_alone =
            [(0, admins(&[("a", "1"), ("x", "9")])), (1, admins(&[("a", "1")])), (2, admins(&[("a", "1")]))];
        assert_eq!([0, 1, 2].map(|me| choose(me, &mine_alone)), [None, None, None]);
        let most_have_it = [
            (0, admins(&[("a", "1")])),
            (1, admins(&[("a", "1"), ("x", "9")])),
            (2, admins(&[("x", "9"), ("a", "1")])),
        ];
        assert_eq!([0, 1, 2].map(|me| choose(me, &most_have_it)), [Some(1), None, None]);
        let restarted =
            [(0, admins(&[("a", "2")])), (1, admins(&[("a", "1"), ("x", "9")])), (2, admins(&[("a", "1")]))];
        assert_eq!([0, 1, 2].map(|me| choose(me, &restarted)), [Some(1), None, None]);
    }
}
