//! What goes through, but is worth a warning.

use std::borrow::Cow;
use std::collections::BTreeSet;

use contract::container::image_name;
use contract::{env, name};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::outcome::warning::Warning;
use crate::plan::value_path;
use crate::read::annotations::{self, Wishes};
use crate::read::couchdb::CouchDb;
use crate::read::erl_flags;
use crate::read::view::{Container, View};
use crate::render::sidecar::Credentials;
use crate::render::variables::Addition;
use crate::warn::node_names;

/// Adds what is worth knowing about a StatefulSet that is about to be injected.
pub(crate) fn warn(
    view: &View<'_>,
    couchdb: CouchDb<'_>,
    wishes: &Wishes<'_>,
    credentials: &Credentials<'_>,
    env: &[Addition],
    (size, pinned): (u32, bool),
    warnings: &mut Vec<Warning>,
) {
    annotations::unknown(view, warnings);
    let container = couchdb.container.name.as_str().to_owned();
    if !credentials.complete {
        warnings.push(no_credentials(view, couchdb, container.clone()));
    }
    if !couchdb.container.env_from().is_empty() && !env.is_empty() {
        let names = env.iter().map(|addition| addition.name).collect::<Vec<_>>().join(", ");
        warnings.push(Warning::EnvFrom { container, names });
    }
    volumes(view, couchdb, warnings);
    let name = view.metadata.name.as_ref().map_or("", |name| name.as_str());
    if name.len() > name::SET_MAX {
        warnings.push(Warning::LongName { name: name.to_owned() });
    }
    sizes(view, size, pinned, warnings);
    image(couchdb, warnings);
    liveness(couchdb, warnings);
    entrypoint(couchdb, warnings);
    literals(couchdb, warnings);
    unexpanded(couchdb, warnings);
    unseen_flags(couchdb, wishes, warnings);
    unread_cookie(couchdb, wishes, warnings);
    founders(view, couchdb, warnings);
    cookie_secret(couchdb, wishes, warnings);
}

/// Names the container that has what is missing, if there is one.
fn no_credentials(view: &View<'_>, couchdb: CouchDb<'_>, container: String) -> Warning {
    let has = |other: &Container<'_>, (user, password)| {
        other.variable(user).is_some() && other.variable(password).is_some()
    };
    let others = view.spec.template.spec.containers.iter();
    let found = others.filter(|other| other.name != couchdb.container.name).find_map(|other| {
        let (user, password) = env::CREDENTIALS.into_iter().find(|pair| has(other, *pair))?;
        Some((other.name.as_str().to_owned(), user, password))
    });
    match found {
        Some((other, user, password)) => Warning::CredentialsElsewhere { container, other, user, password },
        None => Warning::NoCredentials { container },
    }
}

/// Where there are no claims of each pod's own: what else holds the files.
fn volumes(view: &View<'_>, couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    if view.spec.volume_claim_templates.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return;
    }
    let mounts = couchdb.container.volume_mounts.map_or("[]", RawValue::get);
    let mounts: Vec<Mount<'_>> = serde_json::from_str(mounts).unwrap_or_default();
    let volumes = view.spec.template.spec.volumes.as_deref().unwrap_or(&[]);
    let claim = |mount: &Mount<'_>| {
        let index = volumes.iter().position(|volume| volume.name.as_str() == mount.name)?;
        let claim: Claim<'_> = serde_json::from_str(volumes[index].persistent_volume_claim?.get()).ok()?;
        Some((index, claim.claim_name.into_owned(), mount.sub_path_expr.is_some()))
    };
    match mounts.iter().find_map(claim) {
        None => warnings.push(Warning::NoVolumeClaims),
        Some((index, claim, false)) if view.replicas() > 1 => {
            let path = format!("spec.template.spec.volumes[{index}].persistentVolumeClaim");
            warnings.push(Warning::SharedClaim { path, claim });
        }
        Some((_, _, _)) => {}
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    sub_path_expr: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim<'a> {
    #[serde(borrow)]
    claim_name: Cow<'a, str>,
}

fn sizes(view: &View<'_>, size: u32, pinned: bool, warnings: &mut Vec<Warning>) {
    let replicas = view.replicas();
    if replicas == 2 {
        warnings.push(Warning::TwoReplicas);
    }
    if pinned && i64::from(size) > replicas {
        warnings.push(Warning::SizeOverReplicas { size, replicas });
    }
}

fn image(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    if let Some(version) = couchdb.unmaintained() {
        let path = format!("spec.template.spec.containers[{}].image", couchdb.index);
        let (image, version) = (couchdb.container.image().to_owned(), version.to_owned());
        warnings.push(Warning::OldImage { path, image, version });
    }
}

fn liveness(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    let Some(probe) = couchdb.container.liveness_probe.as_ref() else { return };
    let path = |rest| format!("spec.template.spec.containers[{}].livenessProbe.{rest}", couchdb.index);
    let asked = probe.http_get.as_ref().and_then(|get| get.path.as_ref()).map_or("", |path| path.as_str());
    let without_query = asked.split_once('?').map_or(asked, |(path, _)| path);
    if without_query.trim_end_matches('/') == "/_up" {
        warnings.push(Warning::LivenessOnUp { path: path("httpGet.path") });
    } else if probe.exec.is_some_and(|exec| exec.get().contains("/_up")) {
        warnings.push(Warning::LivenessOnUp { path: path("exec.command") });
    }
}

