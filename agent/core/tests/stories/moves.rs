//! Moves of copies: the agent that leads them, their order, and what comes before them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::decide::{Condition, MoveNodes, MoveTask, Readiness, Step, decide, next_step};
use agent_core::facts::{
    CountedCopies, LeaseState, MapDemands, MoveFacts, Observed, Pause, PodManagement, Rebalance, Unseen,
};
use agent_core::moves::recorded_after;
use contract::moves::{NodeCopies, NodeState};
use insta::assert_snapshot;

use crate::cluster::{Cluster, cluster, member, release};
use crate::explain;

/// The observations of the agent of pod `me` in a cluster of four, whose user wants the pods from `size` on to be drained.
fn draining(me: u32, size: u32) -> Observed {
    wishing(cluster(4).me(me).all(0..4, &release(5, member(0..4))), size)
}

fn wishing(cluster: Cluster, size: u32) -> Observed {
    let moves = MoveFacts { leaving: (size..4).collect(), ..MoveFacts::default() };
    Observed { lease: LeaseState::Mine, moves, ..cluster.observed() }
}

/// The record in which these pods have these states.
fn states<const N: usize>(states: [(u32, NodeState); N]) -> BTreeMap<u32, NodeCopies> {
    states.map(|(ordinal, state)| (ordinal, NodeCopies { state, ..NodeCopies::default() })).into()
}

/// The task of the step, if it is to move copies.
fn task(observed: &Observed) -> Option<MoveTask> {
    if let Step::Move { task, .. } = next_step(observed) { Some(task) } else { None }
}

fn drain(node: u32) -> Option<MoveTask> {
    Some(MoveTask::Drain(node))
}

#[test]
fn one_agent_leads_and_drains_the_highest_pod_first() {
    assert_eq!(task(&draining(0, 2)), drain(3));
    for other in 1..4 {
        assert_eq!(next_step(&draining(other, 2)), Step::ReleaseLease, "agent {other}");
    }
    let mut observed = draining(0, 2);
    observed.moves.recorded = states([(3, NodeState::Drained)]);
    assert_eq!(task(&observed), drain(2));
    observed.moves.recorded = states([(2, NodeState::Drained), (3, NodeState::Drained)]);
    assert_eq!(next_step(&observed), Step::ReleaseLease, "both wait until the StatefulSet is smaller");
}

/// The maps of a settled cluster of three, in which pod 2 has the only copy of one database.
fn counted() -> Observed {
    let mut observed = Observed { lease: LeaseState::Free, ..cluster(3).members(0..3).observed() };
    let node = |databases, only_copies| NodeCopies {
        state: NodeState::Holding,
        databases,
        only_copies,
        ..NodeCopies::default()
    };
    let nodes = [(0, node(3, 0)), (1, node(3, 0)), (2, node(4, 1))];
    observed.moves.counted =
        Some(CountedCopies { as_of: "2026-11-30T12:00:00Z".to_owned(), nodes: nodes.into() });
    observed
}

fn records(observed: &Observed) -> bool {
    decide(observed, PodManagement::Parallel).record.is_some()
}

#[test]
fn the_agent_that_leads_records_the_copies_of_a_settled_cluster_before_any_drain() {
    let first = counted();
    assert_eq!(next_step(&first), Step::Settled, "beside the step");
    assert_eq!(decide(&first, PodManagement::Parallel).record, first.moves.counted);
    for other in 1..3 {
        let other = Observed {
            moves: first.moves.clone(),
            lease: LeaseState::Free,
            ..cluster(3).me(other).members(0..3).observed()
        };
        assert!(!records(&other), "one agent writes");
    }
    for lease in [LeaseState::Held("couchdb-1".to_owned()), LeaseState::NotUsed, LeaseState::Unknown] {
        assert!(!records(&Observed { lease, ..first.clone() }));
    }
}

