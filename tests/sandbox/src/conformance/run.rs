//! The runner of scripts, against stand-ins or real nodes.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use super::pattern::Names;
use super::script::{Action, Exchange, Login, Repeat, Script, Settings, Step, StepKind};
use crate::couchdb::{Clock, Cut, Network, NetworkError, NodeHandle, NodeSettings, SettingsError};

/// The time after which an `eventually` fails, on the nodes' clock: longer than the 37 seconds between reconnects,
/// with their jitter, and the 75 of a silent cut.
const EVENTUALLY_TIMEOUT: Duration = Duration::from_secs(150);

/// The least real time that an `eventually` waits: a busy machine may need longer than a fast clock allows.
const EVENTUALLY_REAL_TIME: Duration = Duration::from_secs(15);

/// Nodes that a script can be run against.
#[derive(Debug)]
pub struct Target {
    nodes: Vec<TargetNode>,
    control: Control,
    http: reqwest::Client,
}

#[derive(Debug)]
struct TargetNode {
    url: String,
    /// The Erlang node name, `couchdb@<host>`.
    name: String,
}

impl TargetNode {
    fn at(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), name: String::new() }
    }
}

/// The means by which actions are performed on the nodes.
#[derive(Debug)]
enum Control {
    /// None: a script with actions fails.
    None,
    /// The nodes are stand-ins.
    StandIns { net: Network, handles: Vec<NodeHandle> },
    /// A program that is called with the words of the action.
    Hook(String),
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// The number of requests that were sent, whatever their answers.
    pub requests: usize,
    /// The unexpected answers. Later ones may follow from earlier ones.
    pub differences: Vec<Difference>,
}

/// An answer that differs from the expected one.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {request}\n  expected {expected}\n  got      {got}")]
pub struct Difference {
    line: usize,
    request: String,
    expected: String,
    got: String,
}

