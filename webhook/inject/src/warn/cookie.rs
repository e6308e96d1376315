//! The Erlang cookie: the way to CouchDB's container and to others that need it.

use contract::container::image_name;
use contract::env;

use crate::outcome::Warning;
use crate::read::Planning;
use crate::read::annotations::CookieWay;

const COOKIES: [&str; 2] = [env::COUCHDB_ERLANG_COOKIE, env::ERLANG_COOKIE];

/// Warns if the cookie does not reach a container that needs it.
pub(super) fn warn(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    by_flag(planning, warnings);
    other_containers(planning, warnings);
}

/// Warns if the user's variables prevent the cookie from being passed by flag.
fn by_flag(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let couchdb = planning.couchdb;
    if planning.cookie_way() == CookieWay::Variable {
        return;
    }
    if let Some(variable) = couchdb.container.variable(env::COUCHDB_ERLANG_COOKIE)
        && couchdb.cannot_write_cookie(planning.view.pod().security_context)
    {
        warnings.push(Warning::CookieUnwritable { path: couchdb.value_path(variable) });
    }
    let keeps = COOKIES.iter().chain(&[env::ERL_FLAGS]).any(|name| planning.annotations.keeps(name));
    if let Some(flags) = couchdb.container.variable(env::ERL_FLAGS)
        && flags.visible().is_none()
        && !keeps
    {
        warnings.push(Warning::CookieFlagUnseen { path: couchdb.value_path(flags) });
    }
}

/// Warns of containers that need the cookie and are not given it.
fn other_containers(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    // Their Erlang nodes are called by CouchDB. Nouveau is called by HTTP.
    const IMAGES: [&str; 2] = ["clouseau", "couchdb-search"];
    let couchdb = planning.couchdb.container;
    let wired = &planning.annotations.cookie_containers;
    let is_hidden = COOKIES.iter().any(|name| {
        let is_composed =
            couchdb.variable(name).is_some_and(|it| it.literal().is_some() && it.visible().is_none());
        planning.annotations.keeps(name) || is_composed
    });
    for other in planning.view.pod().containers.iter().filter(|other| other.name != couchdb.name) {
        let (name, image) = (other.name.as_str().to_owned(), other.image().to_owned());
        if COOKIES.iter().any(|name| other.variable(name).is_some()) {
            continue;
        }
        if wired.contains(&name.as_str()) {
            if is_hidden {
                warnings.push(Warning::CookieNotPassedOn { container: name });
            }
        } else if IMAGES.iter().any(|known| image_name(&image).contains(known)) {
            warnings.push(Warning::NeedsCookie { container: name, image });
        }
    }
}

/// Warns if the added pull secrets replace those of the ServiceAccount.
pub(super) fn pull_secrets(planning: &Planning<'_>, warnings: &mut Vec<Warning>) {
    let has_own = planning.view.pod().image_pull_secrets.as_ref().is_some_and(|all| !all.is_empty());
    let added = &planning.annotations.pull_secrets;
    if !has_own && !added.is_empty() {
        warnings.push(Warning::PullSecretsReplaced { names: added.join(", ") });
    }
}
