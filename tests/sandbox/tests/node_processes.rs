//! Nodes in processes of their own, on loopback addresses: they form one cluster, and keep it through restarts.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Time for a step that a loaded machine may need. Shorter than the 37 s after which a node dials its members again.
const DEADLINE: Duration = Duration::from_secs(30);

struct Node {
    address: Ipv4Addr,
    directory: TempDir,
    process: Child,
    http: Client,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(directory: &Path, address: Ipv4Addr, cookie: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_couchdb-node"))
        .args([directory.to_str().unwrap(), &address.to_string()])
        .env_clear()
        .env("HOSTNAME", format!("node-{address}"))
        .env("NODENAME", address.to_string())
        .env("COUCHDB_USER", "admin")
        .env("COUCHDB_PASSWORD", "s3cret")
        .env("COUCHDB_SECRET", "topsecret")
        .env("COUCHDB_ERLANG_COOKIE", cookie)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

impl Node {
    /// Starts a node. Each process of this test has loopback addresses of its own, since the ports are fixed.
    fn start(number: u8, cookie: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, high.max(1), low, number);
        let directory = TempDir::new().unwrap();
        for folder in ["data", "etc/local.d"] {
            std::fs::create_dir_all(directory.path().join(folder)).unwrap();
        }
        let process = spawn(directory.path(), address, cookie);
        let http = Client::builder().no_proxy().build().unwrap();
        Self { address, directory, process, http }
    }

    fn name(&self) -> String {
        format!("couchdb@{}", self.address)
    }

    /// SIGKILL, and a new container on the same volume.
    fn restart(&mut self, cookie: &str) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::fs::remove_file(self.directory.path().join("etc/local.d/docker.ini")).unwrap();
        self.process = spawn(self.directory.path(), self.address, cookie);
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Result<(u16, Value), reqwest::Error> {
        let url = format!("http://{}:5984{path}", self.address);
        let request = self.http.request(method, url).basic_auth("admin", Some("s3cret"));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn get(&self, path: &str) -> Result<(u16, Value), reqwest::Error> {
        self.call(Method::GET, path, Value::Null).await
    }

    async fn until_get(&self, path: &str, what: &str, is_met: impl Fn(u16, &Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let last = self.get(path).await;
            match last {
                Ok((status, body)) if is_met(status, &body) => return body,
                _ => assert!(Instant::now() < deadline, "{}: {what}; last answer: {last:?}", self.name()),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_up(&self) {
        self.until_get("/_up", "is not up", |status, _| status == 200).await;
    }

    async fn until_connected(&self, nodes: &[&Self]) {
        let names: Vec<String> = nodes.iter().map(|node| node.name()).collect();
        let are_all =
            |_: u16, body: &Value| body["all_nodes"] == json!(names) && body["cluster_nodes"] == json!(names);
        self.until_get("/_membership", "is not connected to all", are_all).await;
    }

    async fn join(&self, peer: &Self) {
        let path = format!("/_node/_local/_nodes/{}", peer.name());
        assert_eq!(self.call(Method::PUT, &path, json!({})).await.unwrap().0, 201);
    }
}

#[tokio::test]
async fn three_processes_form_one_cluster_that_survives_restarts() {
    let mut nodes = [2, 3, 4].map(|number| Node::start(number, "shared"));
    for node in &nodes {
        node.until_up().await;
    }
    let [first, second, third] = &nodes;
    first.join(second).await;
    first.join(third).await;
    for node in &nodes {
        node.until_connected(&[first, second, third]).await;
    }
    let finish = json!({"action": "finish_cluster"});
    assert_eq!(first.call(Method::POST, "/_cluster_setup", finish).await.unwrap().0, 201);
    assert_eq!(second.call(Method::PUT, "/shop", Value::Null).await.unwrap().0, 201);
    assert_eq!(third.call(Method::PUT, "/shop/order", json!({"total": 7})).await.unwrap().0, 201);
    let uuid = first.get("/").await.unwrap().1["uuid"].clone();
    for node in &nodes {
        let order = node.get("/shop/order").await.unwrap().1;
        assert_eq!((&order["total"], &node.get("/").await.unwrap().1["uuid"]), (&json!(7), &uuid));
    }

    // While one node is down the others go on with a quorum.
    nodes[1].process.kill().unwrap();
    nodes[1].process.wait().unwrap();
    let only = json!([nodes[0].name(), nodes[2].name()]);
    nodes[0].until_get("/_membership", "has noticed nothing", |_, body| body["all_nodes"] == only).await;
    let written = nodes[0].call(Method::PUT, "/shop/late", json!({"total": 8})).await.unwrap();
    assert_eq!(written.0, 201, "{written:?}");

    // A new container has the data of its volume, and neither the uuid nor anything else of the old ini file.
    nodes[1].restart("shared");
    nodes[1].until_up().await;
    let [first, second, third] = &nodes;
    second.until_connected(&[first, second, third]).await;
    let own = format!("/_node/{}/_dbs/shop", second.name());
    assert_eq!(second.get(&own).await.unwrap().0, 200);
    assert_ne!(second.get("/").await.unwrap().1["uuid"], uuid);
    second
        .until_get("/shop/late", "has no document that was written meanwhile", |status, _| status == 200)
        .await;
}

#[tokio::test]
async fn a_node_that_lists_a_peer_as_a_member_is_connected_to_it_without_another_call() {
    let nodes = [Node::start(22, "shared"), Node::start(23, "shared")];
    for node in &nodes {
        node.until_up().await;
    }
    let [first, second] = &nodes;
    second.join(first).await;
    for node in &nodes {
        node.until_connected(&[first, second]).await;
    }
}

#[tokio::test]
async fn a_node_with_another_cookie_is_not_connected() {
    let nodes = [Node::start(12, "shared"), Node::start(13, "other")];
    for node in &nodes {
        node.until_up().await;
    }
    let [first, second] = &nodes;
    first.join(second).await;
    // The refused node has learned the caller's name, as a real node does in the handshake.
    let path = format!("/_node/{}/_config/couchdb/uuid", first.name());
    second.until_get(&path, "has not learned the name", |status, _| status == 412).await;
    let members = first.get("/_membership").await.unwrap().1;
    assert_eq!(members["all_nodes"], json!([first.name()]));
    assert_eq!(second.get("/_membership").await.unwrap().1["cluster_nodes"], json!([second.name()]));
}

#[tokio::test]
async fn without_an_admin_the_process_ends_with_the_code_of_the_image() {
    let directory = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_couchdb-node"))
        .args([directory.path().to_str().unwrap(), "127.0.0.1"])
        .env_clear()
        .env("HOSTNAME", "node")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Admin Party"));
}
