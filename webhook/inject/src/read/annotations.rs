//! What a StatefulSet's annotations ask for, parsed; and the webhook's own settings, which answer where they don't.

use std::borrow::Cow;

use contract::{env, keys, objects};

use crate::outcome::problem::Problem;
use crate::outcome::warning::Warning;
use crate::read::quantity;
use crate::read::view::View;

/// The webhook's settings, which hold where a StatefulSet's annotations say nothing.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the agent.
    pub agent_image: String,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// The version that is written into the record.
    pub version: String,
}

/// What the annotations of one StatefulSet ask for.
#[derive(Debug)]
pub(crate) struct Wishes<'v> {
    pub(crate) container: Option<&'v str>,
    pub(crate) size: Option<u32>,
    pub(crate) cookie: Option<SecretKey<'v>>,
    /// The authority of CouchDB's certificates, where it is to be asked by https.
    pub(crate) couchdb_ca: Option<SecretKey<'v>>,
    pub(crate) image: Cow<'v, str>,
    pub(crate) pull_policy: &'v str,
    pub(crate) log_level: Cow<'v, str>,
    pub(crate) log_format: &'v str,
    pub(crate) resources: Resources<'v>,
    pub(crate) sidecar: Sidecar,
    pub(crate) readiness: Readiness,
    pub(crate) keep: Vec<&'v str>,
}

/// A key of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretKey<'v> {
    pub(crate) name: &'v str,
    pub(crate) key: &'v str,
}

/// What the agent may use.
#[derive(Debug)]
pub(crate) struct Resources<'v> {
    pub(crate) cpu_request: &'v str,
    pub(crate) memory_request: &'v str,
    pub(crate) cpu_limit: Option<&'v str>,
    pub(crate) memory_limit: &'v str,
}

/// How the agent is added to the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sidecar {
    /// As one more container.
    Container,
    /// As an init container that goes on running, so that it stops after CouchDB.
    Native,
}

/// What makes the pod ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Being a member of the cluster, as the agent sees it.
    Joined,
    /// Whatever the user's own probes say.
    Off,
}

/// The variables that may be injected into the CouchDB container, hence may be kept.
pub(crate) const INJECTABLE: [&str; 8] = [
    env::COUCHDB_ERLANG_COOKIE,
    env::ERLANG_COOKIE,
    env::COUCHDB_SECRET,
    env::COUCHDB_CLUSTER_SIZE,
    env::ERL_FLAGS,
    env::NODENAME,
    env::POD_NAME,
    env::POD_NAMESPACE,
];

impl<'v> Wishes<'v> {
    /// Reads the annotations. Everything wrong is added to `problems`, and the default stands in for it.
    pub(crate) fn parse(view: &'v View<'_>, settings: &'v Settings, problems: &mut Vec<Problem>) -> Self {
        let mut read = Reader { view, problems };
        Self {
            container: view.annotation(keys::CONTAINER),
            size: read.size(),
            cookie: read.secret_key(keys::ERLANG_COOKIE_SECRET, objects::ERLANG_COOKIE_KEY),
            couchdb_ca: read.secret_key(keys::COUCHDB_CA_SECRET, objects::CA_KEY),
            image: read.image(&settings.agent_image),
            pull_policy: read.choice(keys::AGENT_IMAGE_PULL_POLICY, PULL_POLICIES, PULL_POLICY_EXPECTED),
            log_level: read.log_level(),
            log_format: read.choice(keys::AGENT_LOG_FORMAT, LOG_FORMATS, "'text' or 'json'"),
            resources: read.resources(),
            sidecar: read.choice(keys::SIDECAR, SIDECARS, "'container' or 'native'"),
            readiness: read.choice(keys::READINESS, READINESSES, "'joined' or 'off'"),
            keep: read.keep(),
        }
    }
}

/// The annotations that mean nothing, each with the one that was probably meant.
pub(crate) fn unknown(view: &View<'_>, warnings: &mut Vec<Warning>) {
    for (key, _) in view.annotations() {
        let key = key.as_str();
        if !keys::STATEFULSET_ANNOTATIONS.contains(&key) {
            warnings.push(Warning::UnknownAnnotation { key: key.to_owned(), nearest: nearest(key) });
        }
    }
    let on_pods = view.spec.template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
    for (key, _) in on_pods.map_or(&[][..], |ours| &ours.0) {
        if key.as_str() != keys::INJECTED {
            warnings.push(Warning::Misplaced { key: key.as_str().to_owned() });
        }
    }
}

/// The first of each is the default.
const PULL_POLICIES: &[(&str, &str)] =
    &[("IfNotPresent", "IfNotPresent"), ("Always", "Always"), ("Never", "Never")];
const PULL_POLICY_EXPECTED: &str = "'Always', 'IfNotPresent' or 'Never'";
const LOG_FORMATS: &[(&str, &str)] = &[("text", "text"), ("json", "json")];
const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const SIDECARS: &[(&str, Sidecar)] = &[("container", Sidecar::Container), ("native", Sidecar::Native)];
const READINESSES: &[(&str, Readiness)] = &[("joined", Readiness::Joined), ("off", Readiness::Off)];

/// The agent is made to settle below 12 MiB; the limit leaves room for a cluster of many nodes.
const CPU_REQUEST: &str = "5m";
const MEMORY_REQUEST: &str = "16Mi";
const MEMORY_LIMIT: &str = "64Mi";

struct Reader<'v, 'p> {
    view: &'v View<'v>,
    problems: &'p mut Vec<Problem>,
}

