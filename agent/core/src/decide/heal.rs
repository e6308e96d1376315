//! What makes the members one to a client: uuid, session secret and admin hashes. All of it is lost when a container
//! restarts, because the image keeps it in a file that is on no volume.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::step::{IdentityDifference, IdentitySource};
use crate::facts::{Digest, IdentityPart, Node, Release};

/// The first trait in which `me` differs from what most of `nodes` have.
///
/// Where as many have one value as another, the node decides that has been up longest: a restarted container has
/// forgotten the cluster's identity and made up its own. Nodes that started within [`TOGETHER`] of each other count as
/// equally old, and then the lowest ordinal decides, so that two agents that look a moment apart choose the same.
///
/// The uuid that was `recorded` at the founding counts as one more, who has never restarted: a node that sees nobody
/// else, being the only one or the first to have another password, has made a uuid up all the same.
pub(super) fn difference(
    me: u32,
    nodes: &BTreeMap<u32, &Node>,
    recorded: Option<&String>,
) -> Option<IdentityDifference> {
    let known: BTreeSet<&IdentityPart> = nodes.values().flat_map(|node| node.identity.parts.keys()).collect();
    let unsettled = |what: &IdentityPart| match recorded
        .filter(|uuid| *what == IdentityPart::Uuid && counts(uuid, nodes))
    {
        Some(uuid) => from_record(me, nodes, uuid),
        None => from_members(me, nodes, what),
    };
    known.into_iter().find_map(unsettled)
}

/// Whether as many have the recorded uuid as have any other, the record being one of them.
fn counts(uuid: &String, nodes: &BTreeMap<u32, &Node>) -> bool {
    let recorded = Digest::of([uuid]);
    let uuids = || nodes.values().filter_map(|node| node.identity.parts.get(&IdentityPart::Uuid));
    let supporters = |digest: &Digest| uuids().filter(|other| *other == digest).count();
    let most = uuids().filter(|other| **other != recorded).map(supporters).max().unwrap_or_default();
    supporters(&recorded) + 1 >= most
}

fn from_record(me: u32, nodes: &BTreeMap<u32, &Node>, uuid: &String) -> Option<IdentityDifference> {
    let digest = Digest::of([uuid]);
    let mine = nodes.get(&me)?.identity.parts.get(&IdentityPart::Uuid);
    let from = IdentitySource::Record { uuid: uuid.clone() };
    (mine != Some(&digest)).then_some(IdentityDifference { part: IdentityPart::Uuid, from, digest })
}

fn from_members(me: u32, nodes: &BTreeMap<u32, &Node>, what: &IdentityPart) -> Option<IdentityDifference> {
    let vote = |(ordinal, node): (&u32, &&Node)| {
        let digest = node.identity.parts.get(what).copied();
        (digest.is_some() || may_be_missing(what)).then_some((*ordinal, (digest, node.identity.uptime)))
    };
    let votes: Votes = nodes.iter().filter_map(vote).collect();
    let from = elect(&votes)?;
    let (right, _) = votes.get(&from)?;
    let mine = votes.get(&me).and_then(|(mine, _)| *mine);
    // What most lack is taken away from nobody.
    let digest = right.filter(|_| mine != *right)?;
    if let IdentityPart::Admin(name) = what
        && nodes.get(&from)?.identity.new_hashes.contains(name)
        && nodes.get(&me)?.release.is_some_and(|release| release < READS_NEW_HASHES)
    {
        return None;
    }
    Some(IdentityDifference { part: what.clone(), from: IdentitySource::Member(from), digest })
}

/// An older release takes a new hash for a password in clear: that becomes the admin's, and nobody knows it.
const READS_NEW_HASHES: Release = Release { major: 3, minor: 4 };

/// What each node has, if anything, and how long it has been up.
type Votes = BTreeMap<u32, (Option<Digest>, Duration)>;

