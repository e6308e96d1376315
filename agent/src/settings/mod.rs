//! What the agent is told. Its environment, read once, through a function from name to value.

pub mod pod_name;
mod values;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use contract::{Label, env};
use program::log::Format;
use thiserror::Error;

pub use agent_core::facts::{PodManagement, Size};
pub use values::{Endpoint, Kubernetes, Scheme};
use values::{Level, LogFormat};

use crate::credentials::secret::Secret;

/// Everything that a user, or the webhook for him, can set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may administer CouchDB. `None`: nobody said, and CouchDB's own container has to be asked.
    pub credentials: Option<Credentials>,
    /// The CouchDB beside this agent.
    pub couchdb: Endpoint,
    /// Whether the Kubernetes API is asked.
    pub kubernetes: Kubernetes,
    /// Where probes and status are served.
    pub listen: SocketAddr,
    /// CA for an https CouchDB; the system's roots without it.
    pub ca_file: Option<PathBuf>,
    /// What the pod says of itself.
    pub pod: Pod,
    /// The governing headless Service.
    pub service: Option<Label>,
    /// Name of the CouchDB container.
    pub container: Option<String>,
    /// The cluster's size, as injected or as the user set it.
    pub size: Option<Size>,
    /// Whether the next pod waits until this one is ready.
    pub pod_management: PodManagement,
    /// How much is logged, and how.
    pub log: Log,
}

/// An admin of CouchDB, and the names of the variables that he came in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The admin's name.
    pub user: String,
    /// The admin's password.
    pub password: Secret,
    /// Where the two come from, for messages: `COUCHDB_USER and COUCHDB_PASSWORD`.
    pub source: String,
}

/// What the downward API and the container runtime say of this pod.
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

/// How much is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: tracing::Level,
    /// One line of text, or one JSON object, an event.
    pub format: Format,
}

/// All mistakes of one environment, so that a user mends everything in one go.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the settings have {} mistake(s): {}", .0.len(), join(.0))]
pub struct Mistakes(Vec<Mistake>);

/// One setting that can't be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Mistake {
    /// No variable names an admin.
    #[error(
        "no admin credentials: set COUCHDB_ADMIN_USER and COUCHDB_ADMIN_PASS, or COUCHDB_USER and COUCHDB_PASSWORD, \
         on the CouchDB container (the webhook copies them), best from a Secret"
    )]
    NoCredentials,
    /// A name that HTTP can't carry beside a password.
    #[error(
        "'{variable}' holds a colon, and a name with one can't log in with a password: HTTP ends the name there"
    )]
    ColonInUser {
        /// The variable that holds the name.
        variable: &'static str,
    },
    /// A user without a password, or a password without a user.
    #[error("'{present}' is set and '{absent}' is not: an admin needs both")]
    HalfCredentials {
        /// The variable that is set.
        present: &'static str,
        /// The variable that is missing or empty.
        absent: &'static str,
    },
    /// The password is what CouchDB stores, not what a person types.
    #[error(
        "'{variable}' is a password hash, and nobody can log in with a hash: give the agent the plain password in '{variable}' and \
         put the hash into CouchDB's own configuration ([admins] in an ini file)"
    )]
    HashedPassword {
        /// The variable that holds the hash.
        variable: &'static str,
    },
    /// No size, and nobody to ask.
    #[error(
        "COUCHDB_CLUSTER_SIZE is not set and COUCHDISCOVER_KUBERNETES is 'off': nothing else tells how many nodes to expect"
    )]
    NoSize,
    /// A value that doesn't parse.
    #[error("'{variable}' is '{value}', expected {expected}")]
    Value {
        /// The variable.
        variable: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
}