impl<'v> Reader<'v, '_> {
    fn refuse(&mut self, key: &'static str, value: &str, expected: &'static str) {
        self.problems.push(Problem::Annotation { key, value: value.to_owned(), expected });
    }

    fn choice<T: Copy>(&mut self, key: &'static str, all: &[(&str, T)], expected: &'static str) -> T {
        let (_, default) = all[0];
        let Some(value) = self.view.annotation(key) else { return default };
        if let Some((_, chosen)) = all.iter().find(|(name, _)| *name == value) {
            return *chosen;
        }
        self.refuse(key, value, expected);
        default
    }

    fn size(&mut self) -> Option<u32> {
        let value = self.view.annotation(keys::CLUSTER_SIZE)?;
        let size = parse_size(value);
        if size.is_none() {
            let path = crate::outcome::problem::annotation(keys::CLUSTER_SIZE);
            self.problems.push(Problem::Size { path, value: value.to_owned() });
        }
        size
    }

    fn secret_key(&mut self, annotation: &'static str, default: &'v str) -> Option<SecretKey<'v>> {
        let value = self.view.annotation(annotation)?;
        let (name, key) = value.split_once('/').unwrap_or((value, default));
        if is_object_name(name) && is_data_key(key) {
            return Some(SecretKey { name, key });
        }
        self.refuse(annotation, value, "the name of a Secret, or '<name>/<key>'");
        None
    }

    fn image(&mut self, default: &'v str) -> Cow<'v, str> {
        let Some(image) = self.view.annotation(keys::AGENT_IMAGE) else { return Cow::Borrowed(default) };
        if image.is_empty() || image.contains(char::is_whitespace) {
            self.refuse(keys::AGENT_IMAGE, image, "an image reference");
        }
        Cow::Borrowed(image)
    }

    fn log_level(&mut self) -> Cow<'v, str> {
        let Some(level) = self.view.annotation(keys::AGENT_LOG_LEVEL) else { return Cow::Borrowed("info") };
        if !LOG_LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            self.refuse(keys::AGENT_LOG_LEVEL, level, "'error', 'warn', 'info', 'debug' or 'trace'");
        }
        Cow::Owned(level.to_ascii_lowercase())
    }

    fn resources(&mut self) -> Resources<'v> {
        let cpu_request = self.quantity(keys::AGENT_CPU_REQUEST).unwrap_or(CPU_REQUEST);
        let memory_request = self.quantity(keys::AGENT_MEMORY_REQUEST).unwrap_or(MEMORY_REQUEST);
        let cpu_limit = self.quantity(keys::AGENT_CPU_LIMIT);
        let memory_limit = self.quantity(keys::AGENT_MEMORY_LIMIT).unwrap_or(MEMORY_LIMIT);
        if let Some(limit) = cpu_limit {
            self.within(keys::AGENT_CPU_REQUEST, cpu_request, keys::AGENT_CPU_LIMIT, limit);
        }
        self.within(keys::AGENT_MEMORY_REQUEST, memory_request, keys::AGENT_MEMORY_LIMIT, memory_limit);
        Resources { cpu_request, memory_request, cpu_limit, memory_limit }
    }

    fn quantity(&mut self, key: &'static str) -> Option<&'v str> {
        let value = self.view.annotation(key)?;
        if quantity::parse(value).is_some() {
            return Some(value);
        }
        self.refuse(key, value, "a quantity above zero such as '5m' or '16Mi'");
        None
    }

    /// The API server would refuse the whole StatefulSet, with a path into a container the user never wrote.
    fn within(&mut self, key: &'static str, request: &str, limit_key: &'static str, limit: &str) {
        if quantity::parse(request) > quantity::parse(limit) {
            let (request, limit) = (request.to_owned(), limit.to_owned());
            self.problems.push(Problem::RequestOverLimit { key, request, limit_key, limit });
        }
    }

    fn keep(&mut self) -> Vec<&'v str> {
        let Some(list) = self.view.annotation(keys::KEEP) else { return Vec::new() };
        let names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        for &name in &names {
            if !INJECTABLE.contains(&name) {
                let (name, known) = (name.to_owned(), INJECTABLE.join(", "));
                self.problems.push(Problem::Keep { name, known });
            }
        }
        names
    }
}

/// A whole number from 1, as written by hand.
pub(crate) fn parse_size(value: &str) -> Option<u32> {
    value.parse().ok().filter(|size| *size >= 1)
}

/// RFC 1123 subdomain, as the API server asks it of a Secret's name.
fn is_object_name(name: &str) -> bool {
    name.len() <= contract::name::FQDN_MAX
        && name.split('.').all(|label| {
            let edge = |byte: Option<u8>| {
                byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            };
            edge(label.bytes().next())
                && edge(label.bytes().last())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

/// As the API server asks it of a key in a Secret.
fn is_data_key(key: &str) -> bool {
    (1..=contract::name::FQDN_MAX).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The known annotation that is fewest edits away, when it is near enough to be meant.
fn nearest(key: &str) -> Option<&'static str> {
    // All keys share their domain, so an edit counts by what stands behind it.
    let own = |known: &str| known.len() - keys::DOMAIN.len() - 1;
    let known = keys::STATEFULSET_ANNOTATIONS.iter().map(|known| (edits(key, known), *known));
    known.min().filter(|(edits, known)| *edits <= own(known) / 2).map(|(_, known)| known)
}

/// Levenshtein's distance.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
