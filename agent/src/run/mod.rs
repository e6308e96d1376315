//! The loop: observe, decide, act, publish, pause.

mod memory;
pub mod start;

use std::sync::Arc;
use std::time::Duration;

use agent_core::decide::{
    GLANCE, Step, StepKind, WaitFor, is_due, next_step, pause, readiness, until_asked_again,
};
use agent_core::explain::{Explainer, Explanation, when_done, when_entered};
use agent_core::facts::{ApiState, KnownRecord, Node, Observed, Unseen};
use contract::PodFqdn;
use contract::error::chain;
use contract::status::Page;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, error, info, warn};

use crate::act::{ActError, Hand, act};
use crate::couch::Pulse;
use crate::couch::tls::Trust;
use crate::credentials::{ResolveError, Resolver};
use crate::kubernetes::Knowledge;
use crate::kubernetes::events::Herald;
use crate::metrics::Metrics;
use crate::observe::restart::{Vigil, until_it_listens};
use crate::observe::service::Service;
use crate::observe::{Directory, Told, observe};
use crate::publish::page::{self, History};
use crate::publish::termination::LastWords;
use crate::run::memory::{Maps, Memory};
use crate::settings::{Credentials, Pod, PodManagement, Size};

/// One agent, ready to go round.
#[derive(Debug)]
pub struct Agent {
    /// What it looks and acts with.
    pub hand: Hand,
    /// Whom to trust that a CouchDB is what it says.
    pub trust: Trust,
    /// The last word of Kubernetes.
    pub knowledge: watch::Receiver<Knowledge>,
    /// Whom to ask why a name is not in DNS.
    pub service: Service,
    /// Where the credentials came from, if they weren't injected: what CouchDB rejects may have changed there.
    pub resolver: Option<Resolver>,
    /// Tells Kubernetes what a person should know.
    pub herald: Herald,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is said of it when it ends.
    pub last_words: LastWords,
    /// What the pod says of itself.
    pub pod: Pod,
    /// The injected size.
    pub size: Option<Size>,
    /// The injected `podManagementPolicy`; the live one wins.
    pub pod_management: PodManagement,
    /// Tells the time for people.
    pub clock: fn() -> String,
    /// From 0 to 1, anew at each call.
    pub jitter: fn() -> f64,
}