#[test]
fn copies_are_recorded_again_when_they_have_changed_and_after_an_hour() {
    let mut observed = counted();
    let counted = observed.moves.counted.clone().unwrap().nodes;
    observed.moves.recorded = counted;
    assert!(records(&observed), "the record of an earlier process may be of any age");
    observed.moves.recorded_for = Some(Duration::from_secs(3599));
    assert!(!records(&observed));
    observed.moves.recorded_for = Some(Duration::from_secs(3600));
    assert!(records(&observed));
    observed.moves.recorded_for = Some(Duration::ZERO);
    observed.moves.recorded.get_mut(&2).unwrap().databases = 3;
    assert!(records(&observed));
    observed.moves.leaving = [2].into();
    observed.lease = LeaseState::Mine;
    observed.local = observed.local.map(|node| release(5, node));
    observed.peers =
        observed.peers.into_iter().map(|(peer, node)| (peer, node.map(|node| release(5, node)))).collect();
    assert_eq!(task(&observed), drain(2));
    assert!(!records(&observed), "the drain counts for itself");
}

#[test]
fn a_count_changes_no_state_but_that_of_a_drained_node_with_copies() {
    let node = |state, databases| NodeCopies { state, databases, ..NodeCopies::default() };
    let all = |states: &[(NodeState, u64)]| -> BTreeMap<u32, NodeCopies> {
        (0..).zip(states).map(|(ordinal, (state, databases))| (ordinal, node(*state, *databases))).collect()
    };
    use NodeState::{Drained, Draining, Holding, Removed, Unknown};
    let before = all(&[
        (Holding, 1),
        (Draining, 9),
        (Drained, 0),
        (Drained, 0),
        (Removed, 0),
        (Unknown, 0),
        (Holding, 3),
    ]);
    // Pods 4 and 6 are no members any more.
    let mut counted =
        all(&[(Holding, 2), (Holding, 8), (Holding, 0), (Holding, 1), (Holding, 0), (Holding, 5)]);
    counted.remove(&4);
    let after = all(&[(Holding, 2), (Draining, 8), (Drained, 0), (Draining, 1), (Removed, 0), (Unknown, 0)]);
    assert_eq!(recorded_after(&counted, &before), after);
    assert_eq!(recorded_after(&counted, &after), after, "writing it once is enough");
}

#[test]
fn a_wish_that_is_taken_back_makes_the_node_usable_again() {
    let mut observed = draining(0, 4);
    observed.moves.recorded = states([(3, NodeState::Draining)]);
    assert_eq!(task(&observed), Some(MoveTask::Restore([3].into())));
}

#[test]
fn begun_moves_and_a_resharding_that_is_held_are_finished_without_a_wish() {
    for maps in [
        MapDemands { begun: 1, ..MapDemands::default() },
        MapDemands { resharding_held: true, ..MapDemands::default() },
    ] {
        let mut observed = draining(0, 4);
        observed.moves.maps = maps;
        assert_eq!(task(&observed), Some(MoveTask::Finish));
    }
}

#[test]
fn a_task_continues_what_was_begun_to_its_end() {
    let mut observed = draining(0, 4);
    observed.moves.rebalance = Rebalance::All;
    // The last moves were begun, so nothing is unbalanced any more.
    observed.moves.maps = MapDemands { begun: 1, resharding_held: true, ..MapDemands::default() };
    assert_eq!(task(&observed), Some(MoveTask::Rebalance));
    observed.moves.copies = Some(3);
    assert_eq!(task(&observed), Some(MoveTask::Raise { copies: 3 }));
    observed.moves.maps = MapDemands { unbalanced: 1, resharding_held: true, ..MapDemands::default() };
    assert_eq!(task(&observed), Some(MoveTask::Rebalance), "and is not interrupted while resharding is held");
}

/// Otherwise the copies would be moved back to a node whose pod may be stopped at any time.
#[test]
fn no_task_gives_a_drained_node_copies() {
    let mut observed = draining(0, 3);
    observed.moves.recorded = states([(3, NodeState::Drained)]);
    observed.moves.rebalance = Rebalance::All;
    for maps in [
        MapDemands { unbalanced: 2, ..MapDemands::default() },
        MapDemands { begun: 1, ..MapDemands::default() },
        MapDemands { too_few: 1, ..MapDemands::default() },
    ] {
        observed.moves.maps = maps;
        observed.moves.copies = (maps.too_few > 0).then_some(3);
        let Step::Move { nodes, .. } = next_step(&observed) else { panic!("{maps:?}") };
        assert_eq!(nodes, MoveNodes { members: (0..4).collect(), leaving: [3].into() });
    }
}

