//! The whole path as a demo for a person: a labelled StatefulSet, the real webhook, real agents, a formed cluster.

mod on_cluster;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use sandbox::couchdb::{CallFilter, Clock};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::cluster::TestCluster;
use crate::control_plane::{Applied, ControlPlane, ControlPlaneError};
use crate::manifest::{self, ManifestError};

pub use on_cluster::{ClusterDemoError, run as run_on_cluster};

/// The options of a demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// The manifest that the user applies, in YAML.
    pub manifest: String,
    /// The name of the user's file.
    pub title: String,
    /// Replaces the replicas of the manifest's StatefulSet.
    pub nodes: Option<usize>,
    /// The node that loses its volume after the cluster is formed.
    pub wipe: Option<usize>,
}

/// A reason for a demo to fail.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The control plane didn't start, or refused the manifest.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A document that was stored before cannot be read through the node that lost its volume.
    #[error("a document from before the loss of the volume cannot be read any more")]
    DataLost,
    /// `finish_cluster` was called more than once.
    #[error("the cluster was formed {0} times instead of once")]
    FormedAgain(usize),
    /// The webhook left the StatefulSet unchanged.
    #[error(
        "the webhook did not inject the agent. Fix: add the label '{}: {}' to the StatefulSet's metadata",
        contract::keys::INJECT,
        contract::keys::INJECT_ENABLED
    )]
    NotInjected,
    /// The agents report a formed cluster, but the nodes don't.
    #[error("the agents report a formed cluster, but not every node confirms it")]
    NotConfirmed,
    /// The agents didn't report a formed cluster in time.
    #[error("the cluster was not formed within {} s", .0.as_secs())]
    TooLong(Duration),
    /// The node to wipe doesn't exist, or no other node holds its data.
    #[error(
        "node {wipe} cannot be wiped in a cluster of {nodes}. Fix: use --wipe with an ordinal of the cluster, and \
         --nodes with 2 or more, so that another node holds the data"
    )]
    Wipe {
        /// The node's ordinal.
        wipe: usize,
        /// The number of nodes.
        nodes: usize,
    },
    /// The output cannot be written.
    #[error("failed to write the output")]
    Write(#[from] io::Error),
}

/// Runs a demo, and prints each step as it happens.
pub async fn run(options: &Options, out: &mut impl io::Write) -> Result<(), DemoError> {
    let mut printer = Printer { out, start: Instant::now(), steps: BTreeMap::new() };
    printer.line("couchdiscover: a labelled StatefulSet becomes a CouchDB cluster")?;
    let control_plane = deploy(&mut printer).await?;
    let (statefulset, secrets) = apply(&mut printer, &control_plane, options).await?;
    let mut cluster = start_pods(&mut printer, &control_plane, &statefulset, secrets).await?;
    confirm(&mut printer, &cluster).await?;
    if let Some(wipe) = options.wipe {
        lose_volume(&mut printer, &mut cluster, wipe).await?;
        confirm(&mut printer, &cluster).await?;
    }
    Ok(())
}

async fn deploy<W: io::Write>(printer: &mut Printer<'_, W>) -> Result<ControlPlane, DemoError> {
    printer.heading("A cluster admin deploys the webhook")?;
    let control_plane = ControlPlane::deployed().await?;
    printer.line(&format!("   it serves {}", control_plane.webhook))?;
    printer.line(
        "   it generates a certificate authority, and publishes it in the MutatingWebhookConfiguration",
    )?;
    printer.line("   the API server sends it only labelled StatefulSets")?;
    Ok(control_plane)
}

/// Returns the StatefulSet as it is stored, and the Secrets that its pods refer to.
async fn apply<W: io::Write>(
    printer: &mut Printer<'_, W>,
    control_plane: &ControlPlane,
    options: &Options,
) -> Result<(Value, Vec<Value>), DemoError> {
    printer.heading(&format!("A user applies {}", options.title))?;
    let mut injected = None;
    for mut object in manifest::objects(&options.manifest)? {
        let is_statefulset = object["kind"] == "StatefulSet";
        // As if the user had edited the file.
        if is_statefulset && let Some(nodes) = options.nodes {
            object["spec"]["replicas"] = json!(nodes);
        }
        let Applied { stored, warnings } = control_plane.create(&object).await?;
        for warning in warnings {
            printer.line(&format!("   Warning: {warning}"))?;
        }
        printer.line(&format!("   {} created", title(&stored)))?;
        if is_statefulset {
            printer.injection(&object, &stored)?;
            injected = Some(stored);
        }
    }
    let statefulset = injected.ok_or(ManifestError::NoStatefulSet)?;
    // The webhook annotates every template that it changes.
    if statefulset["spec"]["template"]["metadata"]["annotations"][contract::keys::INJECTED].is_null() {
        return Err(DemoError::NotInjected);
    }
    let [secret, binding] = control_plane.until_provided(&statefulset).await;
    printer.line(&format!(
        "   {} created by the webhook: a random Erlang cookie and session secret",
        title(&secret)
    ))?;
    printer.line(&format!("   {} created by the webhook: the agents' permissions", title(&binding)))?;
    Ok((statefulset, control_plane.api.list("v1", "secrets")))
}

