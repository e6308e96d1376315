//! The table in `docs/design/rules.md`: every reason, and whether a pod in that state is ready.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::decide::{Readiness, decide};
use agent_core::facts::{
    ApiState, BrokenMaps, KnownRecord, LeaseState, Login, LostRanges, MaintenanceMode, MapProblem,
    NamedDatabases, Node, Observed, PodManagement, SystemDatabase, Unseen, UpAnswer, VolumeNote,
    VolumeOrigin, ZoneFacts, ZoneRule,
};

use crate::cluster::{
    cluster, copies_on, member, member_with_one_copy, pristine, release, up, with_admins, with_uuid,
};
use crate::explain;

const RULES: &str = include_str!("../../../../docs/design/rules.md");
const SOURCES: [&str; 6] = [
    include_str!("../../src/explain/conditions.rs"),
    include_str!("../../src/explain/explanation.rs"),
    include_str!("../../src/explain/local.rs"),
    include_str!("../../src/explain/refusals.rs"),
    include_str!("../../src/explain/steps.rs"),
    include_str!("../../src/explain/waits.rs"),
];

/// The second column of the table, by reason.
fn table() -> BTreeMap<&'static str, bool> {
    let (_, section) = RULES.split_once("### Every state\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut table = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert!(["yes", "no"].contains(&cells[2]) && !cells[3].is_empty(), "{row}");
        for reason in cells[1].split('`').skip(1).step_by(2) {
            assert_eq!(table.insert(reason, cells[2] == "yes"), None, "{reason} has two rows");
        }
    }
    table
}

/// The string literals in the sources that are reasons: CamelCase, without a blank.
fn reasons() -> BTreeSet<&'static str> {
    let is_reason = |text: &&str| {
        text.starts_with(|first: char| first.is_ascii_uppercase()) && text.chars().all(char::is_alphabetic)
    };
    SOURCES.into_iter().flat_map(|source| source.split('"')).filter(is_reason).collect()
}

#[test]
fn every_reason_has_a_row_in_the_readiness_table() {
    let rows: BTreeSet<&str> = table().into_keys().collect();
    assert_eq!(rows, reasons());
}

/// The situations are those of the stories, by the reason that the agent reports in them.
#[test]
fn the_readiness_table_contains_what_is_decided() {
    let table = table();
    let mut seen = BTreeSet::new();
    for observed in situations() {
        let decision = decide(&observed, PodManagement::Parallel);
        let explained = explain(&observed, |explainer| explainer.decision(&observed, &decision));
        let ready = decision.readiness == Readiness::Ready;
        // The reason against readiness may differ from that of the step.
        let state = if ready { &explained.step } else { &explained.readiness };
        assert_eq!(table.get(state.reason), Some(&ready), "{}", state.reason);
        for condition in explained.conditions.iter().filter(|_| ready) {
            assert!(table[condition.explanation.reason], "{}", condition.explanation.reason);
            seen.insert(condition.explanation.reason);
        }
        seen.insert(state.reason);
    }
    assert!(seen.len() > 30, "{seen:?}");
}

