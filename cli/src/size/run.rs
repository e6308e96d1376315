//! The subcommands: their arguments, and the loop of `scale`.

use std::time::{Duration, Instant};

use clap::Args;
use contract::keys;
use contract::moves::NodeState;
use kube::{Client, Config};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::act;
use super::bar::Bar;
use super::error::SizeError;
use super::facts::SizeFacts;
use super::look;
use super::progress::{Progress, list, progress};
use super::step::{Step, next};
use crate::check::Output;
use crate::cluster::{Target, connect};
use crate::terminal;
use crate::time_limit::time_limit;

/// Arguments of `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Name of the StatefulSet; by default all with the label couchdiscover.io/inject
    pub name: Option<String>,
    /// The cluster and the namespace.
    #[command(flatten)]
    pub target: Target,
    /// Number of nodes to plan for; by default the current one
    #[arg(long)]
    pub replicas: Option<u32>,
    /// Format of the result
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Arguments of `scale`.
#[derive(Clone, Debug, Args)]
pub struct ScaleArgs {
    /// Name of the StatefulSet
    pub name: String,
    /// The cluster and the namespace.
    #[command(flatten)]
    pub target: Target,
    /// Number of nodes
    #[arg(long)]
    pub replicas: u32,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub yes: bool,
    /// Give up waiting after this time, such as 90s, 30m or 2h; what has begun goes on
    #[arg(long, value_parser = time_limit)]
    pub timeout: Option<Duration>,
    /// Format of the result on stdout; progress goes to stderr
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Prints the plans of a size. Returns `true` if all of them can be carried out now.
pub async fn plan(config: Config, args: &PlanArgs) -> Result<bool, SizeError> {
    let client = connect(config).await?;
    let namespace = args.target.namespace_or_default(&client);
    let sets = match &args.name {
        Some(name) => vec![(namespace, name.clone())],
        None => look::sets(&client, &namespace).await?,
    };
    if sets.is_empty() {
        return Err(SizeError::NoneLabelled);
    }
    let mut plans = vec![];
    for (namespace, name) in sets {
        let facts = look::facts(&client, &namespace, &name).await?;
        // While nodes are drained, the plan is that of the drain.
        let drained = facts.target.filter(|target| *target < facts.replicas);
        let replicas = args.replicas.or(drained).unwrap_or(facts.replicas);
        plans.push(look::plan(&client, &facts, replicas).await?);
    }
    let text = match args.output {
        Output::Table => plans.iter().map(|plan| plan.to_table()).collect::<Vec<_>>().join("\n"),
        Output::Json => serde_json::to_string_pretty(&plans).unwrap_or_default() + "\n",
    };
    terminal::print(&text)?;
    Ok(plans.iter().all(|plan| plan.is_possible()))
}

/// Changes the size, and waits until that is done. Called again, it goes on where the last call ended.
pub async fn scale(config: Config, args: &ScaleArgs) -> Result<(), SizeError> {
    let client = connect(config).await?;
    let namespace = args.target.namespace_or_default(&client);
    // From now on Ctrl-C does not end the program: it is answered between two calls, so that none is cut off.
    let interrupts = signal(SignalKind::interrupt())?;
    let mut scaling = Scaling { client, args, namespace, interrupts };
    let mut bar = Bar::new();
    let result = scaling.run(&mut bar).await;
    bar.clear();
    result?;
    if args.output == Output::Json {
        let result = json!({ "namespace": scaling.namespace, "name": args.name, "replicas": args.replicas, "done": true });
        terminal::print(&format!("{result:#}\n"))?;
    }
    Ok(())
}

/// One call of `scale`.
struct Scaling<'a> {
    client: Client,
    args: &'a ScaleArgs,
    namespace: String,
    interrupts: Signal,
}