async fn start_pods<W: io::Write>(
    printer: &mut Printer<'_, W>,
    control_plane: &ControlPlane,
    statefulset: &Value,
    secrets: Vec<Value>,
) -> Result<TestCluster, DemoError> {
    let pods = manifest::pods(statefulset, secrets)?;
    let parallel = statefulset["spec"]["podManagementPolicy"] == "Parallel";
    let order = if parallel { "all at once" } else { "one after another" };
    let count = pods.len();
    let noun = if count == 1 { "pod" } else { "pods" };
    printer.heading(&format!("Kubernetes starts {count} {noun}, {order}"))?;
    printer.line("   (in each pod, CouchDB is a stand-in and the agent is real)")?;
    let config = control_plane.client_config();
    // Real time, so that the printed seconds resemble those of a real cluster.
    let mut cluster = TestCluster::of(pods, Clock::real(), Some(config), |settings| settings);
    if parallel {
        cluster.start_agents(cluster.ordinals()).await;
        return Ok(cluster);
    }
    cluster.ordinals().for_each(|i| cluster.node(i).kill());
    for i in cluster.ordinals() {
        // Cannot fail: the node already ran with these settings.
        cluster.node(i).start().map_err(|_| DemoError::NotConfirmed)?;
        cluster.start_agent(i).await;
        // Under OrderedReady, Kubernetes starts a pod when the one before is ready.
        printer.follow(&cluster, &|statuses| statuses[i]["ready"] == true).await?;
    }
    Ok(cluster)
}

/// Waits until all agents report a formed cluster, then prints and checks the state that the nodes report.
async fn confirm<W: io::Write>(printer: &mut Printer<'_, W>, cluster: &TestCluster) -> Result<(), DemoError> {
    printer.follow(cluster, &|statuses| statuses.iter().all(is_settled)).await?;
    printer.heading("The cluster as each node reports it")?;
    printer.line("   node                 members  connected  databases  copies of _users")?;
    let mut confirmed = true;
    for i in cluster.ordinals() {
        let state = NodeState::of(cluster, i).await;
        confirmed &= state.is_complete();
        printer.line(&state.row(cluster.name(i)))?;
    }
    if !confirmed {
        return Err(DemoError::NotConfirmed);
    }
    match finish_calls(cluster) {
        1 => Ok(printer.line("   one cluster, formed once, and confirmed by every node")?),
        count => Err(DemoError::FormedAgain(count)),
    }
}

async fn lose_volume<W: io::Write>(
    printer: &mut Printer<'_, W>,
    cluster: &mut TestCluster,
    wipe: usize,
) -> Result<(), DemoError> {
    let nodes = cluster.ordinals().len();
    if wipe >= nodes || nodes == 1 {
        return Err(DemoError::Wipe { wipe, nodes });
    }
    let other = (wipe + 1) % nodes;
    for path in ["/orders", "/orders/1"] {
        cluster.put(other, path, &json!({ "item": "sofa" })).await;
    }
    printer.heading(&format!("{} loses its volume and restarts empty", cluster.name(wipe)))?;
    cluster.kill_agent(wipe).await;
    cluster.node(wipe).wipe();
    cluster.node(wipe).start().map_err(|_| DemoError::NotConfirmed)?;
    cluster.start_agent(wipe).await;
    // The restarted agent's steps are printed even if they equal the last one of before.
    printer.steps.remove(&wipe);
    printer.follow(cluster, &|statuses| statuses.iter().all(is_settled)).await?;
    if cluster.get(wipe, "/orders/1").await["item"] != "sofa" {
        return Err(DemoError::DataLost);
    }
    let name = cluster.name(wipe);
    Ok(printer.line(&format!("   {name} serves the document that was stored before: no data is lost"))?)
}

fn is_settled(status: &Value) -> bool {
    status["step"]["reason"] == "Settled" && status["ready"] == true
}

/// The number of successful calls that formed a cluster.
fn finish_calls(cluster: &TestCluster) -> usize {
    let calls = cluster.net.calls_of(&CallFilter::all().writes().below("/_cluster_setup"));
    calls.iter().filter(|call| call.status == Some(201)).count()
}

