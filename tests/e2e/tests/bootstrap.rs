//! Forming a cluster from pristine nodes: any size, any start order, and any agent killed after any of its calls.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use e2e::cluster::{TestCluster, host};
use e2e::until::until;
use sandbox::couchdb::{CallFilter, Moment};

#[tokio::test]
async fn one_node_is_a_cluster_at_once() {
    let mut cluster = TestCluster::with_nodes(1);
    cluster.start_agent(0).await;
    cluster.until_formed().await;
    assert_eq!(cluster.readyz(0).await.0, 200);
}

#[tokio::test]
async fn three_agents_form_a_cluster_in_any_start_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut cluster = TestCluster::with_nodes(3);
        for (started, i) in order.into_iter().enumerate() {
            cluster.start_agent(i).await;
            // The next agent starts only after this one has finished its first round.
            until("the first decision", DEADLINE, async || {
                let status = cluster.status(i).await;
                if status["step"]["reason"] == "FirstLook" { Err(status) } else { Ok(()) }
            })
            .await;
            let finished = cluster.net.calls_of(&finish_calls()).len();
            assert!(started == 2 || finished == 0, "formed by {} of 3 agents in {order:?}", started + 1);
        }
        cluster.until_formed().await;
    }
}

#[tokio::test]
async fn five_agents_form_a_cluster() {
    let mut cluster = TestCluster::with_nodes(5);
    cluster.start_agents([4, 2, 0, 1, 3]).await;
    cluster.until_formed().await;
}

#[tokio::test]
async fn agents_wait_for_nodes_that_start_one_after_another() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.ordinals().for_each(|i| cluster.node(i).kill());
    cluster.start_agents(0..3).await;
    assert!(cluster.until_step(0, "WaitingForCouchDb").await.contains("cannot be reached"));
    for i in [2, 1, 0] {
        cluster.node(i).start().unwrap();
    }
    cluster.until_formed().await;
}

#[tokio::test]
async fn the_lowest_ordinal_forms_the_cluster_once_and_each_agent_writes_only_to_its_own_node() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let calls = cluster.net.calls_of(&finish_calls());
    assert_eq!(calls.len(), 1, "{calls:#?}");
    assert_eq!(calls[0].source, host(0));
    let writes = cluster.net.calls_of(&CallFilter::all().writes());
    assert!(writes.iter().all(|call| call.source == call.node.as_str()), "{writes:#?}");
}

#[tokio::test]
async fn no_agent_is_ready_before_the_cluster_is_formed() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.node(2).kill();
    cluster.start_agents(0..3).await;
    cluster.until_step(0, "WaitingForPeers").await;
    for i in 0..3 {
        assert_eq!(cluster.readyz(i).await.0, 503);
    }
    cluster.node(2).start().unwrap();
    cluster.until_formed().await;
    for i in 0..3 {
        assert_eq!(cluster.readyz(i).await.0, 200);
    }
}

#[tokio::test]
async fn under_ordered_ready_each_pod_becomes_ready_before_the_next_starts() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.set("COUCHDISCOVER_POD_MANAGEMENT_POLICY", "OrderedReady");
    cluster.ordinals().for_each(|i| cluster.node(i).kill());
    for i in 0..3 {
        cluster.node(i).start().unwrap();
        cluster.start_agent(i).await;
        cluster.until_ready(i).await;
    }
    cluster.until_formed().await;
}

#[tokio::test]
async fn the_founder_may_be_killed_before_any_call_takes_effect() {
    killed_after_every_call(0, Moment::Before).await;
}

#[tokio::test]
async fn the_founder_may_be_killed_after_any_call_took_effect() {
    killed_after_every_call(0, Moment::After).await;
}

#[tokio::test]
async fn a_joining_agent_may_be_killed_before_any_call_takes_effect() {
    killed_after_every_call(1, Moment::Before).await;
}

#[tokio::test]
async fn a_joining_agent_may_be_killed_after_any_call_took_effect() {
    killed_after_every_call(2, Moment::After).await;
}

#[tokio::test]
async fn agents_that_start_together_cost_each_node_about_one_password_hash() {
    // Longer than the agents' starts are apart on a busy machine.
    const COST: Duration = Duration::from_millis(700);
    let nodes = 3;
    let mut cluster = TestCluster::in_real_time_with(nodes, |settings| settings.first_login(COST));
    cluster.start_agents(0..nodes).await;
    cluster.until_formed().await;
    let hashes: Vec<usize> = cluster
        .ordinals()
        .map(|i| cluster.net.world(|world| world.node(&host(i)).unwrap().hashes()))
        .collect();
    // Each agent alone needs one for each node: nine. An agent that started late may cost another one.
    assert!(hashes.iter().sum::<usize>() < 2 * nodes, "{hashes:?}");
}

/// Kills one agent after its k-th call, whose connection is cut before or after the call takes effect, and starts it
/// again; for every k until the cluster is formed with fewer calls.
async fn killed_after_every_call(agent: usize, moment: Moment) {
    for k in 1.. {
        let mut cluster = TestCluster::with_nodes(3);
        cluster.net.cut_call(CallFilter::all().from(&host(agent)), k, moment);
        cluster.start_agents(0..3).await;
        let calls = until("the call, or a cluster without it", DEADLINE, async || {
            let calls = u64::try_from(cluster.calls_of_agent(agent).len()).unwrap();
            let settled = cluster.status(agent).await["step"]["reason"] == "Settled";
            if calls >= k || settled { Ok(calls) } else { Err(calls) }
        })
        .await;
        if calls < k {
            assert!(k > 10, "an agent makes more than {k} calls");
            return;
        }
        cluster.kill_agent(agent).await;
        cluster.start_agent(agent).await;
        cluster.until_formed().await;
    }
}

/// The calls that form a cluster.
fn finish_calls() -> CallFilter {
    CallFilter::all().writes().below("/_cluster_setup")
}

/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
