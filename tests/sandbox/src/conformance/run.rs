//! Running scripts.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use super::pattern::Names;
use super::script::{Ask, Deed, Login, Script, Step, What};
use crate::couchdb::{Clock, Cut, Network, NetworkError, NodeHandle, NodeSettings, SettingsError};

/// An `eventually` gives up after so long on the nodes' clock: longer than the 37 seconds between reconnects, with
/// their jitter, and the 75 of a silent cut.
const EVENTUALLY: Duration = Duration::from_secs(150);

/// Nodes that a script can be run against.
#[derive(Debug)]
pub struct Target {
    nodes: Vec<At>,
    control: Control,
    http: reqwest::Client,
}

#[derive(Debug)]
struct At {
    url: String,
    name: String,
}

/// How deeds are done to the nodes.
#[derive(Debug)]
enum Control {
    /// Not at all.
    None,
    /// The nodes are stand-ins.
    StandIns { net: Network, handles: Vec<NodeHandle> },
    /// A program is called with the words of the deed.
    Hook(String),
}

/// What was done.
#[derive(Debug)]
pub struct Report {
    /// How many requests were answered, as expected or not.
    pub asked: usize,
    /// The answers that weren't as expected. Later ones may follow from earlier ones.
    pub differences: Vec<Difference>,
}

/// An answer that is not as the script says.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {request}\n  expected {expected}\n  got      {got}")]
pub struct Difference {
    line: usize,
    request: String,
    expected: String,
    got: String,
}

