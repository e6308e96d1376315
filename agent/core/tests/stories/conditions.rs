//! Conditions: problems that are reported beside the step, and that leave readiness alone.

use std::collections::BTreeSet;

use agent_core::decide::{Condition, Decision, Readiness, Step, decide};
use agent_core::explain::Explainer;
use agent_core::facts::{
    ApiState, Login, MaintenanceMode, Node, Observed, PodManagement, Spread, SystemDatabase, Unseen,
    VolumeNote,
};
use contract::ini::lost_part;
use insta::assert_snapshot;

use crate::cluster::{cluster, copies_on, member, pristine, up, with_admins};
use crate::{explain, explained};

fn decided(observed: &Observed) -> Decision {
    decide(observed, PodManagement::Parallel)
}

/// The conditions, with their evidence.
fn conditions(observed: &Observed) -> String {
    let conditions = decided(observed).conditions;
    let explained = conditions.iter().map(|condition| {
        let condition = explain(observed, |explainer| explainer.condition(observed, condition));
        let lines = condition.evidence.iter().map(|line| format!("\n  {line}"));
        format!(
            "{}: {}{}",
            condition.explanation.reason,
            condition.explanation.message,
            String::from_iter(lines)
        )
    });
    Vec::from_iter(explained).join("\n")
}

