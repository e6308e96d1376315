//! The whole path, told to a person: a labelled StatefulSet, the real webhook, real agents, a formed cluster.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use sandbox::couchdb::{CallFilter, Clock};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::control_plane::{Applied, ControlPlane, ControlPlaneError};
use crate::manifest::{self, ManifestError};
use crate::stage::Stage;

/// What is played.
#[derive(Clone, Debug)]
pub struct Play {
    /// What the user applies.
    pub manifest: String,
    /// What the user's file is called.
    pub title: String,
    /// So many nodes instead of the manifest's.
    pub nodes: Option<usize>,
    /// Afterwards this node loses its volume.
    pub wipe: Option<usize>,
}

/// Why a story had no good end.
#[derive(Debug, Error)]
pub enum StoryError {
    /// The control plane didn't start, or refused the manifest.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// The manifest can't be played.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// What was stored before can't be read through the node that came back.
    #[error("what was stored before the volume was lost can't be read any more")]
    DataLost,
    /// The cluster was founded a second time.
    #[error("the cluster was founded {0} times")]
    FoundedAgain(usize),
    /// The webhook left the StatefulSet as it was.
    #[error(
        "the webhook did not inject the StatefulSet: has it the label '{}: {}'?",
        contract::keys::INJECT,
        contract::keys::INJECT_ENABLED
    )]
    NotInjected,
    /// The agents say that all is well, and the nodes don't.
    #[error("not every node confirms it")]
    NotProven,
    /// It took too long.
    #[error("the cluster was not formed within {} s", .0.as_secs())]
    TooLong(Duration),
    /// There is no such node to wipe, or no other to take it back.
    #[error(
        "can't wipe node {wipe} of {nodes}: it takes one that is there, and another one that holds a copy"
    )]
    Wipe {
        /// Which was to be wiped.
        wipe: usize,
        /// How many there are.
        nodes: usize,
    },
    /// The story can't be written down.
    #[error("failed to write")]
    Write(#[from] io::Error),
}

/// Plays it and writes the story down as it goes.
pub async fn tell(play: &Play, out: &mut impl io::Write) -> Result<(), StoryError> {
    let mut narrator = Narrator { out, start: Instant::now(), told: BTreeMap::new() };
    narrator.line("couchdiscover: a labelled StatefulSet becomes a CouchDB cluster")?;
    let control_plane = deploy(&mut narrator).await?;
    let (statefulset, secrets) = apply(&mut narrator, &control_plane, play).await?;
    let mut stage = start_pods(&mut narrator, &control_plane, &statefulset, secrets).await?;
    prove(&mut narrator, &stage).await?;
    if let Some(wipe) = play.wipe {
        lose_a_volume(&mut narrator, &mut stage, wipe).await?;
        prove(&mut narrator, &stage).await?;
    }
    Ok(())
}

async fn deploy<W: io::Write>(narrator: &mut Narrator<'_, W>) -> Result<ControlPlane, StoryError> {
    narrator.chapter("A cluster admin deploys the webhook")?;
    let control_plane = ControlPlane::deployed().await?;
    narrator.line(&format!("   it serves {}", control_plane.webhook))?;
    narrator.line(
        "   it has made a certificate authority and published it in the MutatingWebhookConfiguration;",
    )?;
    narrator.line("   only labelled StatefulSets are sent to it")?;
    Ok(control_plane)
}

/// Returns the StatefulSet as it is stored, and the Secrets that its pods refer to.
async fn apply<W: io::Write>(
    narrator: &mut Narrator<'_, W>,
    control_plane: &ControlPlane,
    play: &Play,
) -> Result<(Value, Vec<Value>), StoryError> {
    narrator.chapter(&format!("A user applies {}", play.title))?;
    let mut injected = None;
    for mut object in manifest::objects(&play.manifest)? {
        let is_statefulset = object["kind"] == "StatefulSet";
        if let (true, Some(nodes)) = (is_statefulset, play.nodes) {
            object["spec"]["replicas"] = json!(nodes);
        }
        let Applied { stored, warnings } = control_plane.create(&object).await?;
        for warning in warnings {
            narrator.line(&format!("   Warning: {warning}"))?;
        }
        narrator.line(&format!("   {} created", title(&stored)))?;
        if is_statefulset {
            narrator.tell_injection(&object, &stored)?;
            injected = Some(stored);
        }
    }
    let statefulset = injected.ok_or(ManifestError::NoStatefulSet)?;
    if statefulset["spec"]["template"]["metadata"]["annotations"][contract::keys::INJECTED].is_null() {
        return Err(StoryError::NotInjected);
    }
    let [secret, binding] = control_plane.provided(&statefulset).await;
    narrator.line(&format!(
        "   {} created by the webhook: a random Erlang cookie and session secret",
        title(&secret)
    ))?;
    narrator.line(&format!("   {} created by the webhook: what its agents may do", title(&binding)))?;
    Ok((statefulset, control_plane.api.list("v1", "secrets")))
}

