//! All variables, and the settings that they make.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use agent_core::facts::{PodManagement, Size};
use contract::{Label, env};
use program::log::Format;

use super::admin::{Credentials, credentials_from};
use super::endpoint::Endpoint;
use super::mistake::{Mistake, Mistakes};
use super::values::{Kubernetes, Level, LogFormat};

/// The settings that a user, or the webhook, makes by environment variables.
#[derive(Clone, Debug)]
pub struct Settings {
    /// CouchDB's admin. `None`: not injected, to be read from the CouchDB container's environment.
    pub credentials: Option<Credentials>,
    /// The local CouchDB.
    pub couchdb: Endpoint,
    /// Use of the Kubernetes API.
    pub kubernetes: Kubernetes,
    /// The address of probes, status and metrics.
    pub listen: SocketAddr,
    /// The CA of an https CouchDB; without it, the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The pod's own description.
    pub pod: Pod,
    /// The governing headless Service.
    pub service: Option<Label>,
    /// The name of the CouchDB container.
    pub container: Option<String>,
    /// The cluster's size, injected or set by a user.
    pub size: Option<Size>,
    /// The injected `podManagementPolicy`.
    pub pod_management: PodManagement,
    /// The time for which a moved copy stays beside the new one.
    pub readers_stay: Duration,
    /// Level and format of the log.
    pub log: Log,
}

/// The pod's own description, from the downward API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.name`.
    pub name: Option<String>,
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `status.podIP`.
    pub ip: Option<IpAddr>,
}

/// Level and format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: tracing::Level,
    /// Text or JSON, one line per event.
    pub format: Format,
}

impl Settings {
    /// Reads all variables and reports all mistakes. An empty value counts as not set.
    pub fn from_vars(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut vars = Vars { get, mistakes: vec![] };
        let kubernetes = vars.or(env::COUCHDISCOVER_KUBERNETES, "'auto' or 'off'", Kubernetes::Auto);
        let listen = SocketAddr::from(([0; 8], contract::ports::AGENT));
        let settings = Self {
            credentials: vars.credentials(kubernetes),
            couchdb: vars.or(env::COUCHDISCOVER_COUCHDB_URL, URL, Endpoint::local()),
            kubernetes,
            listen: vars.or(env::COUCHDISCOVER_LISTEN, LISTEN, listen),
            ca_file: vars.text(env::COUCHDISCOVER_CA_FILE).map(PathBuf::from),
            service: vars.parse(env::COUCHDISCOVER_SERVICE, "the name of a Service, a DNS label"),
            container: vars.text(env::COUCHDISCOVER_CONTAINER),
            size: vars.size(kubernetes),
            pod_management: vars.or(
                env::COUCHDISCOVER_POD_MANAGEMENT_POLICY,
                "'OrderedReady' or 'Parallel'",
                PodManagement::Parallel,
            ),
            pod: vars.pod(),
            readers_stay: vars
                .parse(env::COUCHDISCOVER_READERS_STAY, "a number of seconds")
                .map_or(READERS_STAY, Duration::from_secs),
            log: vars.log(),
        };
        if vars.mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(vars.mistakes)) }
    }
}

/// A reader that asks once a minute continues from a copy that it has met.
const READERS_STAY: Duration = Duration::from_secs(60);

/// The environment, and the mistakes found in it so far.
struct Vars<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<Mistake>,
}

