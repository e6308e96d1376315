//! The CouchDB container: its selection, its ports, and the version in its image's tag.

use contract::container::{choose, name_and_tag};
use contract::{name, ports};

use super::text::Text;
use super::view::{Container, Env, Port, SecurityContext, View};
use crate::outcome::{Problem, Warning};

/// The CouchDB container and its index among the containers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CouchDb<'v> {
    pub(crate) index: usize,
    pub(crate) container: &'v Container<'v>,
}

/// A version, as precise as the tag that it was read from.
#[derive(Clone, Copy, Debug)]
struct Version {
    major: u32,
    minor: Option<u32>,
    patch: Option<u32>,
}

impl<'v> CouchDb<'v> {
    /// Finds the container that the annotation names, else the one that [`choose`] selects. A guess adds a warning.
    pub(crate) fn find(
        view: &'v View<'_>,
        wanted: Option<&str>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, Problem> {
        let containers = &view.pod().containers;
        // The annotation overrides every rule, and is never a guess.
        if let Some(wanted) = wanted {
            return Self::named(containers, wanted).ok_or_else(|| Problem::NoSuchContainer {
                wanted: wanted.to_owned(),
                candidates: names(containers),
            });
        }
        let known = containers.iter().map(|container| (container.name.as_str(), container.image()));
        let Some((index, guess)) = choose(view.name(), known) else {
            return Err(Problem::WhichContainer { candidates: names(containers) });
        };
        let container = &containers[index];
        if let Some(guess) = guess {
            let (container, image) = (container.name.as_str().to_owned(), container.image().to_owned());
            warnings.push(Warning::Guessed { container, guess, image });
        }
        Ok(Self { index, container })
    }

    /// The only container of this name; `None` if there are several.
    fn named(containers: &'v [Container<'v>], wanted: &str) -> Option<Self> {
        let mut found = containers.iter().enumerate().filter(|(_, it)| it.name.as_str() == wanted);
        let (index, container) = found.next()?;
        found.next().is_none().then_some(Self { index, container })
    }

