//! The variables that are added to the CouchDB container, each only if the user has not set it.

use std::borrow::Cow;

use contract::{env, objects};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::read::annotations::{CookieWay, SecretKey};
use crate::read::view::{Container, Env};
use crate::read::{Facts, Planning, erl_flags};

/// An entry of a container's `env`, with either a value or its source.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Variable<'p> {
    pub(crate) name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'p, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_from: Option<Source<'p>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Source<'p> {
    FieldRef {
        api_version: &'static str,
        field_path: &'static str,
    },
    SecretKeyRef(SecretKey<'p>),
    /// The source of another variable.
    #[serde(untagged)]
    Copied(&'p RawValue),
}

impl<'p> Variable<'p> {
    /// A variable with this value.
    pub(crate) fn literal(name: &'static str, value: impl Into<Cow<'p, str>>) -> Self {
        Self { name, value: Some(value.into()), value_from: None }
    }

    /// A variable that takes its value from a field of the pod.
    pub(crate) fn of_field(name: &'static str, field_path: &'static str) -> Self {
        // `v1` is the API server's default.
        Self::from(name, Source::FieldRef { api_version: "v1", field_path })
    }

    fn from(name: &'static str, source: Source<'p>) -> Self {
        Self { name, value: None, value_from: Some(source) }
    }

    fn of_secret(name: &'static str, secret: SecretKey<'p>) -> Self {
        Self::from(name, Source::SecretKeyRef(secret))
    }

    /// A variable with the value of another one. A literal is referred to, so that a secret in plain text is not
    /// written out a second time.
    fn same_as(name: &'static str, other: &Env<'p>) -> Self {
        match other.value_from {
            Some(source) => Self::from(name, Source::Copied(source)),
            None => Self::literal(name, format!("$({})", other.name.as_str())),
        }
    }

    /// A variable of another container with the value of `other`; `None` if the value refers to variables of its own
    /// container.
    fn copy_of(name: &'static str, other: &Env<'p>) -> Option<Self> {
        match other.value_from {
            Some(source) => Some(Self::from(name, Source::Copied(source))),
            None => other.visible().map(|value| Self::literal(name, value.to_owned())),
        }
    }

    /// `true` if the variable gives CouchDB's node its name.
    pub(crate) fn names_the_node(&self) -> bool {
        match self.name {
            env::NODENAME => true,
            env::ERL_FLAGS => self.value.as_deref().is_some_and(erl_flags::name_the_node),
            _ => false,
        }
    }
}

/// Returns the variables to add. Each refers only to earlier ones, since Kubernetes expands no others.
pub(crate) fn additions<'p>(planning: &'p Planning<'p>) -> Vec<Variable<'p>> {
    let Facts { companion, .. } = &planning.facts;
    let mut additions = Additions { planning, passing: Passing::of(planning), added: Vec::with_capacity(6) };
    additions.cookies();
    let secret = SecretKey { name: companion, key: objects::AUTH_SECRET_KEY };
    additions.unless_set(Variable::of_secret(env::COUCHDB_SECRET, secret));
    additions.unless_set(Variable::literal(env::COUCHDB_CLUSTER_SIZE, planning.size.nodes.to_string()));
    additions.node_name();
    additions.added
}

/// Returns the variables of the other containers that need the cookie, by the containers' names.
pub(crate) fn cookie_additions<'p>(planning: &'p Planning<'p>) -> Vec<(&'p str, Vec<Variable<'p>>)> {
    let find = |name: &str| planning.view.pod().containers.iter().rfind(|it| it.name.as_str() == name);
    let containers = planning.annotations.cookie_containers.iter().filter_map(|name| find(name));
    containers.map(|container| (container.name.as_str(), cookie_for(planning, container))).collect()
}

/// The cookie under both names, unless the container sets it.
fn cookie_for<'p>(planning: &'p Planning<'p>, container: &Container<'_>) -> Vec<Variable<'p>> {
    let users = COOKIES.iter().find_map(|name| planning.couchdb.container.variable(name));
    // The cookie of CouchDB's container is not visible: a warning names the container.
    if keeps_cookie(planning) || COOKIES.iter().any(|name| container.variable(name).is_some()) {
        return Vec::new();
    }
    let variable = |name| match users {
        Some(users) => Variable::copy_of(name, users),
        None => Some(Variable::of_secret(name, cookie_secret(planning))),
    };
    COOKIES.into_iter().filter_map(variable).collect()
}

/// The user's Secret, else the generated one.
fn cookie_secret<'p>(planning: &'p Planning<'p>) -> SecretKey<'p> {
    let generated = SecretKey { name: &planning.facts.companion, key: objects::ERLANG_COOKIE_KEY };
    planning.annotations.cookie.unwrap_or(generated)
}

fn keeps_cookie(planning: &Planning<'_>) -> bool {
    COOKIES.iter().any(|name| planning.annotations.keeps(name))
}

/// The name part is the one that the official image gives every node.
const NAME_FLAG: &str = "-name couchdb";

/// The two families' names of the variable that holds the cookie.
const COOKIES: [&str; 2] = [env::COUCHDB_ERLANG_COOKIE, env::ERLANG_COOKIE];

