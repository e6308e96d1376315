//! The watches: the StatefulSet, its Lease, and the pod of this pod's name.

use std::fmt::Debug;

use agent_core::decide::LeaseUser;
use agent_core::facts::{ApiState, KnownRecord};
use contract::error::chain;
use contract::{PodFqdn, objects};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api as Objects, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::client::Access;
use super::knowledge::{Event, Knowledge, StatefulSetView, update};
use super::lease::Claim;
use super::role::bind_command;

/// The state of Kubernetes, kept current, and write access to the Lease.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The last known state of Kubernetes.
    pub knowledge: watch::Receiver<Knowledge>,
    /// The Lease as a lock; `None` where Kubernetes is not used.
    pub claim: Option<Claim>,
}

/// Watches the StatefulSet of `me`, its Lease and the pod of this name until the last receiver is dropped. `uid` is this
/// pod's, and `nonce` differs between any two processes.
pub fn follow(access: Access, me: &PodFqdn, uid: Option<&str>, nonce: u64) -> Followed {
    let start = match access {
        // Silent until the first event, so that nothing is formed on a guess.
        Access::Client(_) => Knowledge::at_start(ApiState::Silent, KnownRecord::Unread),
        // Without the API the injected size counts, and no record is expected.
        Access::NoToken => Knowledge::at_start(ApiState::NoToken, KnownRecord::Forbidden),
        Access::Off => Knowledge::at_start(ApiState::Off, KnownRecord::Forbidden),
    };
    let client = access.client();
    let (sender, knowledge) = watch::channel(start);
    let claim = client.as_ref().map(|client| {
        let user = LeaseUser::new(me.pod(), uid, nonce);
        Claim::new(client, me, user, sender.clone())
    });
    let me = me.clone();
    tokio::spawn(async move {
        if let Some(client) = client {
            tokio::select! {
                () = watch_all(client, &me, &sender) => {}
                () = sender.closed() => {}
            }
        }
        // A receiver treats a dropped sender as an error.
        sender.closed().await;
    });
    Followed { knowledge, claim }
}

async fn watch_all(client: Client, me: &PodFqdn, sender: &watch::Sender<Knowledge>) {
    let namespace = me.namespace().as_str();
    let (set, pod) = (me.pod().set().as_str(), me.pod().to_string());
    let lease = objects::companion(set);
    // The views parse a few fields only and have no kind of their own, so it is named here.
    let kind = ApiResource::erase::<StatefulSet>(&());
    let sets = Objects::namespaced_with(client.clone(), namespace, &kind);
    let kind = ApiResource::erase::<Pod>(&());
    let pods = Objects::namespaced_with(client.clone(), namespace, &kind);
    let leases = Objects::namespaced(client, namespace);
    let recovered = Notify::new();
    let mut set_log = SetLog { me, logged: None };
    tokio::join!(
        watch_one(sets, set, &recovered, |event: Event<StatefulSetView>| {
            let event = event.as_ref().map(Option::as_ref);
            update(sender, |knowledge| knowledge.after_set(event));
            set_log.log(sender.borrow().api, event.err());
        }),
        watch_one(leases, &lease, &recovered, |event| {
            let before = sender.borrow().record.clone();
            update(sender, |knowledge| knowledge.after_lease(&event, Instant::now()));
            if sender.borrow().record == KnownRecord::Forbidden && before != KnownRecord::Forbidden {
                warn!(
                    "the pod's service account may not read Lease '{lease}', so a cluster that lost its data looks like one \
                     that was never formed. Fix: {}",
                    bind_command(me)
                );
            }
        }),
        watch_one(pods, &pod, &recovered, |event| {
            update(sender, |knowledge| knowledge.after_pod(&event));
        }),
    );
}

/// Watches one object and passes each event on. When another watch recovers, from a missing role or an outage, this one
/// tries again at once: its own back-off would report the past outage for up to half a minute.
async fn watch_one<K>(objects: Objects<K>, name: &str, recovered: &Notify, mut on_event: impl FnMut(Event<K>))
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    loop {
        let stream = watch_object(objects.clone(), name).default_backoff();
        pin_mut!(stream);
        let mut failing = false;
        loop {
            let event = tokio::select! {
                event = stream.next() => event,
                // A new stream begins without the back-off of this one.
                () = recovered.notified(), if failing => break,
            };
            let Some(event) = event else { return };
            if failing && event.is_ok() {
                recovered.notify_waiters();
            }
            failing = event.is_err();
            on_event(event);
        }
    }
}

/// Logs the state of the StatefulSet's watch when it changes. The first state is logged too, so that an API that never
/// answered is in the log with its error.
struct SetLog<'a> {
    me: &'a PodFqdn,
    logged: Option<ApiState>,
}

impl SetLog<'_> {
    fn log(&mut self, api: ApiState, error: Option<&watcher::Error>) {
        if self.logged.replace(api) == Some(api) {
            return;
        }
        let set = self.me.pod().set();
        let error = error.map(|error| chain(error));
        match api {
            ApiState::Current => info!("watching StatefulSet '{set}'"),
            ApiState::Forbidden => warn!(
                error,
                "the pod's service account may not read StatefulSet '{set}', so the injected size counts. Fix: {}",
                bind_command(self.me)
            ),
            ApiState::Missing => warn!("StatefulSet '{set}' does not exist; its last known state counts"),
            ApiState::Silent => warn!(
                error,
                "the Kubernetes API does not answer; the last known state counts, and no cluster is formed"
            ),
            // These end only with the process.
            ApiState::NoToken | ApiState::Off => {}
        }
    }
}
