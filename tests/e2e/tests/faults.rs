//! Faults of nodes, volumes, networks and settings, and the reactions of the agents.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use agent::repair::Repair;
use e2e::cluster::{PASSWORD, TestCluster, USER, host, is_refused_password};
use e2e::until::until;
use sandbox::couchdb::{CallFilter, Cut, NodeSettings, Version};
use serde_json::{Value, json};

#[tokio::test]
async fn a_wiped_lowest_node_joins_again_and_forms_no_second_cluster() {
    let mut cluster = formed_of(3).await;
    let formed = finish_calls(&cluster);
    cluster.node(0).wipe();
    cluster.node(0).start().unwrap();
    until_all_are_members(&cluster).await;
    assert_eq!(finish_calls(&cluster), formed);
    // The same if the agent restarts with its pod.
    cluster.kill_agent(0).await;
    cluster.start_agent(0).await;
    cluster.until_formed().await;
    assert_eq!(finish_calls(&cluster), formed);
}

#[tokio::test]
async fn a_lowest_node_that_is_wiped_while_all_peers_are_down_waits_for_them() {
    let mut cluster = formed_of(3).await;
    let formed = finish_calls(&cluster);
    for i in 0..3 {
        cluster.node(i).kill();
        cluster.kill_agent(i).await;
    }
    cluster.node(0).wipe();
    cluster.node(0).start().unwrap();
    cluster.start_agents(0..3).await;
    let message = cluster.until_step(0, "WaitingForPeers").await;
    assert_eq!(message, "couchdb-1 cannot be reached; couchdb-2 cannot be reached");
    assert_eq!(cluster.readyz(0).await.0, 503, "it has none of the data that clients stored");
    cluster.node(1).start().unwrap();
    until_members_except(&cluster, &[2]).await;
    cluster.node(2).start().unwrap();
    cluster.until_formed().await;
    assert_eq!(finish_calls(&cluster), formed);
}

#[tokio::test]
async fn a_node_with_data_that_the_cluster_does_not_know_is_not_joined() {
    let mut cluster = TestCluster::with_nodes(3);
    // Node 2 was used before: it has databases of its own.
    finish_alone(&cluster, 2).await;
    cluster.put(2, "/orders", &json!(null)).await;
    // The others are a manually formed cluster of two.
    join_manually(&cluster, 1, 0).await;
    finish_alone(&cluster, 0).await;
    cluster.start_agents(0..3).await;
    // A member that answered later than the other one is named from the next round on.
    until("both members in the message", DEADLINE, async || {
        let message = cluster.until_step(2, "ForeignData").await;
        if message.contains("couchdb-0, couchdb-1") { Ok(()) } else { Err(message) }
    })
    .await;
    assert_eq!(cluster.readyz(2).await.0, 503);
    cluster.until_step(0, "ForeignPeers").await;
    assert_eq!(cluster.readyz(0).await.0, 200, "a foreign node makes no member unready");
    assert!(joins(&cluster).is_empty(), "no node is joined");
}

#[tokio::test]
async fn system_databases_that_an_image_created_on_each_node_are_removed_and_the_nodes_become_a_cluster() {
    let mut cluster = TestCluster::with_nodes(3);
    for i in 0..3 {
        finish_alone(&cluster, i).await;
    }
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
}

#[tokio::test]
async fn two_clusters_of_one_node_are_not_joined() {
    let mut cluster = TestCluster::with_nodes(2);
    for i in 0..2 {
        finish_alone(&cluster, i).await;
        let user = json!({ "name": "x", "password": "y", "type": "user", "roles": [] });
        cluster.put(i, "/_users/org.couchdb.user:x", &user).await;
    }
    cluster.start_agents(0..2).await;
    for i in 0..2 {
        let message = cluster.until_step(i, "SplitCluster").await;
        assert!(message.contains("couchdb-0 | couchdb-1"), "{message}");
        assert_eq!(cluster.readyz(i).await.0, 503);
    }
    assert!(joins(&cluster).is_empty());
}

