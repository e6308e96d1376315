//! How a node is made: the container image's environment, a version, what stands in its read-only ini files.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::ini::Ini;

/// The fully qualified host name of a node's pod; its key in the [`World`](super::World).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Long enough for `-name`: Erlang wants a dot in the host part.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 3 of 3.5.0.
    pub major: u8,
    /// 5 of 3.5.0.
    pub minor: u8,
    /// 0 of 3.5.0.
    pub patch: u8,
}

impl Version {
    /// The release that the references were recorded on.
    pub const RECORDED: Self = Self::new(3, 5, 0);

    /// `Version::new(2, 3, 1)` is 2.3.1.
    pub const fn new(major: u8, minor: u8, patch: u8) -> Self {
        Self { major, minor, patch }
    }

    /// Where the session secret is configured; 3.2.1 moved it.
    pub(crate) fn secret_section(self) -> &'static str {
        if self > Self::new(3, 2, 0) { "chttpd_auth" } else { "couch_httpd_auth" }
    }

    /// The databases that `finish_cluster` makes when none are named.
    pub(crate) fn system_dbs(self) -> &'static [&'static str] {
        if self.major >= 3 {
            &["_users", "_replicator"]
        } else {
            &["_users", "_replicator", "_global_changes"]
        }
    }

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
        let bad = || SettingsError::Version { text: text.to_owned() };
        let parts: Result<Vec<u8>, _> = text.split('.').map(str::parse).collect();
        match parts.map_err(|_| bad())?.as_slice() {
            [major, minor] => Ok(Self::new(*major, *minor, 0)),
            [major, minor, patch] => Ok(Self::new(*major, *minor, *patch)),
            _ => Err(bad()),
        }
    }
}

/// Why a container would exit instead of starting CouchDB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The entrypoint's banner: CouchDB 3 has no admin party.
    #[error(
        "CouchDB 3.0+ will no longer run in \"Admin Party\" mode: COUCHDB_USER and COUCHDB_PASSWORD are not set"
    )]
    NoAdmin,
    /// `couch_sup:assert_no_monsters`, since 3.2.1.
    #[error("preflight check failed: the Erlang cookie is \"monster\"")]
    MonsterCookie,
    /// `-name` on a host without a domain; Erlang: "Can't set long node name!".
    #[error("can't set long node name: the host \"{host}\" has no domain")]
    LongName {
        /// The host as it is.
        host: Host,
    },
    /// Not `3.5.0` or `3.5`.
    #[error("\"{text}\" is not a version of CouchDB")]
    Version {
        /// What was given.
        text: String,
    },
}

/// One node, before it is started.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    pub(crate) host: Host,
    pub(crate) version: Version,
    /// `None` is `nonode@nohost`: the distribution is off.
    pub(crate) name: Option<String>,
    pub(crate) admins: Vec<(String, String)>,
    pub(crate) secret: Option<String>,
    /// `None`: Erlang makes one up for this container.
    pub(crate) cookie: Option<String>,
    /// Stands in for `default.d` and mounted files: read at each start, never written.
    pub(crate) ini: Ini,
    pub(crate) port: u16,
    /// The pod's address, where one is asked for: nothing is sent there.
    pub(crate) ip: Option<String>,
    pub(crate) read_only_ini: bool,
}

