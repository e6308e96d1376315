//! The faults that a test can inject, seen through the sockets.

#![expect(clippy::unwrap_used, reason = "the panic message of a failed test is enough")]

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sandbox::couchdb::{
    CallFilter, Clock, Cut, FinishFault, Host, Moment, Network, NodeHandle, NodeSettings, Service, Timings,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn host(ordinal: usize) -> Host {
    Host::from(format!("couchdb-{ordinal}.couchdb.default.svc.cluster.local"))
}

fn name(ordinal: usize) -> String {
    format!("couchdb@{}", host(ordinal))
}

fn settings(ordinal: usize) -> NodeSettings {
    NodeSettings::new(host(ordinal)).admin("admin", "s3cret").secret("secret").cookie("shared")
}

/// An HTTP client without proxy and pool: a connection that is kept would outlive its node.
fn client() -> reqwest::Client {
    // The requests are plain HTTP, but the client needs a TLS provider. A second test finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
}

/// Nodes, and a client that calls them.
struct Cluster {
    net: Network,
    nodes: Vec<NodeHandle>,
    http: reqwest::Client,
}

impl Cluster {
    /// Started nodes that do not know each other.
    fn new(count: usize, clock: Clock) -> Self {
        let net = Network::start(clock);
        let nodes = (0..count).map(|n| net.start_node(settings(n)).unwrap()).collect();
        Self { net, nodes, http: client() }
    }

    /// A cluster that is joined through `_nodes` and finished.
    async fn formed(count: usize, clock: Clock) -> Self {
        let cluster = Self::new(count, clock);
        for peer in 1..count {
            let path = format!("/_node/_local/_nodes/{}", name(peer));
            assert_eq!(cluster.call("PUT", 0, &path, json!({})).await.unwrap().0, 201);
        }
        for node in 0..count {
            cluster.until(|_| cluster.members(node) == count).await;
        }
        assert_eq!(cluster.finish(0).await.unwrap(), 201);
        cluster
    }

    /// Calls `finish_cluster` on a node. Returns the status.
    async fn finish(&self, node: usize) -> reqwest::Result<u16> {
        let finish = json!({"action": "finish_cluster"});
        Ok(self.call("POST", node, "/_cluster_setup", finish).await?.0)
    }

    /// Sends a `GET` as admin, and returns status and body.
    async fn get(&self, node: usize, path: &str) -> (u16, Value) {
        self.call("GET", node, path, Value::Null).await.unwrap()
    }

    async fn call(
        &self,
        method: &str,
        node: usize,
        path: &str,
        body: Value,
    ) -> reqwest::Result<(u16, Value)> {
        let method = method.parse().unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.nodes[node].url()));
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.basic_auth("admin", Some("s3cret")).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    fn members(&self, node: usize) -> usize {
        self.net.world(|world| world.node(host(node).as_str()).unwrap().members().len())
    }

    fn connected(&self, node: usize) -> usize {
        self.net.world(|world| world.connected(&host(node)).len())
    }

    fn config(&self, node: usize, section: &str, key: &str) -> Option<String> {
        self.net
            .world(|world| world.node(host(node).as_str()).unwrap().config(section, key).map(str::to_owned))
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let becomes_true = async {
            while !condition(self) {
                // For a manual clock; a running one is not affected.
                self.net.advance(Duration::from_millis(100));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), becomes_true)
            .await
            .expect("the condition becomes true");
    }
}

#[tokio::test]
async fn a_killed_node_refuses_and_comes_back_on_its_port() {
    let cluster = Cluster::formed(3, Clock::faster(40.0)).await;
    let before = cluster.nodes[2].addr();
    cluster.nodes[2].kill();
    let refused = cluster.call("GET", 2, "/_up", Value::Null).await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    let down = format!("/_node/{}/_config/couchdb/uuid", name(2));
    assert_eq!(cluster.get(0, &down).await.0, 412);
    cluster.nodes[2].start().unwrap();
    assert_eq!(cluster.nodes[2].addr(), before);
    assert_eq!(cluster.get(2, "/_up").await.0, 200);
    cluster.until(|s| s.connected(0) == 3 && s.members(2) == 3).await;
}

