//! `couchdiscover plan` and `scale` as programs, against the stand-in API server with the real webhook, and scripted agents.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use contract::{keys, objects, ports};
use e2e::control_plane::ControlPlane;
use e2e::example::stored_statefulset;
use e2e::manifest::{EXAMPLE, objects as objects_of};
use e2e::until::until;
use rustix::process::{Pid, Signal, kill_process};
use sandbox::apiserver::{ADMIN_TOKEN, ApiServer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_util::sync::{CancellationToken, DropGuard};

#[tokio::test]
async fn a_scale_down_moves_the_data_then_lowers_the_replicas_and_names_the_volumes() {
    let cluster = Cluster::start(5).await;
    let (code, _, errors) = cluster.run(&["scale", "couchdb", "--replicas", "3", "--yes"]).await;
    assert_eq!(code, 0, "{errors}");
    let said = [
        "default/couchdb: 5 -> 3 nodes",
        "7 copies are moved and 1 dropped, of 4 databases",
        "couchdiscover.io/target-size is 3: the agents drain couchdb-4, couchdb-3",
        "draining couchdb-4: ",
        "replicas of 'couchdb': 5 -> 3",
        "kubectl -n default delete pvc data-couchdb-4 data-couchdb-3",
        "'couchdb' has 3 nodes",
    ];
    let mut rest = &*errors;
    for text in said {
        let Some((_, behind)) = rest.split_once(text) else { panic!("{text} is missing in order: {errors}") };
        rest = behind;
    }
    let stored = stored_statefulset(&cluster.control_plane);
    assert_eq!(stored["spec"]["replicas"], 3);
    assert_eq!(stored["metadata"]["annotations"][keys::TARGET_SIZE], Value::Null);
    assert_eq!(cluster.script().too_early, 0, "no pod ended before its node was drained");
    // A second call finds nothing to do.
    let (code, _, errors) = cluster.run(&["scale", "couchdb", "--replicas", "3"]).await;
    assert_eq!((code, errors.trim()), (0, "'couchdb' has 3 nodes"));
}

#[tokio::test]
async fn an_interrupted_scale_down_says_how_to_go_on_and_is_continued_without_a_question() {
    let cluster = Cluster::start(5).await;
    cluster.script().is_stuck = true;
    let arguments = ["scale", "couchdb", "--replicas", "3"];
    let child = cluster.spawn(&[&arguments[..], &["--yes"]].concat());
    until("the drain", DEADLINE, async || cluster.is_reported("couchdb-0")).await;
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    let (code, _, errors) = output(child).await;
    assert_eq!(code, 1, "{errors}");
    let resume = "The agents go on. To watch and finish: couchdiscover scale couchdb -n default --replicas 3. To cancel: \
                  kubectl -n default annotate statefulset couchdb couchdiscover.io/target-size-";
    assert!(errors.contains(resume), "{errors}");
    assert!(errors.contains("paused: couchdb-1 is not ready"), "{errors}");
    let stored = stored_statefulset(&cluster.control_plane);
    assert_eq!(
        (&stored["spec"]["replicas"], &stored["metadata"]["annotations"][keys::TARGET_SIZE]),
        (&json!(5), &json!("3"))
    );

    let (code, _, errors) = cluster.run(&[&arguments[..], &["--timeout", "1s"]].concat()).await;
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("not done after 1s") && errors.contains(resume), "{errors}");

    cluster.script().is_stuck = false;
    let (code, _, errors) = cluster.run(&arguments).await;
    assert_eq!(code, 0, "{errors}");
    assert_eq!(stored_statefulset(&cluster.control_plane)["spec"]["replicas"], 3);
    assert_eq!(cluster.script().too_early, 0);
}

#[tokio::test]
async fn a_plan_that_is_refused_or_not_confirmed_changes_nothing() {
    let cluster = Cluster::start(5).await;
    let before = stored_statefulset(&cluster.control_plane);
    let (code, _, errors) = cluster.run(&["scale", "couchdb", "--replicas", "3"]).await;
    assert_eq!(code, 64, "{errors}");
    assert!(errors.contains("The drain of couchdb-4, couchdb-3 was not confirmed"), "{errors}");
    assert!(errors.contains("Fix: repeat the command with --yes"), "{errors}");

    cluster.script().refused = vec!["couchdb-1 is closed. Fix: open it".to_owned()];
    let (code, _, errors) = cluster.run(&["scale", "couchdb", "--replicas", "3", "--yes"]).await;
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("error: 'couchdb' is not scaled: couchdb-1 is closed. Fix: open it"), "{errors}");
    assert_eq!(stored_statefulset(&cluster.control_plane), before);

    let (code, _, errors) = cluster.run(&["scale", "other", "--replicas", "3", "--yes"]).await;
    assert_eq!(code, 1);
    assert!(errors.contains("no StatefulSet 'other' exists in namespace 'default'"), "{errors}");
}

