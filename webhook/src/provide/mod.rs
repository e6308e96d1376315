//! What an injected pod needs in its namespace: a Secret with an Erlang cookie and a session secret, and the agents'
//! role for its service account.
//!
//! Every replica does this; all writes can be repeated by whoever comes next, so nobody leads. Of a StatefulSet no more
//! is kept than what decides, some hundred bytes. What fails is told, on the StatefulSet too, and tried again ever later.
//! A RoleBinding that is deleted is made anew; of these nothing is kept.

mod bindings;
mod make;
mod needs;
mod queue;

use std::pin::pin;
use std::sync::Arc;

use contract::keys;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::kubernetes::{Kubernetes, Told, client, why_watch};
use crate::metrics::Metrics;
use bindings::Bindings;
use make::{BINDING_LABELS, Maker};
use needs::{Key, Labelled, Problem};
use queue::Book;

/// Provides for every labelled StatefulSet, until `stop`.
pub(crate) async fn run(kubernetes: Kubernetes, metrics: Arc<Metrics>, stop: CancellationToken) {
    let providing = async {
        let client =
            client(&kubernetes, "connecting to Kubernetes to provide for labelled StatefulSets").await;
        let labelled = format!("{}={}", keys::INJECT, keys::INJECT_ENABLED);
        // A page is held as text and as objects, for a moment.
        let config = watcher::Config::default().labels(&labelled).page_size(100);
        let sets = watcher::watcher(Api::<Labelled>::all(client.clone()), config).default_backoff();
        let ours = BINDING_LABELS.map(|(key, value)| format!("{key}={value}")).join(",");
        let config = watcher::Config::default().labels(&ours).page_size(100);
        let bindings = watcher::watcher(Api::<PartialObjectMeta<RoleBinding>>::all(client.clone()), config)
            .default_backoff();
        let provider = Provider {
            maker: Maker::new(client),
            book: Book::default(),
            bindings: Bindings::default(),
            metrics,
            watching: Told::of(WATCHING),
            watching_bindings: Told::of(WATCHING_BINDINGS),
        };
        provider.run(sets, bindings).await;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = providing => {}
    }
}

struct Provider {
    maker: Maker,
    book: Book,
    bindings: Bindings,
    metrics: Arc<Metrics>,
    watching: Told,
    watching_bindings: Told,
}

type BindingEvent = Event<PartialObjectMeta<RoleBinding>>;

impl Provider {
    async fn run(
        mut self,
        sets: impl Stream<Item = watcher::Result<Event<Labelled>>>,
        bindings: impl Stream<Item = watcher::Result<BindingEvent>>,
    ) {
        let (mut sets, mut bindings) = (pin!(sets), pin!(bindings));
        let mut making = JoinSet::new();
        loop {
            while making.len() < MOST_AT_A_TIME
                && let Some((key, needs)) = self.book.take(Instant::now())
            {
                let maker = self.maker.clone();
                making.spawn(async move {
                    let problems = maker.provide(&key, &needs).await;
                    (key, needs, problems)
                });
            }
            let due = self.book.due().filter(|_| making.len() < MOST_AT_A_TIME);
            tokio::select! {
                Some(event) = sets.next() => self.heard(event),
                Some(event) = bindings.next() => self.heard_of_binding(event),
                Some(Ok((key, needs, problems))) = making.join_next(), if !making.is_empty() => {
                    self.made(&key, &needs.uid, &problems).await;
                }
                () = until(due) => {}
            }
        }
    }

    fn heard(&mut self, event: watcher::Result<Event<Labelled>>) {
        match event {
            Ok(event) => {
                self.watching.went_well();
                let whole = !matches!(event, Event::Init | Event::InitApply(_));
                self.book.hear(event, Instant::now());
                // While a list comes in, the numbers would be those of a part.
                if whole {
                    self.count();
                }
            }
            Err(error) => {
                self.metrics.provider_failed("StatefulSet");
                self.watching.failed(&why_watch(&error));
            }
        }
    }

    fn heard_of_binding(&mut self, event: watcher::Result<BindingEvent>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.metrics.provider_failed("RoleBinding");
                self.watching_bindings.failed(&why_watch(&error));
                return;
            }
        };
        self.watching_bindings.went_well();
        let mut lost = self.bindings.hear(event, &self.book);
        lost.retain(|key| self.book.lost(key, Instant::now()));
        for Key { namespace, name } in &lost {
            info!(namespace, name, "its RoleBinding was deleted: making it anew");
        }
        if !lost.is_empty() {
            self.count();
        }
    }

    fn count(&self) {
        let Self { book, metrics, .. } = self;
        metrics.labelled(book.len(), book.uninjected(), book.unprovided());
    }

    async fn made(&mut self, key: &Key, uid: &str, problems: &[Problem]) {
        for problem in problems {
            self.metrics.provider_failed(problem.object);
        }
        let told = self.book.done(key, problems, Instant::now(), rand::random());
        self.count();
        match (told, problems) {
            (false, _) => {}
            (true, []) => info!(namespace = key.namespace, name = key.name, "provided for"),
            (true, problems) => {
                for problem in problems {
                    let error = problem.to_string();
                    warn!(
                        namespace = key.namespace,
                        name = key.name,
                        error,
                        "not provided for: trying again"
                    );
                }
                self.maker.tell(key, uid, problems).await;
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

const WATCHING: &str = "watching labelled StatefulSets";
const WATCHING_BINDINGS: &str = "watching the RoleBindings of labelled StatefulSets";
/// An API server has more to do.
const MOST_AT_A_TIME: usize = 8;
