//! The settings of a node: the environment of the container image, the release, the read-only ini files.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ini::Ini;

/// The fully qualified host name of a node's pod. It identifies the node in the [`World`](super::World).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Host(String);

impl Host {
    /// The host name in text form, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `true` if Erlang accepts the host with `-name`: the host part must contain a dot.
    fn is_long(&self) -> bool {
        self.0.contains('.')
    }
}

impl<T: Into<String>> From<T> for Host {
    fn from(name: T) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A release of CouchDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Major version: 3 in 3.5.0.
    pub major: u8,
    /// Minor version: 5 in 3.5.0.
    pub minor: u8,
    /// Patch version: 0 in 3.5.0.
    pub patch: u8,
}

impl Version {
    /// The release on which the conformance scripts were recorded.
    pub const RECORDED: Self = Self::new(3, 5, 0);

    /// A release by its three numbers.
    pub const fn new(major: u8, minor: u8, patch: u8) -> Self {
        Self { major, minor, patch }
    }

    /// The ini section of the session secret, which 3.2.1 moved.
    pub(crate) fn secret_section(self) -> &'static str {
        if self > Self::new(3, 2, 0) { "chttpd_auth" } else { "couch_httpd_auth" }
    }

    /// The databases that `finish_cluster` creates if the call names none.
    pub(crate) fn system_dbs(self) -> &'static [&'static str] {
        if self.major >= 3 {
            &["_users", "_replicator"]
        } else {
            &["_users", "_replicator", "_global_changes"]
        }
    }

    /// The `features` in the answer to `GET /`, in its order.
    pub(crate) fn features(self) -> Vec<&'static str> {
        let all = [
            (Self::new(3, 4, 0), "quickjs"),
            (Self::new(3, 0, 0), "access-ready"),
            (Self::new(3, 0, 0), "partitioned"),
            (Self::new(2, 2, 0), "pluggable-storage-engines"),
            (Self::new(3, 0, 0), "reshard"),
            (Self::new(2, 1, 0), "scheduler"),
        ];
        all.into_iter().filter(|(since, _)| self >= *since).map(|(_, feature)| feature).collect()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let parts: Vec<u8> = text.split('.').map(str::parse).collect::<Result<_, _>>().unwrap_or_default();
        match parts.as_slice() {
            [major, minor] => Ok(Self::new(*major, *minor, 0)),
            [major, minor, patch] => Ok(Self::new(*major, *minor, *patch)),
            _ => Err(SettingsError::Version { text: text.to_owned() }),
        }
    }
}

/// A reason for which the container would exit instead of starting CouchDB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No admin is configured. CouchDB 3 has no "admin party"; the text is that of the entrypoint.
    #[error(
        "CouchDB 3.0+ will no longer run in \"Admin Party\" mode: COUCHDB_USER and COUCHDB_PASSWORD are not set"
    )]
    NoAdmin,
    /// The cookie is Erlang's old default. CouchDB checks it since 3.2.1 (`couch_sup:assert_no_monsters`).
    #[error("preflight check failed: the Erlang cookie is \"monster\"")]
    MonsterCookie,
    /// `-name` on a host without a domain, which Erlang refuses with "Can't set long node name!".
    #[error("can't set long node name: the host \"{host}\" has no domain")]
    LongName {
        /// Host name of the pod.
        host: Host,
    },
    /// The text is not a version: it has a form other than `3.5.0` or `3.5`.
    #[error("\"{text}\" is not a version of CouchDB")]
    Version {
        /// The text that was to be parsed.
        text: String,
    },
}

/// The settings that a node's next start uses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeSettings {
    pub(crate) host: Host,
    pub(crate) version: Version,
    /// `None` is `nonode@nohost`: the distribution is off.
    pub(crate) name: Option<String>,
    pub(crate) admins: Vec<(String, String)>,
    pub(crate) secret: Option<String>,
    /// `None`: Erlang generates one for this container.
    pub(crate) cookie: Option<String>,
    /// The content of `default.d` and of mounted files: read at each start, never written.
    pub(crate) ini: Ini,
    pub(crate) port: u16,
    /// The pod's IP address, which only names the node in `add_node`; no packet is sent to it.
    pub(crate) ip: Option<String>,
    pub(crate) read_only_ini: bool,
    pub(crate) first_login: Duration,
}