impl Agent {
    /// Goes round for ever.
    pub async fn run(mut self, page: watch::Sender<Page>) {
        let mut knowledge = self.knowledge.clone();
        first_word(&mut knowledge).await;
        let mut memory = Memory::at_start((self.clock)());
        loop {
            let known = knowledge.borrow_and_update().clone();
            let Hand { couch, directory, claim, .. } = &mut self.hand;
            let told = Told { size: self.size, pod: &self.pod, knowledge: &known, claim: claim.as_ref() };
            let mut observed = observe(couch, directory, told, memory.probes()).await;
            memory.watch_connections(&observed);
            observed.broken_maps = memory.maps.broken.clone();
            observed.publication = memory.lookout.look(&self.service, &observed).await;
            if self.has_other_credentials(&mut memory, &observed).await
                || self.trusts_anew(&mut memory, &observed)
            {
                continue;
            }
            let mut step = next_step(&observed);
            if memory.maps.is_due(&step, memory.step.as_ref()) {
                self.look_at_maps(&mut memory.maps, &observed).await;
                observed.broken_maps = memory.maps.broken.clone();
                step = next_step(&observed);
            }
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

    async fn look_at_maps(&self, maps: &mut Maps, observed: &Observed) {
        let Ok(local) = &observed.local else { return };
        let directory = &self.hand.directory;
        let members = local.members.iter().map(|ordinal| directory.node(*ordinal)).collect();
        match self.hand.couch.broken_maps(&directory.local(), &members).await {
            Ok(broken) => (maps.broken, maps.looked) = (broken, Some(Instant::now())),
            Err(error) => debug!("the databases' maps could not be looked at: {}", chain(&error)),
        }
    }

    /// Logs a step once, when it differs from the last.
    fn note(&self, memory: &mut Memory, step: &Step) {
        memory.rounds += 1;
        if *step == Step::Settled {
            self.metrics.settled((self.clock)());
        }
        if memory.step.as_ref() == Some(step) {
            memory.repeats = memory.repeats.saturating_add(1);
            return;
        }
        memory.since = (self.clock)();
        memory.repeats = 0;
        let credentials = self.hand.couch.credentials();
        let words = self.speaker(&credentials).step(step);
        match step.kind() {
            StepKind::Refuse => {
                self.metrics.refused(words.reason);
                self.last_words.are(&format!("{}: {}\n", words.reason, words.message));
                error!(reason = words.reason, "{}", words.message);
            }
            StepKind::Act | StepKind::Dial | StepKind::Settled | StepKind::Wait => {
                info!(reason = words.reason, "{}", words.message)
            }
        }
        self.herald.tell(when_entered(step, &words, memory.joined));
        memory.joined &= *step != Step::Settled;
        memory.step = Some(step.clone());
    }

    async fn carry_out(&self, memory: &mut Memory, step: &Step) {
        let credentials = self.hand.couch.credentials();
        let words = self.speaker(&credentials).step(step);
        let done = act(&self.hand, step, (self.clock)()).await;
        self.metrics.stepped(words.reason, matches!(done, Ok(()) | Err(ActError::NotYet(_))));
        match done {
            Ok(()) => {
                (memory.last_error, memory.progress) = (None, None);
                memory.joined |= matches!(step, Step::Join(_));
                if let Step::Adopt(_) = step {
                    self.metrics.healed();
                }
                self.herald.tell(when_done(step, &words));
            }
            Err(ActError::NotYet(progress)) => memory.progress = Some(progress.to_string()),
            Err(error) => {
                let chain = chain(&error);
                if memory.last_error.as_ref() != Some(&chain) {
                    warn!("{chain}; looking again");
                    self.last_words.are(&format!("{chain}\n"));
                }
                memory.last_error = Some(chain);
            }
        }
    }

    /// Whether rejected credentials have been replaced where they came from; the ones there are taken.
    async fn has_other_credentials(&self, memory: &mut Memory, observed: &Observed) -> bool {
        let rejected = matches!(observed.local, Err(Unseen::Rejects | Unseen::LockedOut));
        let Some(resolver) =
            self.resolver.as_ref().filter(|_| rejected && Instant::now() >= memory.ask_again)
        else {
            return false;
        };
        memory.ask_again = Instant::now() + ASK_AGAIN;
        match timeout_at(memory.ask_again, resolver.credentials()).await {
            Ok(Ok(found)) if found != *self.hand.couch.credentials() => {
                info!("other credentials from {}", found.source);
                self.hand.couch.set_credentials(found);
                true
            }
            Ok(Err(error)) => {
                memory.last_error = Some(chain(&error));
                false
            }
            Ok(Ok(_)) | Err(_) => false,
        }
    }

    /// Whether somebody wasn't trusted, and other authorities are named now; they count from here on.
    fn trusts_anew(&mut self, memory: &mut Memory, observed: &Observed) -> bool {
        let is_untrusted = |node: &Result<Node, Unseen>| *node == Err(Unseen::Untrusted);
        if !is_untrusted(&observed.local) && !observed.peers.values().any(is_untrusted) {
            return false;
        }
        match self.trust.anew() {
            Ok(Some(client)) => {
                info!("other authorities are named in the CA file: trusting them");
                self.hand.couch.set_client(client);
                true
            }
            Ok(None) => false,
            Err(error) => {
                memory.last_error = Some(chain(&error));
                false
            }
        }
    }

    fn publish(
        &self,
        shown: &watch::Sender<Page>,
        memory: &Memory,
        observed: &Observed,
        step: &Step,
        known: &Knowledge,
    ) {
        let policy = known.set.as_ref().map_or(self.pod_management, |set| set.pod_management);
        let readiness = readiness(observed, step, policy);
        let Memory { since, rounds, last_error, progress, .. } = memory;
        let history = History {
            since: since.clone(),
            rounds: *rounds,
            last_error: last_error.clone(),
            progress: progress.clone(),
        };
        let credentials = self.hand.couch.credentials();
        let speaker = self.speaker(&credentials);
        shown.send_replace(page::after(&speaker, observed, step, &readiness, history));
    }

    /// Pauses, but not past a change of the StatefulSet; a settled cluster is glanced at meanwhile.
    async fn rest(&self, step: &Step, pause: Duration, knowledge: &mut watch::Receiver<Knowledge>) {
        let changed = async {
            if knowledge.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let enough = async {
            match step.kind() {
                StepKind::Settled => self.until_the_local_node_changes(Instant::now() + pause).await,
                StepKind::Wait if *step == Step::Wait(WaitFor::LocalCouchDb(Unseen::Unreachable)) => {
                    let _ = timeout(pause, until_it_listens(&self.hand.directory.endpoint)).await;
                }
                StepKind::Act | StepKind::Dial | StepKind::Refuse | StepKind::Wait => sleep(pause).await,
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
        let endpoint = &self.hand.directory.endpoint;
        let mut before: Option<(Pulse, Instant)> = None;
        let changed = async {
            let mut vigil = Vigil::open(endpoint).await;
            // How long the vigil lasted, when it has just ended.
            let mut lasted: Option<Duration> = None;
            loop {
                let Ok(now) = self.hand.couch.pulse(&local).await else { return };
                let at = Instant::now();
                let another = |(before, then): &(Pulse, Instant)| before.is_another_than(&now, at - *then);
                if before.as_ref().is_some_and(another)
                    || lasted.is_some_and(|lasted| now.began_within(lasted))
                {
                    return;
                }
                if let Some(lasted) = lasted.take() {
                    vigil.reopen(endpoint, lasted).await;
                }
                before = Some((now, at));
                tokio::select! {
                    () = sleep(GLANCE) => {}
                    ended = vigil.ended() => lasted = Some(ended),
                }
            }
        };
        // Either way a full round follows.
        let _ = timeout_at(deadline, changed).await;
    }

    fn speaker<'a>(&'a self, credentials: &'a Credentials) -> Explainer<'a> {
        let Directory { me, naming, .. } = &self.hand.directory;
        Explainer {
            me,
            naming,
            user: &credentials.user,
            credentials_source: &credentials.source,
            couchdb_url: self.hand.directory.local(),
        }
    }
}

/// Asks where CouchDB has its credentials from, until there are some; shows and logs meanwhile what lacks.
pub async fn find_credentials(
    resolver: &Resolver,
    me: &PodFqdn,
    shown: &watch::Sender<Page>,
    last_words: &LastWords,
    clock: fn() -> String,
    jitter: fn() -> f64,
) -> Credentials {
    let mut said: Option<(Explanation, String)> = None;
    for rounds in 0.. {
        let words = match resolver.credentials().await {
            Ok(found) => {
                info!("credentials from {}", found.source);
                return found;
            }
            Err(error) => unresolved(&error),
        };
        let since = match &said {
            Some((before, since)) if *before == words => since.clone(),
            Some(_) | None => {
                warn!(reason = words.reason, "{}", words.message);
                last_words.are(&format!("{}: {}\n", words.reason, words.message));
                clock()
            }
        };
        shown.send_replace(page::waiting(me, words.clone(), since.clone()));
        said = Some((words, since));
        sleep(until_asked_again(rounds, jitter())).await;
    }
    std::future::pending().await
}

/// Why there are no credentials.
fn unresolved(error: &ResolveError) -> Explanation {
    let reason = match error {
        ResolveError::Absent { .. }
        | ResolveError::Container { .. }
        | ResolveError::Env(_)
        | ResolveError::Mistake(_)
        | ResolveError::NoApi
        | ResolveError::NoWorkload { .. } => "CredentialsMissing",
        ResolveError::Forbidden { .. } => "CredentialsForbidden",
        ResolveError::Garbled { .. } | ResolveError::Silent { .. } | ResolveError::Unanswered { .. } => {
            "WaitingForKubernetes"
        }
    };
    Explanation::new(reason, format!("no admin credentials were injected, and {}", chain(error)))
}

/// Gives the API a moment to speak, so that the first round doesn't say that it is silent.
async fn first_word(knowledge: &mut watch::Receiver<Knowledge>) {
    let spoke = knowledge
        .wait_for(|knowledge| knowledge.api != ApiState::Silent && knowledge.record != KnownRecord::Unread);
    // Silent or not, the rounds begin: the agent must show what it sees of CouchDB meanwhile.
    let _ = timeout_at(Instant::now() + FIRST_WORD, spoke).await;
}

/// Between two looks at where rejected credentials came from.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// An API server on the same network answers a first list in some 10 ms.
const FIRST_WORD: Duration = Duration::from_secs(3);
