//! A settled cluster serves its clients through trouble of its management: no pod turns unready, and no read fails.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::cluster::{PASSWORD, TestCluster, USER, host};
use e2e::until::until;
use sandbox::couchdb::NodeSettings;
use serde_json::json;
use tokio::task::JoinSet;

#[tokio::test]
async fn no_pod_turns_unready_and_no_read_fails_while_its_management_has_trouble() {
    // In real time: a lockout lasts longer than the agent's pause between two calls.
    let mut cluster = TestCluster::in_real_time(3);
    cluster.start_agents(0..3).await;
    cluster.until_formed().await;
    let clients = Clients::start(&cluster).await;

    // A name that belongs to no pod is listed, as after a first start without a name, and then removed.
    cluster.put(0, "/_node/_local/_nodes/nonode@nohost", &json!({})).await;
    for i in 0..3 {
        until_condition(&cluster, i, "StrangersListed").await;
    }
    cluster.delete(0, &with_revision(&cluster, "/_node/_local/_nodes/nonode@nohost").await).await;
    clients.assert_served("a stranger was listed");

    // The cluster is wider than the StatefulSet: a machine outside of Kubernetes is a member, and holds shards.
    let cookie = cluster.pod(0).container("couchdb").unwrap().env["COUCHDB_ERLANG_COOKIE"].clone();
    let outside = NodeSettings::new("outside.example.org").admin(USER, PASSWORD).cookie(&cookie);
    let outside = cluster.net.start_node(outside).unwrap();
    cluster.put(0, "/_node/_local/_nodes/couchdb@outside.example.org", &json!({})).await;
    until("the member outside", DEADLINE, async || {
        let seen = cluster.get(0, "/_membership").await;
        if seen["all_nodes"].as_array().is_some_and(|all| all.len() == 4) { Ok(()) } else { Err(seen) }
    })
    .await;
    cluster.put(0, "/wide?n=4&q=2", &json!({})).await;
    for i in 0..3 {
        until_looked(&cluster, i).await;
    }
    clients.assert_served("a machine outside of the StatefulSet was a member");
    drop(outside);

    // A person deletes `_replicator` to stop every replication. One agent creates it again.
    cluster.net.forget_calls();
    cluster.delete(1, "/_replicator").await;
    until("_replicator again", DEADLINE, async || {
        let databases = cluster.get(2, "/_all_dbs").await;
        let exists = databases.as_array().is_some_and(|all| all.contains(&json!("_replicator")));
        if exists { Ok(()) } else { Err(databases) }
    })
    .await;
    clients.assert_served("a system database was deleted");
    let created = cluster.net.calls().into_iter().filter(|call| call.line().starts_with("PUT /_replicator"));
    assert_eq!(created.count(), 1, "by one agent, and once");

    // Basic authentication is switched off at one node, for a while: clients and the agent use session cookies.
    let handlers = format!("/_node/couchdb@{}/_config/chttpd/authentication_handlers", cluster.fqdn(0));
    cluster.put(1, &handlers, &json!("{chttpd_auth, cookie_authentication_handler}")).await;
    until_condition(&cluster, 0, "BasicAuthenticationOff").await;
    clients.assert_served("basic authentication was off at one node");
    cluster.delete(1, &handlers).await;

    // Wrong passwords from the pod's own address: CouchDB locks the admin out for that address.
    let client = reqwest::Client::new();
    for _ in 0..6 {
        let guess = client.get(format!("{}/_session", cluster.node(1).url()));
        let guess = guess.header("X-Forwarded-For", "127.0.0.1").basic_auth(USER, Some("guess"));
        guess.send().await.unwrap();
    }
    until_condition(&cluster, 1, "CredentialsLockedOut").await;
    clients.assert_served("the admin was locked out at one node");

    // The admin's password is changed through the API: at one node first, then at the others.
    cluster.put(2, "/_node/_local/_config/admins/admin", &json!("another")).await;
    until_condition(&cluster, 2, "CredentialsRejected").await;
    clients.assert_served("the admin's password differed at one node");
    cluster.put(0, "/_node/_local/_config/admins/admin", &json!("another")).await;
    until_condition(&cluster, 0, "CredentialsRejected").await;
    clients.assert_served("the admin's password was changed at run time");
}

#[tokio::test]
async fn a_single_node_in_production_serves_while_empty_newcomers_arrive() {
    let mut cluster = TestCluster::with_settings(3, |settings| {
        // The first node was set up for itself, the others by the StatefulSet's template.
        let alone = settings.host().as_str() == host(0);
        if alone { settings.ini("couchdb", "single_node", "true") } else { settings }
    });
    for database in ["_users", "_replicator"] {
        // The node may have created them itself.
        let url = format!("{}/{database}", cluster.node(0).url());
        reqwest::Client::new().put(url).basic_auth(USER, Some(PASSWORD)).send().await.unwrap();
    }
    cluster.put(0, "/orders?n=1", &json!({})).await;
    cluster.put(0, "/orders/1", &json!({ "paid": true })).await;
    allow_reader(&cluster).await;
    for i in 1..3 {
        cluster.node(i).kill();
    }
    cluster.start_agent(0).await;
    cluster.until_ready(0).await;
    let clients = Clients::of(&cluster, [0]).await;
    for i in 1..3 {
        cluster.node(i).start().unwrap();
        cluster.start_agent(i).await;
    }
    cluster.until_formed().await;
    clients.assert_served("newcomers arrived");
    assert_eq!(cluster.get(2, "/orders/1").await["paid"], true);
}