impl NodeSettings {
    /// A node of the recorded release without an admin. It listens on all addresses and is named `couchdb@<host>`.
    pub fn new(host: impl Into<Host>) -> Self {
        let host = host.into();
        let mut ini = Ini::default();
        ini.set("couchdb", "database_dir", "./data");
        ini.set("couchdb", "view_index_dir", "./data");
        ini.set("chttpd", "bind_address", "any");
        ini.set("chttpd", "port", "5984");
        ini.set("chttpd_auth", "hash_algorithms", "sha256, sha");
        Self {
            name: Some(format!("couchdb@{host}")),
            host,
            version: Version::RECORDED,
            admins: Vec::new(),
            secret: None,
            cookie: None,
            ini,
            port: 5984,
            ip: None,
            read_only_ini: false,
            first_login: Duration::ZERO,
        }
    }

    /// The settings that the official image's entrypoint derives from an environment.
    ///
    /// # Errors
    ///
    /// If the container would exit.
    pub fn from_image_env(
        host: impl Into<Host>,
        env: &BTreeMap<String, String>,
    ) -> Result<Self, SettingsError> {
        let env = ImageEnv(env);
        let mut settings = Self::new(host);
        // The entrypoint configures an admin only if both variables are set.
        if let Some(admin) = env.first_line("COUCHDB_USER").zip(env.first_line("COUCHDB_PASSWORD")) {
            settings.admins.push(admin);
        }
        settings.secret = env.first_line("COUCHDB_SECRET");
        let flags = ErlFlags::parse(env.value("ERL_FLAGS").unwrap_or_default());
        // `-setcookie` overrides the cookie file that the entrypoint writes.
        settings.cookie =
            flags.cookie.clone().or_else(|| env.value("COUCHDB_ERLANG_COOKIE").map(str::to_owned));
        settings.name = flags.node_name(&settings.host, env.value("NODENAME"))?;
        settings.check_start()?;
        Ok(settings)
    }

    /// Adds an admin. A password that starts with `-pbkdf2` is treated as a hash.
    #[must_use]
    pub fn admin(mut self, user: &str, password: &str) -> Self {
        self.admins.push((user.to_owned(), password.to_owned()));
        self
    }

    /// Sets `[chttpd_auth] secret`, as `COUCHDB_SECRET` does.
    #[must_use]
    pub fn secret<'a>(mut self, secret: impl Into<Option<&'a str>>) -> Self {
        self.secret = secret.into().map(str::to_owned);
        self
    }

    /// Sets the Erlang cookie, as `COUCHDB_ERLANG_COOKIE` does.
    #[must_use]
    pub fn cookie(mut self, cookie: &str) -> Self {
        self.cookie = Some(cookie.to_owned());
        self
    }

    /// Sets the Erlang node name; `None` turns the distribution off.
    #[must_use]
    pub fn name(mut self, name: Option<&str>) -> Self {
        self.name = name.map(str::to_owned);
        self
    }

    /// Sets the release.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        // 2.x is bound to 127.0.0.1 until `enable_cluster`; its state is `cluster_disabled`.
        if version.major < 3 {
            self.ini.set("chttpd", "bind_address", "127.0.0.1");
        }
        self
    }

    /// Adds a line of a read-only ini file, for example `("chttpd", "require_valid_user", "true")`.
    #[must_use]
    pub fn ini(mut self, section: &str, key: &str, value: &str) -> Self {
        self.ini.set(section, key, value);
        self
    }

    /// Sets the pod's IP address, by which `add_node` can name the node. No packet is sent to it.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Self {
        self.ip = Some(ip.to_owned());
        self
    }

    /// Makes `local.d` read-only: `_config` changes values only in memory. A change without `X-Couch-Persist: false`
    /// is answered with 500.
    #[must_use]
    pub fn read_only_ini(mut self) -> Self {
        self.read_only_ini = true;
        self
    }

    /// Sets the time on the node's one core that the first login with a password takes: 0.25 s for the 600,000 rounds of a
    /// real node. Each caller that begins before the first one has ended takes as long.
    #[must_use]
    pub fn first_login(mut self, cost: Duration) -> Self {
        self.first_login = cost;
        self
    }

    /// Fully qualified host name of the node's pod.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Fails if the container would exit at its start.
    pub(crate) fn check_start(&self) -> Result<(), SettingsError> {
        let has_admin_in_ini = self.ini.section("admins").next().is_some();
        if self.version.major >= 3 && self.admins.is_empty() && !has_admin_in_ini {
            return Err(SettingsError::NoAdmin);
        }
        if self.version >= Version::new(3, 2, 1) && self.cookie.as_deref() == Some("monster") {
            return Err(SettingsError::MonsterCookie);
        }
        Ok(())
    }
}