/// The way in which the cookie reaches the Erlang VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// The image's entrypoint writes the variable to a file.
    Entrypoint,
    /// An image that ignores the variable: the flag refers to it.
    Flag,
    /// The entrypoint would fail to write the file, so it must not find the variable: the flag refers to the name that
    /// the official image does not read.
    FlagAlone,
}

impl Passing {
    fn of(planning: &Planning<'_>) -> Self {
        if planning.cookie_way() == CookieWay::Flag {
            return Self::FlagAlone;
        }
        if planning.couchdb.ignores_cookie().is_some() { Self::Flag } else { Self::Entrypoint }
    }

    /// The names of the variables to add.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Entrypoint | Self::Flag => &COOKIES,
            Self::FlagAlone => &[env::ERLANG_COOKIE],
        }
    }

    /// Kubernetes expands the reference: the variable precedes the flags, set by the user or first of those added.
    fn flag(self) -> Option<&'static str> {
        match self {
            Self::Entrypoint => None,
            Self::Flag => Some("-setcookie $(COUCHDB_ERLANG_COOKIE)"),
            Self::FlagAlone => Some("-setcookie $(ERLANG_COOKIE)"),
        }
    }
}

struct Additions<'p> {
    planning: &'p Planning<'p>,
    passing: Passing,
    added: Vec<Variable<'p>>,
}

impl<'p> Additions<'p> {
    fn users(&self, name: &str) -> Option<&'p Env<'p>> {
        self.planning.couchdb.container.variable(name)
    }

    fn unless_set(&mut self, variable: Variable<'p>) {
        if !self.planning.is_set(variable.name) {
            self.added.push(variable);
        }
    }

    /// Sets the cookie under both names, or under the one that the flag refers to. If the user sets one of them, the other
    /// gets its value, since all nodes need the same cookie.
    fn cookies(&mut self) {
        // The user provides the cookie unseen, for an image that reads the listed name.
        if keeps_cookie(self.planning) {
            return;
        }
        // All nodes need the same cookie, whichever name the image reads.
        let users = COOKIES.iter().find_map(|name| self.users(name));
        for &name in self.passing.names() {
            self.unless_set(match users {
                Some(variable) => Variable::same_as(name, variable),
                None => Variable::of_secret(name, cookie_secret(self.planning)),
            });
        }
    }

    /// The flag that sets the cookie, if one is needed.
    fn cookie_flag(&self) -> Option<&'static str> {
        if keeps_cookie(self.planning) { None } else { self.passing.flag() }
    }

    /// With `-name couchdb`, Erlang takes a long name from the pod's FQDN, whatever the cluster domain. If the user sets
    /// `ERL_FLAGS`, the image's own variable gives the name.
    fn node_name(&mut self) {
        if self.planning.annotations.keeps(env::ERL_FLAGS) {
            return;
        }
        let is_named = self.planning.is_set(env::NODENAME);
        let Some(flags) = self.users(env::ERL_FLAGS) else {
            return self.flags(is_named);
        };
        self.cookie_behind(flags);
        // Flags that are not visible may contain a name. Of two names Erlang uses the one from NODENAME, and a node that
        // holds data under the other one would no longer find it.
        if is_named || flags.visible().is_none_or(erl_flags::name_the_node) {
            return;
        }
        let Facts { service, namespace, domain, .. } = &self.planning.facts;
        let namespace = match namespace {
            Some(namespace) => Cow::Borrowed(*namespace),
            None => {
                // A file that may be applied to any namespace: the pod knows it.
                self.unless_set(Variable::of_field(env::POD_NAMESPACE, "metadata.namespace"));
                Cow::Owned(format!("$({})", env::POD_NAMESPACE))
            }
        };
        self.unless_set(Variable::of_field(env::POD_NAME, "metadata.name"));
        let host = format!("$({}).{service}.{namespace}.svc.{domain}", env::POD_NAME);
        self.added.push(Variable::literal(env::NODENAME, host));
    }

    /// Adds the flags, where the user sets none.
    fn flags(&mut self, is_named: bool) {
        // `-name` is missing if NODENAME is set.
        let flags: Cow<'static, str> = match (is_named, self.cookie_flag()) {
            (false, None) => NAME_FLAG.into(),
            (false, Some(cookie)) => format!("{NAME_FLAG} {cookie}").into(),
            (true, Some(cookie)) => cookie.into(),
            (true, None) => return,
        };
        self.added.push(Variable::literal(env::ERL_FLAGS, flags));
    }

    /// Adds the cookie's flag behind the user's own flags.
    fn cookie_behind(&mut self, flags: &Env<'_>) {
        // The VM does not start with two cookies, so flags that may contain one are left alone.
        let has_none = flags.literal().is_some_and(|flags| {
            erl_flags::cookie(flags).is_none() && !contract::expand::references(flags).any(|_| true)
        });
        // Older images are only warned about, as before: their users may have passed the cookie otherwise.
        if self.passing == Passing::FlagAlone
            && has_none
            && let Some(cookie) = self.cookie_flag()
        {
            self.unless_set(Variable::literal(env::ERL_ZFLAGS, cookie));
        }
    }
}