#[tokio::test]
async fn the_first_calls_for_a_node_local_database_fail_until_one_of_them_has_created_the_users_file() {
    let cluster = Cluster::new(1, Clock::manual());
    let slow = Timings { auth_file: Duration::from_millis(50), ..Timings::default() };
    cluster.net.world(|world| world.set_timings(slow));
    let path = "/_node/_local/_dbs/_all_docs";
    let mut calls: FuturesUnordered<_> = (0..3).map(|_| cluster.get(0, path)).collect();
    for _ in 0..2 {
        let (status, body) = calls.next().await.unwrap();
        let known = [(500, json!("file_exists")), (409, json!("Document update conflict."))];
        assert!(known.contains(&(status, body["reason"].clone())), "{status} {body}");
    }
    cluster.net.advance(Duration::from_millis(50));
    assert_eq!(calls.next().await.unwrap().0, 200, "the call that creates the file succeeds");
    assert_eq!(cluster.get(0, path).await.0, 200);
}

#[tokio::test]
async fn a_call_with_a_user_name_connects_to_the_holders_of_users() {
    let cluster = Cluster::formed(2, Clock::manual()).await;
    cluster.nodes[1].wipe();
    cluster.nodes[1].start().unwrap();
    assert_eq!(cluster.connected(0), 1);
    let up = format!("{}/_up", cluster.nodes[0].url());
    assert_eq!(cluster.http.get(&up).send().await.unwrap().status(), 200);
    assert_eq!(cluster.connected(0), 1, "an anonymous call does not read _users");
    let membership = cluster.get(0, "/_membership").await.1;
    assert_eq!(membership["all_nodes"], json!([name(0)]), "the connection is made after the answer");
    assert_eq!(cluster.connected(0), 2);
}

#[tokio::test]
async fn a_pooled_connection_breaks_when_the_node_is_killed() {
    let cluster = Cluster::new(1, Clock::real());
    let pooling = reqwest::Client::builder().no_proxy().build().unwrap();
    let up = format!("{}/_up", cluster.nodes[0].url());
    assert_eq!(pooling.get(&up).send().await.unwrap().status(), 200);
    cluster.nodes[0].kill();
    assert!(pooling.get(&up).send().await.is_err());
}

#[tokio::test]
async fn a_paused_node_accepts_connections_and_does_not_answer() {
    let cluster = Cluster::formed(2, Clock::faster(40.0)).await;
    cluster.nodes[1].pause();
    let answer =
        tokio::time::timeout(Duration::from_millis(200), cluster.call("GET", 1, "/_up", Value::Null)).await;
    assert!(answer.is_err(), "no answer");
    assert_eq!(cluster.connected(0), 2, "node 0 has not noticed it yet");
    cluster.until(|s| s.connected(0) == 1).await;
    cluster.nodes[1].resume();
    assert_eq!(cluster.get(1, "/_up").await.0, 200);
    cluster.until(|s| s.connected(0) == 2).await;
}

#[tokio::test]
async fn a_slow_node_answers_late_on_the_clock_of_the_network() {
    let cluster = Cluster::new(1, Clock::manual());
    cluster.nodes[0].slow(Duration::from_secs(3));
    let call = cluster.call("GET", 0, "/_up", Value::Null);
    tokio::pin!(call);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut call).await.is_err());
    cluster.net.advance(Duration::from_secs(4));
    assert_eq!(call.await.unwrap().0, 200);
}

