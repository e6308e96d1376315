//! Repairs that a person decides about, run as in the agent's container: `open`, `readmit` and `forget`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use agent::repair::{Change, Proposal, Repair, RepairError};
use e2e::cluster::{TestCluster, host};
use e2e::until::until;
use sandbox::couchdb::Timings;
use serde_json::{Value, json};

#[tokio::test]
async fn open_ends_a_maintenance_mode_that_was_set_manually_and_the_pod_becomes_ready() {
    let cluster = formed().await;
    cluster.put(1, MODE, &json!("true")).await;
    until_reason(&cluster, 1, "ClosedByHand").await;
    let proposal = propose(&cluster, 1, &Repair::Open).await.unwrap();
    assert_eq!(proposal.change, Some(Change::EndMaintenance));
    assert_eq!(cluster.maintenance_mode(1), "true", "a proposal changes nothing");
    carry_out(&cluster, 1, &proposal).await;
    cluster.until_ready(1).await;
    assert_eq!(propose(&cluster, 1, &Repair::Open).await.unwrap().change, None, "it is open");
}

#[tokio::test]
async fn open_puts_a_node_whose_copies_cannot_be_proved_into_service_and_it_stays_there() {
    let mut cluster = formed().await;
    for i in 0..DOCUMENTS {
        cluster.put(0, &format!("/orders/{i}"), &json!({})).await;
    }
    // Internal replication to the new volume does not come to an end within this test.
    cluster.net.world(|world| {
        world.set_timings(Timings { pass: Duration::from_secs(100_000), ..world.timings() });
    });
    cluster.kill_agent(1).await;
    cluster.node(1).wipe();
    cluster.node(1).start().unwrap();
    cluster.start_agent(1).await;
    until_reason(&cluster, 1, "Filling").await;
    until("maintenance mode", DEADLINE, async || match cluster.maintenance_mode(1).as_str() {
        "true" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    let proposal = propose(&cluster, 1, &Repair::Open).await.unwrap();
    assert_eq!(proposal.change, Some(Change::OpenUnproved));
    assert!(proposal.loss.contains("go on only if they are lost for good"), "{proposal}");
    carry_out(&cluster, 1, &proposal).await;
    cluster.until_step(1, "Settled").await;
    cluster.until_ready(1).await;
    assert_eq!(cluster.maintenance_mode(1), "false", "the agent leaves it open");
}

#[tokio::test]
async fn readmit_lists_a_node_again_that_the_members_had_removed() {
    let mut cluster = formed().await;
    let document = format!("/_node/_local/_nodes/{}", node(2));
    for i in [0, 1] {
        let found = cluster.get(i, &document).await;
        if let Some(rev) = found["_rev"].as_str() {
            cluster.delete(i, &format!("{document}?rev={rev}")).await;
        }
    }
    // A settled agent looks at `_nodes` again after 10 minutes at most.
    cluster.kill_agent(2).await;
    cluster.start_agent(2).await;
    until_reason(&cluster, 2, "NotListed").await;
    let wanted = Repair::Readmit("couchdb-2".to_owned());
    let own = propose(&cluster, 2, &wanted).await.unwrap_err().to_string();
    assert!(own.contains("is the node of this pod"), "{own}");
    let proposal = propose(&cluster, 0, &wanted).await.unwrap();
    assert_eq!(proposal.change, Some(Change::List(node(2))));
    carry_out(&cluster, 0, &proposal).await;
    cluster.until_ready(2).await;
    cluster.until_formed().await;
    assert_eq!(propose(&cluster, 0, &wanted).await.unwrap().change, None);
    let unknown = propose(&cluster, 0, &Repair::Readmit("couchdb@elsewhere".to_owned())).await;
    assert!(matches!(unknown, Err(RepairError::Name(_))), "{unknown:?}");
}

#[tokio::test]
async fn forget_removes_a_name_that_serves_nothing_and_no_other() {
    let mut cluster = formed().await;
    for name in ["nonode@nohost", "it%27s%2Fodd@h"] {
        cluster.put(0, &format!("/_node/_local/_nodes/{name}"), &json!({})).await;
    }
    restart_agents(&mut cluster).await;
    until_reason(&cluster, 0, "StrangersListed").await;
    for name in ["nonode@nohost", "it's/odd@h"] {
        let proposal = propose(&cluster, 0, &Repair::Forget(name.to_owned())).await.unwrap();
        assert_eq!(proposal.change, Some(Change::Unlist(name.to_owned())));
        carry_out(&cluster, 0, &proposal).await;
    }
    until("three members on each node", DEADLINE, async || {
        for i in 0..3 {
            let members = cluster.get(i, "/_membership").await["cluster_nodes"].clone();
            if members.as_array().map(Vec::len) != Some(3) {
                return Err(members);
            }
        }
        Ok(())
    })
    .await;
    restart_agents(&mut cluster).await;
    cluster.until_formed().await;
    for i in 0..3 {
        assert_eq!(cluster.page(i).await.conditions, [], "couchdb-{i}");
    }
    // A pod of the StatefulSet, also by its Erlang name.
    for name in ["couchdb-1".to_owned(), node(1)] {
        let refused = propose(&cluster, 0, &Repair::Forget(name)).await.unwrap_err().to_string();
        assert!(refused.contains("is a pod of the StatefulSet"), "{refused}");
    }
}

#[tokio::test]
async fn forget_refuses_a_name_that_shard_maps_contain() {
    let cluster = formed().await;
    cluster.put(0, "/_node/_local/_nodes/nonode@nohost", &json!({})).await;
    let mut map = cluster.get(0, "/_node/_local/_dbs/orders").await;
    map["by_node"]["nonode@nohost"] = map["by_node"][node(1)].clone();
    for holders in map["by_range"].as_object_mut().unwrap().values_mut() {
        holders.as_array_mut().unwrap().push(json!("nonode@nohost"));
    }
    cluster.put(0, "/_node/_local/_dbs/orders", &map).await;
    let refused =
        propose(&cluster, 0, &Repair::Forget("nonode@nohost".to_owned())).await.unwrap_err().to_string();
    assert!(refused.starts_with("the shard maps of 1 databases name 'nonode@nohost'"), "{refused}");
}

async fn propose(cluster: &TestCluster, i: usize, repair: &Repair) -> Result<Proposal, RepairError> {
    let page = cluster.page(i).await;
    cluster.repairer(i).await.propose(repair, &page).await
}

async fn carry_out(cluster: &TestCluster, i: usize, proposal: &Proposal) {
    cluster.repairer(i).await.carry_out(proposal.change.as_ref().unwrap()).await.unwrap();
}

async fn formed() -> TestCluster {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    cluster.put(0, "/orders", &Value::Null).await;
    cluster
}

/// A settled agent looks at `_nodes` again after 10 minutes at most.
async fn restart_agents(cluster: &mut TestCluster) {
    for i in 0..3 {
        cluster.kill_agent(i).await;
    }
    cluster.start_agents(0..3).await;
}

/// Waits until the step, the readiness or a condition of pod `i` has this reason.
async fn until_reason(cluster: &TestCluster, i: usize, reason: &str) {
    until(reason, DEADLINE, async || {
        let page = cluster.page(i).await;
        let states = page.conditions.iter().chain([&page.step, &page.readiness]);
        let reasons: Vec<String> = states.map(|state| state.reason.clone()).collect();
        if reasons.iter().any(|found| found == reason) { Ok(()) } else { Err(reasons) }
    })
    .await;
}

fn node(i: usize) -> String {
    format!("couchdb@{}", host(i))
}

/// More than the difference that the agent attributes to pending replication.
const DOCUMENTS: usize = 300;
const MODE: &str = "/_node/_local/_config/couchdb/maintenance_mode";
/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