impl Scaling<'_> {
    async fn run(&mut self, bar: &mut Bar) -> Result<(), SizeError> {
        let begun = Instant::now();
        let mut facts = self.look().await?;
        let mut is_confirmed = self.args.yes;
        let mut failures = 0;
        loop {
            let step = next(&facts, self.args.replicas);
            if step == Step::Done {
                bar.line(&format!("'{}' has {} nodes", facts.name, self.args.replicas));
                return Ok(());
            }
            match progress(&facts, &step, self.args.replicas) {
                None => self.act(&facts, &step, &mut is_confirmed, bar).await?,
                Some(progress) => {
                    bar.show(&progress);
                    self.pause(&progress, begun).await?;
                }
            }
            // A drain takes hours: an API server that does not answer for a moment must not end it.
            match self.look().await {
                Ok(found) => (facts, failures) = (found, 0),
                Err(error) if failures >= MOST_FAILURES => return Err(error),
                Err(error) => {
                    failures += 1;
                    bar.show(&Progress { text: format!("{error}: trying again"), copies: None });
                    sleep(BETWEEN_LOOKS).await;
                }
            }
        }
    }

    async fn look(&self) -> Result<SizeFacts, SizeError> {
        look::facts(&self.client, &self.namespace, &self.args.name).await
    }

    async fn act(
        &mut self,
        facts: &SizeFacts,
        step: &Step,
        is_confirmed: &mut bool,
        bar: &Bar,
    ) -> Result<(), SizeError> {
        let wanted = self.args.replicas;
        match step {
            Step::RemoveTarget => {
                act::set_target(&self.client, facts, None).await?;
                bar.line(&removed_target(facts, wanted));
            }
            Step::SetTarget { pods } => {
                let plan = look::plan(&self.client, facts, wanted).await?;
                bar.line(&plan.to_table());
                if !plan.is_possible() {
                    let reasons = plan.plan.refused;
                    return Err(SizeError::Refused { name: facts.name.clone(), reasons });
                }
                self.confirm(is_confirmed, &format!("The drain of {}", list(pods))).await?;
                act::set_target(&self.client, facts, Some(wanted)).await?;
                bar.line(&format!("{} is {wanted}: the agents drain {}", keys::TARGET_SIZE, list(pods)));
            }
            Step::SetReplicas => {
                if wanted < facts.replicas && facts.target != Some(wanted) {
                    // Nothing was confirmed by a plan: all nodes stop, or there is no cluster yet.
                    let pods = list(&facts.pods_between(wanted, facts.replicas));
                    self.confirm(is_confirmed, &format!("The end of {pods}")).await?;
                }
                act::set_replicas(&self.client, facts, wanted).await?;
                bar.line(&format!("replicas of '{}': {} -> {wanted}", facts.name, facts.replicas));
            }
            Step::Done
            | Step::WaitForDrain { .. }
            | Step::WaitForEnd { .. }
            | Step::WaitForRemoval { .. }
            | Step::WaitForPods { .. } => {}
        }
        Ok(())
    }

    /// Asks for consent, once.
    async fn confirm(&mut self, is_confirmed: &mut bool, question: &str) -> Result<(), SizeError> {
        if *is_confirmed {
            return Ok(());
        }
        if !terminal::ask(question) {
            return Err(SizeError::NoTerminal { question: question.to_owned() });
        }
        let (sender, answer) = oneshot::channel();
        // A thread of its own, which ends with the program: reading a terminal cannot be stopped.
        std::thread::spawn(move || {
            let _ = sender.send(terminal::read_consent());
        });
        let consents = tokio::select! {
            answer = answer => answer.map_err(|_| SizeError::Declined)??,
            _ = self.interrupts.recv() => return Err(SizeError::Declined),
        };
        if !consents {
            return Err(SizeError::Declined);
        }
        *is_confirmed = true;
        Ok(())
    }

    /// Waits for the next look, unless the user interrupts or the time is over. What has begun goes on without this program.
    async fn pause(&mut self, progress: &Progress, begun: Instant) -> Result<(), SizeError> {
        let state = progress.text.clone();
        if let Some(limit) = self.args.timeout.filter(|limit| begun.elapsed() >= *limit) {
            return Err(SizeError::TimedOut { limit, state, resume: self.resume() });
        }
        tokio::select! {
            () = sleep(BETWEEN_LOOKS) => Ok(()),
            _ = self.interrupts.recv() => Err(SizeError::Interrupted { state, resume: self.resume() }),
        }
    }

    /// The commands that continue and cancel.
    fn resume(&self) -> String {
        let Self { args: ScaleArgs { name, replicas, .. }, namespace, .. } = self;
        format!(
            "The agents go on. To watch and finish: couchdiscover scale {name} -n {namespace} --replicas {replicas}. To \
             cancel: kubectl -n {namespace} annotate statefulset {name} {}-",
            keys::TARGET_SIZE
        )
    }
}

/// The message after the removal of the target size: which volumes may be deleted, or that a drain was cancelled.
fn removed_target(facts: &SizeFacts, wanted: u32) -> String {
    if facts.replicas != wanted || facts.target != Some(wanted) {
        return format!("{} was removed: no node of '{}' is drained any more", keys::TARGET_SIZE, facts.name);
    }
    let mut claims = vec![];
    for node in facts.recorded_beyond(wanted) {
        if facts.state(&node) == NodeState::Removed {
            claims.extend(facts.claims.iter().map(|claim| format!("{claim}-{node}")));
        }
    }
    if claims.is_empty() {
        return format!("{} was removed", keys::TARGET_SIZE);
    }
    format!(
        "the volumes of the removed nodes are not needed any more, and must be deleted before these nodes come back: kubectl \
         -n {} delete pvc {}",
        facts.namespace,
        claims.join(" ")
    )
}

/// Agents change their page several times a second while they work.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// About 10 minutes, the calls' own time not counted.
const MOST_FAILURES: u32 = 300;
