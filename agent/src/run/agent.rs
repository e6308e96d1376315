//! The loop: observe, decide, explain, publish, act, pause.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_core::decide::{Decision, Step, StepKind, decide, is_due, pause, untried_release};
use agent_core::explain::{
    ExplainedDecision, Explainer, Explanation, when_condition_begins, when_condition_ends, when_done,
    when_entered,
};
use agent_core::facts::{ApiState, KnownRecord, Observed};
use contract::error::chain;
use contract::ini::lost_part;
use contract::status::Page;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::memory::Memory;
use super::rest::{Resting, Seen, rest};
use crate::act::{ActError, Actor, PlanInputs, act};
use crate::couch::tls::Trust;
use crate::credentials::Resolver;
use crate::kubernetes::Knowledge;
use crate::kubernetes::events::EventSender;
use crate::metrics::{Metrics, StepOutcome};
use crate::observe::{Inputs, Moves, Observer};
use crate::publish::page::{self, History, Round};
use crate::publish::termination::TerminationLog;
use crate::settings::{Pod, PodManagement, Size};

/// An agent that can begin its rounds.
#[derive(Debug)]
pub(super) struct Agent {
    /// Carries steps out.
    pub(super) actor: Actor,
    /// The certificate authorities for CouchDB.
    pub(super) trust: Trust,
    /// The last known state of Kubernetes.
    pub(super) knowledge: watch::Receiver<Knowledge>,
    /// The source of credentials that were not injected: it may have changed when CouchDB rejects them.
    pub(super) resolver: Option<Resolver>,
    pub(super) events: EventSender,
    pub(super) outputs: Outputs,
    /// The pod's own description.
    pub(super) pod: Pod,
    /// The injected size.
    pub(super) size: Option<Size>,
    /// The injected `podManagementPolicy`; that of the live StatefulSet precedes it.
    pub(super) pod_management: PodManagement,
    /// The current time, RFC 3339.
    pub(super) clock: fn() -> String,
    /// A new random number from 0 to 1 at each call.
    pub(super) jitter: fn() -> f64,
}

/// The places where the agent's state is visible.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) page: watch::Sender<Page>,
    /// The inputs of plans of moves.
    pub(super) plans: watch::Sender<Option<PlanInputs>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) termination: TerminationLog,
}

impl Agent {
    /// Runs rounds until the future is dropped. Every call is harmless to repeat.
    pub(super) async fn run(mut self, mut observer: Observer) {
        let mut knowledge = self.knowledge.clone();
        until_kubernetes_reports(&mut knowledge).await;
        let mut memory = Memory::new((self.clock)());
        loop {
            let known = knowledge.borrow_and_update().clone();
            let moves_ended = self.actor.moves_ended.load(Ordering::Relaxed);
            let moves = Moves { ended: moves_ended, paused: self.actor.moves_paused().await };
            let inputs = Inputs { stalled: self.actor.stalled().await, moves, ..self.inputs(&known) };
            let observed = observer.observe(inputs, memory.step.as_ref()).await;
            if self.replace_rejected_credentials(&mut memory, &observed).await
                || self.replace_untrusted_authorities(&mut memory, &observed)
            {
                continue;
            }
            let policy = known.set.as_ref().map_or(self.pod_management, |set| set.pod_management);
            let decision = decide(&observed, policy);
            if decision.step == Step::Settled {
                self.actor.forget_moves().await;
            }
            let explained = self.explain(&observer, &observed, &decision);
            self.report(&mut memory, &decision, &explained);
            self.report_conditions(&mut memory, &observed, &explained);
            let round = Round { observed: &observed, decision: &decision, explained: &explained };
            self.outputs.plans.send_replace(self.plan_inputs(&observer, &observed, &decision, &explained));
            // Before the step as well as after it: a change may take CouchDB several seconds.
            self.publish(&observer, &memory, round).await;
            if is_due(&decision.step, memory.repeats) {
                self.act(&observer, &mut memory, &decision.step, &explained).await;
                self.publish(&observer, &memory, round).await;
            }
            self.record_copies(&mut observer, &decision).await;
            let pause = pause(&decision.step, memory.repeats, observed.peers.len() + 1, (self.jitter)());
            let members = observer.directory().member_names(&observed);
            let local = observed.local.as_ref().ok();
            let databases = local.map(|node| node.system.keys().copied().collect()).unwrap_or_default();
            let connected = observer.directory().connected_names(&observed);
            let seen = Seen { up: observed.up, members, connected, databases };
            let resting = Resting { step: &decision.step, seen, pause };
            rest(&self.actor.couch, observer.directory(), resting, &mut knowledge).await;
        }
    }

    fn inputs<'a>(&'a self, knowledge: &'a Knowledge) -> Inputs<'a> {
        Inputs {
            size: self.size,
            pod: &self.pod,
            knowledge,
            claim: self.actor.claim.as_ref(),
            stalled: None,
            moves: Moves::default(),
            now: (self.clock)(),
        }
    }

    fn explain(&self, observer: &Observer, observed: &Observed, decision: &Decision) -> ExplainedDecision {
        let credentials = self.actor.couch.credentials();
        let directory = observer.directory();
        let explainer = Explainer {
            me: &directory.me,
            naming: &directory.naming,
            user: &credentials.user,
            credentials_source: &credentials.source,
            lost_part: lost_part(credentials.password.reveal()),
            couchdb_url: directory.local(),
        };
        explainer.decision(observed, decision)
    }

