//! What makes the members one to a client: uuid, session secret and admin hashes. All of it is lost when a container
//! restarts, because the image keeps it in a file that is on no volume.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::facts::{Node, Release};

/// What a node believes of the cluster's identity. Values are compared by digest, and none is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Each trait that the node has.
    pub traits: BTreeMap<Trait, Digest>,
    /// How long the node has been up, in seconds. Who restarted last has forgotten most.
    pub uptime: u64,
    /// The admins whose hashes are of the kind that CouchDB makes since 3.4.
    pub new_hashes: BTreeSet<String>,
}

/// One part of the identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trait {
    /// The salted hash of this admin's password: a session cookie is good only where the hash is the same.
    Admin(String),
    /// What signs session cookies.
    SessionSecret,
    /// The name of the cluster; replications start over when it changes.
    Uuid,
}

/// Stands for a value that must not be kept or shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u64);

/// What a node should take over: which trait, and from which node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Difference {
    /// What differs.
    pub what: Trait,
    /// Where it is to be had.
    pub from: Source,
    /// What they have. Who restarts in between has something else, which nobody is to take over.
    pub digest: Digest,
}

/// Who holds a part of the identity as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// This ordinal, as most do.
    Member(u32),
    /// The founding record.
    Record {
        /// The cluster's uuid.
        uuid: String,
    },
}

impl Trait {
    /// Whether to have none of it is a belief like any other: an admin that one member alone has was made on it, or
    /// was removed from the others.
    fn may_lack(&self) -> bool {
        match self {
            Self::Admin(_) => true,
            Self::SessionSecret | Self::Uuid => false,
        }
    }
}

impl Digest {
    /// Of a value, or of several in order.
    pub fn of<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> Self {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        values.into_iter().for_each(|value| value.as_ref().hash(&mut hasher));
        Self(hasher.finish())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

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
) -> Option<Difference> {
    let known: BTreeSet<&Trait> = nodes.values().flat_map(|node| node.identity.traits.keys()).collect();
    let unsettled = |what: &Trait| match recorded.filter(|uuid| *what == Trait::Uuid && counts(uuid, nodes)) {
        Some(uuid) => from_record(me, nodes, uuid),
        None => from_members(me, nodes, what),
    };
    known.into_iter().find_map(unsettled)
}

/// Whether as many have the recorded uuid as have any other, the record being one of them.
fn counts(uuid: &String, nodes: &BTreeMap<u32, &Node>) -> bool {
    let recorded = Digest::of([uuid]);
    let uuids = || nodes.values().filter_map(|node| node.identity.traits.get(&Trait::Uuid));
    let supporters = |digest: &Digest| uuids().filter(|other| *other == digest).count();
    let most = uuids().filter(|other| **other != recorded).map(supporters).max().unwrap_or_default();
    supporters(&recorded) + 1 >= most
}

fn from_record(me: u32, nodes: &BTreeMap<u32, &Node>, uuid: &String) -> Option<Difference> {
    let digest = Digest::of([uuid]);
    let mine = nodes.get(&me)?.identity.traits.get(&Trait::Uuid);
    let from = Source::Record { uuid: uuid.clone() };
    (mine != Some(&digest)).then_some(Difference { what: Trait::Uuid, from, digest })
}

fn from_members(me: u32, nodes: &BTreeMap<u32, &Node>, what: &Trait) -> Option<Difference> {
    let vote = |(ordinal, node): (&u32, &&Node)| {
        let digest = node.identity.traits.get(what).copied();
        (digest.is_some() || what.may_lack()).then_some((*ordinal, (digest, node.identity.uptime)))
    };
    let votes: Votes = nodes.iter().filter_map(vote).collect();
    let from = elect(&votes)?;
    let (right, _) = votes.get(&from)?;
    let mine = votes.get(&me).and_then(|(mine, _)| *mine);
    // What most lack is taken away from nobody.
    let digest = right.filter(|_| mine != *right)?;
    if let Trait::Admin(name) = what
        && nodes.get(&from)?.identity.new_hashes.contains(name)
        && nodes.get(&me)?.release.is_some_and(|release| release < READS_NEW_HASHES)
    {
        return None;
    }
    Some(Difference { what: what.clone(), from: Source::Member(from), digest })
}

/// An older release takes a new hash for a password in clear: that becomes the admin's, and nobody knows it.
const READS_NEW_HASHES: Release = Release { major: 3, minor: 4 };

/// What each node has, if anything, and how long it has been up.
type Votes = BTreeMap<u32, (Option<Digest>, u64)>;

/// Who holds the value that counts.
fn elect(votes: &Votes) -> Option<u32> {
    let supporters = |digest: Option<Digest>| votes.values().filter(|(other, _)| *other == digest).count();
    let most = votes.values().map(|(digest, _)| supporters(*digest)).max()?;
    let leading: BTreeMap<u32, u64> = votes
        .iter()
        .filter(|(_, (digest, _))| supporters(*digest) == most)
        .map(|(ordinal, (_, uptime))| (*ordinal, *uptime))
        .collect();
    let oldest = leading.values().max()?;
    let old: BTreeSet<u32> = leading
        .iter()
        .filter(|(_, uptime)| *uptime + TOGETHER >= *oldest)
        .map(|(ordinal, _)| *ordinal)
        .collect();
    old.first().copied()
}

/// In seconds: uptimes are whole ones, so of two nodes that are asked at the same time each may be off by one.
const TOGETHER: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(uuid: &str, uptime: u64) -> Node {
        let traits = [(Trait::Uuid, Digest::of([uuid]))].into();
        Node { identity: Identity { traits, uptime, ..Identity::default() }, ..Node::default() }
    }

    fn choose(me: u32, nodes: &[(u32, Node)]) -> Option<u32> {
        match choose_with(me, nodes, None) {
            Some(Source::Member(from)) => Some(from),
            None => None,
            Some(Source::Record { uuid }) => panic!("nobody recorded {uuid}"),
        }
    }

    fn choose_with(me: u32, nodes: &[(u32, Node)], recorded: Option<&str>) -> Option<Source> {
        let nodes = nodes.iter().map(|(ordinal, node)| (*ordinal, node)).collect();
        difference(me, &nodes, recorded.map(str::to_owned).as_ref()).map(|difference| difference.from)
    }

    #[test]
    fn the_recorded_uuid_counts_as_one_more_node_that_never_restarted() {
        let record = || Some(Source::Record { uuid: "old".to_owned() });
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
        assert_eq!(choose_with(2, &changing, Some("old")), Some(Source::Member(0)));
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
            let traits = [(Trait::Admin("admin".to_owned()), Digest::of([hash]))].into();
            let new_hashes = BTreeSet::from_iter((hash == "new").then(|| "admin".to_owned()));
            let release = Some(Release { major: 3, minor });
            Node { identity: Identity { traits, uptime: 9, new_hashes }, release, ..Node::default() }
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
            let digest = |(name, hash): &(&str, &str)| (Trait::Admin((*name).to_owned()), Digest::of([hash]));
            let traits = admins.iter().map(digest).collect();
            Node { identity: Identity { traits, uptime: 9, ..Identity::default() }, ..Node::default() }
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

    #[test]
    fn a_digest_does_not_show_its_value() {
        assert_eq!(format!("{:?}", Digest::of(["s3cret"])), "Digest(..)");
        assert_ne!(Digest::of(["ab", "c"]), Digest::of(["a", "bc"]), "the border between two values counts");
    }
}