#[test]
fn copies_are_added_before_they_are_spread_and_only_if_the_user_wants_it() {
    let mut observed = draining(0, 4);
    observed.moves.maps = MapDemands { too_few: 1, unbalanced: 5, ..MapDemands::default() };
    assert_eq!(next_step(&observed), Step::ReleaseLease);
    observed.moves.rebalance = Rebalance::All;
    assert_eq!(task(&observed), Some(MoveTask::Rebalance));
    observed.moves.copies = Some(3);
    assert_eq!(task(&observed), Some(MoveTask::Raise { copies: 3 }));
}

#[test]
fn nothing_is_moved_while_a_node_is_missing_or_runs_another_release() {
    let all = cluster(4).all(0..4, &release(5, member(0..4)));
    for reason in [Unseen::Unreachable, Unseen::NoAnswer, Unseen::Rejects] {
        assert_eq!(task(&wishing(all.clone().unseen(2, reason.clone()), 3)), None, "{reason:?}");
    }
    assert_eq!(task(&wishing(all.node(2, release(4, member(0..4))), 3)), None);
}

#[test]
fn nothing_is_moved_without_the_lease() {
    let with = |lease| Observed { lease, ..draining(0, 3) };
    assert_eq!(next_step(&with(LeaseState::Free)), Step::TakeLease);
    assert_eq!(task(&with(LeaseState::Held("couchdb-1".to_owned()))), None);
    assert_eq!(task(&with(LeaseState::Unknown)), None);
}

#[test]
fn nothing_is_moved_on_a_release_on_which_it_was_not_tried() {
    let on = |node| wishing(cluster(4).all(0..4, &node), 3);
    for minor in [4, 5] {
        assert_eq!(task(&on(release(minor, member(0..4)))), drain(3), "3.{minor}");
    }
    for node in [release(3, member(0..4)), release(6, member(0..4)), member(0..4)] {
        let observed = on(node.clone());
        let decision = decide(&observed, PodManagement::Parallel);
        assert_eq!(decision.step, Step::ReleaseLease);
        assert_eq!(decision.readiness, Readiness::Ready);
        assert_eq!(decision.conditions, [Condition::MovesPaused(Pause::UntriedRelease(node.release))]);
    }
    let observed = on(release(3, member(0..4)));
    let paused = &decide(&observed, PodManagement::Parallel).conditions[0];
    let explained = explain(&observed, |explainer| explainer.condition(&observed, paused));
    assert_snapshot!(explained.explanation.message, @"no copy is moved: moves of copies are not tested on CouchDB 3.3. Fix: update CouchDB to 3.5, or move the copies manually");
    // Nothing is wanted, so nothing is paused.
    let observed = wishing(cluster(4).all(0..4, &release(3, member(0..4))), 4);
    assert!(decide(&observed, PodManagement::Parallel).conditions.is_empty());
}

#[test]
fn a_drained_node_is_removed_when_its_pod_has_ended_and_not_before() {
    let left = || release(5, member(0..4));
    let with = |connected: BTreeSet<u32>, state| {
        let node = agent_core::facts::Node { connected, ..left() };
        let mut observed = Observed {
            lease: LeaseState::Mine,
            expected: (0..3).collect(),
            ..cluster(3).all(0..3, &node).observed()
        };
        observed.moves.recorded = states([(3, state)]);
        next_step(&observed)
    };
    assert_eq!(with((0..3).collect(), NodeState::Drained), Step::RemoveMember(3));
    assert_ne!(with((0..4).collect(), NodeState::Drained), Step::RemoveMember(3), "it still runs");
    let again = with((0..3).collect(), NodeState::Removed);
    assert_eq!(again, Step::RemoveMember(3), "the node has written its own entry again before it ended");
    for state in [NodeState::Holding, NodeState::Draining, NodeState::Unknown] {
        assert_ne!(
            with((0..3).collect(), state),
            Step::RemoveMember(3),
            "{state:?} may hold the only copies"
        );
    }
}
