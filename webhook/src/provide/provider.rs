//! The loop that provides for labelled StatefulSets.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use contract::{keys, objects};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::bindings::Bindings;
use super::drain::Drains;
use super::error::ProvideError;
use super::lower::{Lowered, Lowering, lower};
use super::needs::{Key, Labelled, Needs};
use super::queue::{News, Queue};
use super::writer::{BINDING_LABELS, Writer};
use crate::kubernetes::{ApiError, Kubernetes, client};
use crate::log_once::LogOnce;
use crate::metrics::Metrics;
use contract::error::chain;

/// Provides for every labelled StatefulSet for which the webhook is called, until `stop`. `home` is the webhook's namespace.
pub(crate) async fn provide(
    kubernetes: Kubernetes,
    home: String,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let providing = async {
        let task = "connecting to Kubernetes to provide for labelled StatefulSets";
        let client = client(&kubernetes, task).await;
        let labelled = format!("{}={}", keys::INJECT, keys::INJECT_ENABLED);
        let sets = watcher(Api::<Labelled>::all(client.clone()), watch_config(&labelled));
        let provided = BINDING_LABELS.map(|(key, value)| format!("{key}={value}")).join(",");
        // Metadata is enough: a deleted RoleBinding is looked up by its name among the StatefulSets.
        let bindings: Api<PartialObjectMeta<RoleBinding>> = Api::all(client.clone());
        let bindings = watcher(bindings, watch_config(&provided));
        let excluded: Vec<String> =
            objects::SYSTEM_NAMESPACES.map(str::to_owned).into_iter().chain([home]).collect();
        Provider::new(client, excluded, metrics)
            .run(sets.default_backoff(), bindings.default_backoff())
            .await;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = providing => {}
    }
}

/// For a moment, a page is in memory both as text and as objects.
fn watch_config(labels: &str) -> watcher::Config {
    watcher::Config::default().labels(labels).page_size(100)
}

struct Provider {
    writer: Writer,
    queue: Queue,
    bindings: Bindings,
    drains: Drains,
    lowering: Lowering,
    metrics: Arc<Metrics>,
    watching_sets: LogOnce,
    watching_bindings: LogOnce,
}

/// A finished attempt.
struct Attempt {
    key: Arc<Key>,
    needs: Needs,
    errors: Vec<ProvideError>,
}

type BindingEvent = Event<PartialObjectMeta<RoleBinding>>;

impl Provider {
    fn new(client: Client, excluded: Vec<String>, metrics: Arc<Metrics>) -> Self {
        Self {
            writer: Writer::new(client.clone()),
            queue: Queue::except(excluded.clone()),
            bindings: Bindings::default(),
            drains: Drains::except(excluded),
            lowering: Lowering::new(client),
            metrics,
            watching_sets: LogOnce::new("watching labelled StatefulSets"),
            watching_bindings: LogOnce::new("watching the RoleBindings of labelled StatefulSets"),
        }
    }

