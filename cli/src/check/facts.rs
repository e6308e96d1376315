//! The state of a cluster as plain values. A part that cannot be read is a value as well, with the reason.

use certs::Validity;

use crate::cluster::{Lookup, LookupError, PodFacts};

/// Everything that `check` reads.
#[derive(Clone, Debug)]
pub(super) struct ClusterFacts {
    /// Result of creating a labelled StatefulSet as a dry run.
    pub(super) admission: Lookup<DryRun>,
    /// Name of the MutatingWebhookConfiguration, as given on the command line.
    pub(super) configuration_name: String,
    /// The MutatingWebhookConfiguration; `None` if it does not exist.
    pub(super) configuration: Lookup<Option<WebhookConfiguration>>,
    /// Result of a TLS handshake with the webhook.
    pub(super) handshake: Lookup<Handshake>,
    /// The webhook's endpoints; `None` if the configuration does not name a Service.
    pub(super) endpoints: Lookup<Option<EndpointCounts>>,
    /// The ValidatingAdmissionPolicy that denies labelled StatefulSets without the agent.
    pub(super) policy: Lookup<PolicyState>,
    /// The ClusterRoles of the manifests.
    pub(super) roles: Vec<ClusterRoleFacts>,
    /// The ValidatingAdmissionPolicies for the accounts of the webhook and of the agents, by their names.
    pub(super) account_policies: Vec<(&'static str, Lookup<PolicyState>)>,
    /// Labels and annotations that are set where the webhook does not look.
    pub(super) misplaced: Lookup<Vec<Misplaced>>,
    /// Namespaces that were searched for StatefulSets.
    pub(super) scope: Scope,
    /// The StatefulSets with the label.
    pub(super) stateful_sets: Lookup<Vec<StatefulSetFacts>>,
}

/// Result of creating a labelled StatefulSet as a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DryRun {
    /// The agent was added.
    Injected {
        /// Version of the webhook, from its annotation.
        version: Option<String>,
    },
    /// The agent was not added; the policy may have denied the StatefulSet for that reason.
    NotInjected,
    /// The API server could not call the webhook; its message.
    CallFailed(String),
}

/// The part of a MutatingWebhookConfiguration that is judged.
#[derive(Clone, Debug)]
pub(super) struct WebhookConfiguration {
    /// Treatment of StatefulSets while the webhook does not answer.
    pub(super) failure_policy: FailurePolicy,
    /// Certificates that API servers verify the webhook with.
    pub(super) ca_bundle: CaBundle,
    /// The entry that asks the webhook before pods are removed.
    pub(super) guard: GuardEntry,
}

/// The entry of a MutatingWebhookConfiguration for the subresource `scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GuardEntry {
    /// The webhook is called.
    Called,
    /// The entry has another caBundle than the one for StatefulSets.
    OtherCaBundle,
    /// There is no such entry.
    Missing,
}

/// The `failurePolicy` of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailurePolicy {
    /// Without the webhook's answer the object is denied.
    Fail,
    /// Without the webhook's answer the object is stored unchanged.
    Ignore,
}

/// The `caBundle` of a webhook.
#[derive(Clone, Debug)]
pub(super) enum CaBundle {
    /// The field is empty or missing.
    Empty,
    /// The field does not contain certificates in PEM form.
    Invalid,
    /// The validity of each certificate.
    Certificates(Vec<Validity>),
}

/// Result of a TLS handshake with the webhook.
#[derive(Clone, Debug)]
pub(super) enum Handshake {
    /// The caBundle verifies the served certificate.
    Verified(Validity),
    /// The caBundle does not verify the served certificate; the error of TLS.
    Rejected(String),
}

/// Number of endpoints of the webhook's Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndpointCounts {
    /// Endpoints that receive requests.
    pub(super) ready: usize,
    /// All endpoints.
    pub(super) all: usize,
}

/// State of the ValidatingAdmissionPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PolicyState {
    /// The policy exists and its binding denies.
    InForce,
    /// The policy exists without a binding that denies.
    NotBound,
    /// The policy does not exist.
    Missing,
}

/// A ClusterRole of the manifests.
#[derive(Clone, Debug)]
pub(super) struct ClusterRoleFacts {
    /// `metadata.name`.
    pub(super) name: String,
    /// The component of the manifests that removes the role; `None` for one that every installation has.
    pub(super) removed_by: Option<&'static str>,
    /// Permissions of the manifest that the stored role does not grant, such as `get leases.coordination.k8s.io`; `None`
    /// if the role does not exist.
    pub(super) missing: Lookup<Option<Vec<String>>>,
}