async fn start_pods<W: io::Write>(
    narrator: &mut Narrator<'_, W>,
    control_plane: &ControlPlane,
    statefulset: &Value,
    secrets: Vec<Value>,
) -> Result<Stage, StoryError> {
    let pods = manifest::pods(statefulset, secrets)?;
    let ordered = statefulset["spec"]["podManagementPolicy"] != "Parallel";
    let order = if ordered { "one after the other" } else { "all at once" };
    narrator.chapter(&format!("Kubernetes starts {} pod(s), {order}", pods.len()))?;
    narrator.line("   (each one's CouchDB is a stand-in, each one's agent is real)")?;
    let mut stage = Stage::of(pods, Clock::real(), Some(control_plane.client_config()), |settings| settings);
    if !ordered {
        stage.start_agents(stage.ordinals()).await;
        return Ok(stage);
    }
    stage.ordinals().for_each(|i| stage.node(i).kill());
    for i in stage.ordinals() {
        // It ran with these settings before it was stopped.
        stage.node(i).start().map_err(|_| StoryError::NotProven)?;
        stage.start_agent(i).await;
        narrator.follow(&stage, &|status| status[i]["ready"] == true).await?;
    }
    Ok(stage)
}

/// Follows the agents until each of them says so, then asks the nodes.
async fn prove<W: io::Write>(narrator: &mut Narrator<'_, W>, stage: &Stage) -> Result<(), StoryError> {
    narrator.follow(stage, &|statuses| statuses.iter().all(settled)).await?;
    narrator.chapter("What the nodes themselves say")?;
    let mut whole = true;
    narrator.line("   node                 lists  reaches  databases  copies of _users")?;
    for i in stage.ordinals() {
        let (row, complete) = row(stage, i).await;
        whole &= complete;
        narrator.line(&row)?;
    }
    let founded = foundings(stage);
    match (whole, founded) {
        (true, 1) => Ok(narrator.line("   one cluster, founded once, and every node confirms it")?),
        (true, again) => Err(StoryError::FoundedAgain(again)),
        (false, _) => Err(StoryError::NotProven),
    }
}

async fn lose_a_volume<W: io::Write>(
    narrator: &mut Narrator<'_, W>,
    stage: &mut Stage,
    wipe: usize,
) -> Result<(), StoryError> {
    let nodes = stage.ordinals().len();
    if wipe >= nodes || nodes == 1 {
        return Err(StoryError::Wipe { wipe, nodes });
    }
    let keeper = (wipe + 1) % nodes;
    for path in ["/orders", "/orders/1"] {
        stage.tell_node(keeper, path, &json!({ "item": "sofa" })).await;
    }
    narrator.chapter(&format!("{} loses its volume and comes back empty", stage.name(wipe)))?;
    stage.kill_agent(wipe).await;
    stage.node(wipe).wipe();
    stage.node(wipe).start().map_err(|_| StoryError::NotProven)?;
    stage.start_agent(wipe).await;
    narrator.told.remove(&wipe);
    narrator.follow(stage, &|statuses| statuses.iter().all(settled)).await?;
    if stage.ask_node(wipe, "/orders/1").await["item"] != "sofa" {
        return Err(StoryError::DataLost);
    }
    Ok(narrator
        .line(&format!("          {} serves what was stored before: nothing is lost", stage.name(wipe)))?)
}

fn settled(status: &Value) -> bool {
    status["step"]["reason"] == "Settled" && status["ready"] == true
}