    async fn run(
        mut self,
        sets: impl Stream<Item = watcher::Result<Event<Labelled>>>,
        bindings: impl Stream<Item = watcher::Result<BindingEvent>>,
    ) {
        let (mut sets, mut bindings) = (pin!(sets), pin!(bindings));
        let mut attempts = JoinSet::new();
        let mut passes = JoinSet::new();
        // Not a new delay with each event: events may come more often.
        let mut ticks = interval(BETWEEN_PASSES);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_attempts(&mut attempts);
            // While all slots are taken, the end of an attempt is the next event, not the next due time.
            let due = self.queue.next_due().filter(|_| attempts.len() < MAX_ATTEMPTS);
            tokio::select! {
                Some(event) = sets.next() => self.observe_set(event),
                Some(event) = bindings.next() => self.observe_binding(event),
                Some(attempt) = attempts.join_next(), if !attempts.is_empty() => {
                    self.finish(result_of(attempt)).await;
                }
                () = until(due) => {}
                Some(lowered) = passes.join_next(), if !passes.is_empty() => {
                    self.lowered(result_of(lowered)).await;
                }
                // While nodes are drained, which takes minutes at least.
                _ = ticks.tick(), if passes.is_empty() && !self.drains.is_empty() => {
                    passes.spawn(lower(self.lowering.look(), self.drains.all()));
                }
            }
        }
    }

    fn start_attempts(&mut self, attempts: &mut JoinSet<Attempt>) {
        while attempts.len() < MAX_ATTEMPTS
            && let Some((key, needs)) = self.queue.take(Instant::now())
        {
            let writer = self.writer.clone();
            attempts.spawn(async move {
                let errors = writer.provide(&key, &needs).await;
                Attempt { key, needs, errors }
            });
        }
    }

    fn observe_set(&mut self, event: watcher::Result<Event<Labelled>>) {
        match event {
            Ok(event) => {
                self.watching_sets.succeeded();
                let is_complete = !matches!(event, Event::Init | Event::InitApply(_));
                self.drains.observe(&event);
                self.queue.observe(event, Instant::now());
                // While a list comes in, the numbers would be those of a part.
                if is_complete {
                    self.export();
                }
            }
            Err(error) => {
                self.metrics.provider_failed("StatefulSet");
                self.watching_sets.failed(&ApiError::from(error));
            }
        }
    }

    fn observe_binding(&mut self, event: watcher::Result<BindingEvent>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.metrics.provider_failed("RoleBinding");
                self.watching_bindings.failed(&ApiError::from(error));
                return;
            }
        };
        self.watching_bindings.succeeded();
        let mut lost = self.bindings.observe(event, &self.queue);
        // Created again after 200 ms at the earliest: by then the deletion of the StatefulSet itself is visible.
        lost.retain(|key| self.queue.provide_again(key, Instant::now()));
        for Key { namespace, name } in &lost {
            info!(namespace, name, "the RoleBinding was deleted: creating it again");
        }
        if !lost.is_empty() {
            self.export();
        }
    }

    /// Reports the drains that could not be completed, each once.
    async fn lowered(&mut self, lowered: Vec<Lowered>) {
        self.lowering.forget_all_but(&lowered);
        for lowered in lowered {
            if lowered.result.is_err() {
                self.metrics.provider_failed("StatefulSet");
            }
            if let Some(problem) = self.lowering.finish(&lowered) {
                self.writer.report(&lowered.key, &lowered.uid, &[problem]).await;
            }
        }
    }

    fn export(&self) {
        let Self { queue, metrics, .. } = self;
        metrics.labelled(queue.len(), queue.uninjected(), queue.unprovided());
    }

    async fn finish(&mut self, Attempt { key, needs, errors }: Attempt) {
        for error in &errors {
            self.metrics.provider_failed(error.kind.as_str());
        }
        let problems: Vec<_> = errors.iter().map(|error| chain(error)).collect();
        // A problem that stays is counted with each attempt, and logged and reported once.
        let news = self.queue.finish(&key, problems.clone(), Instant::now(), rand::random());
        self.export();
        let Key { namespace, name } = key.as_ref();
        match news {
            News::Unchanged => {}
            News::Changed if problems.is_empty() => info!(namespace, name, "provided for"),
            News::Changed => {
                for error in &problems {
                    warn!(namespace, name, error, "not provided for: trying again");
                }
                self.writer.report(&key, &needs.uid, &problems).await;
            }
        }
    }
}

/// The result of a task. Its panic ends the provider as well, and with it the process: its StatefulSet would never be tried
/// again.
fn result_of<T>(ended: Result<T, JoinError>) -> T {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(error)) => unreachable!("no attempt is aborted: {error}"),
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// The webhook lowers the replicas within this time after a drain.
const BETWEEN_PASSES: Duration = Duration::from_secs(5);
/// Attempts at a time: providing for StatefulSets must not keep the API server from its other work.
const MAX_ATTEMPTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "a broken attempt")]
    async fn the_panic_of_an_attempt_is_not_swallowed() {
        let mut attempts: JoinSet<()> = JoinSet::new();
        attempts.spawn(async { panic!("a broken attempt") });
        result_of(attempts.join_next().await.unwrap());
    }
}
