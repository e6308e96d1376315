//! The values of single variables.

use std::str::FromStr;

/// Use of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kubernetes {
    /// With the pod's service account, else with a kubeconfig; without either, as [`Kubernetes::Off`].
    Auto,
    /// Never. Hostname, injected size and DNS are sufficient to form and join a cluster.
    Off,
}

impl FromStr for Kubernetes {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

/// The format of a log line, by its name.
pub(super) struct LogFormat(pub(super) program::log::Format);

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value.to_ascii_lowercase().as_str() {
            "text" => Ok(Self(program::log::Format::Text)),
            "json" => Ok(Self(program::log::Format::Json)),
            _ => Err(()),
        }
    }
}

/// A log level by its name. tracing's own parser also accepts numbers, whose meaning differs between programs.
pub(super) struct Level(pub(super) tracing::Level);

impl FromStr for Level {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value.to_ascii_lowercase().as_str() {
            "error" => Ok(Self(tracing::Level::ERROR)),
            "warn" | "warning" => Ok(Self(tracing::Level::WARN)),
            "info" => Ok(Self(tracing::Level::INFO)),
            "debug" => Ok(Self(tracing::Level::DEBUG)),
            "trace" => Ok(Self(tracing::Level::TRACE)),
            _ => Err(()),
        }
    }
}
