//! The variables that are added to the CouchDB container, each only if the user has not set it.

use std::borrow::Cow;

use contract::{env, objects};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::read::annotations::SecretKey;
use crate::read::view::Env;
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
    let mut additions = Additions { planning, added: Vec::with_capacity(6) };
    additions.cookies();
    let secret = SecretKey { name: companion, key: objects::AUTH_SECRET_KEY };
    additions.unless_set(Variable::of_secret(env::COUCHDB_SECRET, secret));
    additions.unless_set(Variable::literal(env::COUCHDB_CLUSTER_SIZE, planning.size.nodes.to_string()));
    additions.node_name();
    additions.added
}

/// The name part is the one that the official image gives every node.
const NAME_FLAG: &str = "-name couchdb";
/// Kubernetes expands the reference: the variable precedes the flags, set by the user or first of those added.
const COOKIE_FLAG: &str = "-setcookie $(COUCHDB_ERLANG_COOKIE)";
const NAME_AND_COOKIE_FLAGS: &str = "-name couchdb -setcookie $(COUCHDB_ERLANG_COOKIE)";

/// The two families' names of the variable that holds the cookie.
const COOKIES: [&str; 2] = [env::COUCHDB_ERLANG_COOKIE, env::ERLANG_COOKIE];

struct Additions<'p> {
    planning: &'p Planning<'p>,
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

    /// Sets the cookie under both names. If the user sets one of them, the other gets its value, since all nodes need the
    /// same cookie.
    fn cookies(&mut self) {
        // The user provides the cookie unseen, for an image that reads the listed name.
        if self.keeps_cookie() {
            return;
        }
        // All nodes need the same cookie, whichever name the image reads.
        let users = COOKIES.iter().find_map(|name| self.users(name));
        let generated = SecretKey { name: &self.planning.facts.companion, key: objects::ERLANG_COOKIE_KEY };
        let secret = self.planning.annotations.cookie.unwrap_or(generated);
        for name in COOKIES {
            self.unless_set(match users {
                Some(variable) => Variable::same_as(name, variable),
                None => Variable::of_secret(name, secret),
            });
        }
    }

    /// With `-name couchdb`, Erlang takes a long name from the pod's FQDN, whatever the cluster domain. If the user sets
    /// `ERL_FLAGS`, the image's own variable gives the name.
    fn node_name(&mut self) {
        if self.planning.annotations.keeps(env::ERL_FLAGS) {
            return;
        }
        let is_named = self.planning.is_set(env::NODENAME);
        // `-name` is missing unless NODENAME is set, `-setcookie` only for an image that ignores the cookie's variable.
        let Some(flags) = self.users(env::ERL_FLAGS) else {
            let flags = match (is_named, self.needs_cookie_flag()) {
                (false, false) => NAME_FLAG,
                (false, true) => NAME_AND_COOKIE_FLAGS,
                (true, true) => COOKIE_FLAG,
                (true, false) => return,
            };
            return self.added.push(Variable::literal(env::ERL_FLAGS, flags));
        };
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

    /// `true` if the image does not read the cookie's variable, so that the cookie must be passed by flag.
    fn needs_cookie_flag(&self) -> bool {
        self.planning.couchdb.ignores_cookie().is_some() && !self.keeps_cookie()
    }

    fn keeps_cookie(&self) -> bool {
        COOKIES.iter().any(|name| self.planning.annotations.keeps(name))
    }
}