/// A program of the user's is fine where it ends with the image's.
fn entrypoint(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    let (command, args) = (couchdb.container.command, couchdb.container.args);
    let (field, given) = match (command, args) {
        (Some(command), _) if !is_empty(command) => ("command", command),
        (_, Some(args)) if !is_empty(args) => ("args", args),
        (_, _) => return,
    };
    let runs_it = |given: &&RawValue| given.get().contains("entrypoint");
    let is_couchdb = |first: &str| {
        first == name::COUCHDB || first.ends_with("/bin/couchdb") || first.starts_with(['-', '+'])
    };
    // The entrypoint adds CouchDB to flags, and does all its work for CouchDB only.
    let by_entrypoint = field == "args"
        && serde_json::from_str::<Vec<Cow<'_, str>>>(given.get())
            .is_ok_and(|args| args.first().is_some_and(|first| is_couchdb(first)));
    if !by_entrypoint && ![command, args].iter().flatten().any(runs_it) {
        let path = format!("spec.template.spec.containers[{}].{field}", couchdb.index);
        warnings.push(Warning::Entrypoint { path });
    }
}

fn is_empty(list: &RawValue) -> bool {
    matches!(list.get(), "[]" | "null")
}

/// Secrets in clear, each variable once.
fn literals(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    const SECRETS: [&str; 5] = [
        env::COUCHDB_ERLANG_COOKIE,
        env::ERLANG_COOKIE,
        env::COUCHDB_SECRET,
        env::COUCHDB_ADMIN_PASS,
        env::COUCHDB_PASSWORD,
    ];
    let mut seen = BTreeSet::new();
    for variable in couchdb.container.env() {
        let Some(value) = variable.seen() else { continue };
        let secret = SECRETS.into_iter().find(|name| *name == variable.name.as_str() && !value.is_empty());
        let in_flags = variable.name.as_str() == env::ERL_FLAGS && erl_flags::cookie(value).is_some();
        if let Some(name) = secret.or(in_flags.then_some(env::ERL_FLAGS))
            && seen.insert(name)
        {
            warnings.push(Warning::Literal { path: value_path(couchdb, variable), name });
        }
    }
}

fn unseen_flags(couchdb: CouchDb<'_>, wishes: &Wishes<'_>, warnings: &mut Vec<Warning>) {
    let named = couchdb.container.variable(env::NODENAME).is_some() || wishes.keep.contains(&env::NODENAME);
    if let Some(flags) = couchdb.container.variable(env::ERL_FLAGS)
        && flags.seen().is_none()
        && !flags.literal().is_some_and(erl_flags::name_the_node)
        && !named
    {
        warnings.push(Warning::UnseenFlags { path: value_path(couchdb, flags) });
    }
}

/// References that stay as they are, where the value matters.
fn unexpanded(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    const MATTER: [&str; 9] = [
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
    for name in MATTER {
        if let Some(variable) = couchdb.container.variable(name)
            && let Some((name, later)) = node_names::unexpanded(couchdb.container, variable)
        {
            let path = value_path(couchdb, variable);
            warnings.push(Warning::Unexpanded { path, name: name.to_owned(), later });
        }
    }
}

/// An old image must be given the cookie by flag, and these flags are the user's.
fn unread_cookie(couchdb: CouchDb<'_>, wishes: &Wishes<'_>, warnings: &mut Vec<Warning>) {
    if let Some(variable) = couchdb.container.variable(env::ERL_FLAGS)
        && let Some((_, version)) = couchdb.version()
        && couchdb.ignores_cookie()
        && variable.literal().is_some_and(|flags| erl_flags::cookie(flags).is_none())
        && !wishes.keep.contains(&env::ERL_FLAGS)
    {
        let (path, version) = (value_path(couchdb, variable), version.to_owned());
        warnings.push(Warning::CookieUnread { path, version });
    }
}

/// The ancestors' and others' sidecars.
fn founders(view: &View<'_>, couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    const FOUNDERS: [&str; 2] = ["couchdiscover", "couchdb-statefulset-assembler"];
    let others = view.spec.template.spec.containers.iter().filter(|it| it.name != couchdb.container.name);
    for other in others.filter(|it| FOUNDERS.contains(&image_name(it.image()))) {
        let container = other.name.as_str().to_owned();
        let image = other.image().to_owned();
        warnings.push(Warning::AnotherFounder { container, image });
    }
}

fn cookie_secret(couchdb: CouchDb<'_>, wishes: &Wishes<'_>, warnings: &mut Vec<Warning>) {
    let set = |name: &&str| couchdb.container.variable(name).is_some() || wishes.keep.contains(name);
    let cookies = [env::COUCHDB_ERLANG_COOKIE, env::ERLANG_COOKIE];
    if let (Some(_), Some(name)) = (wishes.cookie, cookies.into_iter().find(set)) {
        warnings.push(Warning::CookieSecretUnused { name });
    }
}
