//! What a user should know although the request goes through; kubectl prints each as one line.
//!
//! An API server may cut a warning at 256 characters, so each stays below.

use contract::container::Guess;
use contract::{env, keys};
use thiserror::Error;

use crate::outcome::problem::annotation;

/// One thing worth knowing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Warning {
    /// The agent would have no way in.
    #[error(
        "container '{container}' has no complete admin credentials: set {user} and {password}, or {admin_user} and {admin_pass}, else the agent can only wait",
        user = env::COUCHDB_USER, password = env::COUCHDB_PASSWORD,
        admin_user = env::COUCHDB_ADMIN_USER, admin_pass = env::COUCHDB_ADMIN_PASS
    )]
    NoCredentials {
        /// The CouchDB container.
        container: String,
    },
    /// The agent would have no way in, though another container of the pod has.
    #[error(
        "container '{container}' has no complete admin credentials, and '{other}' has: give it the same {user} and {password}, else the agent can only wait"
    )]
    CredentialsElsewhere {
        /// The CouchDB container.
        container: String,
        /// The one that has them.
        other: String,
        /// The name's variable.
        user: &'static str,
        /// The password's.
        password: &'static str,
    },
    /// The data dies with the pod.
    #[error(
        "spec.volumeClaimTemplates: missing: a pod that is moved or deleted loses its databases unless another volume holds them"
    )]
    NoVolumeClaims,
    /// One volume for the files of all nodes.
    #[error(
        "{path}: all pods would keep their files in the one claim '{claim}', and spoil each other's: use volumeClaimTemplates, or subPathExpr with the pod's name"
    )]
    SharedClaim {
        /// The field.
        path: String,
        /// The claim.
        claim: String,
    },
    /// A node in maintenance would be killed.
    #[error(
        "{path}: '/_up' answers 404 in maintenance mode, so Kubernetes would kill a node that is being maintained: probe '/' for liveness"
    )]
    LivenessOnUp {
        /// The field.
        path: String,
    },
    /// A secret that everyone who may read the StatefulSet can read.
    #[error(
        "{path}: the value of {name} stands in clear in the StatefulSet: take it from a Secret with valueFrom.secretKeyRef"
    )]
    Literal {
        /// The field.
        path: String,
        /// The variable.
        name: &'static str,
    },
    /// Two nodes are worse than one.
    #[error("spec.replicas: of 2 nodes, the loss of either leaves no majority: use 1, or 3 and more")]
    TwoReplicas,
    /// A name that leaves no room for the revision's hash in a pod's label.
    #[error(
        "metadata.name: '{name}' has {} characters: beyond {max} Kubernetes may be unable to make its pods, whose label controller-revision-hash holds it; choose a shorter one",
        name.len(), max = contract::name::SET_MAX
    )]
    LongName {
        /// The name.
        name: String,
    },
    /// A CouchDB that its makers no longer mend.
    #[error("{path}: '{image}' is CouchDB {version}, which is no longer maintained: use 3.x")]
    OldImage {
        /// The field.
        path: String,
        /// The image.
        image: String,
        /// Its version.
        version: String,
    },
    /// A spelling mistake, most likely.
    #[error("{path}: unknown{}", nearest.map(|key| format!(": did you mean '{key}'?")).unwrap_or_default(), path = annotation(key))]
    UnknownAnnotation {
        /// The key.
        key: String,
        /// The known one that looks most like it.
        nearest: Option<&'static str>,
    },
    /// An annotation on the pods that only means something on the StatefulSet.
    #[error(
        "spec.template.metadata.annotations[{key}]: has no effect on pods: move it to the StatefulSet's metadata.annotations"
    )]
    Misplaced {
        /// The key.
        key: String,
    },
    /// Variables that would be overridden if they came in unseen.
    #[error(
        "container '{container}' takes variables by envFrom, unseen here: what is injected wins over {names}; list in '{key}' what you provide",
        key = keys::KEEP
    )]
    EnvFrom {
        /// The CouchDB container.
        container: String,
        /// The names that are injected.
        names: String,
    },
    /// A container that too little tells to be CouchDB.
    #[error(
        "container '{container}' is taken for CouchDB only because {guess}: is '{image}' CouchDB? Name the right one in '{key}'",
        key = keys::CONTAINER
    )]
    Guessed {
        /// Its name.
        container: String,
        /// What tells it.
        guess: Guess,
        /// Its image.
        image: String,
    },
    /// A container whose image joins and founds as well.
    #[error(
        "container '{container}': '{image}' joins nodes and founds clusters, too, and by other rules: remove it"
    )]
    AnotherFounder {
        /// Its name.
        container: String,
        /// Its image.
        image: String,
    },
    /// A program that isn't the image's own.
    #[error(
        "{path}: takes the place of the image's entrypoint, which hands CouchDB admin, cookie and session secret from the environment: end with 'exec tini -- /docker-entrypoint.sh /opt/couchdb/bin/couchdb'"
    )]
    Entrypoint {
        /// The field.
        path: String,
    },
    /// A name by which no peer finds the node.
    #[error(
        "{path}: CouchDB would call itself '{name}', by which DNS doesn't know its pod: take the name out, and 'couchdb@' with the pod's full DNS name is injected"
    )]
    NodeName {
        /// The field.
        path: String,
        /// The name.
        name: String,
    },
    /// A reference that stays as it is written.
    #[error(
        "{path}: Kubernetes expands only variables that stand earlier in env, so '$({name})' stays as it is: {cure} it", cure = if *later { "put this behind" } else { "define it first, and put this behind" }
    )]
    Unexpanded {
        /// The field.
        path: String,
        /// What is referred to.
        name: String,
        /// Whether the variable stands later.
        later: bool,
    },
    /// A cookie that the image doesn't read.
    #[error(
        "{path}: the image of CouchDB {version} doesn't read {name}, so each container makes a cookie of its own: add '-setcookie' here, or use 3.2.1 or later",
        name = env::COUCHDB_ERLANG_COOKIE
    )]
    CookieUnread {
        /// The field.
        path: String,
        /// The image's version.
        version: String,
    },
    /// Nodes that may hold data under another name.
    #[error(
        "{name} gives CouchDB's nodes new names, and databases that they hold under the old ones are not found: if there are any, remove the label, which takes the name back"
    )]
    Renames {
        /// The variable.
        name: &'static str,
    },
    /// Two cookies are named, and the container's wins.
    #[error("{path}: has no effect, since the container sets {name}", path = annotation(keys::ERLANG_COOKIE_SECRET))]
    CookieSecretUnused {
        /// The variable.
        name: &'static str,
    },
    /// Flags that can't be seen.
    #[error(
        "{path}: its value can't be seen here: unless it holds '-name couchdb', set NODENAME to the pod's full DNS name, else nodes can't find each other"
    )]
    UnseenFlags {
        /// The field.
        path: String,
    },
    /// A container of the agent's name that the webhook didn't make, or no longer owns.
    #[error(
        "container '{name}' is yours, since the webhook didn't add it or you have changed it: remove it to have it injected again",
        name = contract::objects::AGENT_CONTAINER
    )]
    SidecarIsYours,
    /// No cluster before there are that many pods.
    #[error(
        "the cluster is founded when {size} nodes are up, but spec.replicas is {replicas}: nothing is founded until it is raised"
    )]
    SizeOverReplicas {
        /// The founding size.
        size: u32,
        /// The pods there will be.
        replicas: i64,
    },
    /// A setting that waits for the next restart.
    #[error(
        "{path}: takes effect when the pod template next changes; to restart the pods for it now, set '{refresh}' to a new value",
        path = annotation(key), refresh = keys::REFRESH
    )]
    Deferred {
        /// The annotation that was changed.
        key: String,
    },
    /// A StatefulSet that was labelled before there was a webhook.
    #[error(
        "the StatefulSet is labelled but not injected, and nothing restarts its pods: run 'kubectl rollout restart statefulset/{name}' to have it injected"
    )]
    NotInjectedYet {
        /// Its name.
        name: String,
    },
    /// The record can't be read, so nothing can be taken out.
    #[error(
        "spec.template.metadata.annotations[{key}]: unable to read what was injected, so nothing is taken out: remove the injected parts and this annotation by hand",
        key = keys::INJECTED
    )]
    BrokenRecord,
}