    /// The inputs of a plan of moves. Any step but a move comes before moves.
    fn plan_inputs(
        &self,
        observer: &Observer,
        observed: &Observed,
        decision: &Decision,
        explained: &ExplainedDecision,
    ) -> Option<PlanInputs> {
        let may_move =
            matches!(decision.step, Step::Settled | Step::Move { .. } | Step::TakeLease | Step::ReleaseLease);
        Some(PlanInputs {
            couch: Arc::clone(&self.actor.couch),
            directory: observer.directory().clone(),
            members: observed.local.as_ref().ok()?.members.clone(),
            start: observed.expected.first().copied().unwrap_or_default(),
            hindrance: if may_move {
                untried_release(observed).map(|pause| pause.to_string())
            } else {
                Some(explained.step.message.clone())
            },
            readers_stay: self.actor.readers_stay,
        })
    }

    /// Logs, counts and announces a step when it differs from that of the last round.
    fn report(&self, memory: &mut Memory, decision: &Decision, explained: &ExplainedDecision) {
        let step = &decision.step;
        if *step == Step::Settled {
            self.outputs.metrics.settled((self.clock)());
        }
        if !memory.begin(decision, self.clock) {
            return;
        }
        let explanation = &explained.step;
        if step.kind() == StepKind::Refuse {
            self.outputs.metrics.refused(explanation.reason);
            self.outputs.termination.write_line(&format!("{}: {}", explanation.reason, explanation.message));
            error!(reason = explanation.reason, "{}", explanation.message);
        } else {
            info!(reason = explanation.reason, "{}", explanation.message);
        }
        self.events.send(when_entered(step, explanation, memory.joined));
        memory.joined &= *step != Step::Settled;
    }

    /// Logs and announces conditions that begin, change or end.
    fn report_conditions(&self, memory: &mut Memory, observed: &Observed, explained: &ExplainedDecision) {
        let explanations = explained.conditions.iter().map(|condition| &condition.explanation);
        for explanation in explanations.clone() {
            let Explanation { reason, message, .. } = explanation;
            if memory.conditions.get(reason) != Some(message) {
                warn!(reason, "{message}");
                self.events.send(Some(when_condition_begins(explanation)));
                memory.conditions.insert(*reason, message.clone());
            }
        }
        // Without the answers of the local node it is unknown which have ended.
        if observed.local.is_err() {
            return;
        }
        let current: BTreeSet<&str> = explanations.map(|explanation| explanation.reason).collect();
        for reason in memory.conditions.keys().filter(|reason| !current.contains(*reason)) {
            info!(reason, "the condition is over");
            self.events.send(Some(when_condition_ends(reason)));
        }
        memory.conditions.retain(|reason, _| current.contains(reason));
    }

    async fn act(
        &self,
        observer: &Observer,
        memory: &mut Memory,
        step: &Step,
        explained: &ExplainedDecision,
    ) {
        let result = act(&self.actor, observer.directory(), step, (self.clock)()).await;
        // A step that takes several rounds has not failed.
        let advances = matches!(result, Ok(()) | Err(ActError::NotYet(_)));
        let outcome = if advances { StepOutcome::Done } else { StepOutcome::Failed };
        self.outputs.metrics.stepped(explained.step.reason, outcome);
        match result {
            Ok(()) => {
                (memory.last_error, memory.progress) = (None, None);
                memory.joined |= matches!(step, Step::Join(_));
                if let Step::Adopt(_) = step {
                    self.outputs.metrics.healed();
                }
                self.events.send(when_done(step, &explained.step));
            }
            Err(ActError::NotYet(progress)) => memory.progress = Some(progress.to_string()),
            Err(error) => {
                let line = chain(&error);
                // The same failure in every round would fill the log.
                if memory.last_error.as_ref() != Some(&line) {
                    warn!(error = line, "step failed; observing again");
                    self.outputs.termination.write_line(&line);
                }
                memory.last_error = Some(line);
            }
        }
    }

    /// Writes the copies on each node into the record on the Lease, if the round has decided it.
    async fn record_copies(&self, observer: &mut Observer, decision: &Decision) {
        // Counts of before a move would replace those of the move.
        if matches!(decision.step, Step::Move { .. }) {
            observer.forget_copies();
        }
        let Some(copies) = &decision.record else { return };
        match self.actor.record_copies(observer.directory(), copies).await {
            Ok(true) => observer.copies_recorded(),
            // The next round decides by what the Lease contains then.
            Ok(false) => {}
            Err(error) => {
                warn!(error = chain(&error), "failed to record the copies");
                observer.forget_copies();
            }
        }
    }

    async fn publish(&self, observer: &Observer, memory: &Memory, round: Round<'_>) {
        let history = History {
            since: memory.since.clone(),
            rounds: memory.rounds,
            last_error: memory.last_error.clone(),
            progress: memory.progress.clone(),
            moves: self.actor.moves(observer.directory()).await,
        };
        let admin = page::admin(&self.actor.couch.credentials());
        let page = page::after(observer.directory(), round, admin, history);
        self.outputs.page.send_replace(page);
    }
}

/// Waits for the first answer of Kubernetes, so that the first round does not report an API that is silent.
async fn until_kubernetes_reports(knowledge: &mut watch::Receiver<Knowledge>) {
    let reported = knowledge
        .wait_for(|knowledge| knowledge.api != ApiState::Silent && knowledge.record != KnownRecord::Unread);
    // The rounds begin in any case: the state of CouchDB must be visible without Kubernetes too.
    let _ = timeout(FIRST_ANSWER_WITHIN, reported).await;
}

/// An API server on the same network answers a first list within about 10 ms.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(3);
