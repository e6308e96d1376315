//! The settings of `serve`: flags, and environment variables in their place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use certs::Lifetimes;
use clap::{Parser, ValueEnum};
use cli::Injection;
use contract::{env, ports};
use jiff::SignedDuration;

/// Settings of the admission server.
///
/// A test parses them: `Args::try_parse_from(["serve", "--listen", "127.0.0.1:0"])`.
#[derive(Clone, Debug, Parser)]
#[command(name = "serve", no_binary_name = false)]
pub struct Args {
    /// Address of the HTTPS port
    #[arg(long, env = "COUCHDISCOVER_LISTEN", default_value_t = any(ports::WEBHOOK))]
    pub listen: SocketAddr,
    /// Address of the port for probes and metrics, plain HTTP
    #[arg(long, env = "COUCHDISCOVER_PROBE_LISTEN", default_value_t = any(ports::WEBHOOK_PROBES))]
    pub probe_listen: SocketAddr,
    /// Namespace of the webhook
    #[arg(long, env = "COUCHDISCOVER_NAMESPACE", default_value = "couchdiscover")]
    pub namespace: String,
    /// Service that API servers call
    #[arg(long, env = "COUCHDISCOVER_SERVICE", default_value = "couchdiscover-webhook")]
    pub service: String,
    /// Name of the MutatingWebhookConfiguration
    #[arg(long, env = "COUCHDISCOVER_CONFIG_NAME", default_value = "couchdiscover")]
    pub config_name: String,
    /// Values of the injection
    #[command(flatten)]
    pub injection: Injection,
    /// Source of the certificate
    #[arg(long, env = "COUCHDISCOVER_CERT_MODE", value_enum, default_value_t = CertMode::SelfSigned)]
    pub cert_mode: CertMode,
    /// Certificate chain in PEM; read again when it changes
    #[arg(long, env = "COUCHDISCOVER_TLS_CERT", required_if_eq("cert_mode", "files"))]
    pub tls_cert: Option<PathBuf>,
    /// Private key in PEM
    #[arg(long, env = "COUCHDISCOVER_TLS_KEY", required_if_eq("cert_mode", "files"))]
    pub tls_key: Option<PathBuf>,
    /// CA in PEM that must have signed the caller's certificate; by default any caller is served
    #[arg(long, env = "COUCHDISCOVER_CLIENT_CA")]
    pub client_ca: Option<PathBuf>,
    /// Further name in the certificate, such as localhost; may be repeated
    #[arg(long, env = "COUCHDISCOVER_EXTRA_SAN", value_delimiter = ',')]
    pub extra_san: Vec<String>,
    /// Lifetime of the certificate authority, for tests; a year by default
    #[arg(long, env = "COUCHDISCOVER_CA_LIFE", value_parser = duration, hide = true, requires = "leaf_life")]
    pub ca_life: Option<Duration>,
    /// Lifetime of a certificate, for tests; a week by default
    #[arg(long, env = "COUCHDISCOVER_LEAF_LIFE", value_parser = duration, hide = true, requires = "ca_life")]
    pub leaf_life: Option<Duration>,
    /// Time to keep serving after SIGTERM, until API servers call other replicas
    #[arg(long, env = "COUCHDISCOVER_DRAIN_DELAY", default_value = "5s", value_parser = duration)]
    pub drain_delay: Duration,
    /// Reviews in flight at most; further ones are refused at once
    #[arg(long, env = "COUCHDISCOVER_MAX_INFLIGHT", default_value_t = 256, value_parser = positive)]
    pub max_inflight: usize,
    /// Create the Secrets and RoleBindings that injected pods need
    #[arg(long, env = "COUCHDISCOVER_PROVIDE", value_enum, default_value_t = Provide::On)]
    pub provide: Provide,
    /// Least severe level that is logged
    #[arg(long, env = env::LOG_LEVEL, value_enum, ignore_case = true, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// Format of the log
    #[arg(long, env = env::LOG_FORMAT, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// A source of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CertMode {
    /// An authority of the webhook's own, in a Secret that the replicas share.
    #[value(name = "self")]
    SelfSigned,
    /// Files that another program keeps up to date, such as cert-manager.
    Files,
    /// An authority of the process, which is published nowhere: for tests.
    #[value(hide = true)]
    Memory,
}