fn situations() -> Vec<Observed> {
    let settled = || cluster(2).members(0..2).observed();
    let strangers = || BTreeSet::from(["nonode@nohost".to_owned()]);
    let mut broken_maps = BrokenMaps::default();
    broken_maps.add("orders", MapProblem::Conflict);
    let half =
        Node { system: [(SystemDatabase::Users, copies_on(0..2))].into(), databases: 1, ..member(0..2) };
    let filling = Observed { note: VolumeNote::Filling, ..cluster(3).members(0..3).observed() };
    let (mut databases, mut lost) = (NamedDatabases::default(), LostRanges::default());
    databases.add("orders");
    lost.add("orders", vec!["00000000-ffffffff".to_owned()]);
    let record = KnownRecord::Formed { uuid: "u".to_owned(), instead_of: None };
    let unnamed = SystemDatabase::ALL.map(|database| (database, copies_on([]))).into();
    let renamed =
        Node { strangers: strangers(), holding_strangers: strangers(), system: unnamed, ..member([0]) };
    let members_but = |unseen| cluster(2).members(0..2).unseen(0, unseen).observed();
    vec![
        settled(),
        cluster(2)
            .node(0, with_uuid("a", 1, member(0..2)))
            .node(1, with_uuid("b", 9, member(0..2)))
            .observed(),
        cluster(2).all(0..2, &half).observed(),
        cluster(2).me(1).all(0..2, &half).observed(),
        Observed { compared: false, ..settled() },
        Observed { enabled: false, ..settled() },
        Observed { api: ApiState::Current, record: KnownRecord::Absent, ..settled() },
        Observed { resharding: true, ..cluster(3).me(1).all(0..3, &member_with_one_copy(0..3)).observed() },
        Observed { disagreeing: databases.clone(), single_copies: databases, ..settled() },
        Observed {
            origin: VolumeOrigin::Replaced { present: "0123456789ab".to_owned() },
            lost,
            first_note: true,
            maintenance: MaintenanceMode::On,
            ..filling.clone()
        },
        Observed { lease: LeaseState::Mine, ..settled() },
        Observed { finished: false, ..settled() },
        Observed { broken_maps, ..settled() },
        Observed { displaced_by: Some("4d3c".to_owned()), ..settled() },
        Observed { maintenance: MaintenanceMode::NoLb, ..settled() },
        Observed { up: UpAnswer::Closed, ..settled() },
        Observed { up: UpAnswer::Silent, ..settled() },
        Observed { founders: BTreeSet::new(), expected: BTreeSet::new(), ..settled() },
        cluster(2)
            .node(0, release(3, member_with_one_copy(0..2)))
            .node(1, release(5, member_with_one_copy(0..2)))
            .observed(),
        cluster(3).all(0..3, &member_with_one_copy(0..3)).observed(),
        cluster(3).me(1).all(0..3, &member_with_one_copy(0..3)).observed(),
        cluster(2).members(0..2).node(1, pristine(0..2)).observed(),
        cluster(2).members(0..2).pristine([1]).observed(),
        cluster(2).members(0..2).unseen(1, Unseen::Rejects).observed(),
        cluster(2).all(0..2, &Node { connected: [0].into(), ..member(0..2) }).observed(),
        cluster(2).all(0..2, &member(0..3)).observed(),
        cluster(2).me(2).members(0..3).observed(),
        cluster(2).members(0..2).node(0, Node { strangers: strangers(), ..member(0..2) }).observed(),
        cluster(3).members(0..2).members([2]).observed(),
        cluster(3).members(0..2).members([2]).me(2).observed(),
        cluster(4).members(0..2).members(2..4).observed(),
        cluster(1).node(0, renamed).observed(),
        cluster(3).me(2).members(0..2).node(2, member(0..3)).observed(),
        members_but(Unseen::Rejects),
        members_but(Unseen::LockedOut),
        members_but(Unseen::LoginIgnored),
        Observed { api: ApiState::NoToken, ..settled() },
        Observed { zone: ZoneFacts { rule: Some(ZoneRule::Topology), ..ZoneFacts::default() }, ..settled() },
        Observed {
            zone: ZoneFacts { rule: Some(ZoneRule::from("dc2")), ..ZoneFacts::default() },
            ..settled()
        },
        Observed { login: Login::Ignored, ..settled() },
        Observed { login: Login::LockedOut, ..settled() },
        Observed { login: Login::Rejected, ..settled() },
        cluster(2).members(0..2).node(1, with_admins(&["late"], member(0..2))).observed(),
        members_but(Unseen::Unreachable),
        members_but(Unseen::Garbled),
        members_but(Unseen::Untrusted),
        members_but(Unseen::Misnamed("nonode@nohost".to_owned())),
        Observed {
            note: VolumeNote::None,
            ..cluster(3)
                .members(0..3)
                .node(0, up(1, Node { databases: 3, ..member(0..3) }))
                .node(1, up(99, member(0..3)))
                .observed()
        },
        filling.clone(),
        Observed { maintenance: MaintenanceMode::On, ..filling },
        Observed {
            note: VolumeNote::Filling,
            maintenance: MaintenanceMode::On,
            ..cluster(3).me(1).all(0..3, &member_with_one_copy(0..3)).observed()
        },
        cluster(2).joined(0..2).observed(),
        cluster(2).me(1).pristine(0..2).observed(),
        cluster(2).me(1).joined(0..2).observed(),
        cluster(3).node(0, pristine(0..2)).node(1, member(0..3)).observed(),
        cluster(3).me(2).members([1]).node(2, pristine([0, 2])).observed(),
        Observed { session_secret: false, ..cluster(1).pristine([0]).observed() },
        Observed { api: ApiState::Silent, ..cluster(2).joined(0..2).observed() },
        Observed { api: ApiState::Current, record, ..cluster(2).joined(0..2).observed() },
    ]
}
