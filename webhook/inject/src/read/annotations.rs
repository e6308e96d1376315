//! The annotations of a StatefulSet, parsed, and the webhook's settings, which are their defaults.

use std::borrow::Cow;

use contract::{env, keys, objects};
use serde::Serialize;

use super::defaults::Defaults;
use super::quantity;
use super::view::View;
use crate::outcome::{Problem, annotation_path};

/// The webhook's settings for injection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the agent, unless an annotation names another one.
    pub agent_image: String,
    /// The DNS domain of the Kubernetes cluster, such as `cluster.local`.
    pub cluster_domain: String,
    /// The version that is written into the record of the injection.
    pub version: String,
    /// Values of annotations for StatefulSets without them.
    pub defaults: Defaults,
}

/// The parsed annotations of one StatefulSet, with defaults for those that are absent.
#[derive(Debug)]
pub(crate) struct Annotations<'v> {
    /// Name of the CouchDB container.
    pub(crate) container: Option<&'v str>,
    /// Number of nodes at which the cluster forms.
    pub(crate) size: Option<u32>,
    /// The user's Erlang cookie.
    pub(crate) cookie: Option<SecretKey<'v>>,
    /// The choice of the user or of the cluster's admin; without one the image decides.
    pub(crate) cookie_way: Option<CookieWay>,
    /// Names of other containers that need the cookie.
    pub(crate) cookie_containers: Vec<&'v str>,
    /// The authority of CouchDB's certificates; if present, the agent connects by https.
    pub(crate) couchdb_ca: Option<SecretKey<'v>>,
    pub(crate) image: &'v str,
    pub(crate) pull_policy: &'v str,
    pub(crate) pull_secrets: Vec<&'v str>,
    pub(crate) kubernetes: Kubernetes,
    pub(crate) log_level: Cow<'v, str>,
    pub(crate) log_format: &'v str,
    pub(crate) resources: Resources<'v>,
    pub(crate) sidecar: Sidecar,
    pub(crate) readiness: Readiness,
    pub(crate) size_change: SizeChange,
    keep: Vec<&'v str>,
}

/// A key of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SecretKey<'v> {
    pub(crate) name: &'v str,
    pub(crate) key: &'v str,
}

/// Requests and limits of the agent, as Kubernetes quantities.
#[derive(Debug)]
pub(crate) struct Resources<'v> {
    pub(crate) cpu_request: &'v str,
    pub(crate) memory_request: &'v str,
    pub(crate) cpu_limit: Option<&'v str>,
    pub(crate) memory_limit: &'v str,
}

/// The kind of container that the agent runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sidecar {
    /// A regular container.
    Container,
    /// An init container with `restartPolicy: Always`, which stops after CouchDB.
    Native,
}

/// The way in which CouchDB is given the Erlang cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieWay {
    /// By variables that the image's entrypoint writes to a file.
    Variable,
    /// By a flag of the Erlang VM, which needs no file.
    Flag,
}

/// The agent's use of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kubernetes {
    /// It is used if it answers.
    Auto,
    /// It is never called.
    Off,
}

/// The condition for the pod's readiness that the agent adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The node is a member of the cluster.
    Joined,
    /// None; only the user's own probes count.
    Off,
}

/// The annotations about changes of size that decide in the webhook. Agents read them as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeChange {
    /// The number of nodes that stay; those with higher ordinals are drained.
    pub(crate) target: Option<u32>,
    pub(crate) scale_down: ScaleDownMode,
}

/// The answer to a request that removes nodes which are not drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleDownMode {
    /// A denial.
    Guard,
    /// The replicas stay, and the nodes are drained.
    Drain,
    /// The request is allowed.
    Allow,
}

/// The parts of an injection that opting out removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRemoval {
    /// The agent's container and its volumes. The variables in CouchDB's container stay.
    Agent,
    /// All of them: the template is as it was before the injection.
    Everything,
}

