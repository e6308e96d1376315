//! The variables that the CouchDB container is given, each only where the user has not set it.

use contract::{env, objects};

use super::container::CouchDb;
use super::json;
use super::view::Env;
use super::wishes::{SecretKey, Wishes};

/// One thing to add: a name, and the JSON of the whole entry.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) name: &'static str,
    pub(crate) json: String,
}

/// What the values of the variables are made from.
#[derive(Debug)]
pub(crate) struct Facts<'v> {
    pub(crate) set: &'v str,
    pub(crate) service: &'v str,
    /// Not known when a file doesn't say where it will be applied.
    pub(crate) namespace: Option<&'v str>,
    pub(crate) domain: &'v str,
    pub(crate) size: u32,
}

/// The variables to add, in an order in which each refers only to earlier ones: Kubernetes expands no others.
pub(crate) fn additions(couchdb: CouchDb<'_>, wishes: &Wishes<'_>, facts: &Facts<'_>) -> Vec<Addition> {
    let mut adding = Adding { couchdb, wishes, added: Vec::with_capacity(6) };
    adding.cookies(facts);
    let companion = objects::companion(facts.set);
    let secret = SecretKey { name: &companion, key: objects::AUTH_SECRET_KEY };
    adding.unless_set(env::COUCHDB_SECRET, || secret_ref(env::COUCHDB_SECRET, secret));
    let size = || literal(env::COUCHDB_CLUSTER_SIZE, &facts.size.to_string());
    adding.unless_set(env::COUCHDB_CLUSTER_SIZE, size);
    adding.node_name(facts);
    adding.added
}

/// Whether flags of the Erlang VM give the node a name.
pub(crate) fn names_the_node(flags: &str) -> bool {
    flags.split_whitespace().any(|flag| flag == "-name" || flag == "-sname")
}

/// The cookie that flags of the Erlang VM set.
pub(crate) fn cookie_in(flags: &str) -> Option<&str> {
    let mut flags = flags.split_whitespace();
    flags.find(|flag| *flag == "-setcookie")?;
    flags.next()
}

/// An entry whose value is a field of the pod.
pub(crate) fn field_ref(name: &str, path: &str) -> String {
    let mut json = String::with_capacity(96);
    json.push('{');
    json::field(&mut json, "name", name);
    // The API server fills in `v1` here; written out, what is stored is what was injected.
    json.push_str(r#","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"#);
    json::string(&mut json, path);
    json.push_str("}}}");
    json
}

/// An entry whose value stands in clear.
pub(crate) fn literal(name: &str, value: &str) -> String {
    let mut json = String::with_capacity(24 + name.len() + value.len());
    json.push('{');
    json::field(&mut json, "name", name);
    json.push(',');
    json::field(&mut json, "value", value);
    json.push('}');
    json
}

struct Adding<'v, 'w> {
    couchdb: CouchDb<'v>,
    wishes: &'w Wishes<'w>,
    added: Vec<Addition>,
}

impl<'v> Adding<'v, '_> {
    fn variable(&self, name: &str) -> Option<&'v Env<'v>> {
        self.couchdb.container.variable(name)
    }

    fn kept(&self, name: &str) -> bool {
        self.wishes.keep.contains(&name)
    }

    fn is_set(&self, name: &str) -> bool {
        self.kept(name) || self.variable(name).is_some()
    }

    fn unless_set(&mut self, name: &'static str, entry: impl FnOnce() -> String) {
        if !self.is_set(name) {
            self.added.push(Addition { name, json: entry() });
        }
    }

    /// Both families' names; a user's one fills the other, since all nodes need the same cookie.
    fn cookies(&mut self, facts: &Facts<'_>) {
        let families = [env::COUCHDB_ERLANG_COOKIE, env::ERLANG_COOKIE];
        // The user provides it where it can't be seen, for the image that reads this name.
        if families.iter().any(|name| self.kept(name)) {
            return;
        }
        let users = families.iter().find_map(|name| self.variable(name));
        let companion = objects::companion(facts.set);
        let made = SecretKey { name: &companion, key: objects::ERLANG_COOKIE_KEY };
        let secret = self.wishes.cookie.unwrap_or(made);
        for name in families {
            self.unless_set(name, || match users {
                Some(variable) => same_as(name, variable),
                None => secret_ref(name, secret),
            });
        }
    }

    /// `ERL_FLAGS=-name couchdb` makes Erlang take a long name from the pod's FQDN, whatever the cluster domain.
    /// Where the user's flags stand in the way, the image's own variable does it.
    fn node_name(&mut self, facts: &Facts<'_>) {
        if self.is_set(env::NODENAME) || self.kept(env::ERL_FLAGS) {
            return;
        }
        let Some(flags) = self.variable(env::ERL_FLAGS) else {
            let json = literal(env::ERL_FLAGS, &format!("-name {}", contract::name::COUCHDB));
            return self.added.push(Addition { name: env::ERL_FLAGS, json });
        };
        // Flags that can't be seen may carry a name, and two names keep Erlang from starting.
        if flags.seen().is_none() || flags.literal().is_some_and(names_the_node) {
            return;
        }
        let namespace = match facts.namespace {
            Some(namespace) => namespace.to_owned(),
            None => {
                self.unless_set(env::POD_NAMESPACE, || field_ref(env::POD_NAMESPACE, "metadata.namespace"));
                format!("$({})", env::POD_NAMESPACE)
            }
        };
        self.unless_set(env::POD_NAME, || field_ref(env::POD_NAME, "metadata.name"));
        let Facts { service, domain, .. } = facts;
        let host = format!("$({}).{service}.{namespace}.svc.{domain}", env::POD_NAME);
        self.added.push(Addition { name: env::NODENAME, json: literal(env::NODENAME, &host) });
    }
}

/// An entry whose value is a key of a Secret.
fn secret_ref(name: &str, secret: SecretKey<'_>) -> String {
    let mut json = String::with_capacity(128);
    json.push('{');
    json::field(&mut json, "name", name);
    json.push_str(r#","valueFrom":{"secretKeyRef":{"#);
    json::field(&mut json, "name", secret.name);
    json.push(',');
    json::field(&mut json, "key", secret.key);
    json.push_str("}}}");
    json
}

/// An entry with another one's value: its reference again, or a reference to it where it is a literal, so that a
/// secret in clear isn't written out a second time.
fn same_as(name: &str, variable: &Env<'_>) -> String {
    let Some(value_from) = variable.value_from else {
        return literal(name, &format!("$({})", variable.name.as_str()));
    };
    let mut json = String::with_capacity(32 + value_from.get().len());
    json.push('{');
    json::field(&mut json, "name", name);
    json.push_str(",\"valueFrom\":");
    json.push_str(value_from.get());
    json.push('}');
    json
}
