//! The variables that the CouchDB container is given, each only where the user has not set it.

use contract::{env, objects};

use crate::json;
use crate::read::annotations::{SecretKey, Wishes};
use crate::read::couchdb::CouchDb;
use crate::read::erl_flags;
use crate::read::view::Env;

/// One thing to add: a name, and the JSON of the whole entry.
#[derive(Debug)]
pub(crate) struct Addition {
    pub(crate) name: &'static str,
    pub(crate) json: String,
}

/// What the values of the variables are made from.
#[derive(Debug)]
pub(crate) struct Facts<'v> {
    /// Name of the StatefulSet's own Secret.
    pub(crate) companion: &'v str,
    pub(crate) service: &'v str,
    /// Not known when a file doesn't say where it will be applied.
    pub(crate) namespace: Option<&'v str>,
    pub(crate) domain: &'v str,
    /// The founding size.
    pub(crate) size_text: &'v str,
}

/// The variables to add, in an order in which each refers only to earlier ones: Kubernetes expands no others.
pub(crate) fn additions(couchdb: CouchDb<'_>, wishes: &Wishes<'_>, facts: &Facts<'_>) -> Vec<Addition> {
    let mut adding = Adding { couchdb, wishes, added: Vec::with_capacity(6) };
    adding.cookies(facts);
    let secret = SecretKey { name: facts.companion, key: objects::AUTH_SECRET_KEY };
    adding.unless_set(env::COUCHDB_SECRET, |out, name| secret_ref(out, name, secret));
    adding.unless_set(env::COUCHDB_CLUSTER_SIZE, |out, name| literal(out, name, facts.size_text));
    adding.node_name(facts);
    adding.added
}

/// Appends an entry whose value is a field of the pod.
pub(crate) fn field_ref(out: &mut String, name: &str, path: &str) {
    open(out, name);
    // The API server fills in `v1` here; written out, what is stored is what was injected.
    out.push_str(r#""valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"#);
    json::string(out, path);
    out.push_str("}}}");
}

/// Appends an entry whose value stands in clear.
pub(crate) fn literal(out: &mut String, name: &str, value: &str) {
    open(out, name);
    json::field(out, "value", value);
    out.push('}');
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

    fn unless_set(&mut self, name: &'static str, entry: impl FnOnce(&mut String, &str)) {
        if !self.is_set(name) {
            self.add(name, entry);
        }
    }

    fn add(&mut self, name: &'static str, entry: impl FnOnce(&mut String, &str)) {
        let mut json = String::with_capacity(160);
        entry(&mut json, name);
        self.added.push(Addition { name, json });
    }

    /// Both families' names; a user's one fills the other, since all nodes need the same cookie.
    fn cookies(&mut self, facts: &Facts<'_>) {
        let families = [env::COUCHDB_ERLANG_COOKIE, env::ERLANG_COOKIE];
        // The user provides it where it can't be seen, for the image that reads this name.
        if families.iter().any(|name| self.kept(name)) {
            return;
        }
        let users = families.iter().find_map(|name| self.variable(name));
        let made = SecretKey { name: facts.companion, key: objects::ERLANG_COOKIE_KEY };
        let secret = self.wishes.cookie.unwrap_or(made);
        for name in families {
            self.unless_set(name, |out, name| match users {
                Some(variable) => same_as(out, name, variable),
                None => secret_ref(out, name, secret),
            });
        }
    }

    /// `ERL_FLAGS=-name couchdb` makes Erlang take a long name from the pod's FQDN, whatever the cluster domain.
    /// Where the user's flags stand in the way, the image's own variable does it.
    fn node_name(&mut self, facts: &Facts<'_>) {
        if self.kept(env::ERL_FLAGS) {
            return;
        }
        let named = self.is_set(env::NODENAME);
        let Some(flags) = self.variable(env::ERL_FLAGS) else {
            let flags = match (named, self.lacks_cookie()) {
                (false, false) => NAME_FLAG,
                (false, true) => NAME_AND_COOKIE_FLAGS,
                (true, true) => COOKIE_FLAG,
                (true, false) => return,
            };
            return self.add(env::ERL_FLAGS, |out, name| literal(out, name, flags));
        };
        // Flags that can't be seen may carry a name. Of two names Erlang takes the one that NODENAME gives, and a
        // node that has data under the other one would no longer find it.
        if named || flags.seen().is_none() || flags.literal().is_some_and(erl_flags::name_the_node) {
            return;
        }
        let namespace = match facts.namespace {
            Some(namespace) => namespace.to_owned(),
            None => {
                self.unless_set(env::POD_NAMESPACE, |out, name| field_ref(out, name, "metadata.namespace"));
                format!("$({})", env::POD_NAMESPACE)
            }
        };
        self.unless_set(env::POD_NAME, |out, name| field_ref(out, name, "metadata.name"));
        let Facts { service, domain, .. } = facts;
        let host = format!("$({}).{service}.{namespace}.svc.{domain}", env::POD_NAME);
        self.add(env::NODENAME, |out, name| literal(out, name, &host));
    }

    /// Images that don't read the cookie's variable must be given it by flag; Kubernetes expands the reference.
    fn lacks_cookie(&self) -> bool {
        let kept = [env::COUCHDB_ERLANG_COOKIE, env::ERLANG_COOKIE].iter().any(|name| self.kept(name));
        self.couchdb.ignores_cookie() && !kept
    }
}

/// The name part is the one that the official image gives every node.
const NAME_FLAG: &str = "-name couchdb";
/// The variable stands before the flags, set by the user or first of all that is added.
const COOKIE_FLAG: &str = "-setcookie $(COUCHDB_ERLANG_COOKIE)";
const NAME_AND_COOKIE_FLAGS: &str = "-name couchdb -setcookie $(COUCHDB_ERLANG_COOKIE)";

/// Appends an entry whose value is a key of a Secret.
fn secret_ref(out: &mut String, name: &str, secret: SecretKey<'_>) {
    open(out, name);
    out.push_str(r#""valueFrom":{"secretKeyRef":{"#);
    json::field(out, "name", secret.name);
    out.push(',');
    json::field(out, "key", secret.key);
    out.push_str("}}}");
}

/// Appends an entry with another one's value: its reference again, or a reference to it where it is a literal, so
/// that a secret in clear isn't written out a second time.
fn same_as(out: &mut String, name: &str, variable: &Env<'_>) {
    let Some(value_from) = variable.value_from else {
        return literal(out, name, &format!("$({})", variable.name.as_str()));
    };
    open(out, name);
    out.push_str("\"valueFrom\":");
    out.push_str(value_from.get());
    out.push('}');
}

fn open(out: &mut String, name: &str) {
    out.push('{');
    json::field(out, "name", name);
    out.push(',');
}
