//! What goes wrong with nodes, volumes, networks and settings, and what the agents make of it.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::time::Duration;

use e2e::stage::{PASSWORD, Stage, USER, host};
use e2e::until::until;
use sandbox::couchdb::{CallFilter, Cut, Version};

#[tokio::test]
async fn a_wiped_lowest_node_is_taken_back_and_founds_nothing() {
    let mut stage = formed_of(3).await;
    let founded = foundings(&stage);
    stage.node(0).wipe();
    stage.node(0).start().unwrap();
    taken_back(&stage).await;
    assert_eq!(foundings(&stage), founded);
    // The agent went down with its pod.
    stage.kill_agent(0).await;
    stage.start_agent(0).await;
    stage.formed().await;
    assert_eq!(foundings(&stage), founded);
}

#[tokio::test]
async fn a_lowest_node_that_is_wiped_while_all_others_are_down_waits_for_them() {
    let mut stage = formed_of(3).await;
    let founded = foundings(&stage);
    for i in 0..3 {
        stage.node(i).kill();
        stage.kill_agent(i).await;
    }
    stage.node(0).wipe();
    stage.node(0).start().unwrap();
    stage.start_agents(0..3).await;
    let message = stage.says(0, "WaitingForPeers").await;
    assert_eq!(message, "couchdb-1 can't be reached, couchdb-2 can't be reached");
    assert_eq!(stage.readyz(0).await.0, 503, "it has nothing of what its clients stored");
    stage.node(1).start().unwrap();
    taken_back_but_for(&stage, &[2]).await;
    stage.node(2).start().unwrap();
    stage.formed().await;
    assert_eq!(foundings(&stage), founded);
}

#[tokio::test]
async fn a_node_that_holds_data_the_cluster_does_not_know_stays_outside() {
    let mut stage = Stage::with_nodes(3);
    // Somebody used node 2 before: it has databases of its own.
    finish_alone(&stage, 2).await;
    // The others are a cluster of two by another hand.
    join_by_hand(&stage, 1, 0).await;
    finish_alone(&stage, 0).await;
    stage.start_agents(0..3).await;
    let message = stage.says(2, "ForeignData").await;
    assert!(message.contains("couchdb-0, couchdb-1"), "{message}");
    assert_eq!(stage.readyz(2).await.0, 503);
    stage.says(0, "ForeignPeers").await;
    assert_eq!(stage.readyz(0).await.0, 200, "an intruder takes nothing down");
    assert!(joins(&stage).is_empty(), "nobody joins anybody");
}

#[tokio::test]
async fn two_clusters_of_one_are_not_brought_together() {
    let mut stage = Stage::with_nodes(2);
    finish_alone(&stage, 0).await;
    finish_alone(&stage, 1).await;
    stage.start_agents(0..2).await;
    for i in 0..2 {
        let message = stage.says(i, "SplitCluster").await;
        assert!(message.contains("couchdb-0 | couchdb-1"), "{message}");
        assert_eq!(stage.readyz(i).await.0, 503);
    }
    assert!(joins(&stage).is_empty());
}

#[tokio::test]
async fn an_established_single_node_grows_to_three_and_everybody_gets_the_system_databases() {
    let mut stage = Stage::with_nodes(3);
    finish_alone(&stage, 0).await;
    stage.start_agents(0..3).await;
    stage.formed().await;
    for i in 0..3 {
        let mode = stage.net.world(|world| {
            world.node(&host(i)).unwrap().config("couchdb", "maintenance_mode").map(str::to_owned)
        });
        assert_ne!(mode.as_deref(), Some("true"), "couchdb-{i} takes part again");
    }
}

