//! A simulated cluster: a stand-in node and a real agent for each pod of an injected StatefulSet. Agents run in this
//! process; their tasks are aborted instead of shut down, as SIGKILL would end a process.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::kubernetes::Place;
use agent::repair::Repairer;
use agent::settings::pod_name::NameSources;
use agent::settings::{Endpoint, Scheme, Settings};
use agent::{Surroundings, start};
use contract::status::Page;
use reqwest::{Method, RequestBuilder};
use sandbox::couchdb::{
    Call, CallFilter, CallLogin, Clock, Doc, Network, Node, NodeHandle, NodeSettings, Service, Timings,
};
use sandbox::kubelet::Pod;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::control_plane::install_crypto;
use crate::manifest;
use crate::until::until;

/// The pods of one StatefulSet, with a stand-in node for each, and the agents that have been started.
#[derive(Debug)]
pub struct TestCluster {
    /// The network between the nodes, which injects faults.
    pub net: Network,
    pods: Vec<Pod>,
    nodes: Vec<NodeHandle>,
    agents: BTreeMap<usize, RunningAgent>,
    http: reqwest::Client,
    /// The client configuration of agents; without it they run with `COUCHDISCOVER_KUBERNETES=off`.
    kubernetes: Option<kube::Config>,
    /// The termination log of agents that are started from now on.
    pub termination_log: Option<PathBuf>,
    /// DNS names besides the full names of the pods, each with the pod that it resolves to; for agents that are
    /// started from now on.
    pub aliases: Vec<(String, usize)>,
    /// `true` if agents that are started from now on can connect to Erlang's ports. Each pair of pods needs two sockets,
    /// so that many pods exceed the usual limit of open files.
    pub erlang_ports: bool,
    /// Pods whose names lead to another host, with its address, for the agents of other pods that are started from now on.
    pub diverted: BTreeMap<usize, SocketAddr>,
    /// `true` if agents that are started from now on run in pods without a service account token.
    pub without_token: bool,
    /// The ports of the agents, by pod. They are known to the other agents before an agent starts.
    agent_ports: Vec<SocketAddr>,
    vars: Vec<(String, String)>,
}

/// A copy of a range of a database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlacedCopy {
    /// The database.
    pub database: String,
    /// The range, such as `00000000-7fffffff`.
    pub range: String,
    /// The Erlang name of the node that the map contains, which may be a placeholder.
    pub node: String,
}

/// An agent that runs in this process.
#[derive(Debug)]
struct RunningAgent {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl TestCluster {
    /// The pods of the injected example, with this many replicas. The time of the stand-ins runs 20 times as fast as
    /// real time, and no agent runs yet.
    pub fn with_nodes(count: usize) -> Self {
        Self::with_settings(count, |settings| settings)
    }

    /// Like [`Self::with_nodes`], but the stand-ins run in real time, for tests that compare uptimes with it.
    pub fn in_real_time(count: usize) -> Self {
        Self::at(Clock::real(), count, |settings| settings)
    }

    /// Like [`Self::with_nodes`], with changed settings of the nodes.
    pub fn with_settings(count: usize, change: impl Fn(NodeSettings) -> NodeSettings) -> Self {
        Self::at(Clock::faster(SPEED), count, change)
    }

    /// Like [`Self::in_real_time`], with changed settings of the nodes.
    pub fn in_real_time_with(count: usize, change: impl Fn(NodeSettings) -> NodeSettings) -> Self {
        Self::at(Clock::real(), count, change)
    }

    fn at(clock: Clock, count: usize, change: impl Fn(NodeSettings) -> NodeSettings) -> Self {
        let pods = manifest::example_pods(count, |_| {}).expect("the example can be injected");
        Self::of(pods, clock, None, change)
    }

