//! The subcommands: look, choose a pod, propose, ask, carry out.

use std::io;

use clap::Args;
use contract::keys;
use contract::moves::NodeState;
use inject::guard::Evidence;
use kube::{Client, Config};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::answer::Answer;
use super::choose::{member_for, pod, pod_that_lists, set_of};
use super::error::RepairError;
use super::exec::Exec;
use crate::check::Output;
use crate::cluster::{PodFacts, Target, connect, evidence, get, labelled, pods, stateful_sets, string};
use crate::terminal::{self, note};

/// Arguments of `open`.
#[derive(Clone, Debug, Args)]
pub(crate) struct OpenArgs {
    /// Name of the pod
    pod: String,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `readmit`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReadmitArgs {
    /// Name of the pod
    pod: String,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `forget`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Erlang name of the node, such as nonode@nohost; may be percent-encoded
    node: String,
    /// Name of the StatefulSet; by default the one whose agents report the name
    #[arg(long)]
    set: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Arguments of all repairs.
#[derive(Clone, Debug, Args)]
struct Common {
    #[command(flatten)]
    target: Target,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
    /// Format of the result
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl OpenArgs {
    pub(crate) fn target(&self) -> &Target {
        &self.common.target
    }
}

impl ReadmitArgs {
    pub(crate) fn target(&self) -> &Target {
        &self.common.target
    }
}

impl ForgetArgs {
    pub(crate) fn target(&self) -> &Target {
        &self.common.target
    }
}

/// Puts the node of a pod into service again.
pub(crate) async fn open(config: Config, args: &OpenArgs) -> Result<(), RepairError> {
    let found = Found::of(config, &args.common.target, set_of(&args.pod)?).await?;
    let pod = pod(&found.pods, &args.pod)?;
    carry_out(&found.exec(pod, &args.common, "open", None), &args.common)
}

/// Lists the node of a pod as a member again.
pub(crate) async fn readmit(config: Config, args: &ReadmitArgs) -> Result<(), RepairError> {
    let found = Found::of(config, &args.common.target, set_of(&args.pod)?).await?;
    let (member, node) = member_for(&found.pods, &args.pod, found.recorded(&args.pod).await?)?;
    carry_out(&found.exec(member, &args.common, "readmit", Some(node)), &args.common)
}

/// Removes a name that belongs to no pod from `_nodes`.
pub(crate) async fn forget(config: Config, args: &ForgetArgs) -> Result<(), RepairError> {
    // As messages contain it, so that no shell interprets a part of it.
    let node = percent_decode_str(&args.node).decode_utf8_lossy().into_owned();
    let client = connect(config).await?;
    let namespace = args.common.target.namespace_or_default(&client);
    let sets = match &args.set {
        Some(set) => vec![set.clone()],
        None => sets(&client, &namespace).await?,
    };
    for set in sets {
        let found = Found::read(client.clone(), &namespace, &set).await?;
        // Beyond the first 32 an agent does not name them, so a StatefulSet that is given is believed.
        let any = || found.pods.iter().find(|pod| pod.has_agent && pod.page.is_some());
        let named = args.set.as_ref().and_then(|_| any());
        if let Some(pod) = pod_that_lists(&found.pods, &node).or(named) {
            return carry_out(
                &found.exec(pod, &args.common, "forget", Some(args.node.clone())),
                &args.common,
            );
        }
    }
    Err(RepairError::Unreported { name: node })
}

/// A StatefulSet with its pods.
struct Found {
    client: Client,
    namespace: String,
    set: String,
    pods: Vec<PodFacts>,
}

impl Found {
    async fn of(config: Config, target: &Target, set: &str) -> Result<Self, RepairError> {
        let client = connect(config).await?;
        let namespace = target.namespace_or_default(&client);
        Self::read(client, &namespace, set).await
    }

    async fn read(client: Client, namespace: &str, set: &str) -> Result<Self, RepairError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| RepairError::Read {
            what: format!("{what} '{set}'"),
            reason: error.to_string(),
        };
        let stored = get(&client, &stateful_sets(Some(namespace)), set).await;
        let Some(stored) = stored.map_err(|error| failed("StatefulSet", &error))? else {
            return Err(RepairError::NotFound { namespace: namespace.to_owned(), name: set.to_owned() });
        };
        let pods =
            pods(&client, namespace, set, &stored).await.map_err(|error| failed("the pods of", &error))?;
        Ok(Self { client, namespace: namespace.to_owned(), set: set.to_owned(), pods })
    }

    /// The state of a node by the record of drained nodes on the Lease.
    async fn recorded(&self, pod: &str) -> Result<NodeState, RepairError> {
        let evidence = evidence(&self.client, &self.namespace, &self.set).await;
        let evidence = evidence.map_err(|error| RepairError::Read {
            what: format!("the Lease of '{}'", self.set),
            reason: error.to_string(),
        })?;
        Ok(match evidence {
            Evidence::Recorded(record) => record.state(pod),
            Evidence::NeverFormed | Evidence::NotRecorded | Evidence::Unknown(_) => NodeState::Unknown,
        })
    }

    fn exec(&self, pod: &PodFacts, common: &Common, verb: &'static str, name: Option<String>) -> Exec {
        let context = common.target.context.clone();
        Exec { context, namespace: self.namespace.clone(), pod: pod.name.clone(), verb, name }
    }
}

async fn sets(client: &Client, namespace: &str) -> Result<Vec<String>, RepairError> {
    let found = labelled(client, Some(namespace)).await;
    let found = found.map_err(|error| RepairError::Read {
        what: format!("the StatefulSets with the label {}", keys::INJECT),
        reason: error.to_string(),
    })?;
    Ok(found.iter().map(|stored: &Value| string(&stored["metadata"]["name"])).collect())
}

/// Shows the proposal, asks for consent, and carries it out.
fn carry_out(exec: &Exec, common: &Common) -> Result<(), RepairError> {
    let output = exec.run(false)?;
    let Some(answer) = Answer::parse(&output) else {
        return Err(RepairError::OldAgent { pod: exec.pod.clone() });
    };
    if common.output == Output::Table {
        show(&answer)?;
    }
    let Some(loss) = &answer.loss else { return finish(exec, common, &answer, false) };
    if !common.yes {
        // With JSON on stdout, the question must still name the risk.
        if common.output == Output::Json {
            note(&format!("May be lost: {loss}"));
        }
        confirm(&format!("{} through pod '{}'", exec.verb, exec.pod))?;
    }
    exec.run(true)?;
    finish(exec, common, &answer, true)
}

fn show(answer: &Answer) -> io::Result<()> {
    let Answer { state, change, loss } = answer;
    let mut lines = vec![format!("State:       {state}"), format!("Change:      {change}")];
    lines.extend(loss.iter().map(|loss| format!("May be lost: {loss}")));
    let lines: String = lines.iter().map(|line| format!("{}\n", terminal::shown(line))).collect();
    terminal::print(&lines)
}

fn finish(exec: &Exec, common: &Common, answer: &Answer, done: bool) -> Result<(), RepairError> {
    let text = match common.output {
        Output::Table if done => "Done. To see the result: couchdiscover status\n".to_owned(),
        Output::Table => return Ok(()),
        Output::Json => {
            let Answer { state, change, loss } = answer;
            let result = json!({
                "verb": exec.verb, "namespace": exec.namespace, "pod": exec.pod, "node": exec.name,
                "state": state, "change": change, "loss": loss, "done": done,
            });
            format!("{result:#}\n")
        }
    };
    Ok(terminal::print(&text)?)
}

fn confirm(question: &str) -> Result<(), RepairError> {
    if !terminal::ask(question) {
        return Err(RepairError::NoTerminal);
    }
    if terminal::read_consent()? { Ok(()) } else { Err(RepairError::Declined) }
}
