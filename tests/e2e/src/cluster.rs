//! For each pod of an injected StatefulSet a stand-in node and a real agent. Agents run in this process and are ended
//! without ceremony, as SIGKILL would.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use agent::settings::pod_name::Clues;
use agent::settings::{Endpoint, Scheme, Settings};
use agent::{Surroundings, start};
use reqwest::{Method, RequestBuilder};
use sandbox::couchdb::{
    Call, CallFilter, Clock, Doc, Network, Node, NodeHandle, NodeSettings, Service, Timings,
};
use sandbox::kubelet::Pod;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::manifest;
use crate::until::until;

/// The pods of one StatefulSet: a stand-in node for each, and agents as they are started.
#[derive(Debug)]
pub struct Stage {
    /// The network between the nodes, with the switches for its faults.
    pub net: Network,
    pods: Vec<Pod>,
    nodes: Vec<NodeHandle>,
    agents: BTreeMap<usize, RunningAgent>,
    http: reqwest::Client,
    /// How agents reach Kubernetes; `None`: they are told not to ask.
    kubernetes: Option<kube::Config>,
    /// Where agents that are started leave their last words.
    pub termination_log: Option<PathBuf>,
    /// What DNS knows besides the pods' full names, for agents that are started: a name, and whose Erlang is there.
    pub aliases: Vec<(String, usize)>,
    /// Whether agents that are started find Erlang's ports, of which each pair of pods has two: many pods have more of
    /// them than a process may open files.
    pub erlang_ports: bool,
    vars: Vec<(String, String)>,
}

/// An agent that runs in this process.
#[derive(Debug)]
struct RunningAgent {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Stage {
    /// The pods of the injected example, so many of them. The stand-ins' time runs 20 times as fast as ours, and no
    /// agent runs yet.
    pub fn with_nodes(count: usize) -> Self {
        Self::with(count, |settings| settings)
    }

    /// The same, and the stand-ins' time runs as ours: where uptimes are compared with it.
    pub fn in_real_time(count: usize) -> Self {
        Self::at(Clock::real(), count, |settings| settings)
    }

    /// With other settings of the nodes.
    pub fn with(count: usize, change: impl Fn(NodeSettings) -> NodeSettings) -> Self {
        Self::at(Clock::faster(SPEED), count, change)
    }

    /// Panics when the example can't be played: then everything else would be in vain.
    fn at(clock: Clock, count: usize, change: impl Fn(NodeSettings) -> NodeSettings) -> Self {
        let pods = manifest::example_pods(count, |_| {}).expect("the example");
        Self::of(pods, clock, None, change)
    }

    /// These pods, their nodes started from the environment of each one's CouchDB container. Without `kubernetes` the
    /// agents are told not to ask.
    ///
    /// # Panics
    ///
    /// When the official image would exit, or there is no free port on loopback.
    pub fn of(
        pods: Vec<Pod>,
        clock: Clock,
        kubernetes: Option<kube::Config>,
        change: impl Fn(NodeSettings) -> NodeSettings,
    ) -> Self {
        Self::on(Network::start(clock), pods, kubernetes, change)
    }

    /// The same, on a network that was made before.
    ///
    /// # Panics
    ///
    /// When the official image would exit, or there is no free port on loopback.
    pub fn on(
        net: Network,
        pods: Vec<Pod>,
        kubernetes: Option<kube::Config>,
        change: impl Fn(NodeSettings) -> NodeSettings,
    ) -> Self {
        // The second stage of a process finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Real nodes answer the first questions with 500 or 409 for so long.
        net.world(|world| {
            world.set_timings(Timings { auth_file: Duration::from_millis(80), ..world.timings() })
        });
        let start_node = |pod: &Pod| {
            let host = pod.fqdn.as_deref().expect("a governing Service");
            let settings =
                NodeSettings::from_image_env(host, couchdb_env(pod)).expect("an environment for the image");
            net.start_node(change(settings)).expect("a free port on loopback")
        };
        let nodes = pods.iter().map(start_node).collect();
        let authority = net.ca_pem().map(|ca| reqwest::Certificate::from_pem(ca.as_bytes()));
        let authority = authority.transpose().expect("the stand-ins' authority");
        let http = reqwest::Client::builder().tls_certs_only(authority).build().expect("a client");
        Self {
            net,
            pods,
            nodes,
            agents: BTreeMap::new(),
            http,
            kubernetes,
            termination_log: None,
            aliases: vec![],
            erlang_ports: true,
            vars: vec![],
        }
    }

