//! CouchDB over TLS with an authority of one's own.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::io::Write;

use contract::env::{COUCHDISCOVER_CA_FILE, COUCHDISCOVER_COUCHDB_URL};
use contract::keys::COUCHDB_CA_SECRET;
use contract::objects::AGENT_CONTAINER;
use e2e::manifest;
use e2e::stage::Stage;
use sandbox::couchdb::{Clock, Network};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

#[tokio::test]
async fn with_its_authority_a_cluster_is_formed() {
    let (mut stage, ca) = stage(3);
    stage.set(COUCHDISCOVER_CA_FILE, &ca.path().to_string_lossy());
    stage.start_agents(0..3).await;
    stage.formed().await;
}

#[tokio::test]
async fn an_annotation_brings_it_to_the_agents() {
    let (mut stage, ca) = stage_of(2, |object| {
        if object["kind"] == "StatefulSet" {
            object["metadata"]["annotations"][COUCHDB_CA_SECRET] = json!("couchdb-tls");
        }
    });
    let agent = stage.pod(0).container(AGENT_CONTAINER).unwrap();
    assert_eq!(agent.env[COUCHDISCOVER_COUCHDB_URL], "https://127.0.0.1:6984");
    assert_eq!(agent.env[COUCHDISCOVER_CA_FILE], "/var/run/couchdiscover/couchdb-ca/ca.crt");
    stage.set(COUCHDISCOVER_CA_FILE, &ca.path().to_string_lossy());
    stage.start_agents(0..2).await;
    stage.formed().await;
}

#[tokio::test]
async fn an_authority_that_takes_the_place_of_another_is_trusted_from_then_on() {
    let (mut stage, ca) = stage(2);
    let (_, other) = self::stage(1);
    let file = NamedTempFile::new().unwrap();
    std::fs::copy(other.path(), file.path()).unwrap();
    stage.set(COUCHDISCOVER_CA_FILE, &file.path().to_string_lossy());
    stage.start_agents(0..2).await;
    stage.says(0, "CouchDbUntrusted").await;
    std::fs::copy(ca.path(), file.path()).unwrap();
    stage.formed().await;
}

#[tokio::test]
async fn another_authority_is_not_trusted_and_no_password_goes_out() {
    let (mut stage, _ca) = stage(1);
    let (_, other) = self::stage(1);
    stage.set(COUCHDISCOVER_CA_FILE, &other.path().to_string_lossy());
    stage.start_agent(0).await;
    let says = stage.says(0, "CouchDbUntrusted").await;
    insta::assert_snapshot!(says, @"the local CouchDB shows no certificate for its name from an authority that is trusted. Name the Secret of its authority in annotation 'couchdiscover.io/couchdb-ca-secret' (by hand the file, in COUCHDISCOVER_CA_FILE; without it the system's count), and see that the certificate has the name 'couchdb-0.couchdb.default.svc.cluster.local'");
    assert!(stage.net.calls().is_empty());
    assert!(stage.metrics(0).await.contains("couchdb_calls_total{outcome=\"untrusted\"}"));
}

#[tokio::test]
async fn the_systems_authorities_do_not_vouch_for_it() {
    let (mut stage, _ca) = stage(1);
    stage.start_agent(0).await;
    stage.says(0, "CouchDbUntrusted").await;
    assert!(stage.net.calls().is_empty());
}

/// The example on nodes with TLS, and the file with their authority.
fn stage(nodes: usize) -> (Stage, NamedTempFile) {
    stage_of(nodes, |_| {})
}

/// The same, after a change of its objects.
fn stage_of(nodes: usize, change: impl Fn(&mut Value)) -> (Stage, NamedTempFile) {
    let net = Network::with_tls(Clock::faster(20.0)).unwrap();
    let mut ca = NamedTempFile::new().unwrap();
    ca.write_all(net.ca_pem().unwrap().as_bytes()).unwrap();
    let pods = manifest::example_pods(nodes, change).unwrap();
    (Stage::on(net, pods, None, |settings| settings), ca)
}