/// Without record and lock, a cluster is formed, and never silently.
#[tokio::test]
async fn an_agent_in_a_pod_without_a_token_reports_it_and_its_pod_is_ready() {
    let mut cluster = TestCluster::with_nodes(1);
    cluster.without_token = true;
    cluster.start_agent(0).await;
    cluster.until_formed().await;
    until_condition(&cluster, 0, "KubernetesTokenMissing").await;
    assert_eq!(cluster.status(0).await["kubernetes"], "noToken");
    assert_eq!(cluster.readyz(0).await.0, 200);
    assert!(cluster.metrics(0).await.contains("couchdiscover_agent_kubernetes_reachable 0"));
}

/// Clients that read a document and ask for the readiness of each pod, all the time.
struct Clients {
    failures: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Clients {
    /// Stores a document that every user may read, and starts a client at each pod.
    async fn start(cluster: &TestCluster) -> Self {
        cluster.put(0, "/orders", &json!({})).await;
        cluster.put(0, "/orders/1", &json!({ "paid": true })).await;
        allow_reader(cluster).await;
        for i in cluster.ordinals() {
            until("the document", DEADLINE, async || {
                let document = cluster.get(i, "/orders/1").await;
                if document["paid"] == true { Ok(()) } else { Err(document) }
            })
            .await;
        }
        Self::of(cluster, cluster.ordinals()).await
    }

    /// Starts a client at each of these pods.
    async fn of(cluster: &TestCluster, pods: impl IntoIterator<Item = usize>) -> Self {
        let failures = Arc::new(Mutex::new(vec![]));
        let mut tasks = JoinSet::new();
        for i in pods {
            let readiness = format!("http://{}/readyz", cluster.agent_address(i));
            let document = format!("{}/orders/1", cluster.node(i).url());
            let session = log_in(&document).await;
            tasks.spawn(read(i, readiness, (document, session), Arc::clone(&failures)));
        }
        Self { failures, _tasks: tasks }
    }

    #[track_caller]
    fn assert_served(&self, meanwhile: &str) {
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "while {meanwhile}: {:#?}", &failures[..failures.len().min(5)]);
    }
}

/// Creates a user who may read the document.
async fn allow_reader(cluster: &TestCluster) {
    let user = json!({ "name": READER, "password": PASSWORD, "roles": [], "type": "user" });
    cluster.put(0, &format!("/_users/org.couchdb.user:{READER}"), &user).await;
    let security = json!({ "admins": { "roles": ["_admin"] }, "members": { "names": [READER] } });
    cluster.put(0, "/orders/_security", &security).await;
}

async fn read(
    pod: usize,
    readiness: String,
    (document, session): (String, String),
    failures: Arc<Mutex<Vec<String>>>,
) {
    let client = reqwest::Client::new();
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    loop {
        pause.tick().await;
        let ready = client.get(&readiness).send().await.unwrap();
        if ready.status() != 200 {
            let text = ready.text().await.unwrap_or_default();
            failures.lock().unwrap().push(format!("couchdb-{pod} is not ready: {text}"));
        }
        let answer = client.get(&document).header("Cookie", &session).send().await.unwrap();
        if answer.status() != 200 {
            failures.lock().unwrap().push(format!("couchdb-{pod} answered a read with {}", answer.status()));
        }
    }
}

/// Opens a session of the reader at the node of `document`, once the user has reached it.
async fn log_in(document: &str) -> String {
    let client = reqwest::Client::new();
    let (node, _) = document.split_once("/orders").unwrap();
    let login = json!({ "name": READER, "password": PASSWORD });
    until("a session", DEADLINE, async || {
        let answer = client.post(format!("{node}/_session")).json(&login).send().await.unwrap();
        let cookie = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
        match cookie.and_then(|cookie| cookie.split(';').next()) {
            Some(cookie) if answer.status() == 200 => Ok(cookie.to_owned()),
            _ => Err(answer.status()),
        }
    })
    .await
}

/// Waits until the agent of pod `i` reports a condition, or a step, with this reason.
async fn until_condition(cluster: &TestCluster, i: usize, reason: &str) {
    until(reason, DEADLINE, async || {
        let status = cluster.status(i).await;
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let found = conditions.chain([&status["step"]]).any(|found| found["reason"] == reason);
        if found { Ok(()) } else { Err(status) }
    })
    .await;
}

/// Waits until the agent of pod `i` has looked at its node in each of its ways again.
async fn until_looked(cluster: &TestCluster, i: usize) {
    let before = cluster.calls_of_agent(i).len();
    until("three further calls", DEADLINE, async || {
        let calls = cluster.calls_of_agent(i).len() - before;
        if calls >= 3 { Ok(()) } else { Err(calls) }
    })
    .await;
}

/// The path that deletes the current revision of a document of node 0.
async fn with_revision(cluster: &TestCluster, path: &str) -> String {
    let document = cluster.get(0, path).await;
    format!("{path}?rev={}", document["_rev"].as_str().unwrap())
}

/// An agent sends a password that was refused again after 75 s. Three of its pauses between two calls to its settled node are
/// shorter.
const DEADLINE: Duration = Duration::from_secs(100);
/// A user without any right but reading.
const READER: &str = "reader";
