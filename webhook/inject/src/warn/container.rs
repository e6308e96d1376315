//! Image, entrypoint, liveness probe and variables of the CouchDB container.

use std::borrow::Cow;
use std::collections::BTreeSet;

use contract::ini::lost_part;
use contract::{env, name};
use serde_json::value::RawValue;

use super::references::unexpanded;
use crate::outcome::Warning;
use crate::read::view::Probe;
use crate::read::{CouchDb, Planning, Text, erl_flags, ini};
use crate::render::Variable;

/// Warns if injected variables override those that `envFrom` may provide.
pub(super) fn env_from(planning: &Planning<'_>, added: &[Variable<'_>], warnings: &mut Vec<Warning>) {
    // Of one name, Kubernetes prefers `env` to `envFrom`.
    if planning.couchdb.container.env_from().is_empty() || added.is_empty() {
        return;
    }
    let container = planning.couchdb.name().to_owned();
    let names = added.iter().map(|variable| variable.name).collect::<Vec<_>>().join(", ");
    warnings.push(Warning::EnvFrom { container, names });
}

/// Adds the warnings that concern the container alone.
pub(super) fn warn(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let couchdb = planning.couchdb;
    image(couchdb, warnings);
    probes(couchdb, warnings);
    entrypoint(couchdb, warnings);
    forms_by_itself(couchdb, warnings);
    not_kept(couchdb, warnings);
    plain_text_secrets(couchdb, warnings);
    literal_references(couchdb, warnings);
    unseen_flags(planning, warnings);
    unread_cookie(planning, warnings);
}

fn image(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    if let Some(version) = couchdb.unmaintained() {
        let (image, version) = (couchdb.container.image().to_owned(), version.to_owned());
        warnings.push(Warning::OldImage { path: couchdb.path("image"), image, version });
    }
}

/// Warns of probes that kill a container on `/_up`. A readiness probe may use it: a node in maintenance mode must not be ready.
fn probes(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    let CouchDb { container, .. } = couchdb;
    let (startup, liveness) = (container.startup_probe.as_ref(), container.liveness_probe.as_ref());
    for (name, probe) in [("startupProbe", startup), ("livenessProbe", liveness)] {
        if let Some(field) = probe.and_then(asks_up) {
            let path = couchdb.path(&format!("{name}.{field}"));
            warnings.push(Warning::KilledOnUp { path, port: couchdb.port() });
        }
    }
}

