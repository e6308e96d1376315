//! Failures of `plan` and `scale`, each with its exit code.

use std::io;
use std::time::Duration;

use program::exit;
use thiserror::Error;

use crate::cluster;

/// Reason why a size was not planned or not changed.
#[derive(Debug, Error)]
pub enum SizeError {
    /// No cluster can be read.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// There is no StatefulSet of this name.
    #[error("no StatefulSet '{name}' exists in namespace '{namespace}'. Fix: name the namespace with -n")]
    NotFound {
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// There is no StatefulSet with the label.
    #[error("no StatefulSet has the label couchdiscover.io/inject. Fix: name the namespace with -n")]
    NoneLabelled,
    /// The StatefulSet has no agents.
    #[error(
        "StatefulSet '{name}' is not one of couchdiscover's: its label couchdiscover.io/inject is not 'enabled'. Fix: kubectl scale statefulset {name}"
    )]
    NotLabelled {
        /// The name.
        name: String,
    },
    /// A part of the cluster cannot be read.
    #[error("failed to read {what}: {reason}")]
    Read {
        /// The part.
        what: String,
        /// The reason.
        reason: String,
    },
    /// A change was refused.
    #[error("failed to {what}: {reason}")]
    Change {
        /// The change, as an infinitive.
        what: String,
        /// The reason.
        reason: String,
    },
    /// No agent answers with a plan.
    #[error(
        "no agent of '{name}' answers with a plan: {reason}. Fix: couchdiscover status {name} -n {namespace}"
    )]
    NoPlan {
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
        /// The answer of the last agent.
        reason: String,
    },
    /// The plan cannot be carried out.
    #[error("'{name}' is not scaled: {}", reasons.join("; "))]
    Refused {
        /// The name.
        name: String,
        /// The reasons.
        reasons: Vec<String>,
    },
    /// The change needs consent, and there is no terminal to ask at.
    #[error("{question} was not confirmed, since this is no terminal. Fix: repeat the command with --yes")]
    NoTerminal {
        /// The change, as a noun.
        question: String,
    },
    /// The user did not consent.
    #[error("nothing was changed")]
    Declined,
    /// The time given by `--timeout` is over.
    #[error("not done after {limit:?}: {state}. {resume}")]
    TimedOut {
        /// The time.
        limit: Duration,
        /// The progress so far.
        state: String,
        /// The commands that continue and cancel.
        resume: String,
    },
    /// The user interrupted the program.
    #[error("interrupted: {state}. {resume}")]
    Interrupted {
        /// The progress so far.
        state: String,
        /// The commands that continue and cancel.
        resume: String,
    },
    /// The result cannot be written.
    #[error("failed to write the result")]
    Write(#[from] io::Error),
}

impl SizeError {
    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Cluster(_) => exit::UNAVAILABLE,
            Self::Read { .. } | Self::NoPlan { .. } => exit::INCOMPLETE,
            Self::NoTerminal { .. } => exit::USAGE,
            Self::NotFound { .. }
            | Self::NoneLabelled
            | Self::NotLabelled { .. }
            | Self::Change { .. }
            | Self::Refused { .. }
            | Self::Declined
            | Self::TimedOut { .. }
            | Self::Interrupted { .. }
            | Self::Write(_) => exit::FAILURE,
        }
    }
}