/// The environment of the container image. An empty variable counts as unset.
struct ImageEnv<'a>(&'a BTreeMap<String, String>);

impl<'a> ImageEnv<'a> {
    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The first line of a value. The entrypoint writes it into an ini file, where a value ends with its line.
    fn first_line(&self, name: &str) -> Option<String> {
        self.value(name).and_then(|value| value.lines().next()).map(str::to_owned)
    }
}

/// The flags in `ERL_FLAGS` that matter to a cluster: the node name and the cookie.
#[derive(Debug, Default)]
struct ErlFlags {
    long: Option<String>,
    short: Option<String>,
    cookie: Option<String>,
}

impl ErlFlags {
    fn parse(flags: &str) -> Self {
        let mut parsed = Self::default();
        let mut words = flags.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "-name" => parsed.long = words.next().map(str::to_owned),
                "-sname" => parsed.short = words.next().map(str::to_owned),
                "-setcookie" => parsed.cookie = words.next().map(str::to_owned),
                _ => {}
            }
        }
        parsed
    }

    /// The Erlang node name; `None` if nothing names the node.
    fn node_name(&self, host: &Host, nodename: Option<&str>) -> Result<Option<String>, SettingsError> {
        if let Some(name) = &self.long {
            if name.contains('@') {
                return Ok(Some(name.clone()));
            }
            if !host.is_long() {
                return Err(SettingsError::LongName { host: host.clone() });
            }
            return Ok(Some(format!("{name}@{host}")));
        }
        // `-sname` uses the host name up to its first dot.
        if let Some(name) = &self.short {
            let short = host.as_str().split('.').next().unwrap_or_default();
            return Ok(Some(format!("{name}@{short}")));
        }
        // NODENAME counts only if no flag names the node.
        Ok(nodename.map(|host| format!("couchdb@{host}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H0: &str = "couchdb-0.couchdb.default.svc.cluster.local";

    fn image(host: &str, vars: &[(&str, &str)]) -> Result<NodeSettings, SettingsError> {
        let login = [("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "s3cret")];
        let env = login.iter().chain(vars).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        NodeSettings::from_image_env(host, &env)
    }

    #[test]
    fn the_node_name_is_that_of_the_image() {
        let full = format!("couchdb@{H0}");
        for (vars, name) in [
            (&[("ERL_FLAGS", "-name couchdb")][..], Some(full.as_str())),
            (&[("NODENAME", H0)], Some(full.as_str())),
            (&[("ERL_FLAGS", "-setcookie x -name a@b.c"), ("NODENAME", H0)], Some("a@b.c")),
            (&[("ERL_FLAGS", "-sname couchdb")], Some("couchdb@couchdb-0")),
            (&[], None),
        ] {
            assert_eq!(image(H0, vars).unwrap().name.as_deref(), name, "{vars:?}");
        }
        assert!(matches!(
            image("couchdb-0", &[("ERL_FLAGS", "-name couchdb")]),
            Err(SettingsError::LongName { .. })
        ));
    }

    #[test]
    fn settings_with_which_the_container_would_exit_are_refused() {
        let none = NodeSettings::from_image_env(H0, &BTreeMap::new());
        assert_eq!(none.unwrap_err(), SettingsError::NoAdmin);
        let monster = image(H0, &[("COUCHDB_ERLANG_COOKIE", "monster")]);
        assert_eq!(monster.unwrap_err(), SettingsError::MonsterCookie);
        assert_eq!("3.2".parse(), Ok(Version::new(3, 2, 0)));
        assert!("latest".parse::<Version>().is_err());
    }
}
