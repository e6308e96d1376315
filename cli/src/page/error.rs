//! Failures of `page`, each with its exit code.

use std::io;

use program::exit;
use thiserror::Error;

use crate::cluster;

/// Reason why a page is not served.
#[derive(Debug, Error)]
pub enum PageError {
    /// No cluster can be read.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The agent does not answer with a page.
    #[error(
        "the agent of '{pod}' in namespace '{namespace}' does not answer with a page: {reason}. Fix: couchdiscover status -n {namespace}"
    )]
    NoPage {
        /// The namespace.
        namespace: String,
        /// The pod.
        pod: String,
        /// The answer.
        reason: String,
    },
    /// The port cannot be opened.
    #[error("failed to listen on 127.0.0.1, port {port}. Fix: choose another one with --port")]
    Listen {
        /// The port.
        port: u16,
        /// The reason.
        source: io::Error,
    },
    /// The address cannot be printed.
    #[error("failed to write the result")]
    Write(#[from] io::Error),
}

impl PageError {
    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Cluster(_) => exit::UNAVAILABLE,
            Self::NoPage { .. } => exit::INCOMPLETE,
            Self::Listen { .. } | Self::Write(_) => exit::FAILURE,
        }
    }
}