/// The cluster as one node reports it.
struct NodeState {
    /// The size that the cluster should have.
    expected: usize,
    members: usize,
    connected: usize,
    databases: u64,
    /// Copies of the range of `_users` that has the fewest.
    copies: usize,
}

impl NodeState {
    async fn of(cluster: &TestCluster, i: usize) -> Self {
        let membership = cluster.get(i, "/_membership").await;
        let databases = cluster.get(i, "/_node/_local/_dbs/_all_docs").await;
        let shards = cluster.get(i, "/_users/_shards").await;
        let ranges = shards["shards"].as_object();
        Self {
            expected: cluster.ordinals().len(),
            members: length(&membership["cluster_nodes"]),
            connected: length(&membership["all_nodes"]),
            databases: databases["total_rows"].as_u64().unwrap_or(0),
            copies: ranges.and_then(|ranges| ranges.values().map(length).min()).unwrap_or(0),
        }
    }

    /// `true` if all nodes are members and connected, both system databases exist, and `_users` has all its copies.
    fn is_complete(&self) -> bool {
        self.members == self.expected
            && self.connected == self.expected
            && self.copies == self.expected.min(3)
            && self.databases >= 2
    }

    fn row(&self, name: &str) -> String {
        let Self { expected, members, connected, databases, copies } = self;
        format!(
            "   {name:<20} {members}/{expected}      {connected}/{expected}        {databases}          {copies}"
        )
    }
}

/// Prints the steps of a demo, with the seconds since its start.
struct Printer<'o, W> {
    out: &'o mut W,
    start: Instant,
    /// The last printed step of each agent.
    steps: BTreeMap<usize, Value>,
}

impl<W: io::Write> Printer<'_, W> {
    fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    fn heading(&mut self, text: &str) -> io::Result<()> {
        let text = format!("\n{:6.2} s  {text}", self.start.elapsed().as_secs_f64());
        self.line(&text)
    }

    /// Prints the containers and variables that the stored StatefulSet has and the applied one doesn't.
    fn injection(&mut self, applied: &Value, stored: &Value) -> io::Result<()> {
        self.line("   the webhook injected:")?;
        for container in containers(stored) {
            let name = text(&container["name"]);
            let Some(old) = containers(applied).iter().find(|old| old["name"] == name) else {
                self.line(&format!("     container {name}, image {}", text(&container["image"])))?;
                continue;
            };
            for variable in variables(container) {
                if variables(old).iter().all(|old| old["name"] != variable["name"]) {
                    self.line(&format!("     container {name}: {}", describe(variable)))?;
                }
            }
        }
        Ok(())
    }

    /// Prints each new step of each agent until `done` accepts the status pages of all running agents.
    async fn follow(
        &mut self,
        cluster: &TestCluster,
        done: &dyn Fn(&[Value]) -> bool,
    ) -> Result<(), DemoError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut statuses = vec![];
            for i in cluster.running() {
                let status = cluster.status(i).await;
                self.step(i, cluster.name(i), &status["step"])?;
                statuses.push(status);
            }
            if done(&statuses) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(DemoError::TooLong(DEADLINE));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Prints an agent's step unless it was printed before.
    fn step(&mut self, i: usize, name: &str, step: &Value) -> io::Result<()> {
        // The first step of every agent is to look at its node, which is not interesting.
        if self.steps.get(&i) == Some(step) || step["reason"] == "FirstLook" {
            return Ok(());
        }
        self.steps.insert(i, step.clone());
        let seconds = self.start.elapsed().as_secs_f64();
        let line = format!("{seconds:6.2} s  {name}: {}", text(&step["message"]));
        self.line(&line)
    }
}

/// `Secret/couchdb-admin`
fn title(object: &Value) -> String {
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The name of a variable, and the source of its value.
fn describe(variable: &Value) -> String {
    let name = text(&variable["name"]);
    if let Some(value) = variable["value"].as_str() {
        return format!("{name} = {value}");
    }
    let reference = &variable["valueFrom"]["secretKeyRef"];
    if reference.is_object() {
        return format!("{name} from key {} of Secret {}", text(&reference["key"]), text(&reference["name"]));
    }
    format!("{name} by reference")
}

fn containers(statefulset: &Value) -> &[Value] {
    list(&statefulset["spec"]["template"]["spec"]["containers"])
}

fn variables(container: &Value) -> &[Value] {
    list(&container["env"])
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn length(value: &Value) -> usize {
    list(value).len()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Stand-ins form a cluster within a few seconds; this leaves time for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Short, so that no step of interest is missed.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