/// The reason for which a script could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An action on nodes that were given without a hook.
    #[error("line {line}: these nodes can't be controlled without a hook")]
    NoControl {
        /// Line number in the script.
        line: usize,
    },
    /// The hook could not be started, or exited with an error.
    #[error("the hook failed: {action}: {reason}")]
    Hook {
        /// The arguments of the hook.
        action: String,
        /// The exit status of the hook, or the error of its start.
        reason: String,
    },
    /// A node that the script starts would exit.
    #[error("line {line}: a node would not start")]
    Start {
        /// Line number in the script.
        line: usize,
        /// The entrypoint's or CouchDB's own refusal.
        source: SettingsError,
    },
    /// The stand-ins could not be set up.
    #[error("failed to set up the stand-ins")]
    Network(#[from] NetworkError),
    /// A real node's `/_node/_local` could not be read.
    #[error("failed to read a node's name")]
    Name(#[from] reqwest::Error),
}

impl Target {
    /// Stand-ins, started with the script's settings.
    ///
    /// # Errors
    ///
    /// If a stand-in can't be started.
    pub fn stand_ins(script: &Script, clock: Clock) -> Result<Self, RunError> {
        let hosts: Vec<String> = (0..script.nodes)
            .map(|node| format!("couchdb-{node}.couchdb.default.svc.cluster.local"))
            .collect();
        let mut target = Self { nodes: Vec::new(), control: Control::None, http: client()? };
        // All names are known before the first start: settings may refer to any node as N1 or H1.
        for host in &hosts {
            target.nodes.push(TargetNode { url: String::new(), name: format!("couchdb@{host}") });
        }
        let net = Network::start(clock);
        let mut handles = Vec::new();
        for (node, host) in hosts.iter().enumerate() {
            let blank = NodeSettings::new(host.as_str()).ip(&format!("10.42.0.{}", 10 + node));
            let handle = net.start_node(target.apply_settings(blank, &script.settings_of(node)))?;
            target.nodes[node].url = handle.url();
            handles.push(handle);
        }
        target.control = Control::StandIns { net, handles };
        Ok(target)
    }

    /// Real nodes, freshly started, with admin `admin` and password `s3cret`.
    ///
    /// # Errors
    ///
    /// If the name of a node can't be read.
    pub async fn real(urls: &[&str]) -> Result<Self, RunError> {
        let nodes = urls.iter().map(|url| TargetNode::at(url)).collect();
        let mut target = Self { nodes, control: Control::None, http: client()? };
        target.learn_names().await?;
        Ok(target)
    }

    /// Real nodes that `hook` creates and starts with the script's settings, and on which it performs the script's
    /// actions. Nodes that the script does not need stay down.
    ///
    /// # Errors
    ///
    /// If the hook fails, or the name of a node can't be read.
    pub async fn hooked(script: &Script, urls: &[&str], hook: &str) -> Result<Self, RunError> {
        let nodes = urls.iter().map(|url| TargetNode::at(url)).collect();
        let mut target = Self { nodes, control: Control::Hook(hook.to_owned()), http: client()? };
        target.wipe_all()?;
        target.nodes.truncate(script.nodes);
        // The first start is only for the names, which the settings of the second may contain.
        target.start_all(None)?;
        target.learn_names().await?;
        target.wipe_all()?;
        target.start_all(Some(script))?;
        Ok(target)
    }

    /// Wipes all nodes before the first one starts: a new node must not meet an old one.
    fn wipe_all(&self) -> Result<(), RunError> {
        self.call_hook("heal")?;
        for action in ["kill", "lose-ini", "wipe", "publish"] {
            for node in 0..self.nodes.len() {
                self.call_hook(&format!("{action} {node}"))?;
            }
        }
        Ok(())
    }

    /// Starts all nodes, with the settings of the script if one is given.
    fn start_all(&self, script: Option<&Script>) -> Result<(), RunError> {
        for node in 0..self.nodes.len() {
            let settings = script.map(|script| script.settings_of(node)).unwrap_or_default();
            let words: String = settings.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            self.call_hook(&format!("set {node}{words}"))?;
            self.call_hook(&format!("start {node}"))?;
        }
        Ok(())
    }

    fn call_hook(&self, action: &str) -> Result<(), RunError> {
        let Control::Hook(hook) = &self.control else { return Ok(()) };
        let action = self.fill_in_names(action);
        let status = Command::new(hook).args(action.split_whitespace()).status();
        let reason = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Err(RunError::Hook { action, reason })
    }

    async fn learn_names(&mut self) -> Result<(), RunError> {
        for node in &mut self.nodes {
            let url = format!("{}/_node/_local", node.url);
            let response = self.http.get(url).basic_auth("admin", Some("s3cret")).send().await?;
            let answer: serde_json::Value = response.error_for_status()?.json().await?;
            answer["name"].as_str().unwrap_or_default().clone_into(&mut node.name);
        }
        Ok(())
    }

    fn apply_settings(&self, settings: NodeSettings, values: &Settings) -> NodeSettings {
        let cookie = values.get("cookie").map_or("shared", String::as_str);
        let user = values.get("user").map_or("admin", String::as_str);
        let password = values.get("password").map_or("s3cret", String::as_str);
        let secret = values.get("secret").map(String::as_str);
        let mut settings = settings.cookie(cookie).admin(user, password).secret(secret);
        for (key, value) in values {
            // A key with a slash is a line of the ini: `chttpd/require_valid_user=true`.
            if let Some((section, key)) = key.split_once('/') {
                settings = settings.ini(section, key, &self.fill_in_names(value));
            }
        }
        settings
    }

    /// The nodes' clock, which runs faster than the real one for stand-ins.
    fn now(&self) -> Duration {
        match &self.control {
            Control::StandIns { net, .. } => net.clock().now(),
            Control::None | Control::Hook(_) => Clock::real().now(),
        }
    }

    /// Replaces `N0` and `H0` in a text of the script by the name and the host of the node.
    fn fill_in_names(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['N', 'H']) {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            let digit = from[1..].chars().next().and_then(|c| c.to_digit(10));
            // `N1` inside a longer word is not a placeholder: revisions and uuids may contain it.
            let is_part_of_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_')
                || from[1..].chars().nth(1).is_some_and(char::is_alphanumeric);
            let length = if digit.is_some() { 2 } else { 1 };
            match digit.and_then(|d| self.nodes.get(d as usize)).filter(|_| !is_part_of_word) {
                Some(node) if from.starts_with('N') => filled.push_str(&node.name),
                Some(node) => filled.push_str(node.name.split_once('@').map_or("", |(_, host)| host)),
                None => filled.push_str(&from[..length]),
            }
            rest = &from[length..];
        }
        filled.push_str(rest);
        filled
    }
}

/// A client without proxy and redirects. Its TLS does not need a process-wide provider.
fn client() -> Result<reqwest::Client, reqwest::Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map(|builder| builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    // No pool: a connection that is kept would outlive the node that it leads to.
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
/// If an action can't be performed. An unexpected answer is not an error; the report contains it.
pub async fn run(script: &Script, target: &Target) -> Result<Report, RunError> {
    let mut run = Run { target, names: Names::default(), cookies: BTreeMap::new() };
    let mut report = Report { requests: 0, differences: Vec::new() };
    for Step { line, kind } in &script.steps {
        match kind {
            StepKind::Exchange(exchange) => {
                report.differences.extend(run.check(*line, exchange).await.err());
                report.requests += 1;
            }
            StepKind::Action { action, words } => run.perform(*line, action, words)?,
        }
    }
    Ok(report)
}

/// A run of one script.
struct Run<'a> {
    target: &'a Target,
    names: Names,
    /// The session cookie of the last login on each node.
    cookies: BTreeMap<usize, String>,
}

