//! A hostile host at the name of a pod: it changes no node, makes no pod unready, and takes no memory.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use e2e::cluster::{PASSWORD, TestCluster, USER};
use e2e::until::until;
use sandbox::couchdb::{Call, CallLogin};
use sandbox::hostile::{HostilePeer, Mode};
use serde_json::{Value, json};

/// The pod was deleted, and its address belongs to another pod now.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_host_at_a_members_name_changes_no_node_and_no_readiness() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    for i in 0..3 {
        cluster.kill_agent(i).await;
    }
    cluster.node(1).kill();
    let identity = identities(&cluster).await;
    forget_peak_memory();
    let before = peak_memory();
    for mode in Mode::ALL {
        let hostile = HostilePeer::start(mode, &format!("couchdb@{}", cluster.fqdn(1))).unwrap();
        cluster.diverted = [(1, hostile.address())].into();
        for i in [0, 2] {
            cluster.start_agent(i).await;
        }
        for i in [0, 2] {
            cluster.until_ready(i).await;
            let unseen = until_asked(&cluster, i).await;
            // It is a member that is not connected: nothing that it sends is read.
            let expected: &[&str] = match mode {
                Mode::Deep | Mode::Endless | Mode::Lies | Mode::EndlessError => &["notConnected"],
                Mode::Drip => &["noAnswer", "notConnected"],
                Mode::EndlessHead | Mode::Noise => &["unreachable"],
            };
            let unseen = unseen["unseen"].as_str().unwrap_or_default();
            assert!(expected.contains(&unseen), "{mode}: {unseen}");
            assert_eq!(cluster.readyz(i).await.0, 200, "{mode}");
            let shown = format!("{}{}", cluster.status(i).await, cluster.metrics(i).await);
            assert!(shown.len() < 100_000, "{mode}: {} bytes", shown.len());
            assert!(!shown.contains(PASSWORD));
        }
        assert_eq!(identities(&cluster).await, identity, "{mode}");
        assert!(hostile.calls().iter().all(|call| !call.authorized), "{mode}: the host gets no password");
        for i in [0, 2] {
            cluster.kill_agent(i).await;
        }
    }
    // Of the whole process, the stand-ins and the hostile peer included.
    let grown = peak_memory() - before;
    assert!(grown < 40 * 1024, "{grown} kB");
}

/// Before anything is formed, a peer is asked at its own address, and each of its answers is read up to a limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_host_that_is_asked_before_the_founding_takes_no_memory() {
    let mut cluster = TestCluster::with_nodes(2);
    cluster.node(1).kill();
    forget_peak_memory();
    let before = peak_memory();
    for mode in Mode::ALL.into_iter().filter(|mode| *mode != Mode::Lies) {
        let hostile = HostilePeer::start(mode, &format!("couchdb@{}", cluster.fqdn(1))).unwrap();
        cluster.diverted = [(1, hostile.address())].into();
        cluster.start_agent(0).await;
        let unseen = until_asked(&cluster, 0).await;
        let expected = match mode {
            Mode::Deep | Mode::Endless | Mode::Lies => "garbled",
            Mode::Drip => "noAnswer",
            Mode::EndlessHead | Mode::Noise => "unreachable",
            // An error is one of a node that starts.
            Mode::EndlessError => "busy",
        };
        assert_eq!(unseen["unseen"], expected, "{mode}");
        assert_eq!(cluster.get(0, "/_all_dbs").await, serde_json::json!([]), "{mode}: nothing is formed");
        cluster.kill_agent(0).await;
    }
    let grown = peak_memory() - before;
    assert!(grown < 40 * 1024, "{grown} kB");
}

/// Erlang has authenticated the members, so the password stays in its pod.
#[tokio::test]
async fn between_members_no_call_contains_a_password() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    for i in 0..3 {
        cluster.kill_agent(i).await;
    }
    cluster.net.forget_calls();
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let calls = cluster.net.calls();
    let (own, others): (Vec<_>, Vec<_>) =
        calls.into_iter().partition(|call| call.source == call.node.as_str());
    // What remains is the question whether the node answers, which needs no login.
    assert!(others.iter().all(|call| call.login == CallLogin::Open && call.path == "/_up"), "{others:#?}");
    for i in 0..3 {
        let path = format!("/_node/couchdb@{}/_config/admins", cluster.fqdn(i));
        let asked_by = own.iter().filter(|call| call.path == path);
        assert!(asked_by.count() >= 2, "each other member reads the identity of couchdb-{i}");
    }
}

/// The own node refuses the agent's login: its membership is unknown, and no other node gets the password.
#[tokio::test]
async fn while_the_own_node_refuses_the_login_the_password_stays_in_the_pod_and_the_pod_stays_ready() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let handlers = "/_node/_local/_config/chttpd/authentication_handlers";
    let hostile = divert(&mut cluster, 1).await;
    for (change, condition) in [
        ((handlers, "{chttpd_auth, jwt_authentication_handler}"), "BasicAuthenticationOff"),
        (("/_node/_local/_config/admins/admin", "another"), "CredentialsRejected"),
    ] {
        // The session of the agent that ran before ends with it.
        cluster.kill_agent(0).await;
        cluster.put(0, change.0, &json!(change.1)).await;
        cluster.net.forget_calls();
        cluster.start_agent(0).await;
        cluster.until_step(0, condition).await;
        // The agent of couchdb-2 reports that its node lists this one.
        cluster.until_ready(0).await;
        let status = cluster.status(0).await;
        assert_eq!(status["nodes"]["couchdb-2"]["databases"], 2, "{status:#}");
        assert_no_password_left(&cluster, &hostile);
        // Over Erlang, as its own interface is closed.
        let path = change.0.replace("_local", &format!("couchdb@{}", cluster.fqdn(0)));
        if condition == "BasicAuthenticationOff" {
            cluster.delete(2, &path).await;
        }
    }
}