#[tokio::test]
async fn without_a_session_secret_one_is_made_before_founding() {
    let mut stage = Stage::with(3, |settings| {
        let host = settings.host().as_str().to_owned();
        sandbox::couchdb::NodeSettings::new(host.as_str()).admin(USER, PASSWORD).cookie("ck")
    });
    stage.start_agents(0..3).await;
    stage.formed().await;
    let secret = |i| {
        stage
            .net
            .world(|world| world.node(&host(i)).unwrap().config("chttpd_auth", "secret").map(str::to_owned))
    };
    assert!(secret(0).is_some());
    assert_eq!(secret(0), secret(2), "finish made it equal");
}

#[tokio::test]
async fn a_node_that_listens_to_itself_only_is_enabled_first() {
    let mut stage = Stage::with(3, |settings| settings.ini("chttpd", "bind_address", "127.0.0.1"));
    stage.start_agents(0..3).await;
    stage.formed().await;
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_said() {
    let mut stage = Stage::with_nodes(1);
    stage.set("COUCHDB_PASSWORD", "wrong");
    stage.start_agent(0).await;
    let message = stage.says(0, "CredentialsRejected").await;
    assert!(
        message.contains("'admin'") && message.contains("COUCHDB_USER and COUCHDB_PASSWORD"),
        "{message}"
    );
    // Several rounds pass meanwhile.
    let status = stage.status(0).await;
    until(
        "another round",
        DEADLINE,
        async || {
            if rounds_since(&stage, &status).await { Ok(()) } else { Err(()) }
        },
    )
    .await;
    assert_eq!(stage.net.calls().len(), 1, "a lockout would hit the pod's other containers, too");
}

#[tokio::test]
async fn a_stranger_in_nodes_is_refused_by_name() {
    let mut stage = Stage::with_nodes(1);
    put(&stage, 0, "/_node/_local/_nodes/couchdb@10.42.0.11").await;
    stage.start_agent(0).await;
    let message = stage.says(0, "NodeRenamed").await;
    assert!(message.contains("'couchdb@10.42.0.11'"), "{message}");
}

#[tokio::test]
async fn different_cookies_keep_a_cluster_from_being_founded() {
    let mut stage = Stage::with(3, |settings| {
        let odd = settings.host().as_str() == host(2);
        settings.cookie(if odd { "other" } else { "ck" })
    });
    stage.start_agents(0..3).await;
    let message = stage.says(2, "CookieMismatch").await;
    assert!(message.contains("couchdb-0"), "{message}");
    let message = stage.says(0, "WaitingForMembership").await;
    assert!(message.contains("couchdb-2"), "{message}");
    assert_eq!(foundings(&stage), 0);
}

#[tokio::test]
async fn a_network_that_parts_the_nodes_delays_the_founding_until_it_heals() {
    let mut stage = Stage::with_nodes(3);
    let (first, last) = (stage.node(0).host().clone(), stage.node(2).host().clone());
    stage.net.cut(&first, &last, Cut::Reset);
    stage.start_agents(0..3).await;
    stage.says(0, "WaitingForMembership").await;
    let message = stage.says(2, "PortsBlocked").await;
    assert!(message.contains("port 4369 of couchdb-0 can't be reached"), "{message}");
    assert_eq!(foundings(&stage), 0);
    stage.net.heal();
    stage.formed().await;
}

#[tokio::test]
async fn a_slow_and_a_paused_node_delay_and_do_not_harm() {
    let mut stage = Stage::with_nodes(3);
    stage.node(1).slow(Duration::from_secs(4));
    stage.node(2).pause();
    stage.start_agents(0..3).await;
    let message = stage.says(0, "WaitingForPeers").await;
    assert_eq!(message, "couchdb-2 does not answer in time");
    stage.node(2).resume();
    stage.formed().await;
}

#[tokio::test]
async fn the_failure_of_peers_turns_no_ready_member_unready() {
    let mut stage = formed_of(3).await;
    stage.node(1).kill();
    stage.node(2).kill();
    stage.says(0, "WaitingForPeers").await;
    assert_eq!(stage.readyz(0).await.0, 200);
    // Nor does the agent's own restart meanwhile.
    stage.kill_agent(0).await;
    stage.start_agent(0).await;
    stage.says(0, "WaitingForPeers").await;
    assert_eq!(stage.readyz(0).await.0, 200);
    stage.node(0).kill();
    stage.says(0, "WaitingForCouchDb").await;
    assert_eq!(stage.readyz(0).await.0, 503);
}

#[tokio::test]
async fn a_database_that_a_half_done_founding_left_out_is_made() {
    let mut stage = formed_of(3).await;
    stage.kill_agent(0).await;
    let url = format!("{}/_replicator", stage.node(1).url());
    let gone = reqwest::Client::new().delete(url).basic_auth(USER, Some(PASSWORD)).send().await.unwrap();
    assert_eq!(gone.status(), 200);
    stage.start_agent(0).await;
    stage.formed().await;
    assert_eq!(foundings(&stage), 1, "made alone, without pushing anybody's identity");
}

#[tokio::test]
async fn containers_that_restart_one_after_the_other_change_nothing() {
    let stage = formed_of(3).await;
    for i in 0..3 {
        stage.node(i).restart_container().unwrap();
        taken_back(&stage).await;
    }
    assert_eq!(foundings(&stage), 1);
}

#[tokio::test]
async fn a_container_that_restarts_gets_the_clusters_identity_back() {
    for nodes in [3, 2] {
        let stage = aged(nodes).await;
        let uuid = stage.ask_node(0, "/").await["uuid"].clone();
        let cookie = log_in(&stage, 0).await;
        for restarted in 0..nodes {
            stage.node(restarted).restart_container().unwrap();
            until("the same identity", DEADLINE, async || {
                let (who, known) =
                    (who_am_i(&stage, restarted, &cookie).await, stage.ask_node(restarted, "/").await);
                if who == USER && known["uuid"] == uuid { Ok(()) } else { Err((who, known)) }
            })
            .await;
        }
        for i in 0..nodes {
            assert_eq!(stage.ask_node(i, "/").await["uuid"], uuid, "couchdb-{i}");
            assert_eq!(who_am_i(&stage, i, &cookie).await, USER, "couchdb-{i}");
        }
        assert_eq!(foundings(&stage), 1);
    }
}

#[tokio::test]
async fn containers_that_all_restart_agree_on_one_identity() {
    let stage = aged(3).await;
    stage.ordinals().for_each(|i| stage.node(i).restart_container().unwrap());
    until("one identity", DEADLINE, async || {
        let cookie = log_in(&stage, 2).await;
        let mut seen = vec![];
        for i in 0..3 {
            seen.push((who_am_i(&stage, i, &cookie).await, stage.ask_node(i, "/").await["uuid"].to_string()));
        }
        let one = seen.iter().all(|(who, uuid)| who == USER && *uuid == seen[0].1);
        if one { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// A formed cluster whose nodes have been up long enough to tell them from one that restarts.
async fn aged(count: usize) -> Stage {
    let mut stage = Stage::in_real_time(count);
    stage.start_agents(0..count).await;
    stage.formed().await;
    until("nodes that have been up for a while", DEADLINE, async || {
        let system = stage.ask_node(0, "/_node/_local/_system").await;
        if system["uptime"].as_u64() >= Some(4) { Ok(()) } else { Err(system) }
    })
    .await;
    stage
}

/// A session cookie.
async fn log_in(stage: &Stage, i: usize) -> String {
    let url = format!("{}/_session", stage.node(i).url());
    let body = serde_json::json!({ "name": USER, "password": PASSWORD });
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// Whom a node takes the holder of a cookie for; nobody is "null".
async fn who_am_i(stage: &Stage, i: usize, cookie: &str) -> String {
    let url = format!("{}/_session", stage.node(i).url());
    let answer = reqwest::Client::new().get(url).header("cookie", cookie).send().await;
    let Ok(answer) = answer else { return "unreachable".to_owned() };
    let session: serde_json::Value = answer.json().await.unwrap_or_default();
    session["userCtx"]["name"].as_str().unwrap_or("null").to_owned()
}

/// Its place moved in 3.2.1.
#[tokio::test]
async fn a_session_secret_that_nobody_configured_is_given_back_in_every_release() {
    for version in [Version::new(3, 0, 0), Version::new(3, 2, 0), Version::new(3, 2, 1)] {
        let mut stage = Stage::with(3, |settings| settings.version(version).secret(None));
        stage.start_agents(0..3).await;
        stage.formed().await;
        let cookie = log_in(&stage, 0).await;
        stage.node(2).restart_container().unwrap();
        until("a session that is good on the restarted node", DEADLINE, async || {
            let who = who_am_i(&stage, 2, &cookie).await;
            if who == USER { Ok(()) } else { Err((version, who)) }
        })
        .await;
    }
}

async fn formed_of(count: usize) -> Stage {
    let mut stage = Stage::with_nodes(count);
    stage.start_agents(0..count).await;
    stage.formed().await;
    stage
}

/// Waits until the nodes themselves are whole again, whatever the agents say.
async fn taken_back(stage: &Stage) {
    taken_back_but_for(stage, &[]).await;
}

async fn taken_back_but_for(stage: &Stage, absent: &[usize]) {
    until("members that are whole", DEADLINE, async || {
        for i in stage.ordinals().filter(|i| !absent.contains(i)) {
            let membership = get(stage, i, "/_membership").await;
            let databases = get(stage, i, "/_node/_local/_dbs/_all_docs").await;
            let members = membership["cluster_nodes"].as_array().map_or(0, Vec::len);
            if members != stage.ordinals().len() || databases["total_rows"] != 2 {
                return Err((i, membership, databases));
            }
        }
        Ok(())
    })
    .await;
}

async fn rounds_since(stage: &Stage, before: &serde_json::Value) -> bool {
    stage.status(0).await["rounds"].as_u64() > before["rounds"].as_u64()
}

async fn finish_alone(stage: &Stage, i: usize) {
    let url = format!("{}/_cluster_setup", stage.node(i).url());
    let body = serde_json::json!({ "action": "finish_cluster" });
    let answer =
        reqwest::Client::new().post(url).basic_auth(USER, Some(PASSWORD)).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}

async fn join_by_hand(stage: &Stage, i: usize, peer: usize) {
    put(stage, i, &format!("/_node/_local/_nodes/couchdb@{}", host(peer))).await;
    until("membership", DEADLINE, async || {
        let seen = get(stage, peer, "/_membership").await;
        if seen["all_nodes"] == seen["cluster_nodes"] && seen["all_nodes"][1].is_string() {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
}

async fn put(stage: &Stage, i: usize, path: &str) {
    let url = format!("{}{path}", stage.node(i).url());
    let body = serde_json::json!({});
    let answer =
        reqwest::Client::new().put(url).basic_auth(USER, Some(PASSWORD)).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

async fn get(stage: &Stage, i: usize, path: &str) -> serde_json::Value {
    let url = format!("{}{path}", stage.node(i).url());
    let answer = reqwest::Client::new().get(url).basic_auth(USER, Some(PASSWORD)).send().await;
    match answer {
        Ok(answer) => answer.json().await.unwrap_or_default(),
        Err(error) => serde_json::json!({ "error": error.to_string() }),
    }
}

/// The calls of agents that finished a cluster, not those of this test.
fn foundings(stage: &Stage) -> usize {
    stage
        .ordinals()
        .map(|i| {
            stage.net.calls_of(&CallFilter::all().from(&host(i)).writes().below("/_cluster_setup")).len()
        })
        .sum()
}

fn joins(stage: &Stage) -> Vec<String> {
    let of = |i| stage.net.calls_of(&CallFilter::all().from(&host(i)).writes().below("/_node/_local/_nodes"));
    stage.ordinals().flat_map(of).map(|call| call.line()).collect()
}

/// Longer than anything takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