    /// Sets a variable for the agents that are started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.vars.push((name.to_owned(), value.to_owned()));
    }

    /// The pods, counted from 0 whatever their ordinals.
    pub fn ordinals(&self) -> std::ops::Range<usize> {
        0..self.pods.len()
    }

    /// Pod `i`.
    pub fn pod(&self, i: usize) -> &Pod {
        &self.pods[i]
    }

    /// The name of pod `i`.
    pub fn name(&self, i: usize) -> &str {
        &self.pods[i].name
    }

    /// The full name of pod `i`.
    pub fn fqdn(&self, i: usize) -> &str {
        self.pods[i].fqdn.as_deref().unwrap_or_default()
    }

    /// The stand-in of pod `i`.
    pub fn node(&self, i: usize) -> &NodeHandle {
        &self.nodes[i]
    }

    /// The pods whose agents run.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        self.agents.keys().copied()
    }

    /// What the node of pod `i` answers an admin; null when it doesn't.
    pub async fn ask_node(&self, i: usize, path: &str) -> Value {
        match self.as_admin(i, Method::GET, path).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// Puts a database or a document on the node of pod `i`.
    ///
    /// # Panics
    ///
    /// When the node doesn't take it.
    pub async fn tell_node(&self, i: usize, path: &str, body: &Value) {
        let answer =
            self.as_admin(i, Method::PUT, path).json(body).send().await.expect("a node that answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// Deletes a document on the node of pod `i`.
    ///
    /// # Panics
    ///
    /// When the node doesn't do it.
    pub async fn delete_at_node(&self, i: usize, path: &str) {
        let answer = self.as_admin(i, Method::DELETE, path).send().await.expect("a node that answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    fn as_admin(&self, i: usize, method: Method, path: &str) -> RequestBuilder {
        let env = couchdb_env(&self.pods[i]);
        let admin = contract::env::CREDENTIALS
            .iter()
            .find_map(|(user, password)| Some((env.get(*user)?, env.get(*password)?)));
        let request = self.http.request(method, format!("{}{path}", self.nodes[i].url()));
        match admin {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    /// Starts the agents of these pods, in this order.
    pub async fn start_agents(&mut self, pods: impl IntoIterator<Item = usize>) {
        for i in pods {
            self.start_agent(i).await;
        }
    }

    /// Starts the agent of pod `i` from the environment of its container, its hosts file, and the pods' addresses.
    ///
    /// # Panics
    ///
    /// When the environment is not one that an agent can be started from.
    pub async fn start_agent(&mut self, i: usize) {
        let container =
            self.pods[i].container(contract::objects::AGENT_CONTAINER).expect("the injected agent");
        let mut vars: HashMap<String, String> = container.env.clone().into_iter().collect();
        if self.kubernetes.is_none() {
            vars.insert(contract::env::COUCHDISCOVER_KUBERNETES.to_owned(), "off".to_owned());
        }
        vars.extend(self.vars.iter().cloned());
        let mut settings =
            Settings::from_vars(&|name| vars.get(name).cloned()).expect("settings that can be used");
        // A pod has a network of its own, and 127.0.0.1:5984 in it. Here all pods share one.
        let local = self.door(i, i);
        settings.listen = (local.ip(), 0).into();
        let scheme = if self.net.ca_pem().is_some() { Scheme::Https } else { Scheme::Http };
        let host = if local.is_ipv6() { format!("[{}]", local.ip()) } else { local.ip().to_string() };
        settings.couchdb = Endpoint { scheme, host, port: local.port() };
        let surroundings = Surroundings {
            clues: Clues {
                hostnames: vec![self.pods[i].hostname.clone()],
                etc_hosts: self.pods[i].hosts_line.clone(),
                ..Clues::default()
            },
            addresses: self.addresses(i),
            kubernetes: self.kubernetes.clone(),
            termination_log: self.termination_log.clone(),
        };
        let started = start(settings, surroundings).await.expect("an agent that starts");
        let address = started.address().expect("a bound port");
        let task = tokio::spawn(async move {
            started.run(CancellationToken::new()).await.expect("an agent that runs");
        });
        self.agents.insert(i, RunningAgent { address, task });
    }

    /// Restarts the CouchDB container of pod `i` with what `pod` has in its environment. Its agent goes on as it is.
    ///
    /// # Panics
    ///
    /// When the official image would exit.
    pub fn restart_node_as(&mut self, i: usize, pod: Pod) {
        let settings = NodeSettings::from_image_env(
            pod.fqdn.as_deref().expect("a governing Service"),
            couchdb_env(&pod),
        );
        let settings = settings.expect("an environment for the image");
        self.pods[i] = pod;
        self.nodes[i].lose_ini();
        self.nodes[i].reconfigure(|_| settings);
        self.nodes[i].start().expect("a container that starts");
    }

    /// Where the agent of pod `i` finds everybody's CouchDB and Erlang.
    fn addresses(&self, i: usize) -> HashMap<String, SocketAddr> {
        let erlang = |name: &str, j: usize| {
            [(4369, Service::Epmd), (9100, Service::Distribution)].map(|(port, service)| {
                let open = || {
                    self.nodes[j].service_addr_for(service, self.fqdn(i)).expect("a free port on loopback")
                };
                let address = if self.erlang_ports { open() } else { NOBODY };
                (format!("{name}:{port}"), address)
            })
        };
        let http = self.ordinals().map(|j| (self.fqdn(j).to_owned(), self.door(i, j)));
        let of_pods = self.ordinals().flat_map(|j| erlang(self.fqdn(j), j));
        let of_aliases = self.aliases.iter().flat_map(|(name, j)| erlang(name, *j));
        http.chain(of_pods).chain(of_aliases).collect()
    }

    /// The address at which pod `from` reaches the node of pod `to`, so that its calls are known as its own.
    fn door(&self, from: usize, to: usize) -> SocketAddr {
        self.nodes[to].addr_for(self.fqdn(from)).expect("a free port on loopback")
    }

    /// Ends the agent of pod `i` at whatever it is doing, and waits until it is gone.
    pub async fn kill_agent(&mut self, i: usize) {
        if let Some(RunningAgent { task, .. }) = self.agents.remove(&i) {
            task.abort();
            // The error says that it was aborted.
            let _ = task.await;
        }
    }

    /// Where the agent of pod `i` can be asked.
    ///
    /// # Panics
    ///
    /// When it doesn't run.
    pub fn agent_address(&self, i: usize) -> SocketAddr {
        self.agents[&i].address
    }

    /// What the agent of pod `i` shows of itself.
    ///
    /// # Panics
    ///
    /// When it doesn't answer.
    pub async fn status(&self, i: usize) -> Value {
        self.ask(i, "/status").await.json().await.expect("JSON")
    }

    /// What the agent of pod `i` counts.
    ///
    /// # Panics
    ///
    /// When it doesn't answer.
    pub async fn metrics(&self, i: usize) -> String {
        self.ask(i, contract::ports::METRICS).await.text().await.expect("text")
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
        self.net.world(|world| {
            let node = |i: usize| world.node(self.fqdn(i)).expect("the node");
            let mut everybody: Vec<&str> = self.ordinals().filter_map(|i| node(i).name()).collect();
            everybody.sort_unstable();
            let mut maps = vec![];
            for i in self.ordinals() {
                let node = node(i);
                let mut members = node.members();
                members.sort_unstable();
                assert_eq!(members, everybody, "members of couchdb-{i}");
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
        self.net.calls_of(&CallFilter::all().from(self.fqdn(i)))
    }

    async fn ask(&self, i: usize, path: &str) -> reqwest::Response {
        let address = self.agents[&i].address;
        self.http.get(format!("http://{address}{path}")).send().await.expect("an agent that answers")
    }
}

/// The environment of the container that the webhook took for CouchDB's.
fn couchdb_env(pod: &Pod) -> &BTreeMap<String, String> {
    let agent = pod.container(contract::objects::AGENT_CONTAINER).expect("the injected agent");
    let name = agent.env.get(contract::env::COUCHDISCOVER_CONTAINER).expect("the CouchDB container's name");
    &pod.container(name).expect("the CouchDB container").env
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
/// A port that nobody listens on.
const NOBODY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));
/// The admin of the example.
pub const USER: &str = "admin";
pub use manifest::PASSWORD;
/// So many stand-in seconds pass in one of ours.
const SPEED: f64 = 20.0;
/// Longer than anything takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