    /// The container's name.
    pub(crate) fn name(&self) -> &'v str {
        self.container.name.as_str()
    }

    /// Field path of a part of the container.
    pub(crate) fn path(&self, field: &str) -> String {
        format!("spec.template.spec.containers[{}].{field}", self.index)
    }

    /// Field path of the value of one of its variables.
    pub(crate) fn value_path(&self, variable: &Env<'_>) -> String {
        let field = if variable.value_from.is_some() { "valueFrom" } else { "value" };
        let index = self.container.position(variable).unwrap_or(0);
        self.path(&format!("env[{index}].{field}"))
    }

    /// Port of the HTTP interface: the port named `couchdb`, else 5984 if it is listed, else a port with one of the
    /// other usual names, else 5984.
    pub(crate) fn port(&self) -> u16 {
        // Only the name `couchdb` is certain. `http` may be the port of another service in the container.
        let [couchdb, others @ ..] = ports::COUCHDB_PORT_NAMES;
        if let Some(port) = self.port_named(couchdb) {
            return port;
        }
        if self.ports().iter().any(|port| port.container_port == ports::COUCHDB) {
            return ports::COUCHDB;
        }
        others.iter().find_map(|name| self.port_named(name)).unwrap_or(ports::COUCHDB)
    }

    /// Port of the HTTPS interface: 6984 if it is listed, else a port with a name that ends in `https`, else 6984.
    pub(crate) fn tls_port(&self) -> u16 {
        if self.ports().iter().any(|port| port.container_port == ports::COUCHDB_TLS) {
            return ports::COUCHDB_TLS;
        }
        let named = self.ports().iter().find(|port| {
            port.name.as_ref().is_some_and(|name| name.as_str().ends_with(ports::COUCHDB_TLS_PORT_NAME))
        });
        named.map_or(ports::COUCHDB_TLS, |port| port.container_port)
    }

    fn ports(&self) -> &'v [Port<'v>] {
        self.container.ports.as_deref().unwrap_or(&[])
    }

    fn port_named(&self, wanted: &str) -> Option<u16> {
        let port = self.ports().iter().find(|port| port.name.as_ref().map(Text::as_str) == Some(wanted))?;
        Some(port.container_port)
    }

    /// The tag, if it is that of a release that is no longer maintained.
    pub(crate) fn unmaintained(&self) -> Option<&'v str> {
        let (version, tag) = self.version()?;
        (version.major <= 2).then_some(tag)
    }

    /// `true` for an image of CouchDB 1.x, which writes to other folders.
    pub(crate) fn is_version_1(&self) -> bool {
        self.version().is_some_and(|(version, _)| version.major <= 1)
    }

    /// The tag, if the image's entrypoint ignores `COUCHDB_ERLANG_COOKIE`, so that each container generates a cookie of
    /// its own. These are the images before 3.2.1.
    pub(crate) fn ignores_cookie(&self) -> Option<&'v str> {
        let (Version { major, minor, patch }, tag) = self.version()?;
        // The tags `3` and `3.2` name the newest patch release of theirs.
        if major == 3 && (minor.is_none() || minor == Some(2) && patch.is_none()) {
            return None;
        }
        let version = (major, minor.unwrap_or(0), patch.unwrap_or(0));
        (version < (3, 2, 1)).then_some(tag)
    }

    /// `true` if the image's entrypoint cannot write the cookie's file: as a user that the image does not know, or in a
    /// read-only file system.
    pub(crate) fn cannot_write_cookie(&self, pod: Option<SecurityContext>) -> bool {
        // As root the entrypoint changes to CouchDB's own user, 5984 in the official image.
        const KNOWN: [i64; 2] = [0, 5984];
        let own = self.container.security_context;
        let user = own.and_then(|own| own.run_as_user).or(pod.and_then(|pod| pod.run_as_user));
        let is_read_only = own.is_some_and(|own| own.read_only_root_filesystem == Some(true));
        is_read_only || user.is_some_and(|user| !KNOWN.contains(&user))
    }

    /// The version in the tag, and the tag, of an image that is named `couchdb`.
    fn version(&self) -> Option<(Version, &'v str)> {
        let (name, tag) = name_and_tag(self.container.image());
        if name != name::COUCHDB {
            return None;
        }
        // In `3.3.3-ubi`, the version ends at the dash.
        let version = tag.split_once('-').map_or(tag, |(version, _)| version);
        let mut parts = version.split('.').map(|part| part.parse().ok());
        let (major, minor, patch) = (parts.next()??, parts.next().flatten(), parts.next().flatten());
        Some((Version { major, minor, patch }, tag))
    }
}

fn names(containers: &[Container<'_>]) -> Vec<String> {
    containers.iter().map(|container| container.name.as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn couchdb<T>(json: &str, look: impl FnOnce(CouchDb<'_>) -> T) -> T {
        let container = serde_json::from_str(json).unwrap();
        look(CouchDb { index: 0, container: &container })
    }

    #[test]
    fn the_https_port_is_found_by_number_or_name() {
        for (ports, port) in [
            (r#"[{"name":"couchdb","containerPort":5984}]"#, 6984),
            (r#"[{"name":"couchdb-https","containerPort":443}]"#, 443),
            (r#"[{"name":"https","containerPort":443},{"containerPort":6984}]"#, 6984),
        ] {
            let json = format!(r#"{{"name":"couchdb","image":"couchdb","ports":{ports}}}"#);
            assert_eq!(couchdb(&json, |it| it.tls_port()), port, "{ports}");
        }
    }

    #[test]
    fn the_tag_decides_whether_the_image_reads_the_cookie() {
        let ignores = |image: &str| {
            let json = format!(r#"{{"name":"couchdb","image":"{image}"}}"#);
            couchdb(&json, |it| it.ignores_cookie().is_some())
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