/// The field of a probe that requests `/_up`.
fn asks_up(probe: &Probe<'_>) -> Option<&'static str> {
    let requested = probe.http_get.as_ref().and_then(|get| get.path.as_ref()).map_or("", Text::as_str);
    // `/_up?seeded=true` and `/_up/` are the same resource.
    let without_query = requested.split_once('?').map_or(requested, |(path, _)| path);
    if without_query.trim_end_matches('/') == "/_up" {
        return Some("httpGet.path");
    }
    probe.exec.is_some_and(|exec| exec.get().contains("/_up")).then_some("exec.command")
}

/// Warns of a command or arguments that bypass the entrypoint, which configures CouchDB from the environment.
fn entrypoint(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    let command = couchdb.container.command.filter(|list| !is_empty(list));
    let args = couchdb.container.args.filter(|list| !is_empty(list));
    let field = match (command, args) {
        (Some(_), _) => "command",
        (None, Some(args)) if !is_run_by_entrypoint(args) => "args",
        (None, _) => return,
    };
    // A user's own program is fine if it ends with the image's entrypoint.
    let calls_entrypoint = [command, args].iter().flatten().any(|list| list.get().contains("entrypoint"));
    if !calls_entrypoint {
        warnings.push(Warning::Entrypoint { path: couchdb.path(field) });
    }
}

/// `true` if the image's entrypoint starts CouchDB with these arguments: it prepends CouchDB to flags, and does all its
/// work for CouchDB only.
fn is_run_by_entrypoint(args: &RawValue) -> bool {
    let args = serde_json::from_str::<Vec<Cow<'_, str>>>(args.get()).unwrap_or_default();
    args.first().is_some_and(|first| {
        first == name::COUCHDB || first.ends_with("/bin/couchdb") || first.starts_with(['-', '+'])
    })
}

fn is_empty(list: &RawValue) -> bool {
    matches!(list.get(), "[]" | "null")
}

/// Warns of scripts that form a cluster of the one pod that they run in, and of images that contain one.
fn forms_by_itself(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    const WORDS: [&str; 5] = ["_cluster_setup", "single_node", "/_users", "/_replicator", "/_global_changes"];
    /// Path and name, without registry and tag.
    const IMAGES: [&str; 1] = ["budibase/couchdb"];
    let CouchDb { container, .. } = couchdb;
    let scripts =
        [("command", container.command), ("args", container.args), ("lifecycle", container.lifecycle)];
    for (field, script) in scripts {
        let script = script.map_or("", RawValue::get);
        if let Some(what) = WORDS.into_iter().find(|word| script.contains(word)) {
            warnings.push(Warning::FormsByItself { path: couchdb.path(field), what });
        }
    }
    let image = container.image();
    let without_tag = image.rsplit_once(':').map_or(image, |(name, _)| name);
    if IMAGES.iter().any(|known| without_tag.ends_with(known)) {
        let (path, image) = (couchdb.path("image"), image.to_owned());
        warnings.push(Warning::ImageFormsByItself { path, image });
    }
}

/// Warns of literal values that do not survive the way through an ini file.
fn not_kept(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    for name in ini::WRITTEN {
        if let Some(variable) = couchdb.container.variable(name)
            && let Some(what) = variable.visible().and_then(lost_part)
        {
            warnings.push(Warning::NotKept { path: couchdb.value_path(variable), name, what });
        }
    }
}

/// Warns of secrets in plain text, once per variable.
fn plain_text_secrets(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    const SECRETS: [&str; 5] = [
        env::COUCHDB_ERLANG_COOKIE,
        env::ERLANG_COOKIE,
        env::COUCHDB_SECRET,
        env::COUCHDB_ADMIN_PASS,
        env::COUCHDB_PASSWORD,
    ];
    let mut seen = BTreeSet::new();
    for variable in couchdb.container.env() {
        // In a composed value, the secret is in the variables that it refers to.
        let Some(value) = variable.visible() else { continue };
        let name = if variable.name.as_str() == env::ERL_FLAGS {
            erl_flags::cookie(value).map(|_| env::ERL_FLAGS)
        } else {
            SECRETS.into_iter().find(|name| *name == variable.name.as_str() && !value.is_empty())
        };
        if let Some(name) = name
            && seen.insert(name)
        {
            warnings.push(Warning::PlainTextSecret { path: couchdb.value_path(variable), name });
        }
    }
}

/// Warns of references that Kubernetes does not expand, in variables that CouchDB or the agent reads.
fn literal_references(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    const RELEVANT: [&str; 9] = [
        env::NODENAME,
        env::ERL_FLAGS,
        env::COUCHDB_ERLANG_COOKIE,
        env::ERLANG_COOKIE,
        env::COUCHDB_SECRET,
        env::COUCHDB_ADMIN_USER,
        env::COUCHDB_ADMIN_PASS,
        env::COUCHDB_USER,
        env::COUCHDB_PASSWORD,
    ];
    for name in RELEVANT {
        if let Some(variable) = couchdb.container.variable(name)
            && let Some((name, reference)) = unexpanded(couchdb.container, variable)
        {
            let path = couchdb.value_path(variable);
            warnings.push(Warning::Unexpanded { path, name: name.to_owned(), reference });
        }
    }
}

/// Warns if it is unknown whether the user's flags name the node.
fn unseen_flags(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let couchdb = planning.couchdb;
    if let Some(flags) = couchdb.container.variable(env::ERL_FLAGS)
        && flags.visible().is_none()
        && !flags.literal().is_some_and(erl_flags::name_the_node)
        && !planning.is_set(env::NODENAME)
    {
        warnings.push(Warning::UnseenFlags { path: couchdb.value_path(flags) });
    }
}

/// Warns if an old image would need the cookie in the user's own flags.
fn unread_cookie(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let couchdb = planning.couchdb;
    if let Some(flags) = couchdb.container.variable(env::ERL_FLAGS)
        && let Some(version) = couchdb.ignores_cookie()
        && flags.literal().is_some_and(|flags| erl_flags::cookie(flags).is_none())
        && !planning.annotations.keeps(env::ERL_FLAGS)
    {
        let (path, version) = (couchdb.value_path(flags), version.to_owned());
        warnings.push(Warning::CookieUnread { path, version });
    }
}
