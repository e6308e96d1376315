//! What `serve` is told: flags, each with a variable of the environment that stands in for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use certs::Lifetimes;
use clap::{Parser, ValueEnum};
use cli::Injection;
use contract::{env, ports};

/// Settings of the admission server.
///
/// In a test, parse them: `Args::try_parse_from(["serve", "--listen", "127.0.0.1:0"])`.
#[derive(Clone, Debug, Parser)]
#[command(name = "serve", no_binary_name = false)]
pub struct Args {
    /// Where HTTPS is served
    #[arg(long, env = "COUCHDISCOVER_LISTEN", default_value_t = any(ports::WEBHOOK))]
    pub listen: SocketAddr,
    /// Where probes and metrics are served, in plain HTTP
    #[arg(long, env = "COUCHDISCOVER_PROBE_LISTEN", default_value_t = any(ports::WEBHOOK_PROBES))]
    pub probe_listen: SocketAddr,
    /// Namespace the webhook runs in
    #[arg(long, env = "COUCHDISCOVER_NAMESPACE", default_value = "couchdiscover")]
    pub namespace: String,
    /// Service the API server calls it by
    #[arg(long, env = "COUCHDISCOVER_SERVICE", default_value = "couchdiscover-webhook")]
    pub service: String,
    /// Name of the MutatingWebhookConfiguration
    #[arg(long, env = "COUCHDISCOVER_CONFIG_NAME", default_value = "couchdiscover")]
    pub config_name: String,
    /// What is injected
    #[command(flatten)]
    pub injection: Injection,
    /// Where the certificate comes from
    #[arg(long, env = "COUCHDISCOVER_CERT_MODE", value_enum, default_value_t = CertMode::SelfSigned)]
    pub cert_mode: CertMode,
    /// Certificate chain in PEM, read again whenever it changes
    #[arg(long, env = "COUCHDISCOVER_TLS_CERT", required_if_eq("cert_mode", "files"))]
    pub tls_cert: Option<PathBuf>,
    /// Private key in PEM
    #[arg(long, env = "COUCHDISCOVER_TLS_KEY", required_if_eq("cert_mode", "files"))]
    pub tls_key: Option<PathBuf>,
    /// CA in PEM that must have signed the caller's certificate; without it, any caller is served
    #[arg(long, env = "COUCHDISCOVER_CLIENT_CA")]
    pub client_ca: Option<PathBuf>,
    /// One more name the server is called by, such as localhost; may be given several times
    #[arg(long, env = "COUCHDISCOVER_EXTRA_SAN", value_delimiter = ',')]
    pub extra_san: Vec<String>,
    /// How long the certificate authority lasts. For tests that have no year to spare
    #[arg(long, env = "COUCHDISCOVER_CA_LIFE", value_parser = duration, hide = true, requires = "leaf_life")]
    pub ca_life: Option<Duration>,
    /// How long a certificate lasts. For tests that have no week to spare
    #[arg(long, env = "COUCHDISCOVER_LEAF_LIFE", value_parser = duration, hide = true, requires = "ca_life")]
    pub leaf_life: Option<Duration>,
    /// How long to go on serving after SIGTERM, until no API server calls any more
    #[arg(long, env = "COUCHDISCOVER_DRAIN_DELAY", default_value = "5s", value_parser = duration)]
    pub drain_delay: Duration,
    /// Reviews answered at a time; one more is turned away at once
    #[arg(long, env = "COUCHDISCOVER_MAX_INFLIGHT", default_value_t = 256, value_parser = positive)]
    pub max_inflight: usize,
    /// Whether to make the Secrets and RoleBindings that injected pods need
    #[arg(long, env = "COUCHDISCOVER_PROVIDE", value_enum, default_value_t = Provide::On)]
    pub provide: Provide,
    /// How much is logged
    #[arg(long, env = env::LOG_LEVEL, value_enum, ignore_case = true, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// How it is logged
    #[arg(long, env = env::LOG_FORMAT, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Where the certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CertMode {
    /// The webhook is its own certificate authority, in a Secret that its replicas share.
    #[value(name = "self")]
    SelfSigned,
    /// From files that someone else keeps fresh, such as cert-manager.
    Files,
    /// The process is its own certificate authority, and nobody is told: for tests.
    #[value(hide = true)]
    Memory,
}

/// Whether what injected pods need is made for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provide {
    /// Make it.
    On,
    /// Someone else does.
    Off,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what may go wrong.
    Warn,
    /// And one line for each review.
    Info,
    /// And connections.
    Debug,
    /// And everything else.
    Trace,
}

/// How it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for a person.
    Text,
    /// One JSON object on each line.
    Json,
}

impl Args {
    /// The name that API servers verify.
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// How long certificates last. A leaf must fit into the last third of its authority's life three times, so that
    /// neither is cut short in a rotation.
    pub(crate) fn terms(&self) -> Lifetimes {
        let (Some(authority), Some(leaf)) = (self.ca_life, self.leaf_life) else {
            return Lifetimes::default();
        };
        let of = |life: Duration| time::Duration::try_from(life).unwrap_or(time::Duration::MAX);
        Lifetimes { authority: of(authority), leaf: of(leaf).min(of(authority) / 9) }
    }

    /// The names the server's certificate is good for.
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

/// `5s`, `500ms`, `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: Result<u64, _> = text[..end].parse();
    match (number, &text[end..]) {
        (Ok(number), "ms") => Ok(Duration::from_millis(number)),
        (Ok(number), "s") => Ok(Duration::from_secs(number)),
        (Ok(number), "m") if number < 1_000_000 => Ok(Duration::from_secs(number * 60)),
        (_, _) => Err("expected a time such as '5s', '500ms' or '1m'".to_owned()),
    }
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
    fn wrong_settings_are_refused() {
        for wrong in [
            &["--listen", "nowhere"][..],
            &["--drain-delay", "5"],
            &["--max-inflight", "0"],
            &["--cert-mode", "files"],
            &["--cert-mode", "vault"],
            &["--provide", "maybe"],
        ] {
            assert!(Args::try_parse_from([&["serve"], wrong].concat()).is_err(), "{wrong:?}");
        }
        let level = Args::try_parse_from(["serve", "--log-level", "DEBUG"]).unwrap().log_level;
        assert_eq!(level, LogLevel::Debug);
    }
}
