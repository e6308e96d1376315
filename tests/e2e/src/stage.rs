//! Stand-in nodes and real agents, one of each a pod. Agents run in this process and are ended without ceremony, as
//! SIGKILL would.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use agent::identity::Clues;
use agent::settings::Settings;
use agent::{Surroundings, start};
use sandbox::couchdb::{Call, Clock, Doc, Network, Node, NodeHandle, NodeSettings, Which};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::until::until;

/// A StatefulSet `couchdb` of some nodes. Its stand-ins' time runs 20 times as fast as ours.
#[derive(Debug)]
pub struct Stage {
    /// The network between the nodes, with the switches for its faults.
    pub net: Network,
    nodes: Vec<NodeHandle>,
    agents: BTreeMap<usize, RunningAgent>,
    http: reqwest::Client,
    vars: Vec<(String, String)>,
}

/// An agent that runs in this process.
#[derive(Debug)]
struct RunningAgent {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Stage {
    /// Nodes as the official image starts them with the webhook's variables. No agent runs yet.
    pub fn with_nodes(count: usize) -> Self {
        Self::with(count, |settings| settings)
    }

    /// The same, with other settings of the nodes.
    pub fn with(count: usize, change: impl Fn(NodeSettings) -> NodeSettings) -> Self {
        // The second test of a process finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let net = Network::start(Clock::faster(SPEED));
        let start_one = |i| {
            let settings =
                NodeSettings::new(host(i).as_str()).admin(USER, PASSWORD).cookie("ck").secret("sec");
            net.start_node(change(settings)).expect("a free port on loopback")
        };
        let nodes = (0..count).map(start_one).collect();
        let vars = [
            ("COUCHDB_USER", USER),
            ("COUCHDB_PASSWORD", PASSWORD),
            ("COUCHDB_CLUSTER_SIZE", &count.to_string()),
            ("COUCHDISCOVER_KUBERNETES", "off"),
            ("COUCHDISCOVER_LISTEN", "127.0.0.1:0"),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { net, nodes, agents: BTreeMap::new(), http: reqwest::Client::new(), vars }
    }

    /// Sets a variable for the agents that are started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.vars.push((name.to_owned(), value.to_owned()));
    }

    /// The pods' ordinals.
    pub fn ordinals(&self) -> std::ops::Range<usize> {
        0..self.nodes.len()
    }

    /// The stand-in of pod `i`.
    pub fn node(&self, i: usize) -> &NodeHandle {
        &self.nodes[i]
    }

    /// Starts the agents of these pods, in this order.
    pub async fn start_agents(&mut self, pods: impl IntoIterator<Item = usize>) {
        for i in pods {
            self.start_agent(i).await;
        }
    }

    /// Starts the agent of pod `i`, from nothing but its environment, its name and the others' addresses.
    pub async fn start_agent(&mut self, i: usize) {
        let mut vars: HashMap<String, String> = self.vars.iter().cloned().collect();
        let local = self.nodes[i].door(&host(i)).expect("a free port on loopback");
        vars.insert("COUCHDISCOVER_COUCHDB_URL".to_owned(), format!("http://{local}"));
        let settings =
            Settings::from_vars(&|name| vars.get(name).cloned()).expect("settings that can be used");
        let door = |j: usize| self.nodes[j].door(&host(i)).expect("a free port on loopback");
        let surroundings = Surroundings {
            clues: Clues { hostnames: vec![host(i)], ..Clues::default() },
            addresses: self.ordinals().map(|j| (host(j), door(j))).collect(),
            kubernetes: None,
        };
        let started = start(settings, surroundings).await.expect("an agent that starts");
        let address = started.address().expect("a bound port");
        let task = tokio::spawn(async move {
            started.run(CancellationToken::new()).await.expect("an agent that runs");
        });
        self.agents.insert(i, RunningAgent { address, task });
    }

    /// Ends the agent of pod `i` at whatever it is doing, and waits until it is gone.
    pub async fn kill_agent(&mut self, i: usize) {
        if let Some(RunningAgent { task, .. }) = self.agents.remove(&i) {
            task.abort();
            // The error says that it was aborted.
            let _ = task.await;
        }
    }

    /// What the agent of pod `i` shows of itself.
    ///
    /// # Panics
    ///
    /// When it doesn't answer.
    pub async fn status(&self, i: usize) -> Value {
        self.ask(i, "/status").await.json().await.expect("JSON")
    }

    /// The status code and the text of an agent's readiness probe.
    ///
    /// # Panics
    ///
    /// When it doesn't answer.
    pub async fn readyz(&self, i: usize) -> (u16, String) {
        let response = self.ask(i, "/readyz").await;
        (response.status().as_u16(), response.text().await.expect("text"))
    }