/// The variables that may be injected into the CouchDB container, hence may be listed in `keep` or in a record.
pub(crate) const INJECTABLE: [&str; 9] = [
    env::COUCHDB_ERLANG_COOKIE,
    env::ERLANG_COOKIE,
    env::COUCHDB_SECRET,
    env::COUCHDB_CLUSTER_SIZE,
    env::ERL_FLAGS,
    env::ERL_ZFLAGS,
    env::NODENAME,
    env::POD_NAME,
    env::POD_NAMESPACE,
];

// Of each list of choices, the first one is the default.
const PULL_POLICIES: &[(&str, &str)] =
    &[("IfNotPresent", "IfNotPresent"), ("Always", "Always"), ("Never", "Never")];
const PULL_POLICY_EXPECTED: &str = "'Always', 'IfNotPresent' or 'Never'";
const LOG_FORMATS: &[(&str, &str)] = &[("text", "text"), ("json", "json")];
const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const SIDECARS: &[(&str, Sidecar)] = &[("container", Sidecar::Container), ("native", Sidecar::Native)];
const READINESSES: &[(&str, Readiness)] = &[("joined", Readiness::Joined), ("off", Readiness::Off)];
const SCALE_DOWNS: &[(&str, ScaleDownMode)] =
    &[("guard", ScaleDownMode::Guard), ("drain", ScaleDownMode::Drain), ("allow", ScaleDownMode::Allow)];
// Only agents act on it.
const REBALANCES: &[(&str, ())] = &[("system", ()), ("all", ()), ("off", ())];
const COOKIE_WAYS: &[(&str, CookieWay)] = &[("variable", CookieWay::Variable), ("flag", CookieWay::Flag)];
const KUBERNETES: &[(&str, Kubernetes)] = &[("auto", Kubernetes::Auto), ("off", Kubernetes::Off)];
const ON_REMOVALS: &[(&str, OnRemoval)] =
    &[("agent", OnRemoval::Agent), ("everything", OnRemoval::Everything)];

// The agent settles below 12 MiB; the limit leaves room for a cluster of many nodes.
const CPU_REQUEST: &str = "5m";
const MEMORY_REQUEST: &str = "16Mi";
const MEMORY_LIMIT: &str = "64Mi";

impl<'v> Annotations<'v> {
    /// Parses the annotations. Each invalid one is added to `problems` and replaced by its default.
    pub(crate) fn parse(view: &'v View<'_>, settings: &'v Settings, problems: &mut Vec<Problem>) -> Self {
        let mut reader = Reader { view, defaults: &settings.defaults, problems };
        // It takes effect only on opting out. An invalid value is reported before it is needed.
        reader.on_removal();
        // The agents act on these. They cannot refuse an invalid value, so it is reported here.
        reader.choice(keys::REBALANCE, REBALANCES, "'system', 'all' or 'off'");
        reader.count(keys::COPIES);
        reader.zone();
        Self {
            container: view.annotation(keys::CONTAINER),
            size: reader.size(),
            cookie: reader.secret_key(keys::ERLANG_COOKIE_SECRET, objects::ERLANG_COOKIE_KEY),
            cookie_way: reader.cookie_way(),
            cookie_containers: reader.list(keys::COOKIE_CONTAINERS),
            couchdb_ca: reader.secret_key(keys::COUCHDB_CA_SECRET, objects::CA_KEY),
            image: reader.image(&settings.agent_image),
            pull_policy: reader.choice(keys::AGENT_IMAGE_PULL_POLICY, PULL_POLICIES, PULL_POLICY_EXPECTED),
            pull_secrets: reader.pull_secrets(),
            kubernetes: reader.choice(keys::KUBERNETES, KUBERNETES, "'auto' or 'off'"),
            log_level: reader.log_level(),
            log_format: reader.choice(keys::AGENT_LOG_FORMAT, LOG_FORMATS, "'text' or 'json'"),
            resources: reader.resources(),
            sidecar: reader.choice(keys::SIDECAR, SIDECARS, "'container' or 'native'"),
            readiness: reader.choice(keys::READINESS, READINESSES, "'joined' or 'off'"),
            size_change: reader.size_change(),
            keep: reader.keep(),
        }
    }

    /// `true` if the user provides this variable, so that it must not be injected.
    pub(crate) fn keeps(&self, variable: &str) -> bool {
        self.keep.contains(&variable)
    }
}

