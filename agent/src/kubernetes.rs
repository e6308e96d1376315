//! What Kubernetes says of this StatefulSet: one object, watched. The agent never polls.

use std::collections::BTreeSet;

use contract::PodFqdn;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api as Objects, Client, Config};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::settings::{PodManagement, Size};
use crate::step::Api;

/// The last word of Kubernetes. The facts outlive the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knowledge {
    /// Whether it is current.
    pub api: Api,
    /// What the StatefulSet's spec says, or said last.
    pub set: Option<SetFacts>,
}

/// The parts of a StatefulSet's spec that decide what the agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetFacts {
    /// `spec.replicas`; absent means 1.
    pub replicas: u16,
    /// `spec.ordinals.start`; absent means 0.
    pub start: u32,
    /// `spec.podManagementPolicy`; absent means `OrderedReady`.
    pub pod_management: PodManagement,
}

/// Whom to expect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// The ordinals that are to be members.
    pub expected: BTreeSet<u32>,
    /// The ordinals that must all be there to found.
    pub founders: BTreeSet<u32>,
}

/// Follows the StatefulSet of `me` for as long as somebody holds the receiver.
pub fn follow(config: Option<Config>, me: &PodFqdn) -> watch::Receiver<Knowledge> {
    let (sender, receiver) = watch::channel(Knowledge { api: Api::Silent, set: None });
    let (namespace, set) = (me.namespace().to_string(), me.pod().set().to_string());
    tokio::spawn(async move {
        match connect(config).await {
            Ok(client) => watch_set(&sender, client, &namespace, &set).await,
            Err(error) => {
                info!("no Kubernetes API to ask: hostname, injected size and DNS have to do ({error})");
                sender.send_modify(|knowledge| knowledge.api = Api::Off);
                sender.closed().await;
            }
        }
    });
    receiver
}

/// For an agent that was told not to ask.
pub fn off() -> watch::Receiver<Knowledge> {
    let (sender, receiver) = watch::channel(Knowledge { api: Api::Off, set: None });
    tokio::spawn(async move { sender.closed().await });
    receiver
}

/// Whom to expect, by the spec where it is known, else by the injected size; the user's pinned size wins for founding.
pub fn expectation(size: Option<Size>, set: Option<SetFacts>) -> Expectation {
    let injected = size.map(|size| size.nodes.get());
    let start = set.map_or(0, |set| set.start);
    let live = set.map(|set| set.replicas);
    let pinned = size.filter(|size| size.pinned).map(|size| size.nodes.get());
    let ordinals = |count: Option<u16>| match count {
        Some(count) => (start..start.saturating_add(count.into())).collect(),
        None => BTreeSet::new(),
    };
    Expectation { expected: ordinals(live.or(injected)), founders: ordinals(pinned.or(live).or(injected)) }
}

impl From<&StatefulSet> for SetFacts {
    fn from(set: &StatefulSet) -> Self {
        let spec = &set.spec;
        let replicas = spec.replicas.unwrap_or(1).clamp(0, u16::MAX.into());
        let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
        let policy = spec.pod_management_policy.as_deref().and_then(|policy| policy.parse().ok());
        Self {
            replicas: u16::try_from(replicas).unwrap_or(u16::MAX),
            start: u32::try_from(start).unwrap_or(0),
            pod_management: policy.unwrap_or(PodManagement::OrderedReady),
        }
    }
}

async fn connect(config: Option<Config>) -> Result<Client, ConnectError> {
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

async fn watch_set(sender: &watch::Sender<Knowledge>, client: Client, namespace: &str, name: &str) {
    let objects: Objects<StatefulSet> = Objects::namespaced(client, namespace);
    let stream = watch_object(objects, name).default_backoff();
    pin_mut!(stream);
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = sender.closed() => return,
        };
        let Some(event) = event else { return };
        let before = *sender.borrow();
        let now = heard(before, event.as_ref().map(Option::as_ref));
        if now.api != before.api {
            tell(now.api, namespace, name, event.as_ref().err());
        }
        sender.send_if_modified(|knowledge| std::mem::replace(knowledge, now) != now);
    }
}

