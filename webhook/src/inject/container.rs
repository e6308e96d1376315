//! Which container is CouchDB, and where it listens.

use contract::{name, ports};

use super::problem::Problem;
use super::view::{Container, View};
use super::warning::Warning;

/// The container that was found, and its place among the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CouchDb<'v> {
    pub(crate) index: usize,
    pub(crate) container: &'v Container<'v>,
}

/// Finds the CouchDB container: the one the annotation names; else `couchdb`; else the StatefulSet's namesake;
/// else the one whose image is called so; else the only one.
pub(crate) fn find<'v>(
    view: &'v View<'v>,
    wanted: Option<&str>,
    warnings: &mut Vec<Warning>,
) -> Result<CouchDb<'v>, Problem> {
    let containers = &view.spec.template.spec.containers;
    let others = || containers.iter().map(|container| container.name.as_str().to_owned()).collect();
    let named = |wanted: &str| only(containers, |container| container.name.as_str() == wanted);
    if let Some(wanted) = wanted {
        let missing = || Problem::NoSuchContainer { wanted: wanted.to_owned(), candidates: others() };
        return named(wanted).ok_or_else(missing);
    }
    let set = view.metadata.name.as_ref().map_or("", |name| name.as_str());
    let by_name = || named(name::COUCHDB).or_else(|| named(set));
    let by_image = || {
        let exactly = only(containers, |container| image_name(container) == name::COUCHDB);
        exactly.or_else(|| only(containers, |container| image_name(container).contains(name::COUCHDB)))
    };
    if let Some(found) = by_name().or_else(by_image) {
        return Ok(found);
    }
    let [container] = containers.as_slice() else {
        return Err(Problem::WhichContainer { candidates: others() });
    };
    let image = container.image.as_ref().map_or("", |image| image.as_str()).to_owned();
    warnings.push(Warning::OnlyContainer { container: container.name.as_str().to_owned(), image });
    Ok(CouchDb { index: 0, container })
}

impl CouchDb<'_> {
    /// Where CouchDB's HTTP interface listens: the port that is named so, else the usual one.
    pub(crate) fn port(&self) -> u16 {
        let ports = self.container.ports.as_deref().unwrap_or(&[]);
        let named = |wanted: &&str| {
            let is_it = |name: &crate::review::Text<'_>| name.as_str() == *wanted;
            ports.iter().find(|port| port.name.as_ref().is_some_and(is_it))
        };
        ports::COUCHDB_PORT_NAMES.iter().find_map(named).map_or(ports::COUCHDB, |port| port.container_port)
    }

    /// The version that the image's tag tells, of images that are called `couchdb` and are old.
    pub(crate) fn unmaintained(&self) -> Option<&str> {
        let (name, tag) = name_and_tag(self.container)?;
        let digits = tag.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(tag.len());
        let major: u32 = tag[..digits].parse().ok()?;
        (name == name::COUCHDB && major <= 2).then_some(tag)
    }
}

/// The one container of which it is true; neither of several.
fn only<'v>(containers: &'v [Container<'v>], is_it: impl Fn(&Container<'_>) -> bool) -> Option<CouchDb<'v>> {
    let mut found = containers.iter().enumerate().filter(|(_, container)| is_it(container));
    let (index, container) = found.next()?;
    found.next().is_none().then_some(CouchDb { index, container })
}

fn image_name<'v>(container: &'v Container<'_>) -> &'v str {
    name_and_tag(container).map_or("", |(name, _)| name)
}

/// The last part of the image's path, and what follows the colon there.
fn name_and_tag<'v>(container: &'v Container<'_>) -> Option<(&'v str, &'v str)> {
    let image = container.image.as_ref()?.as_str();
    let without_digest = image.split_once('@').map_or(image, |(image, _)| image);
    let last = without_digest.rsplit_once('/').map_or(without_digest, |(_, last)| last);
    Some(last.split_once(':').unwrap_or((last, "")))
}