#[tokio::test]
async fn a_call_can_be_cut_before_or_after_its_effect() {
    let cluster = Cluster::new(2, Clock::faster(40.0));
    let path = format!("/_node/_local/_nodes/{}", name(1));
    cluster.net.cut_call(CallFilter::all().writes(), 1, Moment::Before);
    assert!(cluster.call("PUT", 0, &path, json!({})).await.is_err());
    assert_eq!(cluster.members(0), 1);
    cluster.net.cut_call(CallFilter::all().on(host(0)).below("/_node"), 1, Moment::After);
    assert!(cluster.call("PUT", 0, &path, json!({})).await.is_err());
    assert_eq!(cluster.members(0), 2);
    assert_eq!(cluster.call("PUT", 0, &path, json!({})).await.unwrap().0, 409);

    cluster.net.fail_calls(CallFilter::all(), 1, 503);
    assert_eq!(cluster.get(1, "/_up").await.0, 503);
    assert_eq!(cluster.get(1, "/_up").await.0, 200);

    let statuses: Vec<Option<u16>> = cluster.net.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [None, None, Some(409), Some(503), Some(200)]);
    assert_eq!(cluster.nodes[1].calls()[0].line(), "GET /_up");
}

#[tokio::test]
async fn callers_with_addresses_of_their_own_are_locked_out_and_cut_separately() {
    let cluster = Cluster::new(1, Clock::real());
    let first = cluster.nodes[0].addr_for("agent-1").unwrap();
    let second = cluster.nodes[0].addr_for("agent-2").unwrap();
    let status = async |addr: SocketAddr, password: &str| {
        let request = cluster.http.get(format!("http://{addr}/_membership"));
        let sent = request.basic_auth("admin", Some(password)).send().await;
        sent.map(|response| response.status().as_u16())
    };
    for _ in 0..6 {
        status(first, "wrong").await.unwrap();
    }
    assert_eq!(status(first, "s3cret").await.unwrap(), 403, "locked out");
    assert_eq!(status(second, "s3cret").await.unwrap(), 200);
    cluster.net.cut_http("agent-2", &host(0), Cut::Reset);
    assert!(status(second, "s3cret").await.is_err());
    cluster.net.heal();
    assert_eq!(status(second, "s3cret").await.unwrap(), 200);
    assert_eq!(cluster.net.calls_of(&CallFilter::all().from("agent-2")).len(), 3);
}