/// Why a script can't be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Something that can't be done to these nodes.
    #[error("line {line}: these nodes can't be controlled")]
    NoControl {
        /// Where in the script.
        line: usize,
    },
    /// The hook couldn't be called, or said no.
    #[error("the hook failed: {deed}: {why}")]
    Hook {
        /// The words it was called with.
        deed: String,
        /// Its status, or why it couldn't be called.
        why: String,
    },
    /// A node that should start would exit.
    #[error("line {line}: a node would not start")]
    Start {
        /// Where in the script.
        line: usize,
        /// Why.
        source: SettingsError,
    },
    /// The stand-ins couldn't be set up.
    #[error("failed to set up the stand-ins")]
    Network(#[from] NetworkError),
    /// A real node doesn't say what its name is.
    #[error("failed to learn a node's name")]
    Name(#[from] reqwest::Error),
}

impl Target {
    /// Stand-ins, started as the script says.
    ///
    /// # Errors
    ///
    /// When they can't be.
    pub fn stand_ins(script: &Script, clock: Clock) -> Result<Self, Broken> {
        let host = |node: usize| format!("couchdb-{node}.couchdb.default.svc.cluster.local");
        let at = |node| At { url: String::new(), name: format!("couchdb@{}", host(node)) };
        let mut target =
            Self { nodes: (0..script.nodes).map(at).collect(), control: Control::None, http: client()? };
        let net = Network::start(clock);
        let mut handles = Vec::new();
        for node in 0..script.nodes {
            let settings = script.settings_of(node);
            let blank = NodeSettings::new(host(node)).ip(&format!("10.42.0.{}", 10 + node));
            handles.push(net.start_node(target.with(blank, &settings))?);
        }
        target.nodes.iter_mut().zip(&handles).for_each(|(at, handle)| at.url = handle.url());
        target.control = Control::StandIns { net, handles };
        Ok(target)
    }

    /// Real nodes, freshly started, with admin `admin` and password `s3cret`.
    ///
    /// # Errors
    ///
    /// When one of them doesn't tell its name.
    pub async fn real(urls: &[&str]) -> Result<Self, Broken> {
        let mut target = Self { nodes: Vec::new(), control: Control::None, http: client()? };
        for url in urls {
            target.nodes.push(At { url: url.trim_end_matches('/').to_owned(), name: String::new() });
        }
        target.learn_names().await?;
        Ok(target)
    }

    /// Real nodes that `hook` makes new and starts as the script says, and to which it does the script's deeds. It
    /// keeps those down that the script doesn't need.
    ///
    /// # Errors
    ///
    /// When the hook fails, or a node doesn't tell its name.
    pub async fn hooked(script: &Script, urls: &[&str], hook: &str) -> Result<Self, Broken> {
        let at = |url: &&str| At { url: url.trim_end_matches('/').to_owned(), name: String::new() };
        let nodes = urls.iter().map(at).collect();
        let mut target = Self { nodes, control: Control::Hook(hook.to_owned()), http: client()? };
        target.forget_all()?;
        target.nodes.truncate(script.nodes);
        target.start_all(&|_| String::new())?;
        target.learn_names().await?;
        target.forget_all()?;
        target.start_all(&|node| {
            let settings = script.settings_of(node);
            settings.iter().map(|(key, value)| format!(" {key}={value}")).collect()
        })?;
        Ok(target)
    }

    /// All are gone before the first one starts: it must not meet an old one.
    fn forget_all(&self) -> Result<(), Broken> {
        self.call_hook("heal")?;
        for deed in ["kill", "lose-ini", "wipe", "publish"] {
            (0..self.nodes.len()).try_for_each(|node| self.call_hook(&format!("{deed} {node}")))?;
        }
        Ok(())
    }

    fn start_all(&self, settings: &dyn Fn(usize) -> String) -> Result<(), Broken> {
        for node in 0..self.nodes.len() {
            self.call_hook(&format!("set {node}{}", settings(node)))?;
            self.call_hook(&format!("start {node}"))?;
        }
        Ok(())
    }

    fn call_hook(&self, deed: &str) -> Result<(), Broken> {
        let Control::Hook(hook) = &self.control else { return Ok(()) };
        let deed = self.name(deed);
        let status = Command::new(hook).args(deed.split_whitespace()).status();
        let why = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Err(Broken::Hook { deed, why })
    }

    async fn learn_names(&mut self) -> Result<(), Broken> {
        for at in &mut self.nodes {
            let url = format!("{}/_node/_local", at.url);
            let asked = self.http.get(url).basic_auth("admin", Some("s3cret")).send().await?;
            let answer: serde_json::Value = asked.error_for_status()?.json().await?;
            answer["name"].as_str().unwrap_or_default().clone_into(&mut at.name);
        }
        Ok(())
    }

    fn with(&self, settings: NodeSettings, values: &BTreeMap<String, String>) -> NodeSettings {
        let value = |key: &str| values.get(key).map(String::as_str);
        let mut settings = settings.cookie(value("cookie").unwrap_or("shared"));
        settings = settings.admin(value("user").unwrap_or("admin"), value("password").unwrap_or("s3cret"));
        settings = settings.secret(value("secret"));
        for (key, value) in values {
            // `chttpd/require_valid_user=true`
            if let Some((section, key)) = key.split_once('/') {
                settings = settings.ini(section, key, &self.name(value));
            }
        }
        settings
    }

    fn now(&self) -> Duration {
        match &self.control {
            Control::StandIns { net, .. } => net.clock().now(),
            Control::None | Control::Hook(_) => Clock::real().now(),
        }
    }

    /// N0 and H0 in a text of the script, as these nodes are called.
    fn name(&self, text: &str) -> String {
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['N', 'H']) {
            let (before, from) = rest.split_at(at);
            named.push_str(before);
            let digit = from[1..].chars().next().and_then(|c| c.to_digit(10));
            let joined = before.ends_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_')
                || from[1..].chars().nth(1).is_some_and(char::is_alphanumeric);
            match digit.and_then(|d| self.nodes.get(d as usize)).filter(|_| !joined) {
                Some(node) if from.starts_with('N') => named.push_str(&node.name),
                Some(node) => named.push_str(node.name.split_once('@').map_or("", |(_, host)| host)),
                None => named.push_str(&from[..if digit.is_some() { 2 } else { 1 }]),
            }
            rest = &from[if digit.is_some() { 2 } else { 1 }..];
        }
        named.push_str(rest);
        named
    }
}

/// No proxy, no redirects, and TLS without a process-wide provider.
fn client() -> Result<reqwest::Client, reqwest::Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map(|builder| builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    // A connection that is kept outlives the node it leads to.
    let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
    match tls {
        Ok(tls) => builder.tls_backend_preconfigured(tls).build(),
        Err(_) => builder.build(),
    }
}

/// Runs a script to its end.
///
/// # Errors
///
/// When something can't be done to the nodes. An unexpected answer is no error, but in the report.
pub async fn run(script: &Script, target: &Target) -> Result<Report, Broken> {
    let mut run = Run { target, names: Names::default(), cookies: BTreeMap::new() };
    let mut report = Report { asked: 0, differences: Vec::new() };
    for Step { line, what } in &script.steps {
        match what {
            What::Ask(ask) => {
                report.differences.extend(run.ask(*line, ask).await.err());
                report.asked += 1;
            }
            What::Do { deed, words } => run.perform(*line, deed, words)?,
        }
    }
    Ok(report)
}