/// A label or annotation that has no effect where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misplaced {
    /// `metadata.namespace` of the object.
    pub(super) namespace: String,
    /// `metadata.name` of the object.
    pub(super) name: String,
    /// Kind of the object, as kubectl's argument.
    pub(super) kind: &'static str,
    /// The place.
    pub(super) place: Place,
}

/// A place of the label without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A Deployment, DaemonSet, or other workload.
    OtherKind,
    /// The annotations of a StatefulSet.
    Annotation,
    /// The labels of a StatefulSet's pods.
    Pods,
    /// A StatefulSet in a namespace that the webhook is not called for.
    ExcludedNamespace,
}

/// Namespaces that were searched for StatefulSets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All namespaces.
    All,
    /// One namespace, as given on the command line.
    Namespace(String),
    /// The kubeconfig's namespace, because the user may not list those of all.
    Fallback {
        /// The namespace.
        namespace: String,
        /// Error of the list of all namespaces.
        error: LookupError,
    },
}

/// A StatefulSet with the label, and the objects that it needs.
#[derive(Clone, Debug)]
pub(super) struct StatefulSetFacts {
    /// `metadata.namespace`.
    pub(super) namespace: String,
    /// `metadata.name`.
    pub(super) name: String,
    /// Value of the label `couchdiscover.io/inject`.
    pub(super) label: String,
    /// `spec.replicas`, 1 if it is not set.
    pub(super) replicas: usize,
    /// The agent in the pod template.
    pub(super) agent: Option<InjectedAgent>,
    /// Names of the injected variables of CouchDB's container, as the record of the injection lists them.
    pub(super) variables: Vec<String>,
    /// The Service that `spec.serviceName` names.
    pub(super) service: GoverningService,
    /// Service account of the pods.
    pub(super) account: String,
    /// The RoleBinding that grants the agents their role; `None` if it does not exist.
    pub(super) binding: Lookup<Option<RoleBindingFacts>>,
    /// Secrets and keys that the containers read.
    pub(super) secrets: Vec<SecretReference>,
    /// The founding record on the Lease.
    pub(super) record: Lookup<RecordFacts>,
    /// The pods, in the order of their ordinals.
    pub(super) pods: Lookup<Vec<PodFacts>>,
    /// The rollout of the last change of the template.
    pub(super) rollout: RolloutFacts,
    /// Result of creating a pod of the stored template as a dry run: the API server's refusal, if it refused.
    pub(super) next_pod: Lookup<Option<String>>,
}

/// The rollout of the last change of a StatefulSet's template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RolloutFacts {
    /// `true` if the controller waits for each pod before it changes the next (`OrderedReady`).
    pub(super) in_order: bool,
    /// `true` if pods are replaced only after they were deleted (`OnDelete`).
    pub(super) on_delete: bool,
    /// Revision that the pods should have; empty if the controller has not reported it.
    pub(super) revision: String,
}

/// The agent in a pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InjectedAgent {
    /// Version of the webhook that added it; `None` without its annotation.
    pub(super) version: Option<String>,
}

/// The governing Service of a StatefulSet.
#[derive(Clone, Debug)]
pub(super) struct GoverningService {
    /// `spec.serviceName` of the StatefulSet.
    pub(super) name: String,
    /// The Service; `None` if it does not exist.
    pub(super) found: Lookup<Option<ServiceFacts>>,
}

/// Properties that a governing Service must have, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServiceFacts {
    /// `true` if `clusterIP` is `None`.
    pub(super) headless: bool,
    /// `true` if DNS contains pods that are not ready.
    pub(super) publishes_not_ready: bool,
    /// `true` if the selector matches the pod template's labels.
    pub(super) selects_pods: bool,
}

/// The RoleBinding of a StatefulSet's agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleBindingFacts {
    /// The granted role, as `ClusterRole/name`.
    pub(super) role: String,
    /// `true` if the pods' service account is among the subjects.
    pub(super) names_account: bool,
}

/// A Secret, or a key of one, that a container reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretReference {
    /// Name of the Secret.
    pub(super) secret: String,
    /// The key; `None` if the container reads all keys.
    pub(super) key: Option<String>,
    /// State of the Secret.
    pub(super) found: Lookup<SecretState>,
}

/// State of a Secret that a container reads. Its values are never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretState {
    /// Secret and key exist.
    Present,
    /// The Secret exists without the key.
    KeyMissing,
    /// The Secret does not exist.
    SecretMissing,
}

/// The founding record on a StatefulSet's Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordFacts {
    /// The cluster has not been formed, or its agents could not write the record.
    Absent,
    /// The cluster has been formed.
    Formed {
        /// Time of the formation, RFC 3339.
        at: String,
        /// UUID of the cluster.
        uuid: String,
        /// Number of nodes at the formation.
        size: String,
    },
    /// The record has a schema of a newer release.
    Newer {
        /// The schema.
        schema: String,
    },
}
