//! Warnings about a StatefulSet that is allowed. kubectl prints each on one line.
//!
//! An API server may truncate a warning at 256 characters, so every message is shorter.

use std::fmt;

use contract::container::Guess;
use contract::text::cut;
use contract::{env, keys};
use thiserror::Error;

use super::path::annotation_path;

/// Something in an allowed StatefulSet that probably needs a change. Most messages end with a fix.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Warning {
    /// The agent cannot log in to CouchDB.
    #[error(
        "container '{container}' has no complete admin credentials, so the agent can only wait. Fix: set {user} and {password}, or {admin_user} and {admin_pass}",
        user = env::COUCHDB_USER, password = env::COUCHDB_PASSWORD,
        admin_user = env::COUCHDB_ADMIN_USER, admin_pass = env::COUCHDB_ADMIN_PASS
    )]
    NoCredentials {
        /// Name of the CouchDB container.
        container: String,
    },
    /// The agent cannot log in to CouchDB, but another container of the pod has credentials.
    #[error(
        "container '{container}' has no complete admin credentials, so the agent can only wait; container '{other}' has them. Fix: set the same {user} and {password} in '{container}'"
    )]
    CredentialsElsewhere {
        /// Name of the CouchDB container.
        container: String,
        /// Name of the container that has credentials.
        other: String,
        /// The variable that holds the user's name.
        user: &'static str,
        /// The variable that holds the password.
        password: &'static str,
    },
    /// The data is lost with the pod.
    #[error(
        "spec.volumeClaimTemplates: missing, so a pod that is moved or deleted loses its databases unless another volume holds them. Fix: add a claim template for CouchDB's data"
    )]
    NoVolumeClaims,
    /// All nodes write to the same volume.
    #[error(
        "{path}: all pods write to the one claim '{claim}' and corrupt each other's files. Fix: use volumeClaimTemplates, or subPathExpr with the pod's name"
    )]
    SharedClaim {
        /// Path of the volume's claim.
        path: String,
        /// Name of the claim.
        claim: String,
    },
    /// A probe would kill a node in maintenance mode.
    #[error(
        "{path}: '/_up' returns 404 in maintenance mode, so Kubernetes kills a node that is being maintained or filled. Fix: replace it by 'tcpSocket: {{port: {port}}}'"
    )]
    KilledOnUp {
        /// Path of the probe's field.
        path: String,
        /// Port of CouchDB's HTTP interface.
        port: u16,
    },
    /// A read-only volume covers the folder that the image's entrypoint writes to.
    #[error(
        "{path}: '{mount}' is read-only, and the image's entrypoint writes admin and session secret to '/opt/couchdb/etc/local.d'. Fix: mount the files below '/opt/couchdb/etc/default.d', each with subPath"
    )]
    CoversLocalD {
        /// Path of the mount.
        path: String,
        /// Where the volume is mounted.
        mount: String,
    },
    /// The folder that the image's entrypoint writes to is not writable.
    #[error(
        "{path}: the image's entrypoint writes admin and session secret to '/opt/couchdb/etc/local.d', which is not writable. Fix: mount an emptyDir there"
    )]
    LocalDReadOnly {
        /// Path of the field that makes it read-only.
        path: String,
    },
    /// The claims are not mounted where the image writes.
    #[error(
        "{path}: CouchDB writes to '/opt/couchdb/data', which is on no volume, so a pod that is moved or deleted loses its databases. Fix: mount the claim '{claim}' at '/opt/couchdb/data'"
    )]
    DataElsewhere {
        /// Path of the container's mounts.
        path: String,
        /// Name of the claim template.
        claim: String,
    },
    /// Claims are deleted together with their pods.
    #[error(
        "spec.persistentVolumeClaimRetentionPolicy.{field}: 'Delete' removes the volumes {when}, and their databases with them. Fix: set it to 'Retain'"
    )]
    ClaimsDeleted {
        /// Name of the field.
        field: &'static str,
        /// The moment, as a part of a sentence.
        when: &'static str,
    },
    /// The image's entrypoint does not pass a value on as it is.
    #[error(
        "{path}: {what}, which CouchDB's ini file does not keep, so the agent and CouchDB would have different values of {name}. Fix: choose another value"
    )]
    NotKept {
        /// Path of the variable's value.
        path: String,
        /// The variable's name.
        name: &'static str,
        /// The offending part, without the value.
        what: &'static str,
    },
    /// A script forms a cluster or creates system databases.
    #[error(
        "{path}: contains '{what}', so each pod becomes a cluster of its own before it can join. Fix: remove that part; the agents form the cluster and create these databases"
    )]
    FormsByItself {
        /// Path of the command.
        path: String,
        /// The words that were found.
        what: &'static str,
    },
    /// The image is known to create system databases.
    #[error(
        "{path}: '{image}' creates system databases on each pod before it can join; the agent removes them where they are empty. Fix: use an image of CouchDB alone, if yours allows it"
    )]
    ImageFormsByItself {
        /// Path of the image.
        path: String,
        /// The image.
        image: String,
    },
    /// The entrypoint fails on a variable of the user.
    #[error(
        "{path}: as this user or in a read-only file system, the image's entrypoint fails to write {name} to a file. Fix: rename the variable to {other}, which the injected flag refers to",
        name = env::COUCHDB_ERLANG_COOKIE, other = env::ERLANG_COOKIE
    )]
    CookieUnwritable {
        /// Path of the variable's value.
        path: String,
    },
    /// The cookie is needed by flag, and the flags are the user's.
    #[error(
        "{path}: the cookie is passed by flag, and the value is not visible here, so none is added. Fix: set '-setcookie' there, unless it is set already"
    )]
    CookieFlagUnseen {
        /// Path of the flags' value.
        path: String,
    },
    /// Another container connects to CouchDB's Erlang node.
    #[error(
        "container '{container}': '{image}' connects to CouchDB by Erlang and needs the same cookie. Fix: set the annotation '{key}: {container}', or the cookie in its own way",
        key = keys::COOKIE_CONTAINERS
    )]
    NeedsCookie {
        /// Name of the container.
        container: String,
        /// Its image.
        image: String,
    },
    /// The cookie for another container is not visible.
    #[error(
        "container '{container}': the cookie of CouchDB's container is not visible here, so it is not passed on. Fix: set {name} in both from one Secret",
        name = env::COUCHDB_ERLANG_COOKIE
    )]
    CookieNotPassedOn {
        /// Name of the container.
        container: String,
    },
    /// The pods no longer use the pull secrets of their ServiceAccount.
    #[error(
        "spec.template.spec.imagePullSecrets: {names} added. Kubernetes uses those of the ServiceAccount only where the pod names none. Fix: if CouchDB's image needs these, name them in the template, too"
    )]
    PullSecretsReplaced {
        /// The added names, separated by commas.
        names: String,
    },
    /// A secret is readable in the StatefulSet itself.
    #[error(
        "{path}: the StatefulSet contains the value of {name} in plain text. Fix: take it from a Secret with valueFrom.secretKeyRef"
    )]
    PlainTextSecret {
        /// Path of the variable's value.
        path: String,
        /// The variable's name.
        name: &'static str,
    },
    /// Two nodes tolerate the loss of neither.
    #[error("spec.replicas: of 2 nodes, the loss of either leaves no majority. Fix: use 1, or 3 and more")]
    TwoReplicas,
    /// The name leaves no room for the revision hash in a pod's label.
    #[error(
        "metadata.name: '{name}' has {} characters; with more than {max} Kubernetes may be unable to create the pods, as their label controller-revision-hash contains it. Fix: choose a shorter name",
        name.len(), max = contract::name::SET_MAX
    )]
    LongName {
        /// The StatefulSet's name.
        name: String,
    },
    /// The CouchDB release is no longer maintained.
    #[error("{path}: '{image}' is CouchDB {version}, which is no longer maintained. Fix: use 3.x")]
    OldImage {
        /// Path of the image.
        path: String,
        /// The image.
        image: String,
        /// The version in its tag.
        version: String,
    },
    /// An annotation under our domain is unknown, probably misspelt.
    #[error("{path}: unknown, so it has no effect{}", nearest.map(|key| format!(". Did you mean '{key}'?")).unwrap_or_default(), path = annotation_path(key))]
    UnknownAnnotation {
        /// The annotation's key.
        key: String,
        /// The known key that resembles it most.
        nearest: Option<&'static str>,
    },
    /// An entry of the list of other members can be no node.
    #[error(
        "{path}: '{name}' is no Erlang node name and is ignored. Fix: write NAME@HOST, in which * stands for any characters and ? for one",
        path = annotation_path(keys::OTHER_MEMBERS)
    )]
    OtherMemberInvalid {
        /// The entry.
        name: String,
    },
    /// Agents that do not call the API server do not see the list of other members.
    #[error(
        "{path}: has no effect, since {key} is 'off' and the agents read it from the API server: they may form a cluster of their own. Fix: set {key} to 'auto'",
        path = annotation_path(keys::OTHER_MEMBERS), key = keys::KUBERNETES
    )]
    OtherMembersUnread,
    /// An annotation is set on the pods and has an effect only on the StatefulSet.
    #[error(
        "spec.template.metadata.annotations[{key}]: has no effect on pods. Fix: move it to the StatefulSet's metadata.annotations"
    )]
    Misplaced {
        /// The annotation's key.
        key: String,
    },
    /// Injected variables override those that envFrom may provide.
    #[error(
        "container '{container}' uses envFrom, whose variables the webhook cannot see: the injected {names} override them. Fix: list in '{key}' what envFrom provides",
        key = keys::KEEP
    )]
    EnvFrom {
        /// Name of the CouchDB container.
        container: String,
        /// The injected names, separated by commas.
        names: String,
    },
    /// The selection of the CouchDB container is a guess.
    #[error(
        "container '{container}' with image '{image}' is treated as CouchDB only because {guess}. Fix: if it is not CouchDB, name the right container in '{key}'",
        key = keys::CONTAINER
    )]
    Guessed {
        /// Name of the selected container.
        container: String,
        /// The reason for the selection.
        guess: Guess,
        /// The container's image.
        image: String,
    },
    /// Another sidecar joins nodes and forms clusters as well.
    #[error(
        "container '{container}': '{image}' joins nodes and forms clusters, too, by different rules. Fix: remove it"
    )]
    OtherOperator {
        /// Name of the sidecar.
        container: String,
        /// Its image.
        image: String,
    },
    /// The command or the arguments bypass the image's entrypoint.
    #[error(
        "{path}: bypasses the image's entrypoint, which passes admin, cookie and session secret to CouchDB. Fix: end with 'exec tini -- /docker-entrypoint.sh /opt/couchdb/bin/couchdb'"
    )]
    Entrypoint {
        /// Path of `command` or `args`.
        path: String,
    },
    /// The node name does not resolve to the pod.
    #[error(
        "{path}: the node name would be '{name}', which DNS does not resolve to its pod. Fix: remove it; 'couchdb@' and the pod's full DNS name is injected instead"
    )]
    NodeName {
        /// Path of the variable's value.
        path: String,
        /// The resulting node name.
        name: String,
    },
    /// Kubernetes does not expand a reference in a variable.
    #[error(
        "{path}: Kubernetes expands only variables that are defined earlier in env, so '$({name})' is passed on literally. Fix: {fix}",
        fix = reference.fix()
    )]
    Unexpanded {
        /// Path of the variable's value.
        path: String,
        /// Name of the variable that is referred to.
        name: String,
        /// The reason why it is not expanded.
        reference: Unresolved,
    },
    /// The image ignores the cookie's variable.
    #[error(
        "{path}: the image of CouchDB {version} ignores {name}, so each container generates its own cookie. Fix: add '-setcookie' here, or use 3.2.1 or later",
        name = env::COUCHDB_ERLANG_COOKIE
    )]
    CookieUnread {
        /// Path of the Erlang flags.
        path: String,
        /// The version in the image's tag.
        version: String,
    },
    /// Injection renames nodes that may already hold data.
    #[error(
        "{name} renames CouchDB's nodes; each finds only databases filed under its name. Fix: if yours are under the old names, opt out with '{key}: everything'; if under the injected ones, keep the label and follow NodeRenamed in /status",
        key = keys::ON_REMOVAL
    )]
    Renames {
        /// The injected variable.
        name: &'static str,
    },
    /// The user opted out, and the injected variables stay.
    #[error(
        "opted out; these variables stay: {names}. Databases are filed under the node name, and without name and cookie the nodes lose each other"
    )]
    VariablesStay {
        /// Their names, separated by commas.
        names: String,
    },
    /// The user opted out, so the pods have no agent.
    #[error(
        "no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label '{key}: {on}'",
        key = keys::INJECT, on = keys::INJECT_ENABLED
    )]
    NoAgent,
    /// The readiness probe of the agent was the only one.
    #[error(
        "container '{container}' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {{tcpSocket: {{port: {port}}}}}' to it"
    )]
    NoReadinessProbe {
        /// Name of the CouchDB container.
        container: String,
        /// Port of CouchDB's HTTP interface.
        port: u16,
    },
    /// The label was removed, and with it the webhook's protection of the kept variables.
    #[error(
        "metadata.labels[{key}]: removed, so the webhook is no longer called: a manifest that replaces this object takes the kept variables away. Fix: set the label to '{off}', or add them to your manifest",
        key = keys::INJECT, off = keys::INJECT_DISABLED
    )]
    LabelRemoved,
    /// The way to remove the kept variables.
    #[error("databases of a formed cluster need the kept variables. To remove these as well: {0}")]
    RemoveVariables(RemovalRequest),
    /// The user opted out, and everything that was injected is removed.
    #[error(
        "removed: {names}. A formed cluster cannot reach its databases without them. Fix: {}", request.opposite()
    )]
    VariablesRemoved {
        /// The names of the variables, separated by commas.
        names: String,
        /// The way in which the removal was requested.
        request: RemovalRequest,
    },
    /// The cookie annotation has no effect, because the container sets a cookie.
    #[error("{path}: has no effect, since the container sets {name}. Fix: remove one of the two", path = annotation_path(keys::ERLANG_COOKIE_SECRET))]
    CookieSecretUnused {
        /// The variable that the container sets.
        name: &'static str,
    },
    /// The Erlang flags are not visible in the template.
    #[error(
        "{path}: the value is not visible here; unless it contains '-name couchdb', nodes cannot find each other. Fix: set NODENAME to the pod's full DNS name"
    )]
    UnseenFlags {
        /// Path of the flags' value.
        path: String,
    },
    /// A container has the agent's name, but was not injected or was changed since.
    #[error(
        "container '{name}' was not added by the webhook, or was changed since, so it stays as it is. Fix: remove it to have it injected again",
        name = contract::objects::AGENT_CONTAINER
    )]
    SidecarNotOurs,
    /// The cluster waits for more pods than there will be.
    #[error(
        "the cluster forms when {size} nodes are up, but spec.replicas is {replicas}, so it does not form. Fix: set spec.replicas to {size} or more"
    )]
    SizeOverReplicas {
        /// Number of nodes at which the cluster forms.
        size: u32,
        /// Number of pods.
        replicas: i64,
    },
    /// A changed annotation takes effect at the next restart.
    #[error(
        "{path}: takes effect at the next change of the pod template. Fix: to restart the pods for it now, set '{refresh}' to a new value",
        path = annotation_path(key), refresh = keys::REFRESH
    )]
    Deferred {
        /// Key of the changed annotation.
        key: String,
    },
    /// The StatefulSet was labelled before the webhook was installed.
    #[error(
        "the StatefulSet is labelled but not injected, since the webhook does not restart pods. Fix: kubectl{} rollout restart statefulset/{name}",
        namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default()
    )]
    NotInjectedYet {
        /// The StatefulSet's namespace, if known.
        namespace: Option<String>,
        /// The StatefulSet's name.
        name: String,
    },
    /// The record is unreadable, so nothing can be removed.
    #[error(
        "spec.template.metadata.annotations[{key}]: unreadable, so nothing is removed. Fix: remove the injected parts and this annotation manually",
        key = keys::INJECTED
    )]
    BrokenRecord,
    /// The record names entries that couchdiscover never adds.
    #[error(
        "spec.template.metadata.annotations[{key}]: names {names}, which couchdiscover never adds, so they stay. Fix: remove the annotation from the manifest",
        key = keys::INJECTED
    )]
    ForeignRecord {
        /// The names, separated by commas.
        names: String,
    },
    /// The target size is larger than the number of pods.
    #[error(
        "{path}: '{target}' is more than spec.replicas, which is {replicas}, so it drains no node. Fix: to add nodes, set spec.replicas to {target} and remove the annotation",
        path = annotation_path(keys::TARGET_SIZE)
    )]
    TargetOverReplicas {
        /// The target size.
        target: u32,
        /// Number of pods.
        replicas: i64,
    },
    /// Nodes are drained, and a request that removes them before the end is allowed.
    #[error(
        "{path}: 'allow', so spec.replicas can be lowered from {replicas} to {target} before the nodes are drained, and their copies are then missing. Fix: set it to 'guard' until the drain is complete",
        path = annotation_path(keys::SCALE_DOWN)
    )]
    DrainUnguarded {
        /// The target size.
        target: u32,
        /// Number of pods.
        replicas: i64,
    },
    /// Nodes are added, and the target size, which stays, drains them.
    #[error(
        "{path}: '{target}' stays, so of the {replicas} nodes those beyond {target} are drained at once and get no copies. Fix: remove the annotation",
        path = annotation_path(keys::TARGET_SIZE)
    )]
    RaisedOverTarget {
        /// The target size.
        target: u32,
        /// Number of pods.
        replicas: i64,
    },
    /// Nodes are added, and the target size that the webhook had set is removed.
    #[error(
        "{path}: '{target}' is removed, since spec.replicas is raised to {replicas}: no node is drained any more",
        path = annotation_path(keys::TARGET_SIZE)
    )]
    TargetRemoved {
        /// The target size.
        target: u32,
        /// Number of pods.
        replicas: i64,
    },
    /// All pods are stopped, and their volumes stay.
    #[error(
        "all {replicas} nodes stop, and no database can be read until they are back; the volumes stay. Fix: to have all data again, scale back to {replicas}, not to fewer"
    )]
    ScaledToZero {
        /// Number of pods before.
        replicas: u32,
    },
    /// Nodes are removed without a check, since no cluster was formed.
    #[error(
        "nodes of '{name}' are removed without a check, since the Lease '{lease}' has no record of a cluster. Fix: if databases exist, scale back, and look with 'couchdiscover status'",
        name = cut(name, MAX_NAMES_LENGTH / 2), lease = cut(&contract::objects::companion(name), MAX_NAMES_LENGTH / 2)
    )]
    NeverFormed {
        /// The StatefulSet's name.
        name: String,
    },
    /// Nodes that are not drained are removed, as the user's annotation allows.
    #[error(
        "{names}: stopped without being drained, since '{key}' is 'allow'. Clients miss what only they hold until they are back. Fix: scale back, then 'couchdiscover scale'",
        key = keys::SCALE_DOWN
    )]
    Unguarded {
        /// The first pods, separated by commas.
        names: String,
    },
    /// Nodes that are not drained are removed with their volumes, as the user's annotations allow.
    #[error(
        "{names}: removed with their volumes and without being drained, since '{key}' is 'allow' and whenScaled is 'Delete'. What only they hold is lost",
        key = keys::SCALE_DOWN
    )]
    UnguardedVolumes {
        /// The first pods, separated by commas.
        names: String,
    },
    /// The replicas stay until the nodes are drained.
    #[error(
        "spec.replicas stays {replicas}: nodes beyond {target} are drained first, then it is lowered to {target}. Watch: 'couchdiscover status'. Fix: to cancel, remove the annotation '{key}'",
        key = keys::TARGET_SIZE
    )]
    DrainsFirst {
        /// Number of pods, which stays.
        replicas: u32,
        /// Number of nodes that stay.
        target: u32,
    },
    /// The pods use the account that all pods without one have.
    #[error(
        "spec.template.spec.serviceAccountName: missing, so the agents' role is given to 'default', and to every pod of the namespace that names no account. Fix: create a ServiceAccount for these pods and name it"
    )]
    DefaultAccount,
}

