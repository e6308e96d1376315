//! The faults that can be switched on, over the socket.

#![expect(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sandbox::couchdb::{
    Clock, Cut, FinishFault, Host, Moment, Network, NodeHandle, NodeSettings, Service, Timings, Which,
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

struct Stage {
    net: Network,
    nodes: Vec<NodeHandle>,
    http: reqwest::Client,
}

impl Stage {
    fn new(count: usize, clock: Clock) -> Self {
        let net = Network::start(clock);
        let nodes = (0..count).map(|n| net.start_node(settings(n)).unwrap()).collect();
        // The requests are plain HTTP, but the client wants to know how it would do TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { net, nodes, http }
    }

    /// Joined by `_nodes` and finished.
    async fn formed(count: usize, clock: Clock) -> Self {
        let stage = Self::new(count, clock);
        for peer in 1..count {
            let path = format!("/_node/_local/_nodes/{}", name(peer));
            assert_eq!(stage.call("PUT", 0, &path, json!({})).await.unwrap().0, 201);
        }
        for node in 0..count {
            stage.until(|_| stage.members(node) == count).await;
        }
        let finish = json!({"action": "finish_cluster"});
        assert_eq!(stage.call("POST", 0, "/_cluster_setup", finish).await.unwrap().0, 201);
        stage
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

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let looked = async {
            while !condition(self) {
                // Moves a manual clock; a running one moves by itself.
                self.net.advance(Duration::from_millis(100));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), looked).await.expect("it becomes true");
    }
}

#[tokio::test]
async fn a_killed_node_refuses_and_comes_back_on_its_port() {
    let stage = Stage::formed(3, Clock::faster(40.0)).await;
    let before = stage.nodes[2].addr();
    stage.nodes[2].kill();
    let refused = stage.call("GET", 2, "/_up", Value::Null).await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    let down = format!("/_node/{}/_config/couchdb/uuid", name(2));
    assert_eq!(stage.call("GET", 0, &down, Value::Null).await.unwrap().0, 412);
    stage.nodes[2].start().unwrap();
    assert_eq!(stage.nodes[2].addr(), before);
    assert_eq!(stage.call("GET", 2, "/_up", Value::Null).await.unwrap().0, 200);
    stage.until(|s| s.connected(0) == 3 && s.members(2) == 3).await;
}

#[tokio::test]
async fn the_first_calls_for_a_file_of_one_node_trip_over_each_other() {
    let stage = Stage::new(1, Clock::manual());
    let slow = Timings { auth_file: Duration::from_millis(50), ..Timings::default() };
    stage.net.world(|world| world.set_timings(slow));
    let ask = || stage.call("GET", 0, "/_node/_local/_dbs/_all_docs", Value::Null);
    let mut calls: FuturesUnordered<_> = [ask(), ask(), ask()].into_iter().collect();
    for _ in 0..2 {
        let (status, body) = calls.next().await.unwrap().unwrap();
        let known = [(500, json!("file_exists")), (409, json!("Document update conflict."))];
        assert!(known.contains(&(status, body["reason"].clone())), "{status} {body}");
    }
    stage.net.advance(Duration::from_millis(50));
    assert_eq!(calls.next().await.unwrap().unwrap().0, 200, "who made the file");
    assert_eq!(ask().await.unwrap().0, 200);
}

#[tokio::test]
async fn a_call_with_a_name_connects_to_the_holders_of_users() {
    let stage = Stage::formed(2, Clock::manual()).await;
    stage.nodes[1].wipe();
    stage.nodes[1].start().unwrap();
    assert_eq!(stage.connected(0), 1);
    let up = format!("{}/_up", stage.nodes[0].url());
    assert_eq!(stage.http.get(&up).send().await.unwrap().status(), 200);
    assert_eq!(stage.connected(0), 1, "nobody's call reads no user");
    let membership = stage.call("GET", 0, "/_membership", Value::Null).await.unwrap().1;
    assert_eq!(membership["all_nodes"], json!([name(0)]), "the answer is older than the connection");
    assert_eq!(stage.connected(0), 2);
}