    /// A cluster of these pods. Each node is started from the environment of the pod's CouchDB container. Without
    /// `kubernetes` the agents do not call an API server.
    ///
    /// # Panics
    ///
    /// If the official image would exit with a pod's environment, or no loopback port is free.
    pub fn of(
        pods: Vec<Pod>,
        clock: Clock,
        kubernetes: Option<kube::Config>,
        change: impl Fn(NodeSettings) -> NodeSettings,
    ) -> Self {
        Self::on(Network::start(clock), pods, kubernetes, change)
    }

    /// Like [`Self::of`], on an existing network.
    ///
    /// # Panics
    ///
    /// If the official image would exit with a pod's environment, or no loopback port is free.
    pub fn on(
        net: Network,
        pods: Vec<Pod>,
        kubernetes: Option<kube::Config>,
        change: impl Fn(NodeSettings) -> NodeSettings,
    ) -> Self {
        install_crypto();
        // Real nodes answer the first calls for node-local files with 500 or 409 for about this long.
        net.world(|world| {
            world.set_timings(Timings { auth_file: Duration::from_millis(80), ..world.timings() })
        });
        let mut nodes = Vec::new();
        for pod in &pods {
            let settings = change(node_settings(pod));
            nodes.push(net.start_node(settings).expect("a loopback port is free"));
        }
        let authority = net.ca_pem().map(|ca| reqwest::Certificate::from_pem(ca.as_bytes()));
        let authority = authority.transpose().expect("the stand-ins' authority is valid PEM");
        // An agent that is started again has the same port, where the connections to the one before have ended.
        let http = reqwest::Client::builder().tls_certs_only(authority).pool_max_idle_per_host(0);
        let http = http.build().expect("valid client options");
        let agent_ports = pods.iter().map(|_| agent_port()).collect();
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
            diverted: BTreeMap::new(),
            without_token: false,
            agent_ports,
            vars: vec![],
        }
    }