impl Settings {
    /// Reads every variable and reports every mistake. An empty value counts as not set.
    pub fn from_vars(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut vars = Vars { get, mistakes: vec![] };
        let kubernetes = vars.or(env::COUCHDISCOVER_KUBERNETES, "'auto' or 'off'", Kubernetes::Auto);
        let credentials = vars.credentials(kubernetes);
        let couchdb = vars.or(env::COUCHDISCOVER_COUCHDB_URL, URL, Endpoint::local());
        let listen =
            vars.or(env::COUCHDISCOVER_LISTEN, LISTEN, SocketAddr::from(([0; 8], contract::ports::AGENT)));
        let ca_file = vars.text(env::COUCHDISCOVER_CA_FILE).map(PathBuf::from);
        let service = vars.parse(env::COUCHDISCOVER_SERVICE, "the name of a Service, a DNS label");
        let size = vars.size(kubernetes);
        let pod_management = vars.or(
            env::COUCHDISCOVER_POD_MANAGEMENT_POLICY,
            "'OrderedReady' or 'Parallel'",
            PodManagement::Parallel,
        );
        let pod = Pod {
            name: vars.text(env::POD_NAME),
            uid: vars.text(env::POD_UID),
            namespace: vars.text(env::POD_NAMESPACE),
            ip: vars.parse(env::POD_IP, "an IP address"),
        };
        let log = Log {
            level: vars
                .or(env::LOG_LEVEL, "error, warn, info, debug or trace", Level(tracing::Level::INFO))
                .0,
            format: vars.or(env::LOG_FORMAT, "'text' or 'json'", LogFormat(Format::Text)).0,
        };
        let container = vars.text(env::COUCHDISCOVER_CONTAINER);
        match vars.mistakes.is_empty() {
            true => Ok(Self {
                credentials,
                couchdb,
                kubernetes,
                listen,
                ca_file,
                pod,
                service,
                container,
                size,
                pod_management,
                log,
            }),
            false => Err(Mistakes(vars.mistakes)),
        }
    }
}

impl Mistakes {
    /// One line a mistake, for a person.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(ToString::to_string)
    }
}

/// The environment, and what is wrong with it so far.
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

    /// Where Kubernetes can be asked, CouchDB's container will tell what isn't here.
    fn credentials(&mut self, kubernetes: Kubernetes) -> Option<Credentials> {
        match (credentials_from(self.get), kubernetes) {
            (Ok(Some(credentials)), _) => return Some(credentials),
            (Ok(None), Kubernetes::Auto) => {}
            (Ok(None), Kubernetes::Off) => self.mistakes.push(Mistake::NoCredentials),
            (Err(mistake), _) => self.mistakes.push(mistake),
        }
        None
    }

    fn size(&mut self, kubernetes: Kubernetes) -> Option<Size> {
        let pinned = self.or(env::COUCHDISCOVER_SIZE_PINNED, "'true' or 'false'", false);
        let start = self.or(env::COUCHDISCOVER_ORDINALS_START, "a whole number from 0", 0);
        let before = self.mistakes.len();
        let nodes = self.parse(env::COUCHDB_CLUSTER_SIZE, "a whole number from 1 to 65535");
        if nodes.is_none() && kubernetes == Kubernetes::Off && before == self.mistakes.len() {
            self.mistakes.push(Mistake::NoSize);
        }
        nodes.map(|nodes| Size { nodes, pinned, start })
    }
}