/// The own CouchDB does not answer, so its membership is unknown.
#[tokio::test]
async fn while_the_own_node_does_not_answer_the_password_stays_in_the_pod() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let hostile = divert(&mut cluster, 1).await;
    cluster.kill_agent(0).await;
    cluster.node(0).kill();
    cluster.net.forget_calls();
    cluster.start_agent(0).await;
    cluster.until_step(0, "WaitingForCouchDb").await;
    until_asked(&cluster, 0).await;
    assert_no_password_left(&cluster, &hostile);
}

/// The name of a pod that is no member, or no longer, is free for any host.
#[tokio::test]
async fn a_member_sends_no_password_to_a_pod_that_it_does_not_list() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let hostile = divert(&mut cluster, 1).await;
    let entry = format!("/_node/_local/_nodes/couchdb@{}", cluster.fqdn(1));
    let revision = cluster.get(0, &entry).await["_rev"].as_str().unwrap().to_owned();
    cluster.delete(0, &format!("{entry}?rev={revision}")).await;
    for i in [0, 2] {
        cluster.kill_agent(i).await;
        until("the removal", Duration::from_secs(30), async || {
            let members = cluster.get(i, "/_membership").await["cluster_nodes"].clone();
            if members.as_array().map(Vec::len) == Some(2) { Ok(()) } else { Err(members) }
        })
        .await;
    }
    cluster.net.forget_calls();
    for i in [0, 2] {
        cluster.start_agent(i).await;
    }
    for i in [0, 2] {
        cluster.until_ready(i).await;
        until("the other group", Duration::from_secs(30), async || {
            let status = cluster.status(i).await;
            // The host claims to be another cluster. The larger one stays ready.
            if status["step"]["reason"] == "ForeignPeers" { Ok(()) } else { Err(status) }
        })
        .await;
    }
    assert_no_password_left(&cluster, &hostile);
}

/// A hostile host takes the name of pod `i`, whose node has gone, for agents that are started from now on.
async fn divert(cluster: &mut TestCluster, i: usize) -> HostilePeer {
    cluster.kill_agent(i).await;
    cluster.node(i).kill();
    let hostile = HostilePeer::start(Mode::Lies, &format!("couchdb@{}", cluster.fqdn(i))).unwrap();
    cluster.diverted = [(i, hostile.address())].into();
    hostile
}

/// Every call to another pod was one that any client may make.
fn assert_no_password_left(cluster: &TestCluster, hostile: &HostilePeer) {
    let calls = cluster.net.calls();
    let leaves = |call: &&Call| call.source != call.node.as_str() && call.login != CallLogin::Open;
    assert_eq!(calls.iter().find(leaves), None);
    let calls = hostile.calls();
    assert!(!calls.is_empty(), "the host was asked");
    assert_eq!(calls.iter().find(|call| call.authorized), None);
}

/// A restarted node has another hash and secret. Its peers hold the right ones, and the node reads them over Erlang.
#[tokio::test]
async fn the_identity_of_a_restarted_member_is_repaired_while_a_hostile_host_has_a_peers_name() {
    let mut cluster = TestCluster::with_nodes(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let right = identities(&cluster).await;
    cluster.kill_agent(2).await;
    let hostile = HostilePeer::start(Mode::Lies, &format!("couchdb@{}", cluster.fqdn(1))).unwrap();
    cluster.diverted = [(1, hostile.address())].into();
    cluster.node(2).restart_container().unwrap();
    assert_ne!(identities(&cluster).await, right, "the container's ini is lost");
    // The members are connected before the agent asks for the first time.
    until("connections", Duration::from_secs(30), async || {
        let membership = cluster.get(2, "/_membership").await;
        if membership["all_nodes"].as_array().map(Vec::len) == Some(3) { Ok(()) } else { Err(membership) }
    })
    .await;
    cluster.start_agent(2).await;
    cluster.until_formed().await;
    assert_eq!(identities(&cluster).await, right);
    assert!(hostile.calls().iter().all(|call| !call.authorized), "the host gets no password");
}

/// What the agent of pod `i` reports about pod 1, once it has asked it.
async fn until_asked(cluster: &TestCluster, i: usize) -> Value {
    until("a round", Duration::from_secs(30), async || {
        let status = cluster.status(i).await;
        if status["rounds"].as_u64() > Some(1) {
            Ok(status["nodes"]["couchdb-1"].clone())
        } else {
            Err(status)
        }
    })
    .await
}

/// The identity-bearing configuration of the nodes that run.
async fn identities(cluster: &TestCluster) -> Vec<Value> {
    let mut all = vec![];
    for i in [0, 2] {
        for section in ["admins", "chttpd_auth", "couchdb"] {
            all.push(cluster.get(i, &format!("/_node/_local/_config/{section}")).await);
        }
    }
    assert!(all[0][USER].is_string());
    all
}

/// Begins a new measurement of the largest resident set of this process.
fn forget_peak_memory() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// The largest resident set of this process, in kB.
fn peak_memory() -> u64 {
    e2e::process::peak_memory("self") >> 10
}
