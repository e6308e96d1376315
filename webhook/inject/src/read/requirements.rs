//! Requirements without which no cluster can be formed from the pods.

use contract::container::image_name;
use contract::name::Domain;
use contract::{Label, NameError, PodFqdn, PodName, env};

use super::annotations::Annotations;
use super::couchdb::CouchDb;
use super::erl_flags;
use super::facts::{Facts, Size};
use super::text::Text;
use super::view::View;
use crate::outcome::Problem;

/// Adds a problem for each violated requirement.
pub(super) fn check(
    view: &View<'_>,
    couchdb: Option<CouchDb<'_>>,
    facts: &Facts<'_>,
    size: Option<&Size<'_>>,
    problems: &mut Vec<Problem>,
) {
    if view.name().is_empty() {
        problems.push(Problem::NoName);
    }
    if facts.service.is_empty() {
        problems.push(Problem::NoService);
    }
    for (field, value) in [("hostname", &view.pod().hostname), ("subdomain", &view.pod().subdomain)] {
        let value = value.as_ref().map_or("", Text::as_str);
        if !value.is_empty() {
            problems.push(Problem::PodDns { field, value: value.to_owned() });
        }
    }
    let nodes = size.map_or(1, |size| size.nodes);
    problems.extend(check_names(view, facts, nodes).err());
    if let Some(couchdb) = couchdb {
        refuse_default_cookie(couchdb, problems);
    }
}

/// Checks the DNS name of the last pod, which is the longest: if it is valid, all are.
fn check_names(view: &View<'_>, facts: &Facts<'_>, nodes: u32) -> Result<(), Problem> {
    // A missing name or Service is a problem of its own.
    if view.name().is_empty() {
        return Ok(());
    }
    // The cluster waits for `nodes` pods even if fewer are requested now.
    let last = view.first_ordinal().saturating_add(view.pods().max(nodes) - 1);
    let set: Label = view.name().parse().map_err(in_field("metadata.name"))?;
    let pod = PodName::new(set, last).map_err(in_field("metadata.name"))?;
    if facts.service.is_empty() {
        return Ok(());
    }
    let service: Label = facts.service.parse().map_err(in_field("spec.serviceName"))?;
    let namespace = facts.namespace.unwrap_or("default");
    let namespace: Label = namespace.parse().map_err(in_field("metadata.namespace"))?;
    let domain: Domain = facts.domain.parse().map_err(in_field("--cluster-domain"))?;
    PodFqdn::new(pod, service, namespace, domain).map_err(in_field("metadata.name"))?;
    Ok(())
}

/// Adds a problem for each container of the annotation that does not exist, or is CouchDB's own.
pub(super) fn check_cookie_containers(
    view: &View<'_>,
    couchdb: Option<CouchDb<'_>>,
    annotations: &Annotations<'_>,
    problems: &mut Vec<Problem>,
) {
    let own = couchdb.map(|couchdb| couchdb.name());
    let others = || {
        let names = view.pod().containers.iter().map(|container| container.name.as_str());
        names.filter(|name| Some(*name) != own)
    };
    for wanted in &annotations.cookie_containers {
        if !others().any(|name| name == *wanted) {
            let (wanted, candidates) = ((*wanted).to_owned(), others().map(str::to_owned).collect());
            problems.push(Problem::CookieContainer { wanted, candidates });
        }
    }
}

/// Refuses databases that are separate by design: each peer of a ledger has a CouchDB of its own, and one cluster of them
/// would mix their states. A size that the user chooses confirms that a cluster is wanted.
pub(super) fn check_separate_databases(
    view: &View<'_>,
    annotations: &Annotations<'_>,
    problems: &mut Vec<Problem>,
) {
    if view.replicas() <= 1 || annotations.size.is_some() {
        return;
    }
    let peer = view.pod().containers.iter().find(|container| {
        image_name(container.image()).contains("fabric-peer")
            || container
                .env()
                .iter()
                .any(|variable| variable.name.as_str() == "CORE_LEDGER_STATE_COUCHDBCONFIG_COUCHDBADDRESS")
    });
    if let Some(peer) = peer {
        problems.push(Problem::SeparateDatabases { peer: peer.name.as_str().to_owned() });
    }
}

fn in_field(field: &'static str) -> impl Fn(NameError) -> Problem {
    move |why| Problem::PodName { field, why }
}

/// CouchDB 3.2.1 and later do not start with the cookie that its own `vm.args` used to contain.
fn refuse_default_cookie(couchdb: CouchDb<'_>, problems: &mut Vec<Problem>) {
    const DEFAULT: &str = "monster";
    for variable in couchdb.container.env() {
        let value = variable.literal().unwrap_or("");
        let is_default = match variable.name.as_str() {
            env::COUCHDB_ERLANG_COOKIE | env::ERLANG_COOKIE => value.trim() == DEFAULT,
            env::ERL_FLAGS => erl_flags::cookie(value).as_deref() == Some(DEFAULT),
            _ => false,
        };
        if is_default {
            problems.push(Problem::DefaultCookie { path: couchdb.value_path(variable) });
        }
    }
}