/// Who holds the value that counts.
fn elect(votes: &Votes) -> Option<u32> {
    let supporters = |digest: Option<Digest>| votes.values().filter(|(other, _)| *other == digest).count();
    let most = votes.values().map(|(digest, _)| supporters(*digest)).max()?;
    let leading: BTreeMap<u32, Duration> = votes
        .iter()
        .filter(|(_, (digest, _))| supporters(*digest) == most)
        .map(|(ordinal, (_, uptime))| (*ordinal, *uptime))
        .collect();
    let oldest = leading.values().max()?;
    let old: BTreeSet<u32> = leading
        .iter()
        .filter(|(_, uptime)| **uptime + TOGETHER >= *oldest)
        .map(|(ordinal, _)| *ordinal)
        .collect();
    old.first().copied()
}

/// Uptimes are whole seconds, so of two nodes that are asked at the same time each may be off by one.
const TOGETHER: Duration = Duration::from_secs(1);

/// Returns `true` if a node without this part counts as one that has decided against it: an admin that one member alone
/// has was created on it, or was removed from the others.
fn may_be_missing(part: &IdentityPart) -> bool {
    match part {
        IdentityPart::Admin(_) => true,
        IdentityPart::SessionSecret | IdentityPart::Uuid => false,
    }
}

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
            Some(IdentitySource::Record { uuid }) => panic!("nobody recorded {uuid}"),
        }
    }

    fn choose_with(me: u32, nodes: &[(u32, Node)], recorded: Option<&str>) -> Option<IdentitySource> {
        let nodes = nodes.iter().map(|(ordinal, node)| (*ordinal, node)).collect();
        difference(me, &nodes, recorded.map(str::to_owned).as_ref()).map(|difference| difference.from)
    }

    #[test]
    fn the_recorded_uuid_counts_as_one_more_node_that_never_restarted() {
        let record = || Some(IdentitySource::Record { uuid: "old".to_owned() });
        assert_eq!(
            choose_with(0, &[(0, node("new", 900))], Some("old")),
            record(),
            "who is alone made it up"
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
            "most have another"
        );
        let changing = [(0, node("new", 900)), (1, node("new", 3)), (2, node("third", 3))];
        assert_eq!(choose_with(2, &changing, Some("old")), Some(IdentitySource::Member(0)));
    }

    #[test]
    fn a_node_that_differs_from_most_takes_their_value_and_nobody_takes_its() {
        let nodes = [(0, node("new", 1000)), (1, node("old", 5)), (2, node("old", 5))];
        assert_eq!(choose(0, &nodes), Some(1), "also when it has been up longest");
        assert_eq!(choose(1, &nodes), None);
        assert_eq!(choose(2, &nodes), None);
    }

    #[test]
    fn of_two_the_one_that_restarted_gives_way() {
        for (restarted, stayed) in [(0, 1), (1, 0)] {
            let nodes = [(restarted, node("new", 3)), (stayed, node("old", 500))];
            assert_eq!(choose(restarted, &nodes), Some(stayed));
            assert_eq!(choose(stayed, &nodes), None);
        }
    }

    #[test]
    fn a_hash_that_an_older_release_takes_for_a_password_is_not_taken_over_by_it() {
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
        assert_eq!(choose(2, &old), Some(0), "an old one can be read by all");
    }

    #[test]
    fn nodes_that_all_restarted_agree_on_one_whoever_asks() {
        let nodes = [(0, node("a", 12)), (1, node("b", 13)), (2, node("c", 9))];
        assert_eq!([0, 1, 2].map(|me| choose(me, &nodes)), [None, Some(0), Some(0)]);
    }

    #[test]
    fn what_nobody_has_is_taken_from_nobody() {
        assert_eq!(choose(0, &[(0, Node::default()), (1, Node::default())]), None);
        assert_eq!(choose(0, &[(0, Node::default()), (1, node("a", 1))]), Some(1), "what I lack I take");
        assert_eq!(choose(1, &[(0, Node::default()), (1, node("a", 1))]), None);
    }

    #[test]
    fn each_admin_counts_by_itself_and_none_is_taken_away() {
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
