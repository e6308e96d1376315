//! What goes through, but is worth a warning.

use std::collections::BTreeSet;

use contract::env;

use super::container::CouchDb;
use super::plan::value_path;
use super::sidecar::Credentials;
use super::variables::{self, Addition};
use super::view::View;
use super::warning::Warning;
use super::wishes::{self, Wishes};

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
    wishes::unknown(view, warnings);
    let container = couchdb.container.name.as_str().to_owned();
    if !credentials.complete {
        warnings.push(Warning::NoCredentials { container: container.clone() });
    }
    if !couchdb.container.env_from().is_empty() && !env.is_empty() {
        let names = env.iter().map(|addition| addition.name).collect::<Vec<_>>().join(", ");
        warnings.push(Warning::EnvFrom { container, names });
    }
    if view.spec.volume_claim_templates.as_ref().is_none_or(Vec::is_empty) {
        warnings.push(Warning::NoVolumeClaims);
    }
    let name = view.metadata.name.as_ref().map_or("", |name| name.as_str());
    if name.len() > contract::name::SET_MAX {
        warnings.push(Warning::LongName { name: name.to_owned() });
    }
    sizes(view, size, pinned, warnings);
    image(couchdb, warnings);
    liveness(couchdb, warnings);
    literals(couchdb, warnings);
    flags(couchdb, wishes, warnings);
    cookie_secret(couchdb, wishes, warnings);
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
    if let (Some(version), Some(image)) = (couchdb.unmaintained(), &couchdb.container.image) {
        let path = format!("spec.template.spec.containers[{}].image", couchdb.index);
        let (image, version) = (image.as_str().to_owned(), version.to_owned());
        warnings.push(Warning::OldImage { path, image, version });
    }
}

fn liveness(couchdb: CouchDb<'_>, warnings: &mut Vec<Warning>) {
    let probe = couchdb.container.liveness_probe.as_ref().and_then(|probe| probe.http_get.as_ref());
    let path = probe.and_then(|probe| probe.path.as_ref()).map_or("", |path| path.as_str());
    let without_query = path.split_once('?').map_or(path, |(path, _)| path);
    if without_query.trim_end_matches('/') == "/_up" {
        let path = format!("spec.template.spec.containers[{}].livenessProbe.httpGet.path", couchdb.index);
        warnings.push(Warning::LivenessOnUp { path });
    }
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
        let in_flags = variable.name.as_str() == env::ERL_FLAGS && variables::cookie_in(value).is_some();
        if let Some(name) = secret.or(in_flags.then_some(env::ERL_FLAGS))
            && seen.insert(name)
        {
            warnings.push(Warning::Literal { path: value_path(couchdb, variable), name });
        }
    }
}

fn flags(couchdb: CouchDb<'_>, wishes: &Wishes<'_>, warnings: &mut Vec<Warning>) {
    let named = couchdb.container.variable(env::NODENAME).is_some() || wishes.keep.contains(&env::NODENAME);
    if let Some(flags) = couchdb.container.variable(env::ERL_FLAGS)
        && flags.seen().is_none()
        && !flags.literal().is_some_and(variables::names_the_node)
        && !named
    {
        warnings.push(Warning::UnseenFlags { path: value_path(couchdb, flags) });
    }
}

fn cookie_secret(couchdb: CouchDb<'_>, wishes: &Wishes<'_>, warnings: &mut Vec<Warning>) {
    let set = |name: &&str| couchdb.container.variable(name).is_some() || wishes.keep.contains(name);
    let cookies = [env::COUCHDB_ERLANG_COOKIE, env::ERLANG_COOKIE];
    if let (Some(_), Some(name)) = (wishes.cookie, cookies.into_iter().find(set)) {
        warnings.push(Warning::CookieSecretUnused { name });
    }
}
