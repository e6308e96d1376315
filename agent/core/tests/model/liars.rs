//! A member that lies, in one field of its answers or in two: the others, which agree, stay ready, keep their identity and
//! close or remove nothing.
//!
//! It has the cookie, so Erlang is connected to it and it has a vote. With its cookie it could do worse; but a member with a broken
//! volume or a release of its own must not be the end of the others.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_core::decide::{Decision, Readiness, Step, StepKind, decide};
use agent_core::facts::{
    Digest, IdentityPart, Node, Observed, PodManagement, Release, Spread, SystemDatabase,
};

use crate::couch::Couch;
use crate::world::{Faults, World};

/// The ordinal of the member that lies. The others are honest.
const LIAR: u32 = 2;

/// A lie: what it changes in the answers of a member, and its name.
type Lie = (&'static str, fn(&mut Node));

const LIES: [Lie; 36] = [
    ("another uuid", |node| claim(node, IdentityPart::Uuid)),
    ("another session secret", |node| claim(node, IdentityPart::SessionSecret)),
    ("another hash of the admin", |node| claim(node, IdentityPart::Admin("admin".to_owned()))),
    ("an admin of its own", |node| claim(node, IdentityPart::Admin("evil\r\n\u{1b}[2J".to_owned()))),
    ("a hash of the new kind", |node| node.identity.new_hashes = ["admin".to_owned()].into()),
    ("no identity", |node| node.identity.parts.clear()),
    ("the longest uptime", |node| node.identity.uptime = Duration::MAX),
    ("no uptime", |node| node.identity.uptime = Duration::ZERO),
    ("no release", |node| node.release = None),
    ("an old release", |node| node.release = Some(Release { major: 2, minor: 3 })),
    ("the newest release", |node| node.release = Some(Release { major: u16::MAX, minor: u16::MAX })),
    ("no members", |node| node.members.clear()),
    ("itself as only member", |node| node.members = [LIAR].into()),
    ("all members but one", |node| node.members = [1, LIAR].into()),
    ("a member that does not exist", |node| node.members.extend([u32::MAX])),
    ("only members that do not exist", |node| node.members = (7..900).collect()),
    ("no connections", |node| node.connected.clear()),
    ("connections to nodes that do not exist", |node| node.connected = (7..900).collect()),
    ("strangers", |node| node.strangers = names()),
    ("connected strangers", |node| node.connected_strangers = names()),
    ("strangers that hold everything", |node| node.holding_strangers = names()),
    ("members outside", |node| node.colleagues = names()),
    ("connected members outside", |node| node.connected_colleagues = names()),
    ("no databases", |node| node.databases = 0),
    ("one database", |node| node.databases = 1),
    ("the largest number of databases", |node| node.databases = u64::MAX),
    ("no system database", |node| node.system.clear()),
    ("one system database", |node| node.system.retain(|database, _| *database == SystemDatabase::Users)),
    ("no copies", |node| spread(node, 0, &[])),
    ("the largest number of copies", |node| spread(node, u32::MAX, &[0, 1, 2])),
    ("copies on itself alone", |node| spread(node, 1, &[LIAR])),
    ("copies on nodes that do not exist", |node| spread(node, 3, &[7, 8, u32::MAX])),
    ("no copy of the others", |node| spread(node, 1, &[])),
    ("everything missing", |node| *node = Node::default()),
    ("databases without members", |node| *node = Node { databases: u64::MAX, ..Node::default() }),
    ("the truth", |_| {}),
];

fn claim(node: &mut Node, part: IdentityPart) {
    node.identity.parts.insert(part, Digest::of(["a lie"]));
}

fn names() -> BTreeSet<String> {
    (0..300).map(|n| format!("couchdb@evil-{n}\r\n2026-01-01 ERROR forged\u{1b}[2J")).collect()
}

fn spread(node: &mut Node, copies: u32, holders: &[u32]) {
    let spread = Spread { copies, holders: holders.iter().copied().collect() };
    node.system = SystemDatabase::ALL.map(|database| (database, spread.clone())).into();
}

/// A settled cluster of three, as the agent of `me` observes it, with these lies of the last member.
fn observed(me: u8, lies: [&Lie; 2]) -> Observed {
    let mut world = World::new(
        (0..3).map(|i| Couch::foreign(i, 1, &[0, 1, 2])).collect(),
        Faults { restarts: 1, ..Faults::default() },
    );
    (world.asks_kubernetes, world.record, world.recorded) = (true, true, world.node(0).identity);
    let mut observed = world.settle().observe(me);
    for node in [&mut observed.local].into_iter().chain(observed.peers.values_mut()) {
        for part in [IdentityPart::SessionSecret, IdentityPart::Admin("admin".to_owned())] {
            let node = node.as_mut().unwrap();
            node.identity.parts.insert(part, Digest::of(["the cluster's"]));
            node.release = Some(Release { major: 3, minor: 5 });
        }
    }
    let liar = observed.peers.get_mut(&LIAR).unwrap().as_mut().unwrap();
    lies.into_iter().for_each(|(_, lie)| lie(liar));
    observed
}

#[test]
fn a_member_that_lies_makes_no_other_one_unready_and_changes_none() {
    let mut decisions = BTreeSet::new();
    for (first, lie) in LIES.iter().enumerate() {
        for other in &LIES[first..] {
            for me in 0..2 {
                let observed = observed(me, [lie, other]);
                let Decision { step, readiness, .. } = decide(&observed, PodManagement::Parallel);
                let lies = format!("{} and {}: {step:?}", lie.0, other.0);
                assert_eq!(readiness, Readiness::Ready, "{lies}");
                assert!(step.kind() != StepKind::Refuse, "{lies}");
                // Each of these is harmless: it compares, waits, or prepares a change of the local node's own copies.
                let harmless = matches!(
                    step,
                    Step::Settled | Step::Wait(_) | Step::Dial { .. } | Step::TakeLease | Step::ReleaseLease
                );
                assert!(harmless, "{lies}");
                decisions.insert(format!("{:?}", step.kind()));
            }
        }
    }
    assert!(decisions.len() > 1, "the lies change nothing: {decisions:?}");
}

/// CouchDB has just started, and the volume is compared. One claim closes the node meanwhile, because it may be true and documents
/// would be lost: a release that is newer or unknown, of a node that is up for longer. That is a downgrade.
#[test]
fn a_member_that_lies_closes_no_complete_node_but_by_the_claim_of_a_downgrade() {
    let mut closed = BTreeSet::new();
    for (first, lie) in LIES.iter().enumerate() {
        for other in &LIES[first..] {
            for me in 0..2 {
                let restarted = Observed { compared: false, ..observed(me, [lie, other]) };
                let Decision { step, readiness, .. } = decide(&restarted, PodManagement::Parallel);
                assert_eq!(readiness == Readiness::Ready, step != Step::NoteFilling, "{step:?}");
                if step == Step::NoteFilling {
                    closed.insert([lie.0, other.0]);
                }
            }
        }
    }
    let downgrades = ["no release", "the newest release"].map(|release| ["the longest uptime", release]);
    assert_eq!(closed, downgrades.into());
}
