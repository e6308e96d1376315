//! What was seen of a cluster: plain values, and for each that couldn't be seen, why.

use certs::Validity;
use thiserror::Error;

/// Why something couldn't be seen; most often a permission that the user doesn't have.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unseen(pub String);

/// What was seen, or why it wasn't.
pub type Seen<T> = Result<T, Unseen>;

/// Everything that was looked at.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What became of a labelled StatefulSet that was created without being stored.
    pub admission: Seen<Admission>,
    /// What tells the API server of the webhook; `None` where there is no such thing.
    pub configuration: Seen<Option<Configuration>>,
    /// What the webhook answers to a handshake from here.
    pub serving: Seen<Serving>,
    /// The webhook's endpoints; `None` where it isn't called by a Service.
    pub endpoints: Seen<Option<Endpoints>>,
    /// The ValidatingAdmissionPolicy and its binding.
    pub policy: Seen<Policy>,
    /// The ClusterRoles that ship.
    pub roles: Vec<Role>,
    /// Which StatefulSets were looked for.
    pub scope: Scope,
    /// Those that carry the label.
    pub sets: Seen<Vec<Set>>,
}

/// What became of the dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The agent was added.
    Injected {
        /// By this version of the webhook.
        version: Option<String>,
    },
    /// Nobody added an agent; the policy may have denied it therefore.
    NotInjected,
    /// The API server wanted to ask the webhook and couldn't: its words.
    Unanswered(String),
}

/// The MutatingWebhookConfiguration.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Whether an unanswered request is let through.
    pub fails_open: bool,
    /// What the webhook's certificate is verified with.
    pub ca_bundle: CaBundle,
}

/// What API servers verify the webhook with.
#[derive(Clone, Debug)]
pub enum CaBundle {
    /// Nothing was written yet.
    Empty,
    /// It isn't certificates.
    Garbage,
    /// Certificates, each with its time.
    Certificates(Vec<Validity>),
}

/// What the webhook answers to a handshake.
#[derive(Clone, Debug)]
pub enum Serving {
    /// A certificate that the caBundle verifies.
    Verified(Validity),
    /// Something that it doesn't.
    Refused(String),
}

/// Where the webhook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Those that serve.
    pub ready: usize,
    /// All of them.
    pub all: usize,
}

/// The net below the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// There is the policy.
    pub policy: bool,
    /// Something puts it into force.
    pub binding: bool,
}

/// A ClusterRole.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What it lacks of what ships, such as `get leases.coordination.k8s.io`; `None` where there is no such role.
    pub lacks: Seen<Option<Vec<String>>>,
}

/// Which StatefulSets were looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of all namespaces.
    All,
    /// Those of one, as was asked.
    Namespace(String),
    /// Those of one, since more may not be seen.
    Only {
        /// The namespace.
        namespace: String,
        /// Why.
        why: Unseen,
    },
}

/// A StatefulSet with the label.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The label's value.
    pub label: String,
    /// How many pods it is to have.
    pub replicas: usize,
    /// The agent in its template.
    pub agent: Option<Agent>,
    /// The governing Service.
    pub service: Service,
    /// The service account of its pods.
    pub account: String,
    /// The RoleBinding that gives its agents their role.
    pub binding: Seen<Option<Binding>>,
    /// What its containers take from Secrets.
    pub references: Vec<Reference>,
    /// The founding record.
    pub record: Seen<Record>,
    /// Its pods, in the order of their names.
    pub pods: Seen<Vec<Pod>>,
}

/// An agent in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The version of the webhook that added it; `None` where there is no record of that.
    pub version: Option<String>,
}

/// The governing Service.
#[derive(Clone, Debug)]
pub struct Service {
    /// As the StatefulSet names it.
    pub name: String,
    /// What it is; `None` where there is no such Service.
    pub seen: Seen<Option<Headless>>,
}

/// What a governing Service must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headless {
    /// Its clusterIP is None.
    pub headless: bool,
    /// Its names are there before the pods are ready.
    pub publishes_not_ready: bool,
    /// It selects the pods.
    pub selects: bool,
}

/// What a RoleBinding says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The role, as `ClusterRole/name`.
    pub role: String,
    /// The pods' account is among its subjects.
    pub names_account: bool,
}

/// Something that a container takes from a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The Secret's name.
    pub secret: String,
    /// The key; `None` where all are taken.
    pub key: Option<String>,
    /// Whether it is there.
    pub found: Seen<Found>,
}

/// What was found of a Secret. Its values are never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The Secret, with the key.
    Here,
    /// The Secret, without the key.
    NoKey,
    /// No such Secret.
    NoSecret,
}

/// The founding record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// None yet.
    Absent,
    /// When, which and how large the cluster was that was founded.
    Formed {
        /// RFC 3339.
        at: String,
        /// The cluster's uuid.
        uuid: String,
        /// Nodes that founded it.
        size: String,
    },
    /// In words of a newer version.
    Newer(String),
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Kubernetes gives it clients.
    pub ready: bool,
    /// The agent is one of its containers.
    pub has_agent: bool,
    /// What keeps it from being ready, as far as anybody says.
    pub trouble: Option<String>,
}
