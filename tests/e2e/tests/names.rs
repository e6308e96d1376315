//! What Erlang calls the nodes: any name that tells those of the others, as long as DNS knows them by it.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use e2e::stage::{Stage, host};
use sandbox::couchdb::NodeSettings;
use serde_json::json;

#[tokio::test]
async fn a_node_with_a_wrong_name_is_refused_with_the_cure() {
    let mut stage = Stage::with(2, |settings| {
        let host = settings.host().as_str().to_owned();
        settings.name(Some(if host == e2e::stage::host(1) {
            "couchdb@127.0.0.1"
        } else {
            "couchdb@couchdb-0.couchdb.default.svc.cluster.local"
        }))
    });
    stage.start_agents(0..2).await;
    let message = stage.says(1, "NodeNameMismatch").await;
    assert!(message.contains("'couchdb@127.0.0.1'") && message.contains("-name couchdb"), "{message}");
    let waiting = stage.says(0, "WaitingForPeers").await;
    assert_eq!(waiting, "couchdb-1 calls itself 'couchdb@127.0.0.1'");
}

#[tokio::test]
async fn nodes_of_another_name_form_a_cluster_and_take_a_lost_one_back() {
    let mut stage = Stage::with(3, |settings| called(settings, "bigcouch@", &host_of));
    stage.start_agents(0..3).await;
    stage.formed().await;
    assert_eq!(stage.status(1).await["node"], format!("bigcouch@{}", host(1)));

    stage.kill_agent(1).await;
    stage.node(1).kill();
    stage.node(1).wipe();
    stage.node(1).start().unwrap();
    stage.start_agent(1).await;
    stage.formed().await;
}

#[tokio::test]
async fn nodes_of_names_that_dns_knows_form_a_cluster() {
    let mut stage = Stage::with(3, |settings| called(settings, "couchdb@", &short));
    stage.aliases = (0..3).map(|i| (format!("couchdb-{i}.couchdb"), i)).collect();
    stage.start_agents(0..3).await;
    stage.formed().await;
    assert_eq!(stage.status(2).await["node"], "couchdb@couchdb-2.couchdb");
}

#[tokio::test]
async fn names_that_dns_does_not_know_are_refused_with_the_cure() {
    let mut stage = Stage::with(2, |settings| called(settings, "couchdb@", &nowhere));
    stage.start_agents(0..2).await;
    for i in 0..2 {
        let message = stage.says(i, "NodeNameMismatch").await;
        assert!(message.contains(&format!("'couchdb@{}'", nowhere(&host(i)))), "{message}");
    }
}

#[tokio::test]
async fn an_established_cluster_needs_dns_no_more_for_its_names() {
    let mut stage = Stage::with(2, |settings| called(settings, "couchdb@", &short));
    stage.aliases = (0..2).map(|i| (format!("couchdb-{i}.couchdb"), i)).collect();
    stage.start_agents(0..2).await;
    stage.formed().await;
    stage.kill_agent(0).await;
    stage.aliases.clear();
    stage.start_agent(0).await;
    stage.formed().await;
}

#[tokio::test]
async fn a_fresh_node_of_another_name_than_the_cluster_is_told_theirs() {
    let mut stage = Stage::with(2, |settings| called(settings, "bigcouch@", &host_of));
    stage.start_agents(0..2).await;
    stage.formed().await;

    stage.node(1).kill();
    stage.node(1).wipe();
    stage.node(1).reconfigure(|settings| {
        settings.name(Some("othercouch@couchdb-1.couchdb.default.svc.cluster.local"))
    });
    stage.node(1).start().unwrap();
    let message = stage.says(1, "NodeNameMismatch").await;
    assert!(message.contains(&format!("its peers will look for 'bigcouch@{}'", host(1))), "{message}");
}

#[tokio::test]
async fn a_cluster_whose_names_change_is_refused_with_the_table() {
    let mut stage = Stage::with(1, |settings| called(settings, "couchdb@", &short));
    stage.start_agent(0).await;
    stage.formed().await;

    stage.node(0).kill();
    stage.node(0).reconfigure(|settings| called(settings, "couchdb@", &host_of));
    stage.node(0).start().unwrap();
    stage.says(0, "NodeRenamed").await;
    let evidence = stage.status(0).await["step"]["evidence"].clone();
    assert_eq!(evidence, json!([format!("'couchdb@couchdb-0.couchdb' -> 'couchdb@{}'", host(0))]));
}

/// With this name, at the host that `of` makes of the pod's full name.
fn called(settings: NodeSettings, name: &str, of: &dyn Fn(&str) -> String) -> NodeSettings {
    let host = of(settings.host().as_str());
    settings.name(Some(&format!("{name}{host}")))
}

fn host_of(fqdn: &str) -> String {
    fqdn.to_owned()
}

fn short(fqdn: &str) -> String {
    fqdn.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// No DNS label is so long, so nobody asks a server for it.
fn nowhere(fqdn: &str) -> String {
    format!("{}.{}", fqdn.split('.').next().unwrap(), "x".repeat(64))
}