struct Run<'a> {
    target: &'a Target,
    names: Names,
    cookies: BTreeMap<usize, String>,
}

/// What came back.
struct Answer {
    status: u16,
    body: String,
    took: Duration,
}

impl Run<'_> {
    async fn ask(&mut self, line: usize, ask: &Ask) -> Result<(), Difference> {
        let expected = self.target.name(&ask.expected);
        let started = self.target.now();
        // A busy machine may need longer than a fast clock allows.
        let patience = Instant::now() + Duration::from_secs(15);
        loop {
            let answer = self.send(ask).await;
            let slow_enough = answer.took >= ask.at_least.mul_f64(0.9);
            if answer.status == ask.status && slow_enough && self.names.matches(&expected, &answer.body) {
                return Ok(());
            }
            let late = self.target.now() > started + EVENTUALLY && Instant::now() > patience;
            if !ask.eventually || late {
                return Err(Difference {
                    line,
                    request: format!("{} {} {}", ask.method, ask.node, ask.path),
                    expected: format!("{} {expected} ({:?})", ask.status, ask.at_least),
                    got: format!("{} {} ({:?})", answer.status, answer.body.trim(), answer.took),
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A call without an answer has status 0, as curl says it.
    async fn send(&mut self, ask: &Ask) -> Answer {
        let started = self.target.now();
        let sent = self.request(ask).send().await;
        let (status, body) = match sent {
            Ok(response) => {
                if let Some(cookie) = response.headers().get("set-cookie").and_then(|c| c.to_str().ok()) {
                    let pair = cookie.split(';').next().unwrap_or_default();
                    self.cookies.insert(ask.node, pair.to_owned());
                }
                (response.status().as_u16(), response.text().await.unwrap_or_default())
            }
            Err(error) => (0, error.to_string()),
        };
        Answer { status, body, took: self.target.now().saturating_sub(started) }
    }

    fn request(&self, ask: &Ask) -> reqwest::RequestBuilder {
        let fill_in = |text: &str| self.names.fill_in(&self.target.name(text));
        let base = self.target.nodes.get(ask.node).map_or("", |node| node.url.as_str());
        let method = reqwest::Method::from_bytes(ask.method.as_bytes()).unwrap_or(reqwest::Method::GET);
        let mut request = self.target.http.request(method, format!("{base}{}", fill_in(&ask.path)));
        request = match &ask.login {
            Login::Admin => request.basic_auth("admin", Some("s3cret")),
            Login::None => request,
            Login::Basic(user, password) => request.basic_auth(user, Some(password)),
            Login::Cookie(node) => {
                request.header("cookie", self.cookies.get(node).map_or("", String::as_str))
            }
        };
        match &ask.body {
            Some(body) => request.header("content-type", "application/json").body(fill_in(body)),
            None => request,
        }
    }

    fn perform(&self, line: usize, deed: &Deed, words: &str) -> Result<(), Broken> {
        let (net, handles) = match &self.target.control {
            Control::None => return Err(Broken::NoControl { line }),
            Control::Hook(_) => return self.target.call_hook(words),
            Control::StandIns { net, handles } => (net, handles),
        };
        let publish =
            |node: usize, published| net.world(|w| w.set_published(handles[node].host(), published));
        match deed {
            Deed::Kill(node) => handles[*node].kill(),
            Deed::Start(node) => {
                handles[*node].start().map_err(|source| Broken::Start { line, source })?;
            }
            Deed::Wipe(node) => handles[*node].wipe(),
            Deed::LoseIni(node) => handles[*node].lose_ini(),
            Deed::Pause(node) => handles[*node].pause(),
            Deed::Resume(node) => handles[*node].resume(),
            Deed::Hide(node) => publish(*node, false),
            Deed::Publish(node) => publish(*node, true),
            Deed::Cut(node) => {
                for other in handles.iter().filter(|h| h.host() != handles[*node].host()) {
                    net.cut(handles[*node].host(), other.host(), Cut::Silent);
                }
            }
            Deed::Heal => net.heal(),
            Deed::Set(node, values) => net.world(|w| {
                w.reconfigure(handles[*node].host(), |old| {
                    self.target.with(NodeSettings::new(old.host().as_str()), values)
                });
            }),
        }
        Ok(())
    }
}
