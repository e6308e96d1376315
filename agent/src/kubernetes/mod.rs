//! What Kubernetes says of this StatefulSet: three objects, watched. The agent never polls.

pub mod events;
mod lease;
mod record;

use std::fmt::Debug;

use agent_core::facts::{ApiState, KnownRecord, PodInstance, PodManagement, SetFacts};
use contract::{PodFqdn, keys, objects};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{ApiResource, NotUsed, Object};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api as Objects, Client, Config, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{info, warn};

pub use lease::{Claim, Holding, LeaseError};
pub use record::RecordError;
pub(crate) use record::{Founding, record_of};

use crate::settings::Kubernetes;

/// The last word of Kubernetes. The facts outlive the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knowledge {
    /// Whether it is current.
    pub api: ApiState,
    /// What the StatefulSet's spec says, or said last.
    pub set: Option<SetFacts>,
    /// What the founding record says, or said last.
    pub record: KnownRecord,
    /// Who holds the Lease, or held it last; `None`: it wasn't read yet.
    pub holding: Option<Holding>,
    /// The pod that has this pod's name; `None`: it wasn't read, or there is none.
    pub occupant: Option<PodInstance>,
}

/// What is known, kept current, and the hand on the one object that agents write.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The last word of Kubernetes.
    pub knowledge: watch::Receiver<Knowledge>,
    /// The Lease as a lock; `None` where Kubernetes is not asked.
    pub claim: Option<Claim>,
}

/// A StatefulSet as far as it is read. The whole type, with all that a pod can have, would be read and held for three
/// numbers.
type Set = Object<SetSpec, NotUsed>;

/// The fields of a StatefulSet's spec that are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SetSpec {
    replicas: Option<i32>,
    ordinals: Ordinals,
    pod_management_policy: Option<String>,
}

/// A pod as far as it is read.
type Me = Object<NotUsed, PodStatus>;

/// The fields of a pod's status that are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
}

/// How a StatefulSet counts its pods.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ordinals {
    start: i32,
}

/// A client, if there is anybody to ask.
pub async fn connect(mode: Kubernetes, config: Option<Config>) -> Option<Client> {
    if mode == Kubernetes::Off {
        return None;
    }
    match make_client(config).await {
        Ok(client) => Some(client),
        Err(error) => {
            info!("no Kubernetes API to ask: hostname, injected size and DNS have to do ({error})");
            None
        }
    }
}

/// Follows the StatefulSet of `me`, its Lease and the pod of this name, for as long as somebody holds the receiver. `uid`
/// is this pod's, and `nonce` tells this process from every other.
pub fn follow(client: Option<Client>, me: &PodFqdn, uid: Option<&str>, nonce: u64) -> Followed {
    let (api, record) = match client {
        Some(_) => (ApiState::Silent, KnownRecord::Unread),
        None => (ApiState::Off, KnownRecord::Forbidden),
    };
    let (sender, knowledge) =
        watch::channel(Knowledge { api, set: None, record, holding: None, occupant: None });
    let claim = client.as_ref().map(|client| Claim::new(client, me, uid, nonce, sender.clone()));
    let (namespace, set, pod) =
        (me.namespace().to_string(), me.pod().set().to_string(), me.pod().to_string());
    tokio::spawn(async move {
        let watching = async {
            let Some(client) = client else { return };
            let lease = objects::companion(&set);
            let better = Notify::new();
            let kind = ApiResource::erase::<StatefulSet>(&());
            let sets = Objects::namespaced_with(client.clone(), &namespace, &kind);
            let kind = ApiResource::erase::<Pod>(&());
            let pods = Objects::namespaced_with(client.clone(), &namespace, &kind);
            let leases = Objects::namespaced(client, &namespace);
            let mut told = None;
            let follow_set = watch_one(sets, &set, &better, |event| heard_set(&sender, &mut told, &event));
            let follow_lease = watch_one(leases, &lease, &better, |event| heard_lease(&sender, &event));
            let follow_pod = watch_one(pods, &pod, &better, |event| heard_pod(&sender, &event));
            tokio::join!(follow_set, follow_lease, follow_pod);
        };
        tokio::select! {
            () = watching => sender.closed().await,
            () = sender.closed() => {}
        }
    });
    Followed { knowledge, claim }
}

fn facts_of(set: &Set) -> SetFacts {
    let spec = &set.spec;
    let replicas = spec.replicas.unwrap_or(1).clamp(0, u16::MAX.into());
    let start = spec.ordinals.start;
    let policy = spec.pod_management_policy.as_deref().and_then(|policy| policy.parse().ok());
    SetFacts {
        replicas: u16::try_from(replicas).unwrap_or(u16::MAX),
        start: u32::try_from(start).unwrap_or(0),
        pod_management: policy.unwrap_or(PodManagement::OrderedReady),
        form_anew: set.metadata.annotations.as_ref().and_then(|all| all.get(keys::FORM_ANEW)).cloned(),
    }
}

async fn make_client(config: Option<Config>) -> Result<Client, ConnectError> {
    let config = match config {
        Some(config) => config,
        None => Config::infer().await?,
    };
    Ok(Client::try_from(config)?)
}