struct Answer {
    status: u16,
    body: String,
    took: Duration,
}

impl Run<'_> {
    /// Sends a request, once or until the answer is as expected.
    async fn check(&mut self, line: usize, exchange: &Exchange) -> Result<(), Difference> {
        let expected = self.target.fill_in_names(&exchange.expected);
        let started = self.target.now();
        let real_deadline = Instant::now() + EVENTUALLY_REAL_TIME;
        loop {
            let answer = self.send(exchange).await;
            // A tenth of tolerance: the client measures the time, not the node.
            let is_slow_enough = answer.took >= exchange.at_least.mul_f64(0.9);
            if answer.status == exchange.status
                && is_slow_enough
                && self.names.matches(&expected, &answer.body)
            {
                return Ok(());
            }
            let is_late = self.target.now() > started + EVENTUALLY_TIMEOUT && Instant::now() > real_deadline;
            if exchange.repeat == Repeat::Once || is_late {
                return Err(Difference {
                    line,
                    request: format!("{} {} {}", exchange.method, exchange.node, exchange.path),
                    expected: format!("{} {expected} ({:?})", exchange.status, exchange.at_least),
                    got: format!("{} {} ({:?})", answer.status, answer.body.trim(), answer.took),
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends one request. A call without an answer has status 0, as in curl's `%{http_code}`.
    async fn send(&mut self, exchange: &Exchange) -> Answer {
        let started = self.target.now();
        let sent = self.request(exchange).send().await;
        let (status, body) = match sent {
            Ok(response) => {
                if let Some(cookie) = response.headers().get("set-cookie").and_then(|c| c.to_str().ok()) {
                    let pair = cookie.split(';').next().unwrap_or_default();
                    self.cookies.insert(exchange.node, pair.to_owned());
                }
                (response.status().as_u16(), response.text().await.unwrap_or_default())
            }
            Err(error) => (0, error.to_string()),
        };
        Answer { status, body, took: self.target.now().saturating_sub(started) }
    }

    fn request(&self, exchange: &Exchange) -> reqwest::RequestBuilder {
        let base = self.target.nodes.get(exchange.node).map_or("", |node| node.url.as_str());
        let url = format!("{base}{}", self.fill_in(&exchange.path));
        let method = reqwest::Method::from_bytes(exchange.method.as_bytes()).unwrap_or(reqwest::Method::GET);
        let request = self.target.http.request(method, url);
        let request = match &exchange.login {
            Login::Admin => request.basic_auth("admin", Some("s3cret")),
            Login::None => request,
            Login::Basic(user, password) => request.basic_auth(user, Some(password)),
            Login::Cookie(node) => {
                request.header("cookie", self.cookies.get(node).map_or("", String::as_str))
            }
        };
        match &exchange.body {
            Some(body) => request.header("content-type", "application/json").body(self.fill_in(body)),
            None => request,
        }
    }

    fn fill_in(&self, text: &str) -> String {
        self.names.fill_in(&self.target.fill_in_names(text))
    }

    fn perform(&self, line: usize, action: &Action, words: &str) -> Result<(), RunError> {
        let (net, nodes) = match &self.target.control {
            Control::None => return Err(RunError::NoControl { line }),
            Control::Hook(_) => return self.target.call_hook(words),
            Control::StandIns { net, handles } => (net, handles),
        };
        match action {
            Action::Kill(node) => nodes[*node].kill(),
            Action::Start(node) => {
                nodes[*node].start().map_err(|source| RunError::Start { line, source })?;
            }
            Action::Wipe(node) => nodes[*node].wipe(),
            Action::LoseIni(node) => nodes[*node].lose_ini(),
            Action::Pause(node) => nodes[*node].pause(),
            Action::Resume(node) => nodes[*node].resume(),
            Action::Hide(node) => net.world(|world| world.unpublish(nodes[*node].host())),
            Action::Publish(node) => net.world(|world| world.publish(nodes[*node].host())),
            Action::Cut(node) => {
                let host = nodes[*node].host();
                for other in nodes.iter().map(NodeHandle::host).filter(|other| *other != host) {
                    net.cut(host, other, Cut::Silent);
                }
            }
            Action::Heal => net.heal(),
            // The environment replaces the old one as a whole, as an edited pod template does.
            Action::Set(node, values) => nodes[*node].reconfigure(|old| {
                self.target.apply_settings(NodeSettings::new(old.host().as_str()), values)
            }),
        }
        Ok(())
    }
}