impl Warning {
    /// The warning about names in a record that are ignored, if there are any.
    pub(crate) fn ignored(names: &[String]) -> Option<Self> {
        let names = cut(&names.join(", "), MAX_NAMES_LENGTH).into_owned();
        (!names.is_empty()).then_some(Self::ForeignRecord { names })
    }
}

/// Leaves room for the rest of the message.
const MAX_NAMES_LENGTH: usize = 80;

/// The way to request the removal of everything that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalRequest {
    /// By an annotation, which the webhook sees if the object has the label.
    Annotation,
    /// By an option of the command.
    Command,
}

impl fmt::Display for RemovalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotation => write!(
                f,
                "set the annotation '{}: everything' and the label '{}: {}'",
                keys::ON_REMOVAL,
                keys::INJECT,
                keys::INJECT_DISABLED
            ),
            Self::Command => f.write_str("couchdiscover uninject --everything"),
        }
    }
}

impl RemovalRequest {
    /// The way to keep the variables instead.
    fn opposite(self) -> String {
        match self {
            Self::Annotation => {
                format!("to keep them, opt in again, and out with '{}: agent'", keys::ON_REMOVAL)
            }
            Self::Command => "to keep them, use uninject without --everything".to_owned(),
        }
    }
}

/// The reason why Kubernetes does not expand a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The variable is defined later in `env`.
    DefinedLater,
    /// The variable is not defined.
    Undefined,
}

impl Unresolved {
    fn fix(self) -> &'static str {
        match self {
            Self::DefinedLater => "move this variable behind it",
            Self::Undefined => "define it before this variable",
        }
    }
}