impl SizeChange {
    /// The choices of the StatefulSet's annotations; the default for an invalid one.
    pub(crate) fn of(view: &View<'_>) -> Self {
        Reader { view, defaults: &Defaults::default(), problems: &mut Vec::new() }.size_change()
    }
}

impl OnRemoval {
    /// The choice of the StatefulSet's annotation.
    pub(crate) fn of(view: &View<'_>) -> Result<Self, Problem> {
        let (defaults, mut problems) = (Defaults::default(), Vec::new());
        let chosen = Reader { view, defaults: &defaults, problems: &mut problems }.on_removal();
        problems.pop().map_or(Ok(chosen), Err)
    }
}

struct Reader<'v, 'p> {
    view: &'v View<'v>,
    defaults: &'v Defaults,
    problems: &'p mut Vec<Problem>,
}

impl<'v> Reader<'v, '_> {
    fn invalid(&mut self, key: &'static str, value: &str, expected: &'static str) {
        self.problems.push(Problem::Annotation { key, value: value.to_owned(), expected });
    }

    /// The annotation's value, else the cluster-wide default.
    fn value(&self, key: &str) -> Option<&'v str> {
        self.view.annotation(key).or_else(|| self.defaults.get(key))
    }

    fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)], expected: &'static str) -> T {
        let (_, default) = choices[0];
        let Some(value) = self.value(key) else { return default };
        if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == value) {
            return *chosen;
        }
        // The default replaces it, so that one review reports all invalid annotations.
        self.invalid(key, value, expected);
        default
    }

    fn on_removal(&mut self) -> OnRemoval {
        self.choice(keys::ON_REMOVAL, ON_REMOVALS, "'agent' or 'everything'")
    }

    fn size_change(&mut self) -> SizeChange {
        SizeChange {
            target: self.count(keys::TARGET_SIZE),
            scale_down: self.choice(keys::SCALE_DOWN, SCALE_DOWNS, "'guard', 'drain' or 'allow'"),
        }
    }

    /// Parses a whole number from 1.
    fn count(&mut self, key: &'static str) -> Option<u32> {
        let value = self.view.annotation(key)?;
        let count = parse_size(value);
        if count.is_none() {
            self.invalid(key, value, "a whole number from 1");
        }
        count
    }

    fn zone(&mut self) {
        let Some(value) = self.view.annotation(keys::ZONE) else { return };
        if value.trim().is_empty() {
            self.invalid(keys::ZONE, value, "'topology', or the name of a zone");
        }
    }

    fn cookie_way(&mut self) -> Option<CookieWay> {
        // Without a value, the image decides.
        self.value(keys::ERLANG_COOKIE)?;
        Some(self.choice(keys::ERLANG_COOKIE, COOKIE_WAYS, "'variable' or 'flag'"))
    }

    fn size(&mut self) -> Option<u32> {
        let value = self.view.annotation(keys::CLUSTER_SIZE)?;
        let size = parse_size(value);
        if size.is_none() {
            let path = annotation_path(keys::CLUSTER_SIZE);
            self.problems.push(Problem::Size { path, value: value.to_owned() });
        }
        size
    }

    /// Parses `<name>` or `<name>/<key>`.
    fn secret_key(&mut self, annotation: &'static str, default_key: &'v str) -> Option<SecretKey<'v>> {
        let value = self.view.annotation(annotation)?;
        let (name, key) = value.split_once('/').unwrap_or((value, default_key));
        if is_object_name(name) && is_data_key(key) {
            return Some(SecretKey { name, key });
        }
        self.invalid(annotation, value, "the name of a Secret, or '<name>/<key>'");
        None
    }

    fn image(&mut self, default: &'v str) -> &'v str {
        let Some(image) = self.view.annotation(keys::AGENT_IMAGE) else { return default };
        // The container runtime validates the rest of an image reference.
        if image.is_empty() || image.contains(char::is_whitespace) {
            self.invalid(keys::AGENT_IMAGE, image, "an image reference");
        }
        image
    }

    fn log_level(&mut self) -> Cow<'v, str> {
        let Some(level) = self.value(keys::AGENT_LOG_LEVEL) else { return Cow::Borrowed("info") };
        if !LOG_LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            self.invalid(keys::AGENT_LOG_LEVEL, level, "'error', 'warn', 'info', 'debug' or 'trace'");
        }
        Cow::Owned(level.to_ascii_lowercase())
    }

    fn resources(&mut self) -> Resources<'v> {
        let cpu_request = self.quantity(keys::AGENT_CPU_REQUEST).unwrap_or(CPU_REQUEST);
        let memory_request = self.quantity(keys::AGENT_MEMORY_REQUEST).unwrap_or(MEMORY_REQUEST);
        let cpu_limit = self.quantity(keys::AGENT_CPU_LIMIT);
        // A request above the default limit raises it.
        let is_above = quantity::parse(memory_request) > quantity::parse(MEMORY_LIMIT);
        let default = if is_above { memory_request } else { MEMORY_LIMIT };
        let memory_limit = self.quantity(keys::AGENT_MEMORY_LIMIT).unwrap_or(default);
        // The API server would deny the whole StatefulSet, with a path into a container that the user never wrote.
        if let Some(limit) = cpu_limit {
            self.check_limit(keys::AGENT_CPU_REQUEST, cpu_request, keys::AGENT_CPU_LIMIT, limit);
        }
        self.check_limit(keys::AGENT_MEMORY_REQUEST, memory_request, keys::AGENT_MEMORY_LIMIT, memory_limit);
        Resources { cpu_request, memory_request, cpu_limit, memory_limit }
    }

    fn quantity(&mut self, key: &'static str) -> Option<&'v str> {
        let value = self.value(key)?;
        if quantity::parse(value).is_some() {
            return Some(value);
        }
        self.invalid(key, value, "a quantity above zero such as '5m' or '16Mi'");
        None
    }

    fn check_limit(&mut self, key: &'static str, request: &str, limit_key: &'static str, limit: &str) {
        if quantity::parse(request) > quantity::parse(limit) {
            let (request, limit) = (request.to_owned(), limit.to_owned());
            self.problems.push(Problem::RequestOverLimit { key, request, limit_key, limit });
        }
    }

    /// The names in a list that is separated by commas.
    fn list(&self, key: &str) -> Vec<&'v str> {
        let names = self.value(key).into_iter().flat_map(|list| list.split(','));
        names.map(str::trim).filter(|name| !name.is_empty()).collect()
    }

    fn pull_secrets(&mut self) -> Vec<&'v str> {
        let names = self.list(keys::AGENT_IMAGE_PULL_SECRETS);
        if let Some(name) = names.iter().find(|name| !is_object_name(name)) {
            self.invalid(keys::AGENT_IMAGE_PULL_SECRETS, name, "names of Secrets, separated by commas");
        }
        names
    }

    fn keep(&mut self) -> Vec<&'v str> {
        let names = self.list(keys::KEEP);
        for &name in &names {
            // Any other name is probably misspelt.
            if !INJECTABLE.contains(&name) {
                let known = INJECTABLE.join(", ");
                self.problems.push(Problem::Keep { name: name.to_owned(), known });
            }
        }
        names
    }
}

/// Parses a cluster size: a whole number from 1.
pub(crate) fn parse_size(value: &str) -> Option<u32> {
    value.parse().ok().filter(|size| *size >= 1)
}

/// `true` for an RFC 1123 subdomain, which the API server demands for the name of a Secret.
fn is_object_name(name: &str) -> bool {
    name.len() <= contract::name::FQDN_MAX && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let label = label.as_bytes();
    let (Some(first), Some(last)) = (label.first(), label.last()) else { return false };
    is_lower_alphanumeric(first)
        && is_lower_alphanumeric(last)
        && label.iter().all(|byte| is_lower_alphanumeric(byte) || *byte == b'-')
}

fn is_lower_alphanumeric(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// `true` for a valid key of a Secret's data.
fn is_data_key(key: &str) -> bool {
    (1..=contract::name::FQDN_MAX).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