impl Vars<'_> {
    fn text(&self, variable: &str) -> Option<String> {
        (self.get)(variable).filter(|value| !value.is_empty())
    }

    fn parse<T: FromStr>(&mut self, variable: &'static str, expected: &'static str) -> Option<T> {
        let value = self.text(variable)?;
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.mistakes.push(Mistake::Value { variable, value: without_user(&value), expected });
        }
        parsed
    }

    fn or<T: FromStr>(&mut self, variable: &'static str, expected: &'static str, default: T) -> T {
        self.parse(variable, expected).unwrap_or(default)
    }

    fn credentials(&mut self, kubernetes: Kubernetes) -> Option<Credentials> {
        match credentials_from(self.get) {
            Ok(None) => {
                // With Kubernetes they are read from the CouchDB container's environment later.
                if kubernetes == Kubernetes::Off {
                    self.mistakes.push(Mistake::NoCredentials);
                }
                None
            }
            Ok(credentials) => credentials,
            Err(mistake) => {
                self.mistakes.push(mistake);
                None
            }
        }
    }

    fn size(&mut self, kubernetes: Kubernetes) -> Option<Size> {
        let pinned = self.or(env::COUCHDISCOVER_SIZE_PINNED, "'true' or 'false'", false);
        let start = self.or(env::COUCHDISCOVER_ORDINALS_START, "a whole number from 0", 0);
        let before = self.mistakes.len();
        let nodes = self.parse(env::COUCHDB_CLUSTER_SIZE, "a whole number from 1 to 65535");
        // A size that cannot be parsed is reported already.
        if nodes.is_none() && kubernetes == Kubernetes::Off && before == self.mistakes.len() {
            self.mistakes.push(Mistake::NoSize);
        }
        nodes.map(|nodes| Size { nodes, pinned, start })
    }

    fn pod(&mut self) -> Pod {
        Pod {
            name: self.text(env::POD_NAME),
            uid: self.text(env::POD_UID),
            namespace: self.text(env::POD_NAMESPACE),
            ip: self.parse(env::POD_IP, "an IP address"),
        }
    }

    fn log(&mut self) -> Log {
        let level = Level(tracing::Level::INFO);
        Log {
            level: self.or(env::LOG_LEVEL, "error, warn, info, debug or trace", level).0,
            format: self.or(env::LOG_FORMAT, "'text' or 'json'", LogFormat(Format::Text)).0,
        }
    }
}

/// The value as it may be printed: without the user and password of a URL.
fn without_user(value: &str) -> String {
    if let Some((scheme, rest)) = value.split_once("://")
        && let Some((_, host)) = rest.rsplit_once('@')
    {
        return format!("{scheme}://..@{host}");
    }
    value.to_owned()
}

