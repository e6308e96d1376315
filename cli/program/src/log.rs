//! The log: one line per event, as text or as JSON.

use std::fmt::{Debug, Result as Written};
use std::io::{self, IsTerminal as _};

use contract::text::one_line;
use tracing::field::Field;
use tracing::{Level, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
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
        let _ = match self.format {
            Format::Text => registry.with(text_layer(writer, is_terminal)).try_init(),
            Format::Json => {
                let lines = fmt::layer().with_writer(writer).with_target(false);
                registry.with(lines.json().flatten_event(true)).try_init()
            }
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

/// Writes events as lines of text.
fn text_layer<S>(writer: BoxMakeWriter, colours: bool) -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fmt::layer()
        .with_writer(writer)
        .with_target(false)
        .with_ansi(colours)
        .fmt_fields(debug_fn(write_field).delimited(" "))
}

/// Writes a field of a text line. JSON needs no such rule: it quotes every text.
///
/// Peers and callers have a part in values, so none may contain a line break, which forges a line, or a character that a
/// terminal obeys.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> Written {
    let text = format!("{value:?}");
    let text = one_line(&text, VALUE_LIMIT);
    match field.name() {
        "message" => writer.write_str(&text),
        name => write!(writer, "{name}={text}"),
    }
}

/// The most bytes of one value. A denial of every setting of a StatefulSet has about 3 kB.
const VALUE_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_value_can_forge_a_line_or_reach_the_terminal() {
        let lines = Lines::default();
        let written = lines.clone();
        let layer = text_layer(BoxMakeWriter::new(move || lines.clone()), false);
        let forged = "db-1\r\n2026-01-01T00:00:00Z ERROR forged\u{1b}[31m\u{9b}2J";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(%forged, quoted = forged, number = 7, "the name is {forged}");
            tracing::warn!("{}", "x".repeat(100_000));
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        let shown = r"db-1\u{d}\u{a}2026-01-01T00:00:00Z ERROR forged\u{1b}[31m\u{9b}2J";
        assert!(text.contains(&format!("WARN the name is {shown} forged={shown} quoted=\"db-1")), "{text}");
        assert!(text.contains(" number=7\n"), "{text}");
        assert!(text.len() < 6_000, "{}", text.len());
    }

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