#[tokio::test]
async fn a_kept_connection_dies_with_the_node() {
    let stage = Stage::new(1, Clock::real());
    let keep = reqwest::Client::builder().no_proxy().build().unwrap();
    let up = format!("{}/_up", stage.nodes[0].url());
    assert_eq!(keep.get(&up).send().await.unwrap().status(), 200);
    stage.nodes[0].kill();
    assert!(keep.get(&up).send().await.is_err());
}

#[tokio::test]
async fn a_paused_node_accepts_and_never_answers() {
    let stage = Stage::formed(2, Clock::faster(40.0)).await;
    stage.nodes[1].pause();
    let asked =
        tokio::time::timeout(Duration::from_millis(200), stage.call("GET", 1, "/_up", Value::Null)).await;
    assert!(asked.is_err(), "no answer");
    assert_eq!(stage.connected(0), 2, "nobody has noticed");
    stage.until(|s| s.connected(0) == 1).await;
    stage.nodes[1].resume();
    assert_eq!(stage.call("GET", 1, "/_up", Value::Null).await.unwrap().0, 200);
    stage.until(|s| s.connected(0) == 2).await;
}

#[tokio::test]
async fn a_slow_node_is_slow_on_its_own_clock() {
    let stage = Stage::new(1, Clock::manual());
    stage.nodes[0].slow(Duration::from_secs(3));
    let asked = stage.call("GET", 0, "/_up", Value::Null);
    tokio::pin!(asked);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut asked).await.is_err());
    stage.net.advance(Duration::from_secs(4));
    assert_eq!(asked.await.unwrap().0, 200);
}

#[tokio::test]
async fn a_cut_call_is_done_or_not() {
    let stage = Stage::new(2, Clock::faster(40.0));
    let path = format!("/_node/_local/_nodes/{}", name(1));
    stage.net.cut_call(Which::all().writes(), 1, Moment::Before);
    assert!(stage.call("PUT", 0, &path, json!({})).await.is_err());
    assert_eq!(stage.members(0), 1);
    stage.net.cut_call(Which::all().on(host(0)).below("/_node"), 1, Moment::After);
    assert!(stage.call("PUT", 0, &path, json!({})).await.is_err());
    assert_eq!(stage.members(0), 2);
    assert_eq!(stage.call("PUT", 0, &path, json!({})).await.unwrap().0, 409);

    stage.net.fail_calls(Which::all(), 1, 503);
    assert_eq!(stage.call("GET", 1, "/_up", Value::Null).await.unwrap().0, 503);
    assert_eq!(stage.call("GET", 1, "/_up", Value::Null).await.unwrap().0, 200);

    let statuses: Vec<Option<u16>> = stage.net.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [None, None, Some(409), Some(503), Some(200)]);
    assert_eq!(stage.nodes[1].calls()[0].line(), "GET /_up");
}

#[tokio::test]
async fn doors_tell_callers_apart() {
    let stage = Stage::new(1, Clock::real());
    let door = |who: &str| format!("http://{}/_membership", stage.nodes[0].door(who).unwrap());
    let (first, second) = (door("agent-1"), door("agent-2"));
    let ask =
        |url: &str, password: &'static str| stage.http.get(url).basic_auth("admin", Some(password)).send();
    for _ in 0..6 {
        ask(&first, "wrong").await.unwrap();
    }
    assert_eq!(ask(&first, "s3cret").await.unwrap().status(), 403, "locked out");
    assert_eq!(ask(&second, "s3cret").await.unwrap().status(), 200);
    stage.net.cut_http("agent-2", &host(0), Cut::Reset);
    assert!(ask(&second, "s3cret").await.is_err());
    stage.net.heal();
    assert_eq!(ask(&second, "s3cret").await.unwrap().status(), 200);
    assert_eq!(stage.net.calls_of(&Which::all().from("agent-2")).len(), 3);
}