#[tokio::test]
async fn a_scale_up_ends_a_drain_and_waits_for_the_new_pods() {
    let cluster = Cluster::start(3).await;
    let mut set = stored_statefulset(&cluster.control_plane);
    set["metadata"]["annotations"][keys::TARGET_SIZE] = json!("2");
    cluster.script().is_stuck = true;
    cluster.control_plane.api.seed(set);
    let (code, _, errors) = cluster.run(&["scale", "couchdb", "--replicas", "5"]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("target-size was removed: no node of 'couchdb' is drained any more"), "{errors}");
    let stored = stored_statefulset(&cluster.control_plane);
    assert_eq!(
        (&stored["spec"]["replicas"], &stored["metadata"]["annotations"][keys::TARGET_SIZE]),
        (&json!(5), &Value::Null)
    );
    assert_eq!(cluster.control_plane.api.list("v1", "pods").len(), 5);
}

#[tokio::test]
async fn all_nodes_stop_only_after_a_confirmation() {
    let cluster = Cluster::start(3).await;
    let (code, _, errors) = cluster.run(&["scale", "couchdb", "--replicas", "0"]).await;
    assert_eq!(code, 64, "{errors}");
    assert!(errors.contains("The end of couchdb-2, couchdb-1, couchdb-0 was not confirmed"), "{errors}");
    let (code, _, errors) = cluster.run(&["scale", "couchdb", "--replicas", "0", "--yes"]).await;
    assert_eq!(code, 0, "{errors}");
}

#[tokio::test]
async fn a_plan_is_shown_as_table_and_as_json() {
    let cluster = Cluster::start(5).await;
    let (code, table, errors) = cluster.run(&["plan", "couchdb", "--replicas", "3"]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(table.starts_with("default/couchdb: 5 -> 3 nodes\n"), "{table}");
    let (code, json, _) = cluster.run(&["plan", "-o", "json"]).await;
    let plans: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &plans[0]["plan"]["replicas"], &plans[0]["current"]),
        (0, &json!(5), &json!(5)),
        "{plans}"
    );
    cluster.script().refused = vec!["couchdb-1 is closed".to_owned()];
    let (code, table, _) = cluster.run(&["plan", "--replicas", "3"]).await;
    assert_eq!(code, 1);
    assert!(table.contains("not possible now: couchdb-1 is closed"), "{table}");

    cluster.script().has_plan = false;
    let (code, _, errors) = cluster.run(&["plan", "couchdb"]).await;
    assert_eq!(code, 2);
    assert!(
        errors.contains(
            "no agent of 'couchdb' answers with a plan: couchdb-4: its agent is of a release without plans"
        ),
        "{errors}"
    );
    cluster.control_plane.api.down();
    assert_eq!(cluster.run(&["plan"]).await.0, 69);
}

/// The example's StatefulSet with scripted agents and a scripted controller.
struct Cluster {
    control_plane: ControlPlane,
    script: Arc<Mutex<Script>>,
    home: TempDir,
    _stop: DropGuard,
}

/// The part of the world that is not under test.
struct Script {
    /// The copies that are moved so far, of [`COPIES`].
    moved: u64,
    /// No copy is moved.
    is_stuck: bool,
    refused: Vec<String>,
    has_plan: bool,
    /// Pods that ended before their node was drained.
    too_early: usize,
    /// A page with moves was served.
    is_reported: bool,
}

const COPIES: u64 = 8;
const DEADLINE: Duration = Duration::from_secs(30);

impl Cluster {
    async fn start(replicas: u64) -> Self {
        let control_plane = ControlPlane::start().await.unwrap();
        for mut object in objects_of(EXAMPLE).unwrap() {
            if object["kind"] == "StatefulSet" {
                object["spec"]["replicas"] = json!(replicas);
                object["metadata"]["annotations"] = json!({});
            }
            control_plane.create(&object).await.unwrap();
        }
        let script = Script {
            moved: 0,
            is_stuck: false,
            refused: vec![],
            has_plan: true,
            too_early: 0,
            is_reported: false,
        };
        let (script, stop) = (Arc::new(Mutex::new(script)), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agents = listener.local_addr().unwrap();
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(listener, script.clone())));
        let controller = control(control_plane.api.clone(), agents, script.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(controller));
        let home = tempfile::tempdir().unwrap();
        control_plane.api.write_kubeconfig(home.path(), ADMIN_TOKEN).unwrap();
        let cluster = Self { control_plane, script, home, _stop: stop.drop_guard() };
        until("the pods", DEADLINE, async || {
            let pods = cluster.control_plane.api.list("v1", "pods").len() as u64;
            if pods == replicas { Ok(()) } else { Err(pods) }
        })
        .await;
        cluster
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn is_reported(&self, by: &str) -> Result<(), String> {
        if self.script().is_reported { Ok(()) } else { Err(format!("{by} has not reported moves")) }
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_couchdiscover-process"))
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        output(self.spawn(arguments)).await
    }
}

