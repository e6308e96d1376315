//! The last known state of Kubernetes, and its change by each event.

use std::collections::BTreeMap;

use agent_core::facts::{ApiState, KnownRecord, PodInstance, PodManagement, SetFacts, ZoneRule};
use contract::moves::{CopiesRecord, NodeCopies, NodeState};
use contract::{OtherMembers, keys};
use k8s_openapi::api::coordination::v1::Lease;
use kube::core::{NotUsed, Object};
use kube::runtime::watcher;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::holding::Holding;
use super::record::{copies_of, record_of};

/// The last known state of Kubernetes. It outlives the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knowledge {
    /// Result of the last event of the StatefulSet's watch.
    pub api: ApiState,
    /// The StatefulSet's spec, as last read.
    pub set: Option<SetFacts>,
    /// The founding record, as last read.
    pub record: KnownRecord,
    /// The record of copies, as last read.
    pub copies: CopiesRecord,
    /// The Lease's holder, as last read. `None`: not read yet.
    pub holding: Option<Holding>,
    /// The pod of this pod's name. `None`: not read, or there is no such pod.
    pub occupant: Option<PodInstance>,
    /// The zone of the Kubernetes node, by the pod's label. `None`: not read, or the pod has no such label.
    pub zone: Option<String>,
}

/// The state of a watched object: `None` if it does not exist, an error if it is unknown just now.
pub(super) type Event<K> = Result<Option<K>, watcher::Error>;

/// The fields of a StatefulSet that are used. The whole type with its pod template would be parsed and kept for three
/// numbers.
pub(super) type StatefulSetView = Object<SetSpec, NotUsed>;

/// The fields of a StatefulSet's spec that are used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SetSpec {
    replicas: Option<i32>,
    ordinals: Ordinals,
    pod_management_policy: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ordinals {
    start: i32,
}

/// The fields of a pod that are used.
pub(super) type PodView = Object<NotUsed, PodStatus>;

/// The fields of a pod's status that are used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodStatus {
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
}

impl Knowledge {
    /// Before the first event, of an API in this state.
    pub(super) fn at_start(api: ApiState, record: KnownRecord) -> Self {
        Self {
            api,
            set: None,
            record,
            copies: CopiesRecord::default(),
            holding: None,
            occupant: None,
            zone: None,
        }
    }

    /// The knowledge after an event of the StatefulSet's watch. A failure leaves the last known facts in place.
    pub(super) fn after_set(self, event: Result<Option<&StatefulSetView>, &watcher::Error>) -> Self {
        match event {
            Ok(Some(set)) => Self { api: ApiState::Current, set: Some(set_facts(set)), ..self },
            Ok(None) => Self { api: ApiState::Missing, ..self },
            Err(error) if is_forbidden(error) => Self { api: ApiState::Forbidden, ..self },
            Err(_) => Self { api: ApiState::Silent, ..self },
        }
    }

    /// The knowledge after an event of the Lease's watch, or after the answer to a write, at `now`.
    pub(super) fn after_lease(self, event: &Event<Lease>, now: Instant) -> Self {
        match event {
            Ok(lease) => {
                let holding = Holding::from_lease(lease.as_ref(), self.holding.as_ref(), now);
                let copies = copies_of(lease.as_ref());
                Self { record: record_of(lease.as_ref()), copies, holding: Some(holding), ..self }
            }
            Err(error) if is_forbidden(error) => {
                Self { record: KnownRecord::Forbidden, holding: None, ..self }
            }
            // An outage takes no knowledge away: the last known record and holder count.
            Err(_) => self,
        }
    }

    /// The same without the counts of copies, and without the Lease's version, which changes with them: settled agents would
    /// run a round for each count.
    fn without_counts(&self) -> Self {
        // A node that holds copies is treated like one that was never looked at.
        let states = self.copies.nodes.iter().filter(|(_, node)| node.state != NodeState::Holding);
        let states = states
            .map(|(name, node)| (name.clone(), NodeCopies { state: node.state, ..NodeCopies::default() }));
        let copies = CopiesRecord { as_of: String::new(), nodes: states.collect() };
        let holding = self.holding.as_ref().map(Holding::of_any_revision);
        Self { copies, holding, ..self.clone() }
    }

    /// The knowledge after an event of the pod's watch. Only an existing pod can be another one than this.
    pub(super) fn after_pod(self, event: &Event<PodView>) -> Self {
        let Ok(Some(pod)) = event else { return self };
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
        let ip = ip.and_then(|ip| ip.parse().ok());
        // A pod that was only just created has no address: it does not run yet, so it displaces none.
        let occupant = pod.metadata.uid.clone().zip(ip).map(|(uid, ip)| PodInstance { uid, ip });
        let labels = pod.metadata.labels.as_ref();
        let zone = labels.and_then(|labels| labels.get(keys::TOPOLOGY_ZONE)).filter(|zone| !zone.is_empty());
        Self { occupant, zone: zone.cloned(), ..self }
    }
}

/// Changes the knowledge, and wakes its receivers if it differs now in something that a decision may depend on.
pub(super) fn update(sender: &watch::Sender<Knowledge>, change: impl FnOnce(Knowledge) -> Knowledge) {
    sender.send_if_modified(|knowledge| {
        let changed = change(knowledge.clone());
        let differs = changed.without_counts() != knowledge.without_counts();
        *knowledge = changed;
        differs
    });
}