#[tokio::test]
async fn a_door_from_elsewhere_does_not_reach_localhost() {
    let net = Network::start(Clock::real());
    let node = net.start_node(settings(0).ini("chttpd", "bind_address", "127.0.0.1")).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let from = |who: &str| http.get(format!("http://{}/_up", node.door(who).unwrap())).send();
    assert!(from("couchdb-1").await.is_err());
    assert_eq!(from(host(0).as_str()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_wiped_node_is_taken_back_by_the_others() {
    let stage = Stage::formed(3, Clock::manual()).await;
    stage.nodes[0].wipe();
    stage.nodes[0].lose_ini();
    stage.nodes[0].start().unwrap();
    let (_, alone) = stage.call("GET", 0, "/_membership", Value::Null).await.unwrap();
    assert_eq!(alone["cluster_nodes"], json!([name(0)]));
    let (_, virgin) =
        stage.call("GET", 0, "/_node/_local/_dbs/_all_docs?limit=0", Value::Null).await.unwrap();
    assert_eq!(virgin["total_rows"], 0);
    stage.net.advance(Duration::from_secs(50));
    assert_eq!((stage.members(0), stage.connected(0)), (3, 3));
    let (_, state) = stage.call("GET", 0, "/_cluster_setup", Value::Null).await.unwrap();
    assert_eq!(state["state"], "cluster_finished");
}

#[tokio::test]
async fn one_direction_is_enough_to_cut() {
    let stage = Stage::formed(2, Clock::manual()).await;
    stage.net.cut_one_way(&host(0), &host(1), Cut::Silent);
    stage.net.advance(Duration::from_secs(60));
    assert_eq!(stage.connected(0), 2, "the tick time is 75 s");
    stage.net.advance(Duration::from_secs(30));
    assert_eq!((stage.connected(0), stage.connected(1)), (1, 1));
    stage.net.heal();
    stage.net.advance(Duration::from_secs(2));
    assert_eq!(stage.connected(1), 2);
    stage.net.cut(&host(0), &host(1), Cut::Reset);
    assert_eq!(stage.connected(0), 1, "a reset is noticed at once");
}

/// Experiment 3 of the reference: while a wiped node refills, reads on healthy nodes are incomplete, unless it is in
/// maintenance.
#[tokio::test]
async fn a_refilling_node_spoils_reads_unless_in_maintenance() {
    let stage = Stage::formed(3, Clock::manual()).await;
    let slow = Timings { fill: Duration::from_secs(600), ..Timings::default() };
    stage.call("PUT", 0, "/t", Value::Null).await.unwrap();
    for doc in ["a", "b", "c"] {
        stage.call("PUT", 0, &format!("/t/{doc}"), json!({})).await.unwrap();
    }
    stage.net.advance(Duration::from_secs(5));
    stage.net.world(|world| world.set_timings(slow));
    stage.nodes[2].wipe();
    stage.nodes[2].start().unwrap();
    stage.net.advance(Duration::from_secs(50));
    let rows =
        async || stage.call("GET", 0, "/t/_all_docs", Value::Null).await.unwrap().1["total_rows"].clone();
    assert_eq!(rows().await, 0);
    let mode = "/_node/_local/_config/couchdb/maintenance_mode";
    stage.call("PUT", 2, mode, json!("true")).await.unwrap();
    assert_eq!(rows().await, 3);
    stage.net.advance(Duration::from_secs(700));
    stage.call("PUT", 2, mode, json!("false")).await.unwrap();
    assert_eq!(rows().await, 3);
}

#[tokio::test]
async fn headers_are_those_of_couchdb() {
    let stage = Stage::new(1, Clock::real());
    let response = stage.http.get(format!("{}/_up", stage.nodes[0].url())).send().await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("server"), "CouchDB/3.5.0 (Erlang OTP/25)");
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("cache-control"), "must-revalidate");
    assert_eq!(header("x-couchdb-body-time"), "0");
    assert_eq!(header("x-couch-request-id").len(), 10);
    assert_eq!(header("content-length"), "27");
    assert_eq!(response.text().await.unwrap(), "{\"status\":\"ok\",\"seeds\":{}}\n");
    let head = stage.http.head(format!("{}/_up", stage.nodes[0].url())).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "27"));
}