    /// Waits until every agent says that the cluster is formed and proven, and asks the nodes whether that is true.
    ///
    /// # Panics
    ///
    /// When it is not so within 30 seconds, or what the nodes say differs.
    pub async fn formed(&self) {
        until("a formed cluster", DEADLINE, async || {
            let mut steps = vec![];
            for i in self.agents.keys() {
                steps.push(self.status(*i).await["step"].clone());
            }
            match steps.iter().all(|step| step["reason"] == "Settled") {
                true => Ok(()),
                false => Err(steps),
            }
        })
        .await;
        self.assert_whole();
    }

    /// Waits until the agent of pod `i` gives this reason for what it does.
    ///
    /// # Panics
    ///
    /// When it doesn't within 30 seconds.
    pub async fn says(&self, i: usize, reason: &str) -> String {
        until(reason, DEADLINE, async || {
            let step = self.status(i).await["step"].clone();
            match step["reason"] == reason {
                true => Ok(step["message"].as_str().unwrap_or_default().to_owned()),
                false => Err(step),
            }
        })
        .await
    }

    /// Waits until the agent of pod `i` says that the pod is ready.
    ///
    /// # Panics
    ///
    /// When it doesn't within 30 seconds.
    pub async fn ready(&self, i: usize) {
        until("readiness", DEADLINE, async || match self.readyz(i).await {
            (200, _) => Ok(()),
            not_yet => Err(not_yet),
        })
        .await;
    }

    /// Looks behind the ports: one membership, one founding, no conflict, every system database on min(3, n) nodes.
    ///
    /// # Panics
    ///
    /// When it isn't so.
    pub fn assert_whole(&self) {
        let count = self.nodes.len();
        let everybody: Vec<String> = self.ordinals().map(|i| format!("couchdb@{}", host(i))).collect();
        self.net.world(|world| {
            let mut maps = vec![];
            for i in self.ordinals() {
                let node = world.node(&host(i)).expect("the node");
                let mut members = node.members();
                members.sort_unstable();
                let mut expected = everybody.clone();
                expected.sort_unstable();
                assert_eq!(members, expected, "members of couchdb-{i}");
                maps.push(SYSTEM.map(|database| Map::of(node, database)));
            }
            for map in &maps {
                assert_eq!(map, &maps[0], "every node has the same maps");
            }
            for map in &maps[0] {
                assert_eq!((map.conflicts, map.least_copies), (0, count.min(3)), "{map:?}");
            }
        });
    }

    /// The calls that the agent of pod `i` made, to any node.
    pub fn calls_of_agent(&self, i: usize) -> Vec<Call> {
        self.net.calls_of(&Which::all().from(&host(i)))
    }

    async fn ask(&self, i: usize, path: &str) -> reqwest::Response {
        let address = self.agents[&i].address;
        self.http.get(format!("http://{address}{path}")).send().await.expect("an agent that answers")
    }
}

/// A system database's map on one node.
#[derive(Debug, PartialEq, Eq)]
struct Map {
    database: &'static str,
    /// Which making of the database this is.
    revision: Option<String>,
    /// Other makings that lost: their data can't be seen any more.
    conflicts: usize,
    /// Copies of the range that has the fewest.
    least_copies: usize,
}

impl Map {
    fn of(node: &Node, database: &'static str) -> Self {
        let doc = node.volume.dbs.get(database);
        let live = doc.and_then(Doc::live);
        let ranges = live.and_then(|(_, body)| body["by_range"].as_object());
        let copies =
            ranges.and_then(|ranges| ranges.values().filter_map(Value::as_array).map(Vec::len).min());
        Self {
            database,
            revision: live.map(|(revision, _)| revision.to_string()),
            conflicts: doc.map_or(0, |doc| doc.conflicts().len()),
            least_copies: copies.unwrap_or_default(),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for agent in self.agents.values() {
            agent.task.abort();
        }
    }
}

/// The full name of pod `i`.
pub fn host(i: usize) -> String {
    format!("couchdb-{i}.couchdb.default.svc.cluster.local")
}

const SYSTEM: [&str; 2] = ["_replicator", "_users"];
/// The admin of every stage.
pub const USER: &str = "admin";
/// His password, with characters that a URL or a shell would take for something else.
pub const PASSWORD: &str = "s3:cr@t/ %$'\"ü";
/// So many stand-in seconds pass in one of ours.
const SPEED: f64 = 20.0;
/// Longer than anything takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