#[tokio::test]
async fn only_a_caller_in_the_same_pod_reaches_a_node_that_is_bound_to_localhost() {
    let net = Network::start(Clock::real());
    let node = net.start_node(settings(0).ini("chttpd", "bind_address", "127.0.0.1")).unwrap();
    let http = client();
    let other_pod = format!("http://{}/_up", node.addr_for("couchdb-1").unwrap());
    assert!(http.get(other_pod).send().await.is_err());
    let own_pod = format!("http://{}/_up", node.addr_for(host(0).as_str()).unwrap());
    assert_eq!(http.get(own_pod).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_others_take_a_wiped_node_back() {
    let cluster = Cluster::formed(3, Clock::manual()).await;
    cluster.nodes[0].wipe();
    cluster.nodes[0].lose_ini();
    cluster.nodes[0].start().unwrap();
    let (_, alone) = cluster.get(0, "/_membership").await;
    assert_eq!(alone["cluster_nodes"], json!([name(0)]));
    let (_, maps) = cluster.get(0, "/_node/_local/_dbs/_all_docs?limit=0").await;
    assert_eq!(maps["total_rows"], 0);
    cluster.net.advance(Duration::from_secs(50));
    assert_eq!((cluster.members(0), cluster.connected(0)), (3, 3));
    let (_, state) = cluster.get(0, "/_cluster_setup").await;
    assert_eq!(state["state"], "cluster_finished");
}

#[tokio::test]
async fn a_cut_in_one_direction_breaks_the_connection() {
    let cluster = Cluster::formed(2, Clock::manual()).await;
    cluster.net.cut_one_way(&host(0), &host(1), Cut::Silent);
    cluster.net.advance(Duration::from_secs(60));
    assert_eq!(cluster.connected(0), 2, "the tick time is 75 s");
    cluster.net.advance(Duration::from_secs(30));
    assert_eq!((cluster.connected(0), cluster.connected(1)), (1, 1));
    cluster.net.heal();
    cluster.net.advance(Duration::from_secs(2));
    assert_eq!(cluster.connected(1), 2);
    cluster.net.cut(&host(0), &host(1), Cut::Reset);
    assert_eq!(cluster.connected(0), 1, "a reset is noticed at once");
}

#[tokio::test]
async fn reads_on_healthy_nodes_are_incomplete_while_a_wiped_node_refills_unless_it_is_in_maintenance() {
    let cluster = Cluster::formed(3, Clock::manual()).await;
    let slow = Timings { pass: Duration::from_secs(600), ..Timings::default() };
    cluster.call("PUT", 0, "/t", Value::Null).await.unwrap();
    for doc in ["a", "b", "c"] {
        cluster.call("PUT", 0, &format!("/t/{doc}"), json!({})).await.unwrap();
    }
    cluster.net.advance(Duration::from_secs(5));
    cluster.net.world(|world| world.set_timings(slow));
    cluster.nodes[2].wipe();
    cluster.nodes[2].start().unwrap();
    cluster.net.advance(Duration::from_secs(50));
    let docs = "/t/_all_docs";
    assert_eq!(cluster.get(0, docs).await.1["total_rows"], 0);
    let mode = "/_node/_local/_config/couchdb/maintenance_mode";
    cluster.call("PUT", 2, mode, json!("true")).await.unwrap();
    assert_eq!(cluster.get(0, docs).await.1["total_rows"], 3);
    cluster.net.advance(Duration::from_secs(700));
    cluster.call("PUT", 2, mode, json!("false")).await.unwrap();
    assert_eq!(cluster.get(0, docs).await.1["total_rows"], 3);
}

/// The documents of a copy that was away while all of them were edited have the right number and the wrong content.
#[tokio::test]
async fn two_stale_copies_outvote_the_newest_one_although_all_counts_are_equal() {
    let cluster = Cluster::formed(3, Clock::manual()).await;
    cluster.call("PUT", 0, "/t?q=1", Value::Null).await.unwrap();
    let (_, written) = cluster.call("PUT", 0, "/t/a", json!({})).await.unwrap();
    cluster.net.advance(Duration::from_secs(10));
    let slow = Timings { pass: Duration::from_secs(600), ..Timings::default() };
    cluster.net.world(|world| world.set_timings(slow));
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let edit = format!("/t/a?rev={}", written["rev"].as_str().unwrap());
    let (status, edited) = cluster.call("PUT", 0, &edit, json!({"x": 1})).await.unwrap();
    assert_eq!(status, 202);
    cluster.nodes[1].start().unwrap();
    cluster.nodes[2].start().unwrap();
    cluster.net.advance(Duration::from_secs(50));
    assert_eq!(cluster.get(0, "/t").await.1["doc_count"], 1);
    assert_eq!(cluster.get(0, "/t/a").await.1["_rev"], written["rev"], "two copies agree on it");
    assert_eq!(cluster.get(0, "/t/a?r=3").await.1["_rev"], edited["rev"]);
    cluster.net.advance(Duration::from_secs(700));
    assert_eq!(cluster.get(1, "/t/a").await.1["_rev"], edited["rev"]);
}

#[tokio::test]
async fn headers_are_those_of_couchdb() {
    let cluster = Cluster::new(1, Clock::real());
    let response = cluster.http.get(format!("{}/_up", cluster.nodes[0].url())).send().await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("server"), "CouchDB/3.5.0 (Erlang OTP/25)");
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("cache-control"), "must-revalidate");
    assert_eq!(header("x-couchdb-body-time"), "0");
    assert_eq!(header("x-couch-request-id").len(), 10);
    assert_eq!(header("content-length"), "27");
    assert_eq!(response.text().await.unwrap(), "{\"status\":\"ok\",\"seeds\":{}}\n");
    let head = cluster.http.head(format!("{}/_up", cluster.nodes[0].url())).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "27"));
}