fn strangers(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_stray_name_in_nodes_is_a_condition_of_a_settled_member() {
    let node = Node { strangers: strangers(&["nonode@nohost"]), ..member(0..2) };
    let observed = cluster(2).members(0..2).node(0, node).observed();
    assert_snapshot!(explained(&observed), @"[ready] Settled: the cluster is formed, and every member confirms it");
    assert_snapshot!(conditions(&observed), @r"
    StrangersListed: _nodes contains 'nonode@nohost', which belongs to no pod of StatefulSet 'couchdb' and is not connected. Fix: if this is no node that will return, remove the entry: kubectl couchdiscover forget nonode@nohost -n default
      'nonode@nohost' belongs to no pod
    ");
}

#[test]
fn members_outside_of_the_statefulset_that_are_connected_or_hold_copies_are_no_condition() {
    let names = strangers(&["couchdb@machine-1", "couchdb@machine-2"]);
    let connected = Node { connected_strangers: names.clone(), ..member(0..2) };
    let holding = Node { holding_strangers: names.clone(), ..member(0..2) };
    // The pods joined a cluster of machines, which hold the system databases.
    let two_copies = Spread { copies: 2, holders: BTreeSet::new() };
    let held_there = SystemDatabase::ALL.map(|database| (database, two_copies.clone())).into();
    let one_is_away = strangers(&["couchdb@machine-1"]);
    let wider = Node {
        connected_strangers: one_is_away,
        holding_strangers: names.clone(),
        system: held_there,
        ..member(0..2)
    };
    for node in [connected, holding, wider] {
        let node = Node { strangers: names.clone(), ..node };
        let decision = decided(&cluster(2).all(0..2, &node).observed());
        assert!(decision.conditions.is_empty(), "{:?}", decision.conditions);
        assert!(!matches!(decision.step, Step::Refuse(_)), "{:?}", decision.step);
        assert_eq!(decision.readiness, Readiness::Ready);
    }
}

#[test]
fn members_that_the_user_names_are_no_strangers_however_long_they_are_away() {
    let named = || strangers(&["couchdb@machine-1"]);
    let node = Node { colleagues: named(), ..member(0..2) };
    let observed = cluster(2).all(0..2, &node).observed();
    let decision = decided(&observed);
    assert_eq!((decision.step, decision.readiness), (Step::Settled, Readiness::Ready));
    assert!(decision.conditions.is_empty(), "{:?}", decision.conditions);
}

#[test]
fn a_volume_that_was_used_under_another_name_is_refused_where_its_own_name_holds_nothing() {
    let former = || strangers(&["couchdb@couchdb-1.old"]);
    let renamed = |holders: &[u32]| {
        let system = SystemDatabase::ALL.map(|database| (database, copies_on(holders.to_vec()))).into();
        Node { strangers: former(), holding_strangers: former(), system, ..member(0..2) }
    };
    let step = |me, node: &Node| decided(&cluster(2).me(me).all(0..2, node).observed()).step;
    assert!(matches!(step(1, &renamed(&[])), Step::Refuse(_)), "no pod holds the system databases");
    assert!(matches!(step(1, &renamed(&[0])), Step::Refuse(_)), "the name was that of pod 1");
    assert!(!matches!(step(0, &renamed(&[0])), Step::Refuse(_)), "pod 0 has its own copies");
}

#[test]
fn a_stray_name_delays_the_founding_and_no_joining() {
    let stray = |node| Node { strangers: strangers(&["nonode@nohost"]), ..node };
    let founders = cluster(2).all(0..2, &stray(pristine(0..2))).observed();
    assert_snapshot!(explained(&founders), @"[not ready] StrangersListed: _nodes contains 'nonode@nohost', which belongs to no pod of StatefulSet 'couchdb' and is not connected. Fix: if this is no node that will return, remove the entry: kubectl couchdiscover forget nonode@nohost -n default");
    let joining = cluster(2).members([0]).me(1).node(1, stray(pristine([1]))).observed();
    let joining = Observed { maintenance: MaintenanceMode::On, note: VolumeNote::Filling, ..joining };
    assert_eq!(decided(&joining).step, Step::Join(0));
}

#[test]
fn a_peer_that_rejects_what_the_local_node_accepts_has_another_password() {
    let observed = cluster(3).members(0..3).unseen(1, Unseen::Rejects).observed();
    assert_snapshot!(conditions(&observed), @"
    AdminPasswordsDiffer: couchdb-1 rejects the password of user 'admin' that this node accepts: clients can log in at some nodes only. Fix: if a rolling restart is bringing a new password, wait for its end; otherwise restart the nodes with another password: kubectl -n default delete pod couchdb-1
      couchdb-0 holds 2 databases, lists couchdb-0, couchdb-1, couchdb-2, is connected to couchdb-0, couchdb-1, couchdb-2
      couchdb-1 rejects the admin's name or password
      couchdb-2 holds 2 databases, lists couchdb-0, couchdb-1, couchdb-2, is connected to couchdb-0, couchdb-1, couchdb-2
    ");
    assert_eq!(decided(&observed).readiness, Readiness::Ready);
    let foreign = cluster(2).members([0]).unseen(1, Unseen::Rejects).observed();
    assert!(decided(&foreign).conditions.is_empty(), "a host that is no member");
}

/// Anybody who may create an admin chooses the name.
#[test]
fn names_of_admins_are_cut_and_escaped_wherever_they_are_shown_and_the_fix_fits_into_an_event() {
    let forged = "late\r\n2026-01-01 ERROR forged\u{1b}[2J\u{202e}";
    let names: Vec<String> = (0..9).map(|n| format!("{n}{forged}{}", "x".repeat(5000))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let late = with_admins(&names, member(0..3));
    let partial =
        cluster(3).all(0..3, &with_admins(&["admin"], member(0..3))).node(2, late.clone()).observed();
    let adopting = cluster(3).all(0..3, &late).node(0, member(0..3)).observed();
    for observed in [&partial, &adopting] {
        let explained = explain(observed, |explainer| explainer.decision(observed, &decided(observed)));
        let conditions = explained.conditions.iter().map(|condition| &condition.explanation.message);
        let messages: Vec<&String> = conditions.chain([&explained.step.message]).collect();
        assert!(messages.iter().any(|message| message.contains("admin '0late")), "{messages:#?}");
        for message in messages {
            assert!(!message.contains(|char: char| char.is_control() || char == '\u{202e}'), "{message:?}");
            assert!(message.len() <= contract::text::MESSAGE_LIMIT, "{} bytes: {message}", message.len());
        }
    }
    let shown = conditions(&partial);
    assert!(shown.contains("exists on couchdb-2 only") && shown.contains("5 more admins"), "{shown}");
}

#[test]
fn an_admin_on_some_members_only_is_named_with_them_and_copied_on_the_word_of_no_single_one() {
    let all = || with_admins(&["admin"], member(0..3));
    let late = || with_admins(&["admin", "late"], member(0..3));
    let one = cluster(3).all(0..3, &all()).node(2, late()).observed();
    assert_snapshot!(conditions(&one), @"AdminsOnSomeNodes: admin 'late' exists on couchdb-2 only: logins fail on the other members, and the next restart of these nodes forgets the admin. Fix: create an admin on every member (PUT /_node/<node>/_config/admins/<name> for each name that GET /_membership lists, for example at couchdb-0), and put it into an ini file that every pod mounts; or create a user in _users instead, which all members share");
    assert_eq!(decided(&one).step, Step::Settled);
    // Two members: neither is the majority, and the older one may be an attacker's.
    let two = |me| {
        let node = |node: Node| Node { members: [0, 1].into(), connected: [0, 1].into(), ..node };
        cluster(2).me(me).node(0, up(9, node(all()))).node(1, up(900, node(late()))).observed()
    };
    for me in 0..2 {
        assert!(!matches!(decided(&two(me)).step, Step::Adopt(_)));
        let partial = [("late".to_owned(), [1].into())].into();
        assert_eq!(decided(&two(me)).conditions, [Condition::AdminsOnSomeNodes(partial)]);
    }
    // A node that restarted gets the admin back from the others, so nothing is reported.
    let restarted = cluster(3).all(0..3, &late()).node(0, all()).observed();
    assert!(matches!(decided(&restarted).step, Step::Adopt(_)));
    assert_eq!(decided(&restarted).conditions, []);
}

#[test]
fn a_refused_password_is_a_condition_of_a_member_that_is_observed_by_a_session() {
    let with = |login| {
        let decision = decided(&Observed { login, ..cluster(2).members(0..2).observed() });
        assert_eq!((decision.step, decision.readiness), (Step::Settled, Readiness::Ready));
        decision.conditions
    };
    assert_eq!(with(Login::Accepted), []);
    assert_eq!(with(Login::Ignored), [Condition::BasicAuthenticationOff]);
    assert_eq!(with(Login::LockedOut), [Condition::CredentialsLockedOut]);
    assert_eq!(with(Login::Rejected), [Condition::CredentialsRejected]);
    let off = Observed { login: Login::Ignored, ..cluster(1).members([0]).observed() };
    assert_snapshot!(conditions(&off), @r"
    BasicAuthenticationOff: CouchDB at http://127.0.0.1:5984 ignores basic authentication: [chttpd] authentication_handlers does not contain default_authentication_handler. The agent uses session cookies instead. Fix: if other clients need basic authentication, add '{chttpd_auth, default_authentication_handler}' to [chttpd] authentication_handlers
      user 'admin' from COUCHDB_USER and COUCHDB_PASSWORD
    ");
    let no_login = cluster(1).members([0]).unseen(0, Unseen::LoginIgnored).observed();
    assert_snapshot!(explained(&no_login), @"[not ready] BasicAuthenticationOff: CouchDB at http://127.0.0.1:5984 ignores basic authentication and session cookies, so the agent cannot log in. Fix: add '{chttpd_auth, cookie_authentication_handler}, {chttpd_auth, default_authentication_handler}' to [chttpd] authentication_handlers");
}

#[test]
fn an_agent_in_a_pod_without_a_token_reports_it_and_leaves_readiness_alone() {
    let observed = Observed { api: ApiState::NoToken, ..cluster(2).members(0..2).observed() };
    assert_eq!((decided(&observed).step, decided(&observed).readiness), (Step::Settled, Readiness::Ready));
    assert_snapshot!(conditions(&observed), @r#"KubernetesTokenMissing: the agent of couchdb-0 has no token for the Kubernetes API: Lease 'couchdb-couchdiscover' is neither read nor written, so a cluster is formed without record and lock, and a new size or annotation of StatefulSet 'couchdb' has no effect. Fix: let the webhook add the agent's own token, which restarts the pods one by one: kubectl -n default annotate statefulset/couchdb --overwrite couchdiscover.io/refresh="$(date +%s)"; or, if the agents are not to use the API, set annotation couchdiscover.io/kubernetes=off as well"#);
    let alone = Observed { api: ApiState::NoToken, ..cluster(1).pristine([0]).observed() };
    assert_eq!(decided(&alone).step, Step::Found, "as where there is no API");
    assert_eq!(decided(&alone).conditions, [Condition::KubernetesTokenMissing]);
}

#[test]
fn a_password_that_an_ini_file_does_not_keep_is_a_hint_beside_its_rejection() {
    let observed = Observed { login: Login::Rejected, ..cluster(1).members([0]).observed() };
    let fix = |lost_part| {
        let explained = explain(&observed, |explainer| {
            let explainer = Explainer { lost_part, ..explainer.clone() };
            explainer.condition(&observed, &Condition::CredentialsRejected)
        });
        explained.explanation.fix.unwrap()
    };
    let lost = lost_part("se%cret");
    assert!(fix(lost).contains("the value contains '%', which its ini file does not keep"), "{}", fix(lost));
    assert!(!fix(None).contains("ini file does not keep"));
}

#[test]
fn a_refused_login_is_a_condition() {
    let with = |unseen| decided(&cluster(2).members(0..2).unseen(0, unseen).observed()).conditions;
    assert_eq!(with(Unseen::LockedOut), [Condition::CredentialsLockedOut]);
    assert_eq!(with(Unseen::Rejects), [Condition::CredentialsRejected]);
    assert_eq!(with(Unseen::LoginIgnored), [Condition::BasicAuthenticationOff]);
    assert!(with(Unseen::Unreachable).is_empty());
}

#[test]
fn any_number_of_conditions_is_reported_at_once() {
    let node = Node { strangers: strangers(&["nonode@nohost"]), ..member(0..3) };
    let nodes = cluster(2).node(0, node).unseen(1, Unseen::Rejects).observed();
    let observed = Observed { maintenance: MaintenanceMode::NoLb, ..nodes };
    let expected = [
        Condition::AdminPasswordsDiffer([1].into()),
        Condition::ClosedByHand(MaintenanceMode::NoLb),
        Condition::MembersBeyondSize([2].into()),
        Condition::StrangersListed(strangers(&["nonode@nohost"])),
    ];
    assert_eq!(decided(&observed).conditions, expected);
    let filling = Observed { note: VolumeNote::Filling, maintenance: MaintenanceMode::On, ..observed };
    assert!(!decided(&filling).conditions.contains(&Condition::ClosedByHand(MaintenanceMode::On)));
}