/// A line of the final table, and whether the node sees everybody.
async fn row(stage: &Stage, i: usize) -> (String, bool) {
    let all = stage.ordinals().len();
    let membership = stage.ask_node(i, "/_membership").await;
    let databases = stage.ask_node(i, "/_node/_local/_dbs/_all_docs").await;
    let shards = stage.ask_node(i, "/_users/_shards").await;
    let count = |list: &Value| list.as_array().map_or(0, Vec::len);
    let (lists, reaches) = (count(&membership["cluster_nodes"]), count(&membership["all_nodes"]));
    let copies =
        shards["shards"].as_object().and_then(|ranges| ranges.values().map(count).min()).unwrap_or(0);
    let rows = databases["total_rows"].as_u64().unwrap_or(0);
    let whole = lists == all && reaches == all && copies == all.min(3) && rows >= 2;
    (
        format!("   {:<20} {lists}/{all}    {reaches}/{all}      {rows}          {copies}", stage.name(i)),
        whole,
    )
}

fn foundings(stage: &Stage) -> usize {
    let calls = stage.net.calls_of(&CallFilter::all().writes().below("/_cluster_setup"));
    calls.iter().filter(|call| call.status == Some(201)).count()
}

/// Writes the story down, with the seconds since it began.
struct Narrator<'o, W> {
    out: &'o mut W,
    start: Instant,
    /// What each agent was last heard to do.
    told: BTreeMap<usize, Value>,
}

impl<W: io::Write> Narrator<'_, W> {
    fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    fn chapter(&mut self, text: &str) -> io::Result<()> {
        let text = format!("\n{:6.2} s  {text}", self.start.elapsed().as_secs_f64());
        self.line(&text)
    }

    /// What the stored StatefulSet has that the applied one had not.
    fn tell_injection(&mut self, applied: &Value, stored: &Value) -> io::Result<()> {
        let containers = |set: &Value| {
            set["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default()
        };
        let before = containers(applied);
        self.line("   and on its way the webhook injected:")?;
        for container in containers(stored) {
            let name = container["name"].as_str().unwrap_or_default();
            let Some(old) = before.iter().find(|old| old["name"] == name) else {
                let image = container["image"].as_str().unwrap_or_default();
                self.line(&format!("     container {name}, image {image}"))?;
                continue;
            };
            let had = old["env"].as_array().cloned().unwrap_or_default();
            let added = container["env"].as_array().into_iter().flatten();
            for variable in added.filter(|variable| had.iter().all(|had| had["name"] != variable["name"])) {
                self.line(&format!("     container {name}: {}", describe(variable)))?;
            }
        }
        Ok(())
    }

    /// Tells each change of each agent, until `done` of all their pages.
    async fn follow(&mut self, stage: &Stage, done: &dyn Fn(&[Value]) -> bool) -> Result<(), StoryError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut statuses = vec![];
            for i in stage.running() {
                let status = stage.status(i).await;
                self.tell_change(stage, i, &status)?;
                statuses.push(status);
            }
            if done(&statuses) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(StoryError::TooLong(PATIENCE));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn tell_change(&mut self, stage: &Stage, i: usize, status: &Value) -> io::Result<()> {
        let step = &status["step"];
        if self.told.get(&i) == Some(step) || step["reason"] == "FirstLook" {
            return Ok(());
        }
        self.told.insert(i, step.clone());
        let (seconds, message) =
            (self.start.elapsed().as_secs_f64(), step["message"].as_str().unwrap_or_default());
        let text = format!("{seconds:6.2} s  {}: {message}", stage.name(i));
        self.line(&text)
    }
}

/// `Secret/couchdb-admin`
fn title(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}/{}", word(&object["kind"]), word(&object["metadata"]["name"]))
}

/// A variable and where its value comes from.
fn describe(variable: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut text = word(&variable["name"]);
    let reference = &variable["valueFrom"]["secretKeyRef"];
    let _ = match (variable["value"].as_str(), reference.is_object()) {
        (Some(value), _) => write!(text, " = {value}"),
        (None, true) => {
            write!(text, " from key {} of Secret {}", word(&reference["key"]), word(&reference["name"]))
        }
        (None, false) => write!(text, " by reference"),
    };
    text
}

/// A cluster of stand-ins is formed in a few seconds; this is for a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);
/// Often enough to miss no step that a person would like to read.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
