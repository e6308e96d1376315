//! CouchDB over TLS, with a certificate authority that the system does not trust.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write;

use contract::env::{COUCHDISCOVER_CA_FILE, COUCHDISCOVER_COUCHDB_URL};
use contract::keys::COUCHDB_CA_SECRET;
use contract::objects::AGENT_CONTAINER;
use e2e::cluster::TestCluster;
use e2e::manifest;
use sandbox::couchdb::{Clock, Network};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

#[tokio::test]
async fn agents_that_trust_the_authority_form_a_cluster() {
    let (mut cluster, ca) = tls_cluster(3);
    cluster.set(COUCHDISCOVER_CA_FILE, &ca.path().to_string_lossy());
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
}

#[tokio::test]
async fn an_annotation_configures_the_authority_of_the_agents() {
    let (mut cluster, ca) = tls_cluster_with(2, |object| {
        if object["kind"] == "StatefulSet" {
            object["metadata"]["annotations"][COUCHDB_CA_SECRET] = json!("couchdb-tls");
        }
    });
    let agent = cluster.pod(0).container(AGENT_CONTAINER).unwrap();
    assert_eq!(agent.env[COUCHDISCOVER_COUCHDB_URL], "https://127.0.0.1:6984");
    assert_eq!(agent.env[COUCHDISCOVER_CA_FILE], "/var/run/couchdiscover/couchdb-ca/ca.crt");
    cluster.set(COUCHDISCOVER_CA_FILE, &ca.path().to_string_lossy());
    cluster.start_agents(0..2).await;
    cluster.until_formed().await;
}

#[tokio::test]
async fn a_replaced_authority_is_trusted_without_a_restart() {
    let (mut cluster, ca) = tls_cluster(2);
    let (_, other) = tls_cluster(1);
    let file = NamedTempFile::new().unwrap();
    std::fs::copy(other.path(), file.path()).unwrap();
    cluster.set(COUCHDISCOVER_CA_FILE, &file.path().to_string_lossy());
    cluster.start_agents(0..2).await;
    cluster.until_step(0, "CouchDbUntrusted").await;
    std::fs::copy(ca.path(), file.path()).unwrap();
    cluster.until_formed().await;
}

/// The question for the limit carries the password to the peer's own address, so it needs an authenticated peer.
#[tokio::test]
async fn over_tls_a_refilled_copy_gets_the_limit_of_purges_of_the_others() {
    let (mut cluster, ca) = tls_cluster(2);
    cluster.set(COUCHDISCOVER_CA_FILE, &ca.path().to_string_lossy());
    cluster.start_agents(0..2).await;
    cluster.until_formed().await;
    cluster.put(0, "/orders", &Value::Null).await;
    cluster.put(0, "/orders/1", &json!({})).await;
    cluster.put(0, "/orders/_purged_infos_limit", &json!(44)).await;
    cluster.kill_agent(1).await;
    cluster.node(1).wipe();
    cluster.node(1).start().unwrap();
    cluster.start_agent(1).await;
    cluster.until_ready(1).await;
    cluster.until_formed().await;
    assert_eq!(cluster.get(1, "/orders/_purged_infos_limit").await, 44);
}

#[tokio::test]
async fn another_authority_is_not_trusted_and_no_password_is_sent() {
    let (mut cluster, _ca) = tls_cluster(1);
    let (_, other) = tls_cluster(1);
    cluster.set(COUCHDISCOVER_CA_FILE, &other.path().to_string_lossy());
    cluster.start_agent(0).await;
    let message = cluster.until_step(0, "CouchDbUntrusted").await;
    // The port differs in each run.
    let (address, rest) = message.split_once(" presents").unwrap();
    assert!(address.starts_with("CouchDB at https://"), "{message}");
    insta::assert_snapshot!(rest, @" no certificate for its name from a trusted authority. Fix: name the Secret with its authority in annotation 'couchdiscover.io/couchdb-ca-secret' (without the webhook, the file in COUCHDISCOVER_CA_FILE; the default is the system's authorities), and issue the certificate for 'couchdb-0.couchdb.default.svc.cluster.local'");
    assert!(cluster.net.calls().is_empty());
    assert!(cluster.metrics(0).await.contains("couchdb_calls_total{outcome=\"untrusted\"}"));
}

#[tokio::test]
async fn without_a_configured_authority_couchdb_is_not_trusted() {
    let (mut cluster, _ca) = tls_cluster(1);
    cluster.start_agent(0).await;
    cluster.until_step(0, "CouchDbUntrusted").await;
    assert!(cluster.net.calls().is_empty());
}

/// The example on nodes with TLS, and a file with their authority.
fn tls_cluster(nodes: usize) -> (TestCluster, NamedTempFile) {
    tls_cluster_with(nodes, |_| {})
}

/// Like [`tls_cluster`], after a change of the example's objects.
fn tls_cluster_with(nodes: usize, change: impl Fn(&mut Value)) -> (TestCluster, NamedTempFile) {
    let net = Network::with_tls(Clock::faster(20.0)).unwrap();
    let mut ca = NamedTempFile::new().unwrap();
    ca.write_all(net.ca_pem().unwrap().as_bytes()).unwrap();
    let pods = manifest::example_pods(nodes, change).unwrap();
    (TestCluster::on(net, pods, None, |settings| settings), ca)
}