#[tokio::test]
async fn an_established_single_node_grows_to_three_with_copies_of_the_system_databases_on_all() {
    let mut cluster = TestCluster::with_nodes(3);
    finish_alone(&cluster, 0).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    for i in 0..3 {
        let mode = config(&cluster, i, "couchdb", "maintenance_mode");
        assert_ne!(mode.as_deref(), Some("true"), "couchdb-{i} is not in maintenance mode");
    }
}

#[tokio::test]
async fn without_a_session_secret_one_is_set_on_all_nodes() {
    let mut cluster = TestCluster::with_settings(3, |settings| {
        let host = settings.host().as_str().to_owned();
        NodeSettings::new(host.as_str()).admin(USER, PASSWORD).cookie("ck")
    });
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let secret = |i| config(&cluster, i, "chttpd_auth", "secret");
    assert!(secret(0).is_some());
    assert_eq!(secret(0), secret(2), "finish_cluster made it equal on all nodes");
}

#[tokio::test]
async fn nodes_that_bind_to_loopback_are_configured_before_the_cluster_is_formed() {
    let mut cluster =
        TestCluster::with_settings(3, |settings| settings.ini("chttpd", "bind_address", "127.0.0.1"));
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_reported() {
    let mut cluster = TestCluster::with_nodes(1);
    cluster.set("COUCHDB_PASSWORD", "wrong");
    cluster.start_agent(0).await;
    let message = cluster.until_step(0, "CredentialsRejected").await;
    assert!(
        message.contains("'admin'") && message.contains("COUCHDB_USER and COUCHDB_PASSWORD"),
        "{message}"
    );
    let before = cluster.status(0).await["rounds"].as_u64();
    until("another round", DEADLINE, async || {
        let rounds = cluster.status(0).await["rounds"].as_u64();
        if rounds > before { Ok(()) } else { Err(rounds) }
    })
    .await;
    // A lockout would also affect the pod's other containers.
    let attempts = cluster.net.calls().into_iter().filter(is_refused_password).count();
    assert_eq!(attempts, 1);
    assert_eq!(cluster.readyz(0).await.0, 503, "nothing shows that it is a member");
}

#[tokio::test]
async fn a_member_whose_admin_is_locked_out_goes_on_by_its_session_and_reports_the_lockout() {
    // In faster time the 5 minutes of the lockout would be over before the agent's next call.
    let mut cluster = TestCluster::in_real_time(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    lock_out(&cluster, 1).await;
    let condition = until("the condition", DEADLINE, async || {
        let status = cluster.status(1).await;
        assert_eq!(cluster.readyz(1).await.0, 200, "its clients are served");
        let condition = status["conditions"][0].clone();
        if condition["reason"] == "CredentialsLockedOut" { Ok(condition) } else { Err(status) }
    })
    .await;
    let message = condition["message"].as_str().unwrap();
    assert!(
        message.contains("which the containers of a pod and clients behind one proxy share"),
        "{message}"
    );
    let status = cluster.status(1).await;
    assert_eq!(status["step"]["reason"], "Settled", "the session is still valid");
    let metrics = cluster.metrics(1).await;
    assert!(
        metrics.contains("couchdiscover_agent_condition{reason=\"CredentialsLockedOut\"} 1"),
        "{metrics}"
    );
    for i in [0, 2] {
        assert_eq!(cluster.readyz(i).await.0, 200);
    }
}

#[tokio::test]
async fn without_a_session_a_locked_out_agent_keeps_its_member_ready_and_reports_the_lockout() {
    let mut cluster = TestCluster::in_real_time(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    cluster.kill_agent(1).await;
    lock_out(&cluster, 1).await;
    cluster.start_agent(1).await;
    cluster.until_step(1, "CredentialsLockedOut").await;
    let before = cluster.status(1).await["rounds"].as_u64();
    until("rounds during the lockout", DEADLINE, async || {
        let status = cluster.status(1).await;
        assert_eq!(status["step"]["reason"], "CredentialsLockedOut", "not a rejection");
        assert_eq!(cluster.readyz(1).await.0, 200, "its clients are served");
        if status["rounds"].as_u64() > before.map(|before| before + 2) { Ok(()) } else { Err(status) }
    })
    .await;
}

/// Guesses the admin's password from within the pod until CouchDB locks the admin out.
async fn lock_out(cluster: &TestCluster, i: usize) {
    let client = reqwest::Client::new();
    for _ in 0..6 {
        let guess = client.get(format!("{}/_session", cluster.node(i).url()));
        let guess = guess.header("X-Forwarded-For", "127.0.0.1").basic_auth(USER, Some("guess"));
        guess.send().await.unwrap();
    }
}

#[tokio::test]
async fn where_basic_authentication_is_off_a_cluster_is_formed_by_sessions_and_the_setting_is_named() {
    let cookies_only = "{chttpd_auth, cookie_authentication_handler}";
    let mut cluster = TestCluster::with_settings(3, |settings| {
        settings.ini("chttpd", "authentication_handlers", cookies_only)
    });
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    for i in 0..3 {
        let condition = cluster.status(i).await["conditions"][0].clone();
        assert_eq!(condition["reason"], "BasicAuthenticationOff");
        let message = condition["message"].as_str().unwrap();
        assert!(message.contains("[chttpd] authentication_handlers"), "{message}");
        assert_eq!(cluster.readyz(i).await.0, 200);
    }
}

#[tokio::test]
async fn where_no_login_of_the_agent_is_possible_the_setting_is_named() {
    let mut cluster = TestCluster::with_settings(1, |settings| {
        settings.ini("chttpd", "authentication_handlers", "{chttpd_auth, jwt_authentication_handler}")
    });
    cluster.start_agent(0).await;
    let message = cluster.until_step(0, "BasicAuthenticationOff").await;
    assert!(message.contains("to [chttpd] authentication_handlers"), "{message}");
}

#[tokio::test]
async fn a_member_with_another_password_than_its_peers_stays_ready() {
    let cluster = formed_of(3).await;
    cluster.put(1, "/_node/_local/_config/admins/admin", &json!("another")).await;
    cluster.until_step(1, "CredentialsRejected").await;
    for i in 0..3 {
        assert_eq!(cluster.readyz(i).await.0, 200, "couchdb-{i}");
    }
}

#[tokio::test]
async fn a_deleted_system_database_makes_no_member_unready() {
    let mut cluster = formed_of(2).await;
    for i in 0..2 {
        cluster.kill_agent(i).await;
    }
    cluster.delete(0, "/_replicator").await;
    until("the deletion on all nodes", DEADLINE, async || {
        let databases = cluster.get(1, "/_all_dbs").await;
        if databases == json!(["_users"]) { Ok(()) } else { Err(databases) }
    })
    .await;
    // Only the agent that may not create it runs.
    cluster.start_agent(1).await;
    cluster.until_step(1, "WaitingForSystemDatabase").await;
    assert_eq!(cluster.readyz(1).await.0, 200);
}

#[tokio::test]
async fn a_deleted_system_database_is_created_again_by_one_agent_of_a_settled_cluster() {
    let cluster = formed_of(3).await;
    cluster.net.forget_calls();
    cluster.delete(1, "/_replicator").await;
    let databases = async |i| cluster.get(i, "/_all_dbs").await;
    for expected in [json!(["_users"]), json!(["_replicator", "_users"])] {
        // Longer than the pause between two looks of a settled agent, and far shorter than that between two full rounds.
        until("the databases on all nodes", Duration::from_secs(90), async || {
            for i in 0..3 {
                assert_eq!(cluster.readyz(i).await.0, 200);
                if databases(i).await != expected {
                    return Err(i);
                }
            }
            Ok(())
        })
        .await;
    }
    let writes = cluster.net.calls_of(&CallFilter::all().writes().below("/_replicator"));
    let created = writes.iter().filter(|call| call.method == "PUT");
    assert_eq!(Vec::from_iter(created.map(|call| call.source.as_str())), [host(0)]);
}

#[tokio::test]
async fn an_unknown_member_delays_the_founding_until_it_is_removed() {
    let mut cluster = TestCluster::with_nodes(1);
    cluster.put(0, "/_node/_local/_nodes/couchdb@10.42.0.11", &json!({})).await;
    cluster.start_agent(0).await;
    let message = cluster.until_step(0, "StrangersListed").await;
    carry_out(&cluster, &message).await;
    cluster.until_formed().await;
}

#[tokio::test]
async fn an_unknown_member_of_a_formed_cluster_is_a_condition_that_ends_with_its_removal() {
    let mut cluster = formed_of(3).await;
    cluster.put(0, "/_node/_local/_nodes/nonode@nohost", &json!({})).await;
    // As after an update of the agents: a settled one looks again after 10 minutes at most.
    for i in 0..3 {
        cluster.kill_agent(i).await;
    }
    cluster.start_agents(0..3).await;
    let mut message = String::new();
    for i in 0..3 {
        message = until("the condition", DEADLINE, async || {
            let status = cluster.status(i).await;
            let condition = &status["conditions"][0];
            if condition["reason"] != "StrangersListed" {
                return Err(status);
            }
            Ok(condition["message"].as_str().unwrap().to_owned())
        })
        .await;
        assert!(cluster.metrics(i).await.contains(r#"agent_condition{reason="StrangersListed"} 1"#));
        cluster.until_ready(i).await;
    }
    carry_out(&cluster, &message).await;
    cluster.kill_agent(0).await;
    cluster.start_agent(0).await;
    cluster.until_step(0, "Settled").await;
    assert_eq!(cluster.status(0).await["conditions"], Value::Null);
}

/// Runs the command that the message contains, as kubectl runs it in the agent's container.
async fn carry_out(cluster: &TestCluster, message: &str) {
    let (_, command) = message.split_once("Fix: ").unwrap().1.split_once("kubectl couchdiscover ").unwrap();
    let words: Vec<&str> = command.split_once(" -n ").unwrap().0.split(' ').collect();
    let (repairer, page) = (cluster.repairer(0).await, cluster.page(0).await);
    let proposal = repairer.propose(&Repair::parse(&words).unwrap(), &page).await.unwrap();
    repairer.carry_out(&proposal.change.unwrap()).await.unwrap();
}

#[tokio::test]
async fn with_different_cookies_no_cluster_is_formed() {
    let mut cluster = TestCluster::with_settings(3, |settings| {
        let differs = settings.host().as_str() == host(2);
        settings.cookie(if differs { "other" } else { "ck" })
    });
    cluster.start_agents(0..3).await;
    let message = cluster.until_step(2, "CookieMismatch").await;
    assert!(message.contains("couchdb-0"), "{message}");
    let message = cluster.until_step(0, "WaitingForMembership").await;
    assert!(message.contains("couchdb-2"), "{message}");
    assert_eq!(finish_calls(&cluster), 0);
}

#[tokio::test]
async fn a_network_partition_delays_forming_until_it_ends() {
    let mut cluster = TestCluster::with_nodes(3);
    let (first, last) = (cluster.node(0).host().clone(), cluster.node(2).host().clone());
    cluster.net.cut(&first, &last, Cut::Reset);
    cluster.start_agents(0..3).await;
    cluster.until_step(0, "WaitingForMembership").await;
    let message = cluster.until_step(2, "PortsBlocked").await;
    assert!(message.contains("port 4369 of couchdb-0 cannot be reached"), "{message}");
    assert_eq!(finish_calls(&cluster), 0);
    cluster.net.heal();
    cluster.until_formed().await;
}

#[tokio::test]
async fn a_slow_and_a_paused_node_only_delay_forming() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.node(1).slow(Duration::from_secs(4));
    cluster.node(2).pause();
    cluster.start_agents(0..3).await;
    let message = cluster.until_step(0, "WaitingForPeers").await;
    assert_eq!(message, "couchdb-2 does not answer in time");
    cluster.node(2).resume();
    cluster.until_formed().await;
}

#[tokio::test]
async fn the_failure_of_peers_makes_no_member_unready() {
    let mut cluster = formed_of(3).await;
    cluster.node(1).kill();
    cluster.node(2).kill();
    cluster.until_step(0, "WaitingForPeers").await;
    assert_eq!(cluster.readyz(0).await.0, 200);
    // The same after a restart of the agent.
    cluster.kill_agent(0).await;
    cluster.start_agent(0).await;
    cluster.until_step(0, "WaitingForPeers").await;
    assert_eq!(cluster.readyz(0).await.0, 200);
    cluster.node(0).kill();
    cluster.until_step(0, "WaitingForCouchDb").await;
    assert_eq!(cluster.readyz(0).await.0, 503);
}

#[tokio::test]
async fn a_system_database_that_is_missing_after_forming_is_created() {
    let mut cluster = formed_of(3).await;
    cluster.kill_agent(0).await;
    let url = format!("{}/_replicator", cluster.node(1).url());
    let gone = reqwest::Client::new().delete(url).basic_auth(USER, Some(PASSWORD)).send().await.unwrap();
    assert_eq!(gone.status(), 200);
    cluster.start_agent(0).await;
    cluster.until_formed().await;
    assert_eq!(finish_calls(&cluster), 1, "only the database is created, and no identity is changed");
}

#[tokio::test]
async fn containers_that_restart_one_after_another_do_not_change_the_cluster() {
    let cluster = formed_of(3).await;
    for i in 0..3 {
        cluster.node(i).restart_container().unwrap();
        until_all_are_members(&cluster).await;
    }
    assert_eq!(finish_calls(&cluster), 1);
}

#[tokio::test]
async fn a_restarted_container_gets_the_clusters_identity_again() {
    for nodes in [3, 2] {
        let cluster = aged(nodes).await;
        let uuid = cluster.get(0, "/").await["uuid"].clone();
        let cookie = log_in(&cluster, 0).await;
        for restarted in 0..nodes {
            cluster.node(restarted).restart_container().unwrap();
            until("the same identity", DEADLINE, async || {
                let user = session_user(&cluster, restarted, &cookie).await;
                let welcome = cluster.get(restarted, "/").await;
                if user == USER && welcome["uuid"] == uuid { Ok(()) } else { Err((user, welcome)) }
            })
            .await;
        }
        for i in 0..nodes {
            assert_eq!(cluster.get(i, "/").await["uuid"], uuid, "couchdb-{i}");
            assert_eq!(session_user(&cluster, i, &cookie).await, USER, "couchdb-{i}");
        }
        assert_eq!(finish_calls(&cluster), 1);
    }
}

#[tokio::test]
async fn after_a_restart_of_all_containers_they_agree_on_one_identity() {
    let cluster = aged(3).await;
    cluster.ordinals().for_each(|i| cluster.node(i).restart_container().unwrap());
    until("one identity", DEADLINE, async || {
        let cookie = log_in(&cluster, 2).await;
        let mut seen = vec![];
        for i in 0..3 {
            seen.push((
                session_user(&cluster, i, &cookie).await,
                cluster.get(i, "/").await["uuid"].to_string(),
            ));
        }
        let is_one = seen.iter().all(|(user, uuid)| user == USER && *uuid == seen[0].1);
        if is_one { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// A formed cluster whose nodes have been up for longer than one that restarts.
async fn aged(count: usize) -> TestCluster {
    let mut cluster = TestCluster::in_real_time(count);
    cluster.start_agents(0..count).await;
    cluster.until_formed().await;
    until("nodes that have been up for a while", DEADLINE, async || {
        let system = cluster.get(0, "/_node/_local/_system").await;
        if system["uptime"].as_u64() >= Some(4) { Ok(()) } else { Err(system) }
    })
    .await;
    cluster
}

/// Logs in at node `i`, and returns the session cookie.
async fn log_in(cluster: &TestCluster, i: usize) -> String {
    let url = format!("{}/_session", cluster.node(i).url());
    let body = json!({ "name": USER, "password": PASSWORD });
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// The user that node `i` derives from a session cookie; "null" if it rejects the cookie.
async fn session_user(cluster: &TestCluster, i: usize, cookie: &str) -> String {
    let url = format!("{}/_session", cluster.node(i).url());
    let answer = reqwest::Client::new().get(url).header("cookie", cookie).send().await;
    let Ok(answer) = answer else { return "unreachable".to_owned() };
    let session: Value = answer.json().await.unwrap_or_default();
    session["userCtx"]["name"].as_str().unwrap_or("null").to_owned()
}

/// The secret's section in the configuration changed in 3.2.1.
#[tokio::test]
async fn a_generated_session_secret_survives_a_restart_in_every_release() {
    for version in [Version::new(3, 0, 0), Version::new(3, 2, 0), Version::new(3, 2, 1)] {
        let mut cluster = TestCluster::with_settings(3, |settings| settings.version(version).secret(None));
        cluster.start_agents(0..3).await;
        cluster.until_formed().await;
        let cookie = log_in(&cluster, 0).await;
        cluster.node(2).restart_container().unwrap();
        until("a session that is valid on the restarted node", DEADLINE, async || {
            let user = session_user(&cluster, 2, &cookie).await;
            if user == USER { Ok(()) } else { Err((version, user)) }
        })
        .await;
    }
}

async fn formed_of(count: usize) -> TestCluster {
    let mut cluster = TestCluster::with_nodes(count);
    cluster.start_agents(0..count).await;
    cluster.until_formed().await;
    cluster
}

/// Waits until every node lists all members and both system databases, whatever the agents report.
async fn until_all_are_members(cluster: &TestCluster) {
    until_members_except(cluster, &[]).await;
}

async fn until_members_except(cluster: &TestCluster, absent: &[usize]) {
    until("complete members", DEADLINE, async || {
        for i in cluster.ordinals().filter(|i| !absent.contains(i)) {
            let membership = cluster.get(i, "/_membership").await;
            let databases = cluster.get(i, "/_node/_local/_dbs/_all_docs").await;
            let members = membership["cluster_nodes"].as_array().map_or(0, Vec::len);
            if members != cluster.ordinals().len() || databases["total_rows"] != 2 {
                return Err((i, membership, databases));
            }
        }
        Ok(())
    })
    .await;
}

/// Forms a cluster of node `i` and its current members, without an agent.
async fn finish_alone(cluster: &TestCluster, i: usize) {
    let url = format!("{}/_cluster_setup", cluster.node(i).url());
    let body = json!({ "action": "finish_cluster" });
    let answer =
        reqwest::Client::new().post(url).basic_auth(USER, Some(PASSWORD)).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}

/// Makes node `i` a member of the peer's cluster, without an agent.
async fn join_manually(cluster: &TestCluster, i: usize, peer: usize) {
    cluster.put(i, &format!("/_node/_local/_nodes/couchdb@{}", host(peer)), &json!({})).await;
    until("membership", DEADLINE, async || {
        let seen = cluster.get(peer, "/_membership").await;
        if seen["all_nodes"] == seen["cluster_nodes"] && seen["all_nodes"][1].is_string() {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
}

/// The number of calls by agents that formed a cluster; calls of the test itself are not counted.
fn finish_calls(cluster: &TestCluster) -> usize {
    cluster
        .ordinals()
        .map(|i| {
            cluster.net.calls_of(&CallFilter::all().from(&host(i)).writes().below("/_cluster_setup")).len()
        })
        .sum()
}

/// The calls by agents that joined a node.
fn joins(cluster: &TestCluster) -> Vec<String> {
    let joins = CallFilter::all().writes().below("/_node/_local/_nodes");
    let sources = cluster.ordinals().map(|i| joins.clone().from(&host(i)));
    sources.flat_map(|calls| cluster.net.calls_of(&calls)).map(|call| call.line()).collect()
}

fn config(cluster: &TestCluster, i: usize, section: &str, key: &str) -> Option<String> {
    cluster.net.world(|world| world.node(&host(i)).unwrap().config(section, key).map(str::to_owned))
}

/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
