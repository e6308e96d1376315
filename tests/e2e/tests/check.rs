//! `check` and `status` read the agents' pages through the API server: of a ready one, of one that refuses, and of one that does not
//! answer.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use cli::check::{self, Level, Output};
use cli::cluster::Target;
use cli::status::{self, Overview, StatusError};
use contract::ports;
use e2e::cluster::TestCluster;
use e2e::control_plane::ControlPlane;
use e2e::example::{example_cluster, stored_statefulset};
use e2e::hostile_user::status_page;
use sandbox::apiserver::Forbidden;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_formed_cluster_has_no_problem() {
    let control_plane = ControlPlane::deployed().await.unwrap();
    let _cluster = formed(&control_plane).await;
    assert_eq!(pod_findings(&control_plane).await, [(Level::Ok, "3 of 3 pods are ready".to_owned())]);
    let calls = control_plane.api.calls();
    let asked = calls.iter().filter(|call| call.path.contains("/proxy")).count();
    assert_eq!(asked, 3, "the agents of ready pods are asked for their conditions");
}

#[tokio::test]
async fn a_pod_that_is_not_ready_is_reported_with_its_agents_reason() {
    let control_plane = ControlPlane::deployed().await.unwrap();
    let mut cluster = example_cluster(&control_plane, 3).await;
    // Two clusters of one node, formed manually; the third pod has no agent.
    for i in [0, 2] {
        finish_alone(&cluster, i).await;
        cluster.put(i, "/orders", &json!(null)).await;
    }
    cluster.start_agents([0, 2]).await;
    for i in [0, 2] {
        cluster.until_step(i, "SplitCluster").await;
        control_plane.api.route_pod(address(i), ports::AGENT, cluster.agent_address(i));
    }
    for i in 0..3 {
        pod(&control_plane, i, Some(false));
    }

    // First no route to the agent, then an address without a process.
    let unreachable = |cause: &str| {
        format!(
            "pod 'couchdb-1' is not ready: its agent does not answer: error trying to reach service: dial tcp 10.0.0.1:8484: connect: {cause}"
        )
    };
    let [_, silent, refuses] = wrong(&control_plane).await;
    assert_eq!(silent, unreachable("no route to host"));
    assert!(refuses.starts_with("pod 'couchdb-2' is not ready: SplitCluster: "), "{refuses}");
    assert!(refuses.contains("couchdb-0 | couchdb-2"), "contains the agent's message: {refuses}");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    control_plane.api.route_pod(address(1), ports::AGENT, closed);
    assert_eq!(wrong(&control_plane).await[1], unreachable("connection refused"));

    // The state of a container explains more than an agent that does not answer.
    let mut broken = control_plane.api.get("v1", "pods", Some("default"), "couchdb-1").unwrap();
    broken["status"]["containerStatuses"] = json!([
        { "name": "couchdb", "state": { "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling" } } }
    ]);
    control_plane.api.seed(broken);
    assert_eq!(
        wrong(&control_plane).await[1],
        "pod 'couchdb-1' is not ready: container 'couchdb' ImagePullBackOff: Back-off pulling"
    );

    // The agent of a pod without an address is not reachable, and none is for a user without the permission.
    pod(&control_plane, 1, None);
    assert_eq!(wrong(&control_plane).await[1], "pod 'couchdb-1' is not ready: pending");
    control_plane.api.forbid(Forbidden::new(&["get"], &["pods/proxy"]));
    assert_eq!(wrong(&control_plane).await[2], "pod 'couchdb-2' is not ready: running");
    let answers = proxied(&control_plane, 1);
    assert_eq!(answers, [503, 503, 503, 400, 403]);
    assert_eq!(proxied(&control_plane, 2), [200, 200, 200, 200, 403]);
}

/// An account that may create pods in one namespace chooses the answer at an agent's address, and a cluster admin reads it.
#[tokio::test]
async fn a_hostile_page_is_read_up_to_a_limit_and_shown_on_one_line() {
    let control_plane = ControlPlane::deployed().await.unwrap();
    let _cluster = example_cluster(&control_plane, 3).await;
    for (i, padding) in [(0, 0), (1, 2 << 20), (2, 0)] {
        pod(&control_plane, i, Some(i == 2));
        control_plane.api.route_pod(address(i), ports::AGENT, serve(&status_page(padding)).await);
    }
    let args = args();
    let now = time::OffsetDateTime::now_utc();
    let report = check::check(control_plane.client_config(), &args, now).await.unwrap();
    let table = report.to_table();
    assert!(!table.contains(|c: char| c.is_control() && c != '\n'), "{table:?}");
    assert!(!table.lines().any(|line| line == "  ok       everything"), "{table}");
    assert!(table.contains(r"pod 'couchdb-0' is not ready: Settled: \u{1b}]0;pwned"), "{table}");
    let long =
        "pod 'couchdb-1' is not ready: its agent does not answer: its page is longer than 1048576 bytes";
    assert!(table.contains(long), "{table}");
}