impl NodeSettings {
    /// A node of the recorded version that listens on all addresses and is named `couchdb@<host>`; no admin yet.
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
        }
    }

    /// What the official image's entrypoint makes of an environment.
    ///
    /// # Errors
    ///
    /// When the container would exit.
    pub fn from_image_env(
        host: impl Into<Host>,
        env: &BTreeMap<String, String>,
    ) -> Result<Self, SettingsError> {
        let var = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
        let mut settings = Self::new(host);
        // The entrypoint writes them into an ini file, where a value ends with its line.
        let line = |name: &str| var(name).and_then(|value| value.lines().next().map(str::to_owned));
        if let (Some(user), Some(password)) = (line("COUCHDB_USER"), line("COUCHDB_PASSWORD")) {
            settings.admins.push((user, password));
        }
        settings.secret = line("COUCHDB_SECRET");
        let flags = ErlFlags::parse(&var("ERL_FLAGS").unwrap_or_default());
        // `-setcookie` beats the cookie file that the entrypoint writes.
        settings.cookie = flags.cookie.clone().or_else(|| var("COUCHDB_ERLANG_COOKIE"));
        settings.name = flags.node_name(&settings.host, var("NODENAME"))?;
        settings.refuse_as_the_container_would()?;
        Ok(settings)
    }

    /// Adds `[admins] user`; a value that starts with `-pbkdf2` is taken as a hash.
    #[must_use]
    pub fn admin(mut self, user: &str, password: &str) -> Self {
        self.admins.push((user.to_owned(), password.to_owned()));
        self
    }

    /// `[chttpd_auth] secret`, as `COUCHDB_SECRET` gives it.
    #[must_use]
    pub fn secret<'a>(mut self, secret: impl Into<Option<&'a str>>) -> Self {
        self.secret = secret.into().map(str::to_owned);
        self
    }

    /// The Erlang cookie, as `COUCHDB_ERLANG_COOKIE` gives it.
    #[must_use]
    pub fn cookie(mut self, cookie: &str) -> Self {
        self.cookie = Some(cookie.to_owned());
        self
    }

    /// The Erlang node name; `None` turns the distribution off.
    #[must_use]
    pub fn name(mut self, name: Option<&str>) -> Self {
        self.name = name.map(str::to_owned);
        self
    }

    /// Another release. 2.x starts as the wizard knows it: bound to 127.0.0.1, `cluster_disabled`.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        if version.major < 3 {
            self.ini.set("chttpd", "bind_address", "127.0.0.1");
        }
        self
    }

    /// A line of a read-only ini file, for example `("chttpd", "require_valid_user", "true")`.
    #[must_use]
    pub fn ini(mut self, section: &str, key: &str, value: &str) -> Self {
        self.ini.set(section, key, value);
        self
    }

    /// The pod's address: what `add_node` by address means. Nothing is ever sent there.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Self {
        self.ip = Some(ip.to_owned());
        self
    }

    /// `local.d` can't be written: what `_config` sets is in memory, and answered with 500 unless it asks for no more.
    #[must_use]
    pub fn read_only_ini(mut self) -> Self {
        self.read_only_ini = true;
        self
    }

    /// The pod's host name.
    pub fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn refuse_as_the_container_would(&self) -> Result<(), SettingsError> {
        let in_ini = self.ini.section("admins").next().is_some();
        if self.version.major >= 3 && self.admins.is_empty() && !in_ini {
            return Err(SettingsError::NoAdmin);
        }
        if self.version >= Version::new(3, 2, 1) && self.cookie.as_deref() == Some("monster") {
            return Err(SettingsError::MonsterCookie);
        }
        Ok(())
    }
}

/// The two things in `ERL_FLAGS` that matter to a cluster.
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

    fn node_name(&self, host: &Host, nodename: Option<String>) -> Result<Option<String>, SettingsError> {
        match (&self.long, &self.short, nodename) {
            (Some(full), _, _) if full.contains('@') => Ok(Some(full.clone())),
            (Some(name), _, _) if host.is_long() => Ok(Some(format!("{name}@{host}"))),
            (Some(_), _, _) => Err(SettingsError::LongName { host: host.clone() }),
            (None, Some(name), _) => {
                let short = host.as_str().split('.').next().unwrap_or_default();
                Ok(Some(format!("{name}@{short}")))
            }
            (None, None, nodename) => Ok(nodename.map(|host| format!("couchdb@{host}"))),
        }
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
    fn the_node_name_as_the_image_makes_it() {
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
    fn it_exits_as_the_container_would() {
        let none = NodeSettings::from_image_env(H0, &BTreeMap::new());
        assert_eq!(none.unwrap_err(), SettingsError::NoAdmin);
        let monster = image(H0, &[("COUCHDB_ERLANG_COOKIE", "monster")]);
        assert_eq!(monster.unwrap_err(), SettingsError::MonsterCookie);
        assert_eq!("3.2".parse(), Ok(Version::new(3, 2, 0)));
        assert!("latest".parse::<Version>().is_err());
    }
}