const URL: &str = "a URL such as 'http://127.0.0.1:5984', without user, path or query";
const LISTEN: &str = "an address and port such as '[::]:8484' or '0.0.0.0:8484'";

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::settings::Secret;

    fn read(vars: &[(&str, &str)]) -> Result<Settings, Mistakes> {
        let found = |name: &str| vars.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::from_vars(&found)
    }

    const SIZE: (&str, &str) = ("COUCHDB_CLUSTER_SIZE", "3");
    const ADMIN: [(&str, &str); 2] = [("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "s3cret")];

    #[test]
    fn credentials_alone_are_enough() {
        let settings = read(&ADMIN).unwrap();
        assert_eq!(settings.couchdb.at("h"), "http://h:5984");
        assert_eq!(settings.listen.to_string(), "[::]:8484");
        assert_eq!((settings.kubernetes, settings.size), (Kubernetes::Auto, None));
    }

    #[test]
    fn the_older_names_precede_and_half_a_pair_does_not_count() {
        let both = [("COUCHDB_ADMIN_USER", "root"), ("COUCHDB_ADMIN_PASS", "x"), ADMIN[0], ADMIN[1]];
        let user = |vars: &[(&str, &str)]| read(vars).unwrap().credentials.map(|found| found.user);
        assert_eq!(user(&both).as_deref(), Some("root"));
        assert_eq!(user(&both[1..]).as_deref(), Some("admin"));
        assert_eq!(user(&[]), None, "read from the CouchDB container later");
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let vars = [
            ("COUCHDB_USER", "admin"),
            ("COUCHDB_CLUSTER_SIZE", "0"),
            ("COUCHDISCOVER_COUCHDB_URL", "http://admin:pw@127.0.0.1:5984"),
            ("COUCHDISCOVER_KUBERNETES", "maybe"),
            ("COUCHDISCOVER_LISTEN", "8484"),
            ("COUCHDISCOVER_SERVICE", "a.b"),
            ("COUCHDISCOVER_SIZE_PINNED", "yes"),
            ("COUCHDISCOVER_POD_MANAGEMENT_POLICY", "parallel"),
            ("COUCHDISCOVER_ORDINALS_START", "-1"),
            ("LOG_LEVEL", "loud"),
            ("LOG_FORMAT", "xml"),
            ("POD_IP", "10.0.0"),
        ];
        assert_snapshot!(read(&vars).unwrap_err().lines().collect::<Vec<_>>().join("\n"), @"
        'COUCHDISCOVER_KUBERNETES' is 'maybe', expected 'auto' or 'off'
        'COUCHDB_USER' is set and 'COUCHDB_PASSWORD' is not. Fix: set both, or none
        'COUCHDISCOVER_COUCHDB_URL' is 'http://..@127.0.0.1:5984', expected a URL such as 'http://127.0.0.1:5984', without user, path or query
        'COUCHDISCOVER_LISTEN' is '8484', expected an address and port such as '[::]:8484' or '0.0.0.0:8484'
        'COUCHDISCOVER_SERVICE' is 'a.b', expected the name of a Service, a DNS label
        'COUCHDISCOVER_SIZE_PINNED' is 'yes', expected 'true' or 'false'
        'COUCHDISCOVER_ORDINALS_START' is '-1', expected a whole number from 0
        'COUCHDB_CLUSTER_SIZE' is '0', expected a whole number from 1 to 65535
        'COUCHDISCOVER_POD_MANAGEMENT_POLICY' is 'parallel', expected 'OrderedReady' or 'Parallel'
        'POD_IP' is '10.0.0', expected an IP address
        'LOG_LEVEL' is 'loud', expected error, warn, info, debug or trace
        'LOG_FORMAT' is 'xml', expected 'text' or 'json'
        ");
    }

    #[test]
    fn each_mistake_has_its_own_message() {
        let message = |vars: &[(&str, &str)]| read(vars).unwrap_err().to_string();
        assert_snapshot!(message(&[SIZE, ("COUCHDISCOVER_KUBERNETES", "off")]), @"the settings have 1 mistake(s): no admin credentials. Fix: set COUCHDB_ADMIN_USER and COUCHDB_ADMIN_PASS, or COUCHDB_USER and COUCHDB_PASSWORD, on the CouchDB container (the webhook copies them), best from a Secret");
        assert_snapshot!(message(&[("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "")]), @"the settings have 1 mistake(s): 'COUCHDB_USER' is set and 'COUCHDB_PASSWORD' is not. Fix: set both, or none");
        assert_snapshot!(message(&[("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "-pbkdf2-abc,def,10")]), @"the settings have 1 mistake(s): 'COUCHDB_PASSWORD' is a password hash, with which no client can log in. Fix: give the agent the plain password in 'COUCHDB_PASSWORD', and put the hash into CouchDB's own configuration ([admins] in an ini file)");
        assert_snapshot!(message(&[("COUCHDB_USER", "a:b"), ADMIN[1]]), @"the settings have 1 mistake(s): 'COUCHDB_USER' contains a colon, and HTTP ends the user's name there. Fix: use an admin without a colon in the name");
        assert_snapshot!(message(&[ADMIN[0], ADMIN[1], ("COUCHDISCOVER_KUBERNETES", "off")]), @"the settings have 1 mistake(s): COUCHDB_CLUSTER_SIZE is not set and COUCHDISCOVER_KUBERNETES is 'off', so the number of nodes is unknown. Fix: set COUCHDB_CLUSTER_SIZE");
    }

    #[test]
    fn a_password_ends_where_it_ends_in_an_ini_file() {
        let secret = |password: &str| {
            let vars = [ADMIN[0], ("COUCHDB_PASSWORD", password)];
            read(&vars).unwrap().credentials.map(|found| found.password)
        };
        assert_eq!(secret("s3cret\n"), Some(Secret::new("s3cret")));
        assert_eq!(secret("s3cret\r\n"), Some(Secret::new("s3cret")));
        assert_eq!(secret(" :%ü'\"$\\ "), Some(Secret::new(" :%ü'\"$\\ ")));
    }

    #[test]
    fn no_password_is_ever_printed() {
        assert!(!format!("{:?}", read(&ADMIN).unwrap()).contains("s3cret"));
        let hashed = [("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "-hashed-s3cret")];
        assert!(!read(&hashed).unwrap_err().to_string().contains("s3cret"));
    }
}