/// What is known after this event. A failure takes nothing away.
fn heard(before: Knowledge, event: Result<Option<&StatefulSet>, &watcher::Error>) -> Knowledge {
    match event {
        Ok(Some(set)) => Knowledge { api: Api::Current, set: Some(set.into()) },
        Ok(None) => Knowledge { api: Api::Missing, ..before },
        Err(error) if is_forbidden(error) => Knowledge { api: Api::Forbidden, ..before },
        Err(_) => Knowledge { api: Api::Silent, ..before },
    }
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

fn tell(api: Api, namespace: &str, name: &str, error: Option<&watcher::Error>) {
    let error = error.map(|error| error as &dyn std::error::Error);
    match api {
        Api::Current => info!("following StatefulSet '{namespace}/{name}'"),
        Api::Forbidden => warn!(
            error,
            "may not read StatefulSet '{namespace}/{name}': bind ClusterRole '{}' to the pod's service account; until then \
             the injected size counts",
            contract::objects::AGENT_CLUSTER_ROLE
        ),
        Api::Missing => warn!("there is no StatefulSet '{namespace}/{name}': what was last known counts"),
        Api::Silent => {
            warn!(error, "the Kubernetes API doesn't answer: what was last known counts, nothing is founded")
        }
        Api::Off => {}
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    fn size(nodes: u16, pinned: bool) -> Option<Size> {
        Some(Size { nodes: NonZeroU16::new(nodes).unwrap(), pinned })
    }

    fn set(replicas: u16, start: u32) -> Option<SetFacts> {
        Some(SetFacts { replicas, start, pod_management: PodManagement::Parallel })
    }

    #[test]
    fn the_live_size_wins_and_the_pinned_one_founds() {
        let ordinals = |size, set| {
            let Expectation { expected, founders } = expectation(size, set);
            (Vec::from_iter(expected), Vec::from_iter(founders))
        };
        assert_eq!(ordinals(None, None), (vec![], vec![]));
        assert_eq!(ordinals(size(2, false), None), (vec![0, 1], vec![0, 1]));
        assert_eq!(ordinals(size(2, false), set(3, 0)), (vec![0, 1, 2], vec![0, 1, 2]), "scaled since");
        assert_eq!(ordinals(size(2, true), set(3, 0)), (vec![0, 1, 2], vec![0, 1]), "founds smaller");
        assert_eq!(ordinals(size(3, true), set(2, 0)), (vec![0, 1], vec![0, 1, 2]), "waits for more");
        assert_eq!(ordinals(None, set(2, 5)), (vec![5, 6], vec![5, 6]));
        assert_eq!(ordinals(size(2, false), set(0, 0)), (vec![], vec![]), "scaled to nothing");
    }

    #[test]
    fn an_absent_field_means_what_kubernetes_means_by_it() {
        let parse = |text: &str| SetFacts::from(&serde_json::from_str::<StatefulSet>(text).unwrap());
        let absent = SetFacts { replicas: 1, start: 0, pod_management: PodManagement::OrderedReady };
        let required = r#""selector":{},"serviceName":"x","template":{}"#;
        assert_eq!(parse(&format!(r#"{{"spec":{{{required}}}}}"#)), absent);
        let text = format!(
            r#"{{"spec":{{{required},"replicas":0,"ordinals":{{"start":5}},"podManagementPolicy":"Parallel"}}}}"#
        );
        assert_eq!(parse(&text), SetFacts { replicas: 0, start: 5, pod_management: PodManagement::Parallel });
    }

    #[test]
    fn a_failure_takes_nothing_away() {
        let known = Knowledge { api: Api::Current, set: set(3, 0) };
        let after = heard(known, Err(&watcher::Error::NoResourceVersion));
        assert_eq!(after, Knowledge { api: Api::Silent, set: set(3, 0) });
        assert_eq!(heard(known, Ok(None)), Knowledge { api: Api::Missing, set: set(3, 0) });
    }
}