#[tokio::test]
async fn a_node_of_an_old_release_answers_like_that_release() {
    let net = Network::start(Clock::real());
    let node = net.start_node(settings(0).version("2.3.1".parse().unwrap())).unwrap();
    let http = client();
    let get = async |path: &str| {
        let sent = http.get(format!("{}{path}", node.url())).basic_auth("admin", Some("s3cret")).send().await;
        sent.unwrap().json::<Value>().await.unwrap()
    };
    assert_eq!(get("/").await["version"], "2.3.1");
    assert_eq!(get("/_cluster_setup").await["state"], "cluster_disabled");
    assert_eq!(get("/_node/_local").await["error"], "not_found");
}

/// Other tests count the calls of 64 nodes; this one shows that so many form in a bearable time.
#[tokio::test]
async fn sixty_four_nodes_form_a_cluster() {
    let cluster = Cluster::formed(64, Clock::faster(40.0)).await;
    let (_, map) = cluster.get(63, "/_users/_shards").await;
    assert_eq!(map["shards"]["00000000-7fffffff"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn finish_cluster_breaks_at_the_injected_step() {
    let cluster = Cluster::new(2, Clock::faster(40.0));
    assert_eq!(
        cluster.call("PUT", 0, &format!("/_node/_local/_nodes/{}", name(1)), json!({})).await.unwrap().0,
        201
    );
    cluster.until(|s| s.members(1) == 2).await;

    cluster.nodes[0].break_finish(FinishFault::CreatesNoDb);
    assert_eq!(cluster.finish(0).await.unwrap(), 201);
    assert_eq!(cluster.get(0, "/_all_dbs").await.1, json!([]));

    cluster.nodes[0].lose_ini();
    cluster.nodes[0].start().unwrap();
    cluster.nodes[0].break_finish(FinishFault::DiesAfterAdmins);
    assert!(cluster.finish(0).await.is_err());
    cluster.nodes[0].start().unwrap();
    assert_eq!(cluster.config(0, "admins", "admin"), cluster.config(1, "admins", "admin"));
    assert_ne!(cluster.config(0, "couchdb", "uuid"), cluster.config(1, "couchdb", "uuid"));

    cluster.nodes[0].break_finish(FinishFault::DiesAfterFirstDb);
    assert!(cluster.finish(0).await.is_err());
    cluster.nodes[0].start().unwrap();
    assert_eq!(cluster.get(0, "/_all_dbs").await.1, json!(["_users"]));
    assert_eq!(cluster.config(0, "couchdb", "uuid"), cluster.config(1, "couchdb", "uuid"));
    assert_eq!(cluster.finish(0).await.unwrap(), 201);
}

#[tokio::test]
async fn erlang_ports_refuse_a_caller_behind_a_reset() {
    let cluster = Cluster::new(2, Clock::real());
    let epmd = cluster.nodes[1].service_addr_for(Service::Epmd, host(0).as_str()).unwrap();
    let distribution = cluster.nodes[1].service_addr_for(Service::Distribution, host(0).as_str()).unwrap();
    let mut connection = TcpStream::connect(epmd).await.unwrap();
    connection.write_all(b"\0\x01n").await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    assert_eq!(&answer[4..], b"name couchdb at port 9100\n");
    assert!(TcpStream::connect(distribution).await.is_ok());

    cluster.net.cut(&host(0), &host(1), Cut::Reset);
    assert!(TcpStream::connect(epmd).await.is_err() && TcpStream::connect(distribution).await.is_err());
    assert_eq!(cluster.get(1, "/_up").await.0, 200, "HTTP is not cut");
    cluster.net.heal();
    assert!(TcpStream::connect(epmd).await.is_ok());
}

#[tokio::test]
async fn a_node_with_a_read_only_ini_changes_values_in_memory_only() {
    let cluster = Cluster::new(1, Clock::real());
    cluster.nodes[0].kill();
    cluster.nodes[0].reconfigure(NodeSettings::read_only_ini);
    cluster.nodes[0].start().unwrap();
    let key = "/_node/_local/_config/a/b";
    assert_eq!(cluster.call("PUT", 0, key, json!("c")).await.unwrap().0, 500);
    assert_eq!(cluster.get(0, key).await, (200, json!("c")));
    cluster.nodes[0].kill();
    cluster.nodes[0].start().unwrap();
    assert_eq!(cluster.get(0, key).await.0, 404);
}

#[tokio::test]
async fn a_node_with_another_name_cannot_open_the_databases_of_its_volume() {
    let cluster = Cluster::formed(1, Clock::faster(40.0)).await;
    let volume = cluster.nodes[0].volume();
    let renamed = cluster
        .net
        .start_node(NodeSettings::new("new-0.new.default.svc.cluster.local").admin("admin", "s3cret"))
        .unwrap();
    renamed.mount(volume);
    renamed.start().unwrap();
    let get = async |path: &str| {
        let sent =
            cluster.http.get(format!("{}{path}", renamed.url())).basic_auth("admin", Some("s3cret")).send();
        let response = sent.await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    assert_eq!(get("/_up").await.0, 200);
    assert_eq!(get("/_all_dbs").await.1, json!(["_replicator", "_users"]));
    assert_eq!(get("/_users").await.0, 500);
    let new = "couchdb@new-0.new.default.svc.cluster.local";
    assert_eq!(get("/_membership").await.1, json!({"all_nodes": [new], "cluster_nodes": [name(0), new]}));
}

#[tokio::test]
async fn a_restart_keeps_persisted_values_only() {
    let cluster = Cluster::new(1, Clock::manual());
    let key = |name: &str| format!("/_node/_local/_config/a/{name}");
    assert_eq!(cluster.call("PUT", 0, &key("kept"), json!("x")).await.unwrap().0, 200);
    let url = format!("{}{}", cluster.nodes[0].url(), key("lost"));
    let memory_only =
        cluster.http.put(url).basic_auth("admin", Some("s3cret")).header("x-couch-persist", "false");
    assert_eq!(memory_only.body("\"y\"").send().await.unwrap().status(), 200);
    assert_eq!(cluster.get(0, &key("lost")).await.1, json!("y"));

    assert_eq!(cluster.call("POST", 0, "/_node/_local/_restart", json!({})).await.unwrap().0, 200);
    cluster.net.advance(Duration::from_secs(1));
    assert!(cluster.call("GET", 0, "/_up", Value::Null).await.unwrap_err().is_connect());
    cluster.net.advance(Duration::from_secs(2));
    assert_eq!(cluster.get(0, "/_up").await.0, 200);
    assert_eq!(cluster.get(0, &key("kept")).await.1, json!("x"));
    assert_eq!(cluster.get(0, &key("lost")).await.0, 404);
}

#[tokio::test]
async fn finishing_two_nodes_in_different_seconds_creates_conflicting_maps() {
    let cluster = Cluster::new(2, Clock::manual());
    cluster.call("PUT", 0, &format!("/_node/_local/_nodes/{}", name(1)), json!({})).await.unwrap();
    cluster.until(|s| s.members(1) == 2).await;
    cluster.nodes[0].break_finish(FinishFault::CreatesOnOwnNode);
    cluster.net.world(|w| w.set_timings(Timings { replicate: Duration::from_secs(5), ..Timings::default() }));
    assert_eq!(cluster.finish(0).await.unwrap(), 201);
    cluster.net.clock().advance(Duration::from_secs(1));
    assert_eq!(cluster.finish(1).await.unwrap(), 201);
    cluster.net.advance(Duration::from_secs(10));
    let path = "/_node/_local/_dbs/_users?conflicts=true";
    let first = cluster.get(0, path).await.1;
    let second = cluster.get(1, path).await.1;
    assert_eq!(first, second);
    assert_eq!(first["_conflicts"].as_array().unwrap().len(), 1);
}