/// The first complete pair; `None` where neither is begun.
pub(crate) fn credentials_from(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Credentials>, Mistake> {
    let text = |variable| get(variable).map(first_line).filter(|value| !value.is_empty());
    let mut half = None;
    for (user_variable, password_variable) in env::CREDENTIALS {
        match (text(user_variable), text(password_variable)) {
            (Some(_), Some(password)) if is_hash(&password) => {
                return Err(Mistake::HashedPassword { variable: password_variable });
            }
            (Some(user), Some(_)) if user.contains(':') => {
                return Err(Mistake::ColonInUser { variable: user_variable });
            }
            (Some(user), Some(password)) => {
                let source = format!("{user_variable} and {password_variable}");
                return Ok(Some(Credentials { user, password: Secret::new(password), source }));
            }
            (Some(_), None) => half = half.or(Some((user_variable, password_variable))),
            (None, Some(_)) => half = half.or(Some((password_variable, user_variable))),
            (None, None) => {}
        }
    }
    match half {
        Some((present, absent)) => Err(Mistake::HalfCredentials { present, absent }),
        None => Ok(None),
    }
}

/// Secrets are often made of a file whose text ends in a line break. The image writes the value into an ini file, where
/// it ends with its line, so that is what CouchDB knows.
fn first_line(value: String) -> String {
    value.lines().next().unwrap_or_default().to_owned()
}

/// The value as it may be printed: a URL's user and password are not.
fn without_user(value: &str) -> String {
    match (value.find("://"), value.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://..{}", &value[..scheme], &value[at..]),
        (_, _) => value.to_owned(),
    }
}

/// CouchDB writes hashes as `-pbkdf2-..`, `-pbkdf2:sha256-..` or `-hashed-..` and takes such a value verbatim.
fn is_hash(password: &str) -> bool {
    ["-pbkdf2-", "-pbkdf2:", "-hashed-"].iter().any(|prefix| password.starts_with(prefix))
}

fn join(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

const URL: &str = "a URL such as 'http://127.0.0.1:5984', without user, path or query";
const LISTEN: &str = "an address and port such as '[::]:8484' or '0.0.0.0:8484'";

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

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
    fn the_ancestors_names_win_and_a_half_pair_does_not() {
        let both = [("COUCHDB_ADMIN_USER", "root"), ("COUCHDB_ADMIN_PASS", "x"), ADMIN[0], ADMIN[1]];
        let user = |vars: &[(&str, &str)]| read(vars).unwrap().credentials.map(|found| found.user);
        assert_eq!(user(&both).as_deref(), Some("root"));
        assert_eq!(user(&both[1..]).as_deref(), Some("admin"));
        assert_eq!(user(&[]), None, "CouchDB's container will tell");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
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
        'COUCHDB_USER' is set and 'COUCHDB_PASSWORD' is not: an admin needs both
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
    fn each_lack_has_its_own_sentence() {
        let say = |vars: &[(&str, &str)]| read(vars).unwrap_err().to_string();
        assert_snapshot!(say(&[SIZE, ("COUCHDISCOVER_KUBERNETES", "off")]), @"the settings have 1 mistake(s): no admin credentials: set COUCHDB_ADMIN_USER and COUCHDB_ADMIN_PASS, or COUCHDB_USER and COUCHDB_PASSWORD, on the CouchDB container (the webhook copies them), best from a Secret");
        assert_snapshot!(say(&[("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "")]), @"the settings have 1 mistake(s): 'COUCHDB_USER' is set and 'COUCHDB_PASSWORD' is not: an admin needs both");
        assert_snapshot!(say(&[("COUCHDB_USER", "admin"), ("COUCHDB_PASSWORD", "-pbkdf2-abc,def,10")]), @"the settings have 1 mistake(s): 'COUCHDB_PASSWORD' is a password hash, and nobody can log in with a hash: give the agent the plain password in 'COUCHDB_PASSWORD' and put the hash into CouchDB's own configuration ([admins] in an ini file)");
        assert_snapshot!(say(&[("COUCHDB_USER", "a:b"), ADMIN[1]]), @"the settings have 1 mistake(s): 'COUCHDB_USER' holds a colon, and a name with one can't log in with a password: HTTP ends the name there");
        assert_snapshot!(say(&[ADMIN[0], ADMIN[1], ("COUCHDISCOVER_KUBERNETES", "off")]), @"the settings have 1 mistake(s): COUCHDB_CLUSTER_SIZE is not set and COUCHDISCOVER_KUBERNETES is 'off': nothing else tells how many nodes to expect");
    }

    #[test]
    fn credentials_are_what_couchdb_reads_from_its_ini() {
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