fn set_facts(set: &StatefulSetView) -> SetFacts {
    let spec = &set.spec;
    // Absent fields have the defaults of Kubernetes: one replica, from ordinal 0, `OrderedReady`.
    let replicas = spec.replicas.unwrap_or(1).clamp(0, u16::MAX.into());
    let policy = spec.pod_management_policy.as_deref().and_then(|policy| policy.parse().ok());
    let annotations = set.metadata.annotations.as_ref();
    SetFacts {
        replicas: u16::try_from(replicas).unwrap_or(u16::MAX),
        start: u32::try_from(spec.ordinals.start).unwrap_or(0),
        pod_management: policy.unwrap_or(PodManagement::OrderedReady),
        form_anew: annotations.and_then(|annotations| annotations.get(keys::FORM_ANEW)).cloned(),
        accept_loss: annotations.and_then(|annotations| annotations.get(keys::ACCEPT_LOSS)).cloned(),
        other_members: value(annotations, keys::OTHER_MEMBERS)
            .map(|names| OtherMembers::parse(names).0)
            .unwrap_or_default(),
        zone: value(annotations, keys::ZONE)
            .map(str::trim)
            .filter(|zone| !zone.is_empty())
            .map(ZoneRule::from),
        target_size: number(annotations, keys::TARGET_SIZE),
        rebalance: value(annotations, keys::REBALANCE).and_then(|word| word.parse().ok()).unwrap_or_default(),
        copies: number(annotations, keys::COPIES),
    }
}

type Annotations = BTreeMap<String, String>;

fn value<'a>(annotations: Option<&'a Annotations>, key: &str) -> Option<&'a str> {
    annotations?.get(key).map(String::as_str)
}

/// The number in an annotation. Without the webhook nothing has checked it: another value has no effect.
fn number(annotations: Option<&Annotations>, key: &str) -> Option<u16> {
    value(annotations, key)?.trim().parse().ok()
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

#[cfg(test)]
mod tests {
    use agent_core::facts::Rebalance;

    use super::*;

    fn parse(text: &str) -> SetFacts {
        set_facts(&serde_json::from_str::<StatefulSetView>(text).unwrap())
    }

    /// The facts of a spec without any of the fields.
    fn absent() -> SetFacts {
        SetFacts {
            replicas: 1,
            start: 0,
            pod_management: PodManagement::OrderedReady,
            form_anew: None,
            accept_loss: None,
            other_members: OtherMembers::default(),
            zone: None,
            target_size: None,
            rebalance: Rebalance::System,
            copies: None,
        }
    }

    #[test]
    fn absent_fields_have_the_defaults_of_kubernetes() {
        let absent = absent();
        let required = r#""selector":{},"serviceName":"x","template":{}"#;
        assert_eq!(parse(&format!(r#"{{"metadata":{{}},"spec":{{{required}}}}}"#)), absent);
        let text = format!(
            r#"{{"metadata":{{"annotations":{{"couchdiscover.io/form-anew":"u","couchdiscover.io/other-members":"a@b, c","couchdiscover.io/zone":"topology"}}}},"spec":{{{required},"replicas":0,"ordinals":{{"start":5}},"podManagementPolicy":"Parallel"}}}}"#
        );
        let form_anew = Some("u".to_owned());
        let other_members = OtherMembers::parse("a@b").0;
        let zone = Some(ZoneRule::Topology);
        assert_eq!(
            parse(&text),
            SetFacts {
                replicas: 0,
                start: 5,
                pod_management: PodManagement::Parallel,
                form_anew,
                other_members,
                zone,
                ..absent
            }
        );
    }

    #[test]
    fn a_count_of_copies_wakes_no_agent_and_a_state_does() {
        let lease = |revision: &str, copies: &str| {
            let annotations = serde_json::json!({ keys::COPIES_RECORD: copies });
            let metadata = serde_json::json!({ "resourceVersion": revision, "annotations": annotations });
            Ok(Some(serde_json::from_value(serde_json::json!({ "metadata": metadata })).unwrap()))
        };
        let start = Knowledge::at_start(ApiState::Current, KnownRecord::Absent);
        let empty = start.after_lease(&lease("1", "{}"), Instant::now());
        let (sender, mut receiver) = watch::channel(empty);
        let mut wakes = |revision, copies: &str| {
            update(&sender, |known| known.after_lease(&lease(revision, copies), Instant::now()));
            let woken = receiver.has_changed().unwrap();
            let known = receiver.borrow_and_update();
            let is_new = known.holding.as_ref().unwrap().revision() == Some(revision);
            (woken, known.copies.nodes.len(), is_new)
        };
        let holding = r#"{"asOf":"t","nodes":{"db-0":{"state":"holding","databases":7}}}"#;
        assert_eq!(wakes("2", holding), (false, 1, true), "but it is known");
        let draining = holding.replace("holding", "draining");
        assert_eq!(wakes("3", &draining), (true, 1, true));
    }

    #[test]
    fn a_failure_keeps_the_last_known_facts() {
        let set = SetFacts { replicas: 3, pod_management: PodManagement::Parallel, ..absent() };
        let known =
            Knowledge { set: Some(set), ..Knowledge::at_start(ApiState::Current, KnownRecord::Absent) };
        let after = known.clone().after_set(Err(&watcher::Error::NoResourceVersion));
        assert_eq!(after, Knowledge { api: ApiState::Silent, ..known.clone() });
        let missing = known.clone().after_set(Ok(None));
        assert_eq!(missing, Knowledge { api: ApiState::Missing, ..known.clone() });
        let failed = known.clone().after_lease(&Err(watcher::Error::NoResourceVersion), Instant::now());
        assert_eq!(failed, known);
    }
}