/// Answers every request with this page, and returns the address.
async fn serve(page: &Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let body = page.to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

/// A formed cluster whose pods are stored, and whose agents the API server reaches.
async fn formed(control_plane: &ControlPlane) -> TestCluster {
    let mut cluster = example_cluster(control_plane, 3).await;
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    for i in 0..3 {
        cluster.until_ready(i).await;
        pod(control_plane, i, Some(cluster.readyz(i).await.0 == 200));
        control_plane.api.route_pod(address(i), ports::AGENT, cluster.agent_address(i));
    }
    cluster
}

/// Stores pod `i` in the API server stand-in; without `ready` it is not started yet.
fn pod(control_plane: &ControlPlane, i: usize, ready: Option<bool>) {
    let set = stored_statefulset(control_plane);
    let template = &set["spec"]["template"];
    let status = match ready {
        None => json!({ "phase": "Pending" }),
        Some(ready) => json!({
            "phase": "Running",
            "podIPs": [{ "ip": address(i) }],
            "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
        }),
    };
    let owner = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "couchdb", "uid": set["metadata"]["uid"] });
    control_plane.api.seed(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("couchdb-{i}"),
            "namespace": "default",
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
        "status": status,
    }));
}

fn address(i: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(i).unwrap()).into()
}

/// Forms a cluster of this node alone, with the credentials of the example.
async fn finish_alone(cluster: &TestCluster, i: usize) {
    let url = format!("{}/_cluster_setup", cluster.node(i).url());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let finish =
        http.post(url).basic_auth("admin", Some("change-me")).json(&json!({ "action": "finish_cluster" }));
    assert_eq!(finish.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn status_shows_the_pod_that_needs_attention_first() {
    let control_plane = ControlPlane::deployed().await.unwrap();
    let cluster = formed(&control_plane).await;
    let overview = status(&control_plane).await;
    assert!(overview.is_well() && overview.is_complete(), "{overview:#?}");
    assert_eq!(names(&overview), ["couchdb-0", "couchdb-1", "couchdb-2"]);
    cluster.node(2).kill();
    cluster.until_step(2, "WaitingForCouchDb").await;
    pod(&control_plane, 2, Some(false));
    let overview = status(&control_plane).await;
    assert!(!overview.is_well());
    assert_eq!(names(&overview)[0], "couchdb-2");
    let table = overview.to_table(time::OffsetDateTime::now_utc());
    assert!(table.starts_with("default/couchdb: 2 of 3 pods ready\n"), "{table}");
    assert!(table.contains("couchdb-2 WaitingForCouchDb: "), "{table}");
    let unknown = status_of(&control_plane, "other").await.unwrap_err();
    assert!(unknown.to_string().starts_with("no StatefulSet 'other' has the label"), "{unknown}");
}

fn names(overview: &Overview) -> Vec<&str> {
    overview.stateful_sets[0].pods.iter().map(|pod| pod.name.as_str()).collect()
}

async fn status(control_plane: &ControlPlane) -> Overview {
    status_of(control_plane, "couchdb").await.unwrap()
}

async fn status_of(control_plane: &ControlPlane, name: &str) -> Result<Overview, StatusError> {
    let target = Target { namespace: Some("default".to_owned()), context: None };
    let args = status::Args { name: Some(name.to_owned()), target, watch: false, output: Output::Table };
    status::look(control_plane.client_config(), &args).await
}

/// The findings of `check` about the pods.
async fn pod_findings(control_plane: &ControlPlane) -> Vec<(Level, String)> {
    let args = args();
    let now = time::OffsetDateTime::now_utc();
    let report = check::check(control_plane.client_config(), &args, now).await.unwrap();
    let pods = report.findings.into_iter().filter(|finding| finding.check == "pods");
    pods.map(|finding| (finding.level, finding.message)).collect()
}

fn args() -> check::Args {
    check::Args {
        target: Target { namespace: Some("default".to_owned()), context: None },
        config_name: "couchdiscover".to_owned(),
        output: Output::Table,
        pre: false,
        wait: None,
    }
}

/// The messages about the three pods, none of which is ready.
async fn wrong(control_plane: &ControlPlane) -> [String; 3] {
    let findings = pod_findings(control_plane).await;
    let wrong = findings.iter().filter(|(level, _)| *level == Level::Wrong);
    let messages: Vec<String> = wrong.map(|(_, message)| message.clone()).collect();
    messages.try_into().unwrap_or_else(|_| panic!("{findings:#?}"))
}

/// The status codes of the requests to the agent of pod `i`.
fn proxied(control_plane: &ControlPlane, i: usize) -> Vec<u16> {
    let path = format!("/api/v1/namespaces/default/pods/couchdb-{i}:8484/proxy/status");
    let calls = control_plane.api.calls().into_iter().filter(|call| call.path == path);
    calls.map(|call| call.status).collect()
}
