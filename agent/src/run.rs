//! The loop: observe, decide, act, publish, pause.

use std::time::Duration;

use kube::Config;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{error, info, warn};

use crate::act::{Hand, act};
use crate::couch::Pulse;
use crate::kubernetes::{self, Knowledge, Record};
use crate::observe::observe;
use crate::pace::{GLANCE, is_due, pause};
use crate::ready::readiness;
use crate::settings::{Kubernetes, PodManagement, Size};
use crate::status::{History, Page};
use crate::step::{Api, Observed, Sort, Step, next_step};
use crate::words::Speaker;

/// One agent, ready to go round.
#[derive(Debug)]
pub struct Agent {
    /// What it looks and acts with.
    pub hand: Hand,
    /// The injected size.
    pub size: Option<Size>,
    /// The injected `podManagementPolicy`; the live one wins.
    pub pod_management: PodManagement,
    /// Tells the time for people.
    pub clock: fn() -> String,
    /// From 0 to 1, anew at each call.
    pub jitter: fn() -> f64,
}

/// What the loop keeps between rounds. None of it decides a step: it is for pauses, logs and the page.
struct Memory {
    step: Option<Step>,
    since: String,
    /// How often `step` was decided again in a row.
    repeats: u32,
    /// Since the agent started.
    rounds: u64,
    last_error: Option<String>,
}

impl Agent {
    /// The page before the first round.
    pub fn first_page(&self) -> Page {
        Page::at_start(&self.speaker(), (self.clock)())
    }

    /// Goes round for ever.
    pub async fn run(mut self, kubernetes: Kubernetes, config: Option<Config>, page: watch::Sender<Page>) {
        self.hand.kubernetes = kubernetes::connect(kubernetes, config).await;
        let mut knowledge = kubernetes::follow(self.hand.kubernetes.clone(), &self.hand.directory.me);
        first_word(&mut knowledge).await;
        let mut memory =
            Memory { step: None, since: (self.clock)(), repeats: 0, rounds: 0, last_error: None };
        loop {
            let known = knowledge.borrow_and_update().clone();
            let observed = observe(&self.hand.couch, &self.hand.directory, self.size, &known).await;
            let step = next_step(&observed);
            self.note(&mut memory, &step);
            self.publish(&page, &memory, &observed, &step, &known);
            if is_due(&step, memory.repeats) {
                self.carry_out(&mut memory, &step).await;
                self.publish(&page, &memory, &observed, &step, &known);
            }
            let pause = pause(&step, memory.repeats, observed.peers.len() + 1, (self.jitter)());
            self.rest(&step, pause, &mut knowledge).await;
        }
    }

    /// Logs a step once, when it differs from the last.
    fn note(&self, memory: &mut Memory, step: &Step) {
        memory.rounds += 1;
        if memory.step.as_ref() == Some(step) {
            memory.repeats = memory.repeats.saturating_add(1);
            return;
        }
        memory.since = (self.clock)();
        memory.repeats = 0;
        let words = self.speaker().step(step);
        match step.sort() {
            Sort::Refuse => error!(reason = words.reason, "{}", words.message),
            Sort::Act | Sort::Dial | Sort::Settled | Sort::Wait => {
                info!(reason = words.reason, "{}", words.message)
            }
        }
        memory.step = Some(step.clone());
    }

    async fn carry_out(&self, memory: &mut Memory, step: &Step) {
        match act(&self.hand, step, (self.clock)()).await {
            Ok(()) => memory.last_error = None,
            Err(error) => {
                let chain = chain(&error);
                if memory.last_error.as_ref() != Some(&chain) {
                    warn!("{chain}; looking again");
                }
                memory.last_error = Some(chain);
            }
        }
    }

    fn publish(
        &self,
        page: &watch::Sender<Page>,
        memory: &Memory,
        observed: &Observed,
        step: &Step,
        known: &Knowledge,
    ) {
        let policy = known.set.as_ref().map_or(self.pod_management, |set| set.pod_management);
        let readiness = readiness(observed, step, policy);
        let Memory { since, rounds, last_error, .. } = memory;
        let history = History { since: since.clone(), rounds: *rounds, last_error: last_error.clone() };
        page.send_replace(Page::after(&self.speaker(), observed, step, &readiness, history));
    }

    /// Pauses, but not past a change of the StatefulSet; a settled cluster is glanced at meanwhile.
    async fn rest(&self, step: &Step, pause: Duration, knowledge: &mut watch::Receiver<Knowledge>) {
        let changed = async {
            if knowledge.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let enough = async {
            match step.sort() {
                Sort::Settled => self.until_the_local_node_changes(Instant::now() + pause).await,
                Sort::Act | Sort::Dial | Sort::Refuse | Sort::Wait => sleep(pause).await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = enough => {}
        }
    }

    /// One cheap call every [`GLANCE`] to the local CouchDB: that it answers, is the same process, and whom it reaches.
    async fn until_the_local_node_changes(&self, deadline: Instant) {
        let local = self.hand.directory.local();
        let mut before: Option<(Pulse, Instant)> = None;
        let changed = async {
            loop {
                let Ok(now) = self.hand.couch.pulse(&local).await else { return };
                let at = Instant::now();
                if before.as_ref().is_some_and(|(before, then)| before.is_another_than(&now, at - *then)) {
                    return;
                }
                before = Some((now, at));
                sleep(GLANCE).await;
            }
        };
        // Either way a full round follows.
        let _ = timeout_at(deadline, changed).await;
    }

    fn speaker(&self) -> Speaker<'_> {
        Speaker { me: &self.hand.directory.me, credentials: self.hand.couch.credentials() }
    }
}

/// Gives the API a moment to speak, so that the first round doesn't say that it is silent.
async fn first_word(knowledge: &mut watch::Receiver<Knowledge>) {
    let spoke =
        knowledge.wait_for(|knowledge| knowledge.api != Api::Silent && knowledge.record != Record::Unread);
    // Silent or not, the rounds begin: the agent must show what it sees of CouchDB meanwhile.
    let _ = timeout_at(Instant::now() + FIRST_WORD, spoke).await;
}

/// The whole chain of an error, once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

/// An API server on the same network answers a first list in some 10 ms.
const FIRST_WORD: Duration = Duration::from_secs(3);
