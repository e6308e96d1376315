//! Which container is CouchDB, and where it listens.

use contract::container::{choose, name_and_tag};
use contract::{name, ports};

use crate::outcome::problem::Problem;
use crate::outcome::warning::Warning;
use crate::read::text::Text;
use crate::read::view::{Container, View};

/// The container that was found, and its place among the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CouchDb<'v> {
    pub(crate) index: usize,
    pub(crate) container: &'v Container<'v>,
}

/// Finds the CouchDB container: the one the annotation names; else what [`choose`] tells, with a warning where that is a
/// guess.
pub(crate) fn find<'v>(
    view: &'v View<'v>,
    wanted: Option<&str>,
    warnings: &mut Vec<Warning>,
) -> Result<CouchDb<'v>, Problem> {
    let containers = &view.spec.template.spec.containers;
    let others = || containers.iter().map(|container| container.name.as_str().to_owned()).collect();
    if let Some(wanted) = wanted {
        let missing = || Problem::NoSuchContainer { wanted: wanted.to_owned(), candidates: others() };
        return only(containers, |container| container.name.as_str() == wanted).ok_or_else(missing);
    }
    let set = view.metadata.name.as_ref().map_or("", |name| name.as_str());
    let known = containers.iter().map(|container| (container.name.as_str(), container.image()));
    let Some((index, guess)) = choose(set, known) else {
        return Err(Problem::WhichContainer { candidates: others() });
    };
    let container = &containers[index];
    if let Some(guess) = guess {
        let (container, image) = (container.name.as_str().to_owned(), container.image().to_owned());
        warnings.push(Warning::Guessed { container, guess, image });
    }
    Ok(CouchDb { index, container })
}

impl CouchDb<'_> {
    /// Where CouchDB's HTTP interface listens: the port that is named `couchdb`, else the usual one where it is
    /// listed, else the one that is named as others name it, else the usual one.
    pub(crate) fn port(&self) -> u16 {
        let ports = self.container.ports.as_deref().unwrap_or(&[]);
        let named = |wanted: &str| {
            let is_it = |name: &Text<'_>| name.as_str() == wanted;
            let port = ports.iter().find(|port| port.name.as_ref().is_some_and(is_it));
            port.map(|port| port.container_port)
        };
        let [couchdb, others @ ..] = ports::COUCHDB_PORT_NAMES;
        let usual =
            || ports.iter().any(|port| port.container_port == ports::COUCHDB).then_some(ports::COUCHDB);
        let other = || others.iter().find_map(|name| named(name));
        named(couchdb).or_else(usual).or_else(other).unwrap_or(ports::COUCHDB)
    }

    /// The port of CouchDB's HTTPS interface.
    pub(crate) fn tls_port(&self) -> u16 {
        let ports = self.container.ports.as_deref().unwrap_or(&[]);
        let numbered = ports.iter().find(|port| port.container_port == ports::COUCHDB_TLS);
        let is_named = |name: &Text<'_>| name.as_str().ends_with(ports::COUCHDB_TLS_PORT_NAME);
        let named = || ports.iter().find(|port| port.name.as_ref().is_some_and(is_named));
        numbered.or_else(named).map_or(ports::COUCHDB_TLS, |port| port.container_port)
    }

    /// The version that the image's tag tells, of images that are called `couchdb` and are old.
    pub(crate) fn unmaintained(&self) -> Option<&str> {
        let (version, tag) = self.version()?;
        (version.major <= 2).then_some(tag)
    }

    /// Whether the image is one of those before 3.2.1, whose entrypoint doesn't read `COUCHDB_ERLANG_COOKIE`, so that
    /// each container makes a cookie of its own. A tag that leaves parts out is that of the newest.
    pub(crate) fn ignores_cookie(&self) -> bool {
        self.version().is_some_and(|(version, _)| match version {
            Version { major: 3, minor: None, .. } | Version { major: 3, minor: Some(2), patch: None } => {
                false
            }
            Version { major, minor, patch } => (major, minor.unwrap_or(0), patch.unwrap_or(0)) < (3, 2, 1),
        })
    }

    /// The version that the image's tag tells, and the tag, of images that are called `couchdb`.
    pub(crate) fn version(&self) -> Option<(Version, &str)> {
        let (name, tag) = name_and_tag(self.container.image());
        let mut parts = tag.split_once('-').map_or(tag, |(version, _)| version).split('.').map(str::parse);
        let major = parts.next()?.ok()?;
        let mut part = || parts.next().and_then(Result::ok);
        (name == name::COUCHDB).then(|| (Version { major, minor: part(), patch: part() }, tag))
    }
}

/// A version, as far as a tag tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    major: u32,
    minor: Option<u32>,
    patch: Option<u32>,
}

/// The one container of which it is true; neither of several.
fn only<'v>(containers: &'v [Container<'v>], is_it: impl Fn(&Container<'_>) -> bool) -> Option<CouchDb<'v>> {
    let mut found = containers.iter().enumerate().filter(|(_, container)| is_it(container));
    let (index, container) = found.next()?;
    found.next().is_none().then_some(CouchDb { index, container })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_for_https_is_told_by_its_number_or_name() {
        for (ports, port) in [
            (r#"[{"name":"couchdb","containerPort":5984}]"#, 6984),
            (r#"[{"name":"couchdb-https","containerPort":443}]"#, 443),
            (r#"[{"name":"https","containerPort":443},{"containerPort":6984}]"#, 6984),
        ] {
            let json = format!(r#"{{"name":"couchdb","image":"couchdb","ports":{ports}}}"#);
            let container = serde_json::from_str(&json).unwrap();
            assert_eq!(CouchDb { index: 0, container: &container }.tls_port(), port, "{ports}");
        }
    }

    #[test]
    fn a_tag_tells_whether_the_cookie_is_read() {
        let ignores = |image: &str| {
            let json = format!(r#"{{"name":"couchdb","image":"{image}"}}"#);
            let container = serde_json::from_str(&json).unwrap();
            CouchDb { index: 0, container: &container }.ignores_cookie()
        };
        for old in
            ["couchdb:3.2.0", "couchdb:3.1", "couchdb:3.0.1-ubi", "a.b:5000/c/couchdb:2.3.1", "couchdb:1"]
        {
            assert!(ignores(old), "{old}");
        }
        for new in [
            "couchdb",
            "couchdb:latest",
            "couchdb:3",
            "couchdb:3.2",
            "couchdb:3.2.1",
            "couchdb:3.3",
            "couchdb:4",
            "my-couchdb:3.1",
        ] {
            assert!(!ignores(new), "{new}");
        }
    }
}
