//! The log: one line per event, as text or as JSON.

use std::io::{self, IsTerminal as _};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Settings of a program's log.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// The least severe level of [`Log::own_targets`].
    pub level: Level,
    /// Crates of the program. Their events are logged at [`Log::level`].
    pub own_targets: &'static [&'static str],
    /// The least severe level of all other crates.
    pub others: Level,
    /// Format of a line.
    pub format: Format,
    /// Stream of the lines.
    pub stream: Stream,
}

/// Format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text, coloured on a terminal.
    Text,
    /// One JSON object.
    Json,
}

/// Stream of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Log {
    /// Starts the log. Does nothing if one has been started already, as in a program that contains another one.
    pub fn start(self) {
        let registry = tracing_subscriber::registry().with(self.filter());
        let (writer, is_terminal) = match self.stream {
            Stream::Stdout => (BoxMakeWriter::new(io::stdout), io::stdout().is_terminal()),
            Stream::Stderr => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
        };
        let lines =
            tracing_subscriber::fmt::layer().with_writer(writer).with_target(false).with_ansi(is_terminal);
        let _ = match self.format {
            Format::Text => registry.with(lines).try_init(),
            Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        };
    }

    fn filter(self) -> Targets {
        // kube logs every failed attempt, every few seconds while an API server is down. The programs log a failure once,
        // when it begins, so kube is silent up to the level debug.
        let kube = if self.level < Level::DEBUG { LevelFilter::OFF } else { self.others.into() };
        Targets::new()
            .with_default(self.others)
            .with_targets([("kube_client", kube), ("kube_runtime", kube)])
            .with_targets(self.own_targets.iter().map(|target| (*target, self.level)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_is_silent_below_debug_and_own_targets_have_their_level() {
        let log = Log {
            level: Level::INFO,
            own_targets: &["agent"],
            others: Level::WARN,
            format: Format::Text,
            stream: Stream::Stdout,
        };
        let filter = log.filter();
        assert!(filter.would_enable("agent::run", &Level::INFO));
        assert!(!filter.would_enable("hyper", &Level::INFO));
        assert!(!filter.would_enable("kube_client::client", &Level::ERROR));
        let debug = Log { level: Level::DEBUG, ..log }.filter();
        assert!(debug.would_enable("agent::run", &Level::DEBUG));
        assert!(debug.would_enable("kube_client::client", &Level::WARN));
    }
}
