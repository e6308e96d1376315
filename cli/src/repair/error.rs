//! Failures of repairs, each with its exit code.

use std::io;

use program::exit;
use thiserror::Error;

use crate::cluster;

/// Reason why nothing was repaired.
#[derive(Debug, Error)]
pub(crate) enum RepairError {
    /// No cluster can be read.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A part of the cluster cannot be read.
    #[error("failed to read {what}: {reason}")]
    Read { what: String, reason: String },
    /// The name is not one of a StatefulSet's pod.
    #[error("'{name}' is not the name of a StatefulSet's pod, such as 'couchdb-0'")]
    NotAPod { name: String },
    /// There is no StatefulSet of this name.
    #[error("no StatefulSet '{name}' exists in namespace '{namespace}'. Fix: name the namespace with -n")]
    NotFound { namespace: String, name: String },
    /// The pod does not exist, or has no agent.
    #[error("there is no pod '{pod}' with an agent. Fix: list the pods with 'couchdiscover status'")]
    NoAgent { pod: String },
    /// The pod's agent does not answer.
    #[error("the agent of '{pod}' does not answer. Fix: couchdiscover status")]
    Silent { pod: String },
    /// The node is no member because it was drained.
    #[error(
        "'{pod}' was drained: its old volume would bring documents back that were deleted since. Fix: empty its volume, and \
         it joins as a new node"
    )]
    Drained { pod: String },
    /// The node's members list it.
    #[error(
        "'{pod}' is not NotListed, but {state}: there is nothing to readmit. Fix: couchdiscover explain {state}"
    )]
    Listed { pod: String, state: String },
    /// No agent of a member answers.
    #[error(
        "no member whose agent answers lists other members, so none can list '{pod}'. Fix: couchdiscover status"
    )]
    NoMember { pod: String },
    /// No agent reports the name.
    #[error(
        "no agent reports '{name}' in _nodes. Fix: name the StatefulSet with --set, or look at the names with 'couchdiscover \
         status'"
    )]
    Unreported { name: String },
    /// There is no kubectl.
    #[error("kubectl is not in the PATH. Fix: run this where it is: {command}")]
    NoKubectl { command: String },
    /// kubectl cannot be run.
    #[error("failed to run kubectl")]
    Kubectl(#[source] io::Error),
    /// The agent's program does not know the verb.
    #[error(
        "the agent of '{pod}' is of a release without this repair. Fix: see 'Upgrade couchdiscover' in the documents"
    )]
    OldAgent { pod: String },
    /// The agent, or kubectl, refused; its message.
    #[error("{message}")]
    Refused { message: String },
    /// The change needs consent, and there is no terminal to ask at.
    #[error("this was not confirmed, since stdin is no terminal. Fix: repeat the command with --yes")]
    NoTerminal,
    /// The user did not consent.
    #[error("nothing was changed")]
    Declined,
    /// The result cannot be written, or the answer not be read.
    #[error("failed to write the result")]
    Write(#[from] io::Error),
}

impl RepairError {
    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Cluster(_) => exit::UNAVAILABLE,
            Self::Read { .. } => exit::INCOMPLETE,
            Self::NoTerminal | Self::NotAPod { .. } => exit::USAGE,
            Self::NotFound { .. }
            | Self::NoAgent { .. }
            | Self::Silent { .. }
            | Self::Drained { .. }
            | Self::Listed { .. }
            | Self::NoMember { .. }
            | Self::Unreported { .. }
            | Self::NoKubectl { .. }
            | Self::Kubectl(_)
            | Self::OldAgent { .. }
            | Self::Refused { .. }
            | Self::Declined
            | Self::Write(_) => exit::FAILURE,
        }
    }
}