async fn output(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().await.unwrap();
    let [out, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code().unwrap(), out, errors)
}

/// Starts and stops pods as the StatefulSet's controller, and drains as agents do.
async fn control(api: ApiServer, agents: SocketAddr, script: Arc<Mutex<Script>>) {
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    loop {
        looks.tick().await;
        let set = api.get("apps/v1", "statefulsets", Some("default"), "couchdb").unwrap();
        let replicas = set["spec"]["replicas"].as_u64().unwrap();
        let target = set["metadata"]["annotations"][keys::TARGET_SIZE].as_str();
        let target = target.map_or(replicas, |target| target.parse().unwrap());
        {
            let mut script = script.lock().unwrap();
            if target < replicas && !script.is_stuck && script.moved < COPIES {
                script.moved += 1;
            }
            let is_drained = script.moved == COPIES;
            for ordinal in 0..8 {
                let name = format!("couchdb-{ordinal}");
                let exists = api.get("v1", "pods", Some("default"), &name).is_some();
                if ordinal < replicas && !exists {
                    start_pod(&api, &set, ordinal, agents);
                }
                if ordinal >= replicas && exists {
                    // Scaled to 0, nothing is drained.
                    script.too_early += usize::from(!is_drained && replicas > 0);
                    api.delete("v1", "pods", Some("default"), &name);
                }
            }
            record(&api, target, replicas, is_drained);
        }
    }
}

fn start_pod(api: &ApiServer, set: &Value, ordinal: u64, agents: SocketAddr) {
    let address: IpAddr = Ipv4Addr::new(10, 0, 0, u8::try_from(ordinal).unwrap() + 1).into();
    api.route_pod(address, ports::AGENT, agents);
    let template = &set["spec"]["template"];
    api.seed(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("couchdb-{ordinal}"),
            "namespace": "default",
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "couchdb", "uid": set["metadata"]["uid"] }],
        },
        "spec": template["spec"],
        "status": {
            "phase": "Running",
            "podIPs": [{ "ip": address }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    }));
}

/// Writes the records of the agents to the Lease, if they have changed.
fn record(api: &ApiServer, target: u64, replicas: u64, is_drained: bool) {
    let lease = objects::companion("couchdb");
    let stored = api.get("coordination.k8s.io/v1", "leases", Some("default"), &lease);
    let stored = stored.map(|lease| lease["metadata"]["annotations"][keys::COPIES_RECORD].clone());
    let before: Value =
        stored.as_ref().and_then(Value::as_str).map_or(json!({}), |text| serde_json::from_str(text).unwrap());
    let mut nodes = before["nodes"].as_object().cloned().unwrap_or_default();
    for ordinal in 0..8 {
        let name = format!("couchdb-{ordinal}");
        let state = match () {
            () if ordinal >= replicas && nodes.contains_key(&name) && is_drained => "removed",
            () if ordinal >= replicas => continue,
            () if ordinal < target => "holding",
            () if is_drained => "drained",
            () => "draining",
        };
        nodes.insert(name, json!({ "state": state, "databases": 4, "onlyCopies": 0 }));
    }
    let record = json!({ "asOf": "2026-11-30T12:00:00Z", "nodes": nodes });
    if record == before {
        return;
    }
    api.seed(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": lease, "namespace": "default", "annotations": {
            keys::FORMED_UUID: "u", keys::RECORD_SCHEMA: "1", keys::COPIES_RECORD: record.to_string(),
        }},
    }));
}

/// Serves the pages of all agents.
async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(stream, script.clone()));
    }
}

async fn answer(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    let mut head = vec![];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1024];
        match stream.read(&mut part).await {
            Ok(length) if length > 0 => head.extend(&part[..length]),
            Ok(_) | Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let (status, body) = page(path, &mut script.lock().unwrap());
    let answer =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn page(path: &str, script: &mut Script) -> (&'static str, String) {
    if path == ports::STATUS {
        let moves = json!({
            "task": "drain", "pod": "couchdb-4", "copies": COPIES, "done": script.moved, "bytesLeft": 3_000_000,
            "secondsLeft": 240, "paused": script.is_stuck.then_some("couchdb-1 is not ready"),
        });
        script.is_reported = true;
        return ("200 OK", json!({ "pod": "couchdb-0", "moves": moves }).to_string());
    }
    let Some(replicas) = path.strip_prefix("/plan?replicas=").filter(|_| script.has_plan) else {
        return ("404 Not Found", "no such page\n".to_owned());
    };
    let plan = json!({
        "replicas": replicas.parse::<u32>().unwrap(), "refused": script.refused, "databases": 4, "moves": 7, "drops": 1,
        "bytes": 3_000_000, "seconds": 240, "nodes": { "couchdb-4": { "before": 8, "after": 0, "bytes": 3_000_000 } },
        "first": [{ "database": "orders", "range": "00000000-7fffffff", "from": "couchdb-4", "to": "couchdb-0", "bytes": 7 }],
    });
    ("200 OK", plan.to_string())
}