/// Why there is no API to ask.
#[derive(Debug, Error)]
enum ConnectError {
    /// A configuration was found and can't be used.
    #[error("the client can't be made: {0}")]
    Client(#[from] kube::Error),
    /// Neither a service account nor a kubeconfig was found.
    #[error("{0}")]
    Nowhere(#[from] kube::config::InferConfigError),
}

/// An object, `None` where there is none, or why it can't be known just now.
type Event<K> = Result<Option<K>, watcher::Error>;

/// Follows one object. When another watch recovers, from a missing role or an outage, this one tries again at once: left to
/// its own pause it would go on saying for half a minute what is over.
async fn watch_one<K>(objects: Objects<K>, name: &str, better: &Notify, mut heard: impl FnMut(Event<K>))
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
                () = better.notified(), if failing => break,
            };
            let Some(event) = event else { return };
            if failing && event.is_ok() {
                better.notify_waiters();
            }
            failing = event.is_err();
            heard(event);
        }
    }
}

/// `told` is what the log said last: an API that is silent from the start is told as well, with the reason.
fn heard_set(sender: &watch::Sender<Knowledge>, told: &mut Option<ApiState>, event: &Event<Set>) {
    let before = sender.borrow().clone();
    let now = after_set(before, event.as_ref().map(Option::as_ref));
    if told.replace(now.api) != Some(now.api) {
        tell(now.api, event.as_ref().err());
    }
    sender.send_if_modified(|knowledge| std::mem::replace(knowledge, now.clone()) != now);
}

/// What is known after this event. A failure takes nothing away.
fn after_set(before: Knowledge, event: Result<Option<&Set>, &watcher::Error>) -> Knowledge {
    match event {
        Ok(Some(set)) => Knowledge { api: ApiState::Current, set: Some(facts_of(set)), ..before },
        Ok(None) => Knowledge { api: ApiState::Missing, ..before },
        Err(error) if is_forbidden(error) => Knowledge { api: ApiState::Forbidden, ..before },
        Err(_) => Knowledge { api: ApiState::Silent, ..before },
    }
}

fn heard_lease(sender: &watch::Sender<Knowledge>, event: &Event<Lease>) {
    let record = match event {
        Ok(lease) => Some(record_of(lease.as_ref())),
        Err(error) if is_forbidden(error) => Some(KnownRecord::Forbidden),
        Err(_) => None,
    };
    let Some(record) = record else { return };
    let holding = event.as_ref().ok().map(Option::as_ref);
    let mut news = false;
    sender.send_if_modified(|knowledge| {
        let now = Instant::now();
        let holding = holding.map(|lease| Holding::from_lease(lease, knowledge.holding.as_ref(), now));
        news = std::mem::replace(&mut knowledge.record, record.clone()) != record;
        news | (std::mem::replace(&mut knowledge.holding, holding.clone()) != holding)
    });
    if news && record == KnownRecord::Forbidden {
        warn!(
            "may not read Leases, so a lost cluster can't be told from one that never was: bind ClusterRole '{}' to the \
             pod's service account",
            objects::AGENT_CLUSTER_ROLE
        );
    }
}

/// Where this can't be read, or there is no such pod, nothing was said against this one.
fn heard_pod(sender: &watch::Sender<Knowledge>, event: &Event<Me>) {
    let Ok(Some(pod)) = event else { return };
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).and_then(|ip| ip.parse().ok());
    let occupant = pod.metadata.uid.clone().zip(ip).map(|(uid, ip)| PodInstance { uid, ip });
    sender.send_if_modified(|knowledge| {
        std::mem::replace(&mut knowledge.occupant, occupant.clone()) != occupant
    });
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == 403,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => false,
    }
}

fn tell(api: ApiState, error: Option<&watcher::Error>) {
    let error = error.map(|error| error as &dyn std::error::Error);
    match api {
        ApiState::Current => info!("following the StatefulSet"),
        ApiState::Forbidden => warn!(
            error,
            "may not read the StatefulSet: bind ClusterRole '{}' to the pod's service account; until then the injected \
             size counts",
            objects::AGENT_CLUSTER_ROLE
        ),
        ApiState::Missing => warn!("there is no such StatefulSet: what was last known counts"),
        ApiState::Silent => {
            warn!(error, "the Kubernetes API doesn't answer: what was last known counts, nothing is founded")
        }
        ApiState::Off => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(replicas: u16, start: u32) -> Option<SetFacts> {
        Some(SetFacts { replicas, start, pod_management: PodManagement::Parallel, form_anew: None })
    }

    #[test]
    fn an_absent_field_means_what_kubernetes_means_by_it() {
        let parse = |text: &str| facts_of(&serde_json::from_str::<Set>(text).unwrap());
        let pod_management = PodManagement::OrderedReady;
        let absent = SetFacts { replicas: 1, start: 0, pod_management, form_anew: None };
        let required = r#""selector":{},"serviceName":"x","template":{}"#;
        assert_eq!(parse(&format!(r#"{{"metadata":{{}},"spec":{{{required}}}}}"#)), absent);
        let text = format!(
            r#"{{"metadata":{{"annotations":{{"couchdiscover.io/form-anew":"u"}}}},"spec":{{{required},"replicas":0,"ordinals":{{"start":5}},"podManagementPolicy":"Parallel"}}}}"#
        );
        let pod_management = PodManagement::Parallel;
        let form_anew = Some("u".to_owned());
        assert_eq!(parse(&text), SetFacts { replicas: 0, start: 5, pod_management, form_anew });
    }

    #[test]
    fn a_failure_takes_nothing_away() {
        let known = Knowledge {
            api: ApiState::Current,
            set: set(3, 0),
            record: KnownRecord::Absent,
            holding: None,
            occupant: None,
        };
        let after = after_set(known.clone(), Err(&watcher::Error::NoResourceVersion));
        assert_eq!(after, Knowledge { api: ApiState::Silent, ..known.clone() });
        assert_eq!(after_set(known.clone(), Ok(None)), Knowledge { api: ApiState::Missing, ..known });
    }
}
