//! Erlang node names: any scheme that the names of the peers follow and DNS resolves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use e2e::cluster::{TestCluster, host};
use sandbox::couchdb::NodeSettings;
use serde_json::json;

#[tokio::test]
async fn a_node_with_a_wrong_name_is_refused_with_a_fix() {
    let mut cluster = TestCluster::with_settings(2, |settings| {
        let host = settings.host().as_str().to_owned();
        settings.name(Some(if host == e2e::cluster::host(1) {
            "couchdb@127.0.0.1"
        } else {
            "couchdb@couchdb-0.couchdb.default.svc.cluster.local"
        }))
    });
    cluster.start_agents(0..2).await;
    let message = cluster.until_step(1, "NodeNameMismatch").await;
    assert!(message.contains("'couchdb@127.0.0.1'") && message.contains("-name couchdb"), "{message}");
    let waiting = cluster.until_step(0, "WaitingForPeers").await;
    assert_eq!(waiting, "couchdb-1 runs as 'couchdb@127.0.0.1'");
}

#[tokio::test]
async fn nodes_with_another_prefix_form_a_cluster_and_recover_a_wiped_node() {
    let mut cluster = TestCluster::with_settings(3, |settings| named(settings, "bigcouch@", host_of));
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    assert_eq!(cluster.status(1).await["node"], format!("bigcouch@{}", host(1)));

    cluster.kill_agent(1).await;
    cluster.node(1).kill();
    cluster.node(1).wipe();
    cluster.node(1).start().unwrap();
    cluster.start_agent(1).await;
    cluster.until_formed().await;
}

#[tokio::test]
async fn nodes_with_names_that_dns_resolves_form_a_cluster() {
    let mut cluster = TestCluster::with_settings(3, |settings| named(settings, "couchdb@", short));
    cluster.aliases = (0..3).map(|i| (format!("couchdb-{i}.couchdb"), i)).collect();
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    assert_eq!(cluster.status(2).await["node"], "couchdb@couchdb-2.couchdb");
}

#[tokio::test]
async fn names_that_dns_does_not_resolve_are_refused() {
    let mut cluster = TestCluster::with_settings(2, |settings| named(settings, "couchdb@", unresolvable));
    cluster.start_agents(0..2).await;
    for i in 0..2 {
        let message = cluster.until_step(i, "NodeNameMismatch").await;
        assert!(message.contains(&format!("'couchdb@{}'", unresolvable(&host(i)))), "{message}");
    }
}

#[tokio::test]
async fn an_established_cluster_does_not_need_dns_for_its_names() {
    let mut cluster = TestCluster::with_settings(2, |settings| named(settings, "couchdb@", short));
    cluster.aliases = (0..2).map(|i| (format!("couchdb-{i}.couchdb"), i)).collect();
    cluster.start_agents(0..2).await;
    cluster.until_formed().await;
    cluster.kill_agent(0).await;
    cluster.aliases.clear();
    cluster.start_agent(0).await;
    cluster.until_formed().await;
}

#[tokio::test]
async fn a_pristine_node_whose_name_differs_from_the_clusters_is_refused_with_the_expected_name() {
    let mut cluster = TestCluster::with_settings(2, |settings| named(settings, "bigcouch@", host_of));
    cluster.start_agents(0..2).await;
    cluster.until_formed().await;

    cluster.node(1).kill();
    cluster.node(1).wipe();
    cluster.node(1).reconfigure(|settings| {
        settings.name(Some("othercouch@couchdb-1.couchdb.default.svc.cluster.local"))
    });
    cluster.node(1).start().unwrap();
    let message = cluster.until_step(1, "NodeNameMismatch").await;
    assert!(message.contains(&format!("its peers look for 'bigcouch@{}'", host(1))), "{message}");
}

#[tokio::test]
async fn a_changed_name_is_refused_with_the_old_and_the_new_name() {
    let mut cluster = TestCluster::with_settings(1, |settings| named(settings, "couchdb@", short));
    cluster.start_agent(0).await;
    cluster.until_formed().await;

    cluster.node(0).kill();
    cluster.node(0).reconfigure(|settings| named(settings, "couchdb@", host_of));
    cluster.node(0).start().unwrap();
    cluster.until_step(0, "NodeRenamed").await;
    let evidence = cluster.status(0).await["step"]["evidence"].clone();
    assert_eq!(evidence, json!([format!("'couchdb@couchdb-0.couchdb' -> 'couchdb@{}'", host(0))]));
}

/// Names a node by a prefix, and the host that `host` derives from the pod's full name.
fn named(settings: NodeSettings, prefix: &str, host: fn(&str) -> String) -> NodeSettings {
    let host = host(settings.host().as_str());
    settings.name(Some(&format!("{prefix}{host}")))
}

fn host_of(fqdn: &str) -> String {
    fqdn.to_owned()
}

fn short(fqdn: &str) -> String {
    fqdn.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// A host that never resolves: the label exceeds DNS's limit of 63 bytes, so no server is queried.
fn unresolvable(fqdn: &str) -> String {
    format!("{}.{}", fqdn.split('.').next().unwrap(), "x".repeat(64))
}
