//! Failures of the subcommands, each with its exit code.

use std::io;

use program::exit;
use thiserror::Error;

use crate::cluster;
use crate::explain::ExplainError;
use crate::page::PageError;
use crate::repair::RepairError;
use crate::shell::ManError;
use crate::size::SizeError;
use crate::sources::ReadError;
use crate::status::StatusError;

/// Reason why a subcommand failed.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    /// The input cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The result cannot be written.
    #[error("failed to write the result")]
    Write(#[source] io::Error),
    /// The input is not a manifest, or the injection is denied.
    #[error(transparent)]
    Manifest(#[from] inject::files::Error),
    /// No cluster can be read.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The state of the cluster cannot be read.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// No size was planned or changed.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// Nothing was explained.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// The page of an agent is not served.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Nothing was repaired.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// The man pages cannot be written.
    #[error(transparent)]
    Man(#[from] ManError),
    /// The async runtime cannot be started.
    #[error("failed to set up the process")]
    Runtime(#[source] io::Error),
}

impl CommandError {
    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Cluster(_) | Self::Status(StatusError::Cluster(_)) => exit::UNAVAILABLE,
            Self::Status(StatusError::List(_)) => exit::INCOMPLETE,
            Self::Status(StatusError::Unknown { .. } | StatusError::Write(_)) => exit::FAILURE,
            Self::Size(error) => error.exit_code(),
            Self::Page(error) => error.exit_code(),
            Self::Repair(error) => error.exit_code(),
            Self::Explain(ExplainError::Unknown { .. }) => exit::USAGE,
            Self::Explain(ExplainError::Write(_))
            | Self::Read(_)
            | Self::Write(_)
            | Self::Manifest(_)
            | Self::Man(_)
            | Self::Runtime(_) => exit::FAILURE,
        }
    }
}
