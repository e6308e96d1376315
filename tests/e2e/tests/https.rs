//! CouchDB over TLS with an authority of one's own.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::io::Write;

use contract::env::COUCHDISCOVER_CA_FILE;
use e2e::manifest;
use e2e::stage::Stage;
use sandbox::couchdb::{Clock, Network};
use tempfile::NamedTempFile;

#[tokio::test]
async fn with_its_authority_a_cluster_is_formed() {
    let (mut stage, ca) = stage(3);
    stage.set(COUCHDISCOVER_CA_FILE, &ca.path().to_string_lossy());
    stage.start_agents(0..3).await;
    stage.formed().await;
}

#[tokio::test]
async fn another_authority_is_not_trusted_and_no_password_goes_out() {
    let (mut stage, _ca) = stage(1);
    let (_, other) = self::stage(1);
    stage.set(COUCHDISCOVER_CA_FILE, &other.path().to_string_lossy());
    stage.start_agent(0).await;
    let says = stage.says(0, "CouchDbUntrusted").await;
    insta::assert_snapshot!(says, @"the local CouchDB shows no certificate for its name from an authority that is trusted. Name the authority in COUCHDISCOVER_CA_FILE (without it the system's count), and CouchDB in COUCHDISCOVER_COUCHDB_URL by a name that its certificate has, such as https://couchdb-0.couchdb.default.svc.cluster.local:6984");
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
    let net = Network::with_tls(Clock::faster(20.0)).unwrap();
    let mut ca = NamedTempFile::new().unwrap();
    ca.write_all(net.ca_pem().unwrap().as_bytes()).unwrap();
    let pods = manifest::example_pods(nodes, |_| {}).unwrap();
    (Stage::on(net, pods, None, |settings| settings), ca)
}