/// Creation of the objects that injected pods need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provide {
    /// By the webhook.
    On,
    /// By another program.
    Off,
}

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// Also what may become a failure.
    Warn,
    /// Also one line per review.
    Info,
    /// Also connections.
    Debug,
    /// Everything.
    Trace,
}

/// A format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text, one event per line.
    Text,
    /// JSON, one object per line.
    Json,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

impl From<LogFormat> for program::log::Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

impl Args {
    /// The Service's DNS name, which API servers verify.
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// The lifetimes of certificates.
    pub(crate) fn lifetimes(&self) -> Lifetimes {
        let (Some(authority), Some(leaf)) = (self.ca_life, self.leaf_life) else {
            return Lifetimes::default();
        };
        let [authority, leaf] = [authority, leaf]
            .map(|lifetime| time::Duration::try_from(lifetime).unwrap_or(time::Duration::MAX));
        // Three leaf lifetimes must fit into the last third of the authority's, so that a rotation cuts none short.
        Lifetimes { authority, leaf: leaf.min(authority / 9) }
    }

    /// The names in the server's certificate.
    pub fn names(&self) -> Vec<String> {
        let own = [self.server_name(), format!("{}.{}", self.service, self.namespace), self.service.clone()];
        own.into_iter().chain(self.extra_san.iter().cloned()).collect()
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0u16; 8], port))
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a whole number from 1".to_owned())
}

/// Parses a duration with units, such as `5s`, `500ms` or `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    // A negative duration is not one of std's.
    let duration = text.parse().ok().and_then(|duration: SignedDuration| duration.try_into().ok());
    duration.ok_or_else(|| "expected a time such as '5s', '500ms' or '1m'".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_the_documented_defaults() {
        let args = Args::try_parse_from(["serve"]).unwrap();
        assert_eq!(args.listen.to_string(), "[::]:8443");
        assert_eq!(args.probe_listen.to_string(), "[::]:8080");
        assert_eq!((args.drain_delay, args.max_inflight), (Duration::from_secs(5), 256));
        assert_eq!((args.cert_mode, args.provide), (CertMode::SelfSigned, Provide::On));
        assert_eq!(args.config_name, "couchdiscover");
    }

    #[test]
    fn wrong_settings_are_refused_and_durations_have_units() {
        for wrong in [
            &["--listen", "nowhere"][..],
            &["--drain-delay", "5"],
            &["--drain-delay=-5s"],
            &["--max-inflight", "0"],
            &["--cert-mode", "files"],
            &["--cert-mode", "vault"],
            &["--provide", "maybe"],
            &["--sidecar", "motorcycle"],
            &["--agent-cpu-request", "much"],
            &["--agent-image-pull-secrets", "Not_A_Name"],
            &["--erlang-cookie", "file"],
        ] {
            assert!(Args::try_parse_from([&["serve"], wrong].concat()).is_err(), "{wrong:?}");
        }
        let delays = ["500ms", "5s", "1m"].map(|delay| {
            Args::try_parse_from(["serve", "--drain-delay", delay]).unwrap().drain_delay.as_millis()
        });
        assert_eq!(delays, [500, 5_000, 60_000]);
        let contradicting = ["serve", "--agent-memory-request", "64Mi", "--agent-memory-limit", "32Mi"];
        let contradicting = Args::try_parse_from(contradicting).unwrap();
        assert!(contradicting.injection.defaults.contradiction().unwrap().contains("exceeds the limit"));
        let level = Args::try_parse_from(["serve", "--log-level", "DEBUG"]).unwrap().log_level;
        assert_eq!(level, LogLevel::Debug);
    }
}
