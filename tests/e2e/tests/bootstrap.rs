//! From nothing to a formed cluster: any size, any start order, any agent killed after any of its calls.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::time::Duration;

use e2e::stage::{Stage, host};
use e2e::until::until;
use sandbox::couchdb::{CallFilter, Moment};

#[tokio::test]
async fn one_node_is_a_cluster_at_once() {
    let mut stage = Stage::with_nodes(1);
    stage.start_agent(0).await;
    stage.formed().await;
    assert_eq!(stage.readyz(0).await.0, 200);
}

#[tokio::test]
async fn three_agents_form_a_cluster_in_any_start_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut stage = Stage::with_nodes(3);
        for (started, i) in order.into_iter().enumerate() {
            stage.start_agent(i).await;
            // The next one starts only when this one has looked around and decided something.
            until("a first decision", DEADLINE, async || {
                let status = stage.status(i).await;
                if status["step"]["reason"] == "FirstLook" { Err(status) } else { Ok(()) }
            })
            .await;
            let founded = stage.net.calls_of(&foundings()).len();
            assert!(started == 2 || founded == 0, "founded by {} of 3 agents in {order:?}", started + 1);
        }
        stage.formed().await;
    }
}

#[tokio::test]
async fn five_nodes() {
    let mut stage = Stage::with_nodes(5);
    stage.start_agents([4, 2, 0, 1, 3]).await;
    stage.formed().await;
}

#[tokio::test]
async fn nodes_that_come_up_one_by_one() {
    let mut stage = Stage::with_nodes(3);
    stage.ordinals().for_each(|i| stage.node(i).kill());
    stage.start_agents(0..3).await;
    assert!(stage.says(0, "WaitingForCouchDb").await.contains("can't be reached"));
    for i in [2, 1, 0] {
        stage.node(i).start().unwrap();
    }
    stage.formed().await;
}

#[tokio::test]
async fn the_cluster_is_founded_once_by_the_lowest_ordinal_and_every_agent_writes_to_its_own_node_only() {
    let mut stage = Stage::with_nodes(3);
    stage.start_agents(0..3).await;
    stage.formed().await;
    let founded = stage.net.calls_of(&foundings());
    assert_eq!(founded.len(), 1, "{founded:#?}");
    assert_eq!(founded[0].source, host(0));
    let writes = stage.net.calls_of(&CallFilter::all().writes());
    assert!(writes.iter().all(|call| call.source == call.node.as_str()), "{writes:#?}");
}

#[tokio::test]
async fn no_agent_is_ready_before_the_cluster_is_formed() {
    let mut stage = Stage::with_nodes(3);
    stage.node(2).kill();
    stage.start_agents(0..3).await;
    stage.says(0, "WaitingForPeers").await;
    for i in 0..3 {
        assert_eq!(stage.readyz(i).await.0, 503);
    }
    stage.node(2).start().unwrap();
    stage.formed().await;
    for i in 0..3 {
        assert_eq!(stage.readyz(i).await.0, 200);
    }
}

#[tokio::test]
async fn under_ordered_ready_each_pod_lets_the_next_one_come() {
    let mut stage = Stage::with_nodes(3);
    stage.set("COUCHDISCOVER_POD_MANAGEMENT_POLICY", "OrderedReady");
    stage.ordinals().for_each(|i| stage.node(i).kill());
    for i in 0..3 {
        stage.node(i).start().unwrap();
        stage.start_agent(i).await;
        stage.ready(i).await;
    }
    stage.formed().await;
}

#[tokio::test]
async fn the_founder_killed_after_any_call_that_was_lost() {
    killed_after_every_call(0, Moment::Before).await;
}

#[tokio::test]
async fn the_founder_killed_after_any_call_that_was_done() {
    killed_after_every_call(0, Moment::After).await;
}

#[tokio::test]
async fn a_joiner_killed_after_any_call_that_was_lost() {
    killed_after_every_call(1, Moment::Before).await;
}

#[tokio::test]
async fn a_joiner_killed_after_any_call_that_was_done() {
    killed_after_every_call(2, Moment::After).await;
}

/// Kills one agent as soon as it has made its k-th call, whose connection is cut before or after it had its effect,
/// and starts it again; for every k that there is until the cluster is formed.
async fn killed_after_every_call(agent: usize, moment: Moment) {
    for k in 1.. {
        let mut stage = Stage::with_nodes(3);
        stage.net.cut_call(CallFilter::all().from(&host(agent)), k, moment);
        stage.start_agents(0..3).await;
        let reached = until("the call, or a cluster without it", DEADLINE, async || {
            let calls = stage.calls_of_agent(agent).len();
            let settled = stage.status(agent).await["step"]["reason"] == "Settled";
            match u64::try_from(calls).unwrap_or(u64::MAX) >= k {
                true => Ok(true),
                false if settled => Ok(false),
                false => Err(calls),
            }
        })
        .await;
        if !reached {
            assert!(k > 10, "an agent makes more calls than {k}");
            return;
        }
        stage.kill_agent(agent).await;
        stage.start_agent(agent).await;
        stage.formed().await;
    }
}

fn foundings() -> CallFilter {
    CallFilter::all().writes().below("/_cluster_setup")
}

/// Longer than anything takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