#[tokio::test]
async fn old_nodes_are_old() {
    let net = Network::start(Clock::real());
    let node = net.start_node(settings(0).version("2.3.1".parse().unwrap())).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |path: &str| {
        let sent = http.get(format!("{}{path}", node.url())).basic_auth("admin", Some("s3cret")).send().await;
        sent.unwrap().json::<Value>().await.unwrap()
    };
    assert_eq!(get("/").await["version"], "2.3.1");
    assert_eq!(get("/_cluster_setup").await["state"], "cluster_disabled");
    assert_eq!(get("/_node/_local").await["error"], "not_found");
}

/// 64 nodes form in a time that lets tests count calls for so many.
#[tokio::test]
async fn sixty_four_nodes() {
    let stage = Stage::formed(64, Clock::faster(40.0)).await;
    let (_, map) = stage.call("GET", 63, "/_users/_shards", Value::Null).await.unwrap();
    assert_eq!(map["shards"]["00000000-7fffffff"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn finish_breaks_where_it_is_told_to() {
    let stage = Stage::new(2, Clock::faster(40.0));
    assert_eq!(
        stage.call("PUT", 0, &format!("/_node/_local/_nodes/{}", name(1)), json!({})).await.unwrap().0,
        201
    );
    stage.until(|s| s.members(1) == 2).await;
    let finish = async || stage.call("POST", 0, "/_cluster_setup", json!({"action": "finish_cluster"})).await;
    let config = |node: usize, section: &str, key: &str| {
        stage.net.world(|w| w.node(host(node).as_str()).unwrap().config(section, key).map(str::to_owned))
    };

    stage.nodes[0].break_finish(FinishFault::MakesNothing);
    assert_eq!(finish().await.unwrap().0, 201);
    assert_eq!(stage.call("GET", 0, "/_all_dbs", Value::Null).await.unwrap().1, json!([]));

    stage.nodes[0].lose_ini();
    stage.nodes[0].start().unwrap();
    stage.nodes[0].break_finish(FinishFault::DiesAfterAdmins);
    assert!(finish().await.is_err());
    stage.nodes[0].start().unwrap();
    assert_eq!(config(0, "admins", "admin"), config(1, "admins", "admin"));
    assert_ne!(config(0, "couchdb", "uuid"), config(1, "couchdb", "uuid"));

    stage.nodes[0].break_finish(FinishFault::DiesAfterFirstDb);
    assert!(finish().await.is_err());
    stage.nodes[0].start().unwrap();
    assert_eq!(stage.call("GET", 0, "/_all_dbs", Value::Null).await.unwrap().1, json!(["_users"]));
    assert_eq!(config(0, "couchdb", "uuid"), config(1, "couchdb", "uuid"));
    assert_eq!(finish().await.unwrap().0, 201);
}

#[tokio::test]
async fn erlang_ports_refuse_whom_they_are_cut_from() {
    let stage = Stage::new(2, Clock::real());
    let epmd = stage.nodes[1].port(Service::Epmd, host(0).as_str()).unwrap();
    let distribution = stage.nodes[1].port(Service::Distribution, host(0).as_str()).unwrap();
    let mut asked = TcpStream::connect(epmd).await.unwrap();
    asked.write_all(b"\0\x01n").await.unwrap();
    let mut answer = Vec::new();
    asked.read_to_end(&mut answer).await.unwrap();
    assert_eq!(&answer[4..], b"name couchdb at port 9100\n");
    assert!(TcpStream::connect(distribution).await.is_ok());

    stage.net.cut(&host(0), &host(1), Cut::Reset);
    assert!(TcpStream::connect(epmd).await.is_err() && TcpStream::connect(distribution).await.is_err());
    assert_eq!(stage.call("GET", 1, "/_up", Value::Null).await.unwrap().0, 200, "HTTP goes through");
    stage.net.heal();
    assert!(TcpStream::connect(epmd).await.is_ok());
}

#[tokio::test]
async fn a_read_only_ini_is_set_in_memory_only() {
    let stage = Stage::new(1, Clock::real());
    stage.nodes[0].kill();
    stage.nodes[0].reconfigure(NodeSettings::read_only_ini);
    stage.nodes[0].start().unwrap();
    let key = "/_node/_local/_config/a/b";
    assert_eq!(stage.call("PUT", 0, key, json!("c")).await.unwrap().0, 500);
    assert_eq!(stage.call("GET", 0, key, Value::Null).await.unwrap(), (200, json!("c")));
    stage.nodes[0].kill();
    stage.nodes[0].start().unwrap();
    assert_eq!(stage.call("GET", 0, key, Value::Null).await.unwrap().0, 404);
}

/// Experiment 7: volumes under other node names.
#[tokio::test]
async fn a_renamed_node_has_databases_that_nobody_can_open() {
    let stage = Stage::formed(1, Clock::faster(40.0)).await;
    let volume = stage.nodes[0].volume();
    let renamed = stage
        .net
        .start_node(NodeSettings::new("new-0.new.default.svc.cluster.local").admin("admin", "s3cret"))
        .unwrap();
    renamed.mount(volume);
    renamed.start().unwrap();
    let get = async |path: &str| {
        let sent =
            stage.http.get(format!("{}{path}", renamed.url())).basic_auth("admin", Some("s3cret")).send();
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
async fn a_restart_keeps_what_was_persisted() {
    let stage = Stage::new(1, Clock::manual());
    let key = |name: &str| format!("/_node/_local/_config/a/{name}");
    assert_eq!(stage.call("PUT", 0, &key("kept"), json!("x")).await.unwrap().0, 200);
    let url = format!("{}{}", stage.nodes[0].url(), key("lost"));
    let memory_only =
        stage.http.put(url).basic_auth("admin", Some("s3cret")).header("x-couch-persist", "false");
    assert_eq!(memory_only.body("\"y\"").send().await.unwrap().status(), 200);
    assert_eq!(stage.call("GET", 0, &key("lost"), Value::Null).await.unwrap().1, json!("y"));

    assert_eq!(stage.call("POST", 0, "/_node/_local/_restart", json!({})).await.unwrap().0, 200);
    stage.net.advance(Duration::from_secs(1));
    assert!(stage.call("GET", 0, "/_up", Value::Null).await.unwrap_err().is_connect());
    stage.net.advance(Duration::from_secs(2));
    assert_eq!(stage.call("GET", 0, "/_up", Value::Null).await.unwrap().0, 200);
    assert_eq!(stage.call("GET", 0, &key("kept"), Value::Null).await.unwrap().1, json!("x"));
    assert_eq!(stage.call("GET", 0, &key("lost"), Value::Null).await.unwrap().0, 404);
}

#[tokio::test]
async fn two_finishes_in_different_seconds_make_a_conflict() {
    let stage = Stage::new(2, Clock::manual());
    stage.call("PUT", 0, &format!("/_node/_local/_nodes/{}", name(1)), json!({})).await.unwrap();
    stage.until(|s| s.members(1) == 2).await;
    let finish = async |node| {
        stage.call("POST", node, "/_cluster_setup", json!({"action": "finish_cluster"})).await.unwrap().0
    };
    stage.nodes[0].break_finish(FinishFault::SpreadsLate);
    stage.net.world(|w| w.set_timings(Timings { replicate: Duration::from_secs(5), ..Timings::default() }));
    assert_eq!(finish(0).await, 201);
    stage.net.clock().advance(Duration::from_secs(1));
    assert_eq!(finish(1).await, 201);
    stage.net.advance(Duration::from_secs(10));
    let path = "/_node/_local/_dbs/_users?conflicts=true";
    let (first, second) =
        (stage.call("GET", 0, path, Value::Null).await, stage.call("GET", 1, path, Value::Null).await);
    let (first, second) = (first.unwrap().1, second.unwrap().1);
    assert_eq!(first, second);
    assert_eq!(first["_conflicts"].as_array().unwrap().len(), 1);
}