    /// Sets an environment variable for the agents that are started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.vars.push((name.to_owned(), value.to_owned()));
    }

    /// The indices of the pods, from 0 even if the StatefulSet's ordinals start elsewhere.
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

    /// The fully qualified domain name of pod `i`.
    pub fn fqdn(&self, i: usize) -> &str {
        self.pods[i].fqdn.as_deref().unwrap_or_default()
    }

    /// The stand-in node of pod `i`.
    pub fn node(&self, i: usize) -> &NodeHandle {
        &self.nodes[i]
    }

    /// The pods with a running agent.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        self.agents.keys().copied()
    }

    /// Sends a GET request to the node of pod `i` as an admin; null if the node does not answer.
    pub async fn get(&self, i: usize, path: &str) -> Value {
        match self.as_admin(i, Method::GET, path).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// Creates a database or a document on the node of pod `i` as an admin.
    ///
    /// # Panics
    ///
    /// If the node does not answer, or refuses it.
    pub async fn put(&self, i: usize, path: &str, body: &Value) {
        let answer = self.as_admin(i, Method::PUT, path).json(body).send().await.expect("the node answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// Writes a document on the node of pod `i` as an admin, and returns its revision.
    ///
    /// # Panics
    ///
    /// If the node does not answer, or refuses it.
    pub async fn put_document(&self, i: usize, path: &str, body: &Value) -> String {
        let answer = self.as_admin(i, Method::PUT, path).json(body).send().await.expect("the node answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let answer: Value = answer.json().await.unwrap_or_default();
        answer["rev"].as_str().unwrap_or_default().to_owned()
    }

    /// Sends a POST request to the node of pod `i` as an admin, and returns the answer.
    ///
    /// # Panics
    ///
    /// If the node does not answer, or refuses it.
    pub async fn post(&self, i: usize, path: &str, body: &Value) -> Value {
        let answer = self.as_admin(i, Method::POST, path).json(body).send().await.expect("the node answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap_or_default()
    }

    /// Deletes a document on the node of pod `i` as an admin.
    ///
    /// # Panics
    ///
    /// If the node does not answer, or refuses it.
    pub async fn delete(&self, i: usize, path: &str) {
        let answer = self.as_admin(i, Method::DELETE, path).send().await.expect("the node answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// Adds databases to all nodes, as if users had created them, and restarts the nodes.
    ///
    /// # Panics
    ///
    /// If a node does not start.
    pub fn add_databases(&self, count: usize) {
        for node in &self.nodes {
            let mut volume = node.volume();
            for number in 0..count {
                volume.dbs.copy("_users", &format!("tenant-{number:05}"));
            }
            node.mount(volume);
            node.start().expect("the node starts");
        }
    }

    /// Sets a field of the entry of pod `i` in `_nodes`.
    ///
    /// # Panics
    ///
    /// If node 0 does not answer, or refuses it.
    pub async fn set_entry(&self, i: usize, field: &str, value: Value) {
        let path = format!("/_node/_local/_nodes/couchdb@{}", self.fqdn(i));
        let mut entry = self.get(0, &path).await;
        entry[field] = value;
        self.put(0, &path, &entry).await;
    }

    /// Each copy of each range, by the shard maps of node 0.
    ///
    /// # Panics
    ///
    /// If node 0 does not exist.
    pub fn copies(&self) -> Vec<PlacedCopy> {
        let copies = self.entries_of_maps("by_range").into_iter();
        copies.map(|(database, range, node)| PlacedCopy { database, range, node }).collect()
    }

    /// The number of copies by node, by the shard maps of node 0.
    ///
    /// # Panics
    ///
    /// If node 0 does not exist.
    pub fn loads(&self) -> BTreeMap<String, usize> {
        let mut loads = BTreeMap::new();
        for (_, node, _) in self.entries_of_maps("by_node") {
            *loads.entry(node).or_default() += 1;
        }
        loads
    }

    /// The entries of a field of the shard maps of node 0, each with its database, its key and one of its values.
    fn entries_of_maps(&self, field: &str) -> Vec<(String, String, String)> {
        self.net.world(|world| {
            let dbs = &world.node(self.fqdn(0)).expect("the node exists").volume.dbs;
            let mut entries = vec![];
            for (database, _, map) in dbs.live() {
                for (key, values) in map.get(field).and_then(Value::as_object).into_iter().flatten() {
                    let values = values.as_array().into_iter().flatten().filter_map(Value::as_str);
                    entries.extend(values.map(|value| (database.clone(), key.clone(), value.to_owned())));
                }
            }
            entries
        })
    }

    fn as_admin(&self, i: usize, method: Method, path: &str) -> RequestBuilder {
        let env = couchdb_env(&self.pods[i]);
        // The first pair that is set, as the agent reads them.
        let admin = contract::env::CREDENTIALS
            .iter()
            .find_map(|(user, password)| Some((env.get(*user)?, env.get(*password)?)));
        let request = self.http.request(method, format!("{}{path}", self.nodes[i].url()));
        match admin {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    /// Starts the agents of these pods, one after another.
    pub async fn start_agents(&mut self, pods: impl IntoIterator<Item = usize>) {
        for i in pods {
            self.start_agent(i).await;
        }
    }

    /// Starts the agent of pod `i` from the environment of its container, its hosts file, and the pods' addresses.
    ///
    /// # Panics
    ///
    /// If the agent rejects the environment.
    pub async fn start_agent(&mut self, i: usize) {
        let (settings, surroundings) = (self.agent_settings(i), self.surroundings(i));
        let started = start(settings, surroundings).await.expect("the agent starts");
        let address = started.address().expect("the agent has bound its port");
        let task = tokio::spawn(started.run(CancellationToken::new()));
        self.agents.insert(i, RunningAgent { address, task });
    }

    /// The repairs that a person can have done in the agent's container of pod `i`.
    ///
    /// # Panics
    ///
    /// If the environment is rejected.
    pub async fn repairer(&self, i: usize) -> Repairer {
        Repairer::new(self.agent_settings(i), self.surroundings(i)).await.expect("the environment is valid")
    }

    /// The page of the agent of pod `i`, as programs read it.
    ///
    /// # Panics
    ///
    /// If the agent does not answer.
    pub async fn page(&self, i: usize) -> Page {
        serde_json::from_value(self.status(i).await).expect("the status page has its fields")
    }

    fn surroundings(&self, i: usize) -> Surroundings {
        Surroundings {
            names: NameSources {
                hostnames: vec![self.pods[i].hostname.clone()],
                etc_hosts: self.pods[i].hosts_line.clone(),
                ..NameSources::default()
            },
            addresses: self.addresses(i),
            kubernetes: self.kubernetes.clone(),
            place: if self.without_token { Place::Pod } else { Place::Elsewhere },
            termination_log: self.termination_log.clone(),
        }
    }

    fn agent_settings(&self, i: usize) -> Settings {
        let container = self.pods[i].container(contract::objects::AGENT_CONTAINER);
        let container = container.expect("the pod contains the injected agent");
        let mut vars: HashMap<String, String> = container.env.clone().into_iter().collect();
        if self.kubernetes.is_none() && !self.without_token {
            vars.insert(contract::env::COUCHDISCOVER_KUBERNETES.to_owned(), "off".to_owned());
        }
        vars.extend(self.vars.iter().cloned());
        let mut settings =
            Settings::from_vars(&|name| vars.get(name).cloned()).expect("the environment is valid");
        // A real pod has a network of its own, with CouchDB at 127.0.0.1:5984. Here all pods share one loopback address,
        // so CouchDB and the agent's port get other addresses.
        let local = self.address(i, i);
        settings.listen = if local.is_ipv6() { (local.ip(), 0).into() } else { self.agent_ports[i] };
        let scheme = if self.net.ca_pem().is_some() { Scheme::Https } else { Scheme::Http };
        let host = if local.is_ipv6() { format!("[{}]", local.ip()) } else { local.ip().to_string() };
        settings.couchdb = Endpoint { scheme, host, port: local.port() };
        settings
    }

    /// Restarts the CouchDB container of pod `i` with the environment of `pod`. The agent keeps running with the old one.
    ///
    /// # Panics
    ///
    /// If the official image would exit with this environment.
    pub fn restart_node_as(&mut self, i: usize, pod: Pod) {
        let settings = node_settings(&pod);
        self.pods[i] = pod;
        // A new container starts with the ini files of its image.
        self.nodes[i].lose_ini();
        self.nodes[i].reconfigure(|_| settings);
        self.nodes[i].start().expect("the node starts");
    }

    /// The addresses of all nodes' CouchDB and Erlang ports, as the agent of pod `i` reaches them, by name or by name and
    /// port.
    fn addresses(&self, i: usize) -> HashMap<String, SocketAddr> {
        let mut addresses = HashMap::new();
        for j in self.ordinals() {
            let diverted = self.diverted.get(&j).filter(|_| j != i);
            addresses
                .insert(self.fqdn(j).to_owned(), diverted.copied().unwrap_or_else(|| self.address(i, j)));
            let agent = diverted.copied().unwrap_or(self.agent_ports[j]);
            addresses.insert(format!("{}:{}", self.fqdn(j), contract::ports::AGENT), agent);
            addresses.extend(self.erlang_addresses(i, j, self.fqdn(j)));
        }
        for (name, j) in &self.aliases {
            addresses.extend(self.erlang_addresses(i, *j, name));
        }
        addresses
    }

    fn erlang_addresses(&self, from: usize, to: usize, name: &str) -> [(String, SocketAddr); 2] {
        [(4369, Service::Epmd), (9100, Service::Distribution)].map(|(port, service)| {
            let address = if self.erlang_ports {
                self.nodes[to].service_addr_for(service, self.fqdn(from)).expect("a loopback port is free")
            } else {
                CLOSED
            };
            (format!("{name}:{port}"), address)
        })
    }

    /// The address at which pod `from` reaches the node of pod `to`. Each pair has one of its own, so that the network
    /// knows the source of a call.
    fn address(&self, from: usize, to: usize) -> SocketAddr {
        self.nodes[to].addr_for(self.fqdn(from)).expect("a loopback port is free")
    }

    /// Aborts the agent of pod `i` at its current await point, and waits until it is gone.
    pub async fn kill_agent(&mut self, i: usize) {
        if let Some(RunningAgent { task, .. }) = self.agents.remove(&i) {
            task.abort();
            // The result is the error of an aborted task.
            let _ = task.await;
        }
    }

    /// The address of the agent's HTTP port in pod `i`.
    ///
    /// # Panics
    ///
    /// If the agent does not run.
    pub fn agent_address(&self, i: usize) -> SocketAddr {
        self.agents[&i].address
    }

    /// The status page of the agent of pod `i`.
    ///
    /// # Panics
    ///
    /// If the agent does not answer.
    pub async fn status(&self, i: usize) -> Value {
        self.get_from_agent(i, contract::ports::STATUS).await.json().await.expect("the status page is JSON")
    }

    /// The metrics of the agent of pod `i`, in OpenMetrics format.
    ///
    /// # Panics
    ///
    /// If the agent does not answer.
    pub async fn metrics(&self, i: usize) -> String {
        self.get_from_agent(i, contract::ports::METRICS).await.text().await.expect("metrics are text")
    }

    /// The status code and body of the readiness probe of pod `i`.
    ///
    /// # Panics
    ///
    /// If the agent does not answer.
    pub async fn readyz(&self, i: usize) -> (u16, String) {
        let response = self.get_from_agent(i, contract::ports::READYZ).await;
        (response.status().as_u16(), response.text().await.expect("the probe answers text"))
    }

    async fn get_from_agent(&self, i: usize, path: &str) -> reqwest::Response {
        let address = self.agents[&i].address;
        self.http.get(format!("http://{address}{path}")).send().await.expect("the agent answers")
    }

    /// Waits until every running agent reports a formed and confirmed cluster, then checks the state of the nodes.
    ///
    /// # Panics
    ///
    /// After 30 seconds, or if the state of the nodes contradicts the agents.
    pub async fn until_formed(&self) {
        self.until_settled(self.running(), DEADLINE).await;
        self.assert_formed();
    }

    /// Waits until the agents of these pods have nothing left to do.
    ///
    /// # Panics
    ///
    /// If that takes longer than `within`.
    pub async fn until_settled(&self, pods: impl IntoIterator<Item = usize>, within: Duration) {
        let pods = Vec::from_iter(pods);
        until("settled agents", within, async || {
            let mut steps = vec![];
            for pod in &pods {
                steps.push(self.status(*pod).await["step"].clone());
            }
            if steps.iter().all(|step| step["reason"] == "Settled") { Ok(()) } else { Err(steps) }
        })
        .await;
    }

    /// `maintenance_mode` of the node of pod `i`; empty if it is not set.
    ///
    /// # Panics
    ///
    /// If the node does not exist.
    pub fn maintenance_mode(&self, i: usize) -> String {
        self.net.world(|world| {
            let node = world.node(self.fqdn(i)).expect("the node exists");
            node.config("couchdb", "maintenance_mode").unwrap_or_default().to_owned()
        })
    }

    /// Waits until the agent of pod `i` reports a step with this reason, and returns the step's message.
    ///
    /// # Panics
    ///
    /// After 30 seconds.
    pub async fn until_step(&self, i: usize, reason: &str) -> String {
        until(reason, DEADLINE, async || {
            let step = self.status(i).await["step"].clone();
            if step["reason"] != reason {
                return Err(step);
            }
            Ok(step["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Waits until the agent of pod `i` reports the pod as ready.
    ///
    /// # Panics
    ///
    /// After 30 seconds.
    pub async fn until_ready(&self, i: usize) {
        until("readiness", DEADLINE, async || match self.readyz(i).await {
            (200, _) => Ok(()),
            not_ready => Err(not_ready),
        })
        .await;
    }

    /// Checks the state inside the nodes: one membership, the same maps of the system databases everywhere, no conflict,
    /// and copies on min(3, n) nodes.
    fn assert_formed(&self) {
        let count = self.nodes.len();
        self.net.world(|world| {
            let nodes: Vec<&Node> =
                self.ordinals().map(|i| world.node(self.fqdn(i)).expect("the node exists")).collect();
            let mut names: Vec<&str> = nodes.iter().filter_map(|node| node.name()).collect();
            names.sort_unstable();
            let mut maps = vec![];
            for (i, node) in nodes.iter().enumerate() {
                let mut members = node.members();
                members.sort_unstable();
                assert_eq!(members, names, "members of couchdb-{i}");
                maps.push(SYSTEM_DATABASES.map(|database| Map::of(node, database)));
            }
            for map in &maps {
                assert_eq!(map, &maps[0], "every node has the same maps");
            }
            for map in &maps[0] {
                assert_eq!((map.conflicts, map.least_copies), (0, count.min(3)), "{map:?}");
            }
        });
    }

    /// The calls of the agent of pod `i`, to any node.
    pub fn calls_of_agent(&self, i: usize) -> Vec<Call> {
        self.net.calls_of(&CallFilter::all().from(self.fqdn(i)))
    }
}

/// `true` for a call with a password that was refused. CouchDB counts these, and locks the caller out after five.
pub fn is_refused_password(call: &Call) -> bool {
    call.login == CallLogin::Password && call.status == Some(401)
}

/// The agents' usual port, at a loopback address of its own: 14 bits of the process, because other test programs run at the
/// same time, and 9 bits of the pod. Addresses below 127.64.0.0 are left to others.
fn agent_port() -> SocketAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let [_, _, even, pod] = TAKEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let host = Ipv4Addr::new(127, 64 | (high & 63) | ((even & 1) << 7), low, pod);
    SocketAddr::V4(SocketAddrV4::new(host, contract::ports::AGENT))
}

/// The settings of the node that the official image starts with a pod's environment.
fn node_settings(pod: &Pod) -> NodeSettings {
    let host = pod.fqdn.as_deref().expect("the StatefulSet has a governing Service");
    NodeSettings::from_image_env(host, couchdb_env(pod)).expect("the image accepts the environment")
}

/// The environment of the container that the webhook injected the agent for.
fn couchdb_env(pod: &Pod) -> &BTreeMap<String, String> {
    let agent =
        pod.container(contract::objects::AGENT_CONTAINER).expect("the pod contains the injected agent");
    let name = agent.env.get(contract::env::COUCHDISCOVER_CONTAINER).expect("the webhook injects the name");
    &pod.container(name).expect("the pod contains the CouchDB container").env
}

/// The shard map of a system database on one node.
#[derive(Debug, PartialEq, Eq)]
struct Map {
    database: &'static str,
    /// The revision that wins, which differs for each creation of the database.
    revision: Option<String>,
    /// The number of revisions that lost: their data cannot be read.
    conflicts: usize,
    /// The number of copies of the range that has the fewest.
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

impl Drop for TestCluster {
    fn drop(&mut self) {
        for agent in self.agents.values() {
            agent.task.abort();
        }
    }
}

/// The fully qualified domain name of the example's pod `i`.
pub fn host(i: usize) -> String {
    format!("couchdb-{i}.couchdb.default.svc.cluster.local")
}

const SYSTEM_DATABASES: [&str; 2] = ["_replicator", "_users"];
/// An address where connections are refused.
const CLOSED: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));
/// The example's admin user.
pub const USER: &str = "admin";
pub use manifest::PASSWORD;
/// Seconds of the stand-ins' time in one second of real time.
const SPEED: f64 = 20.0;
/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
