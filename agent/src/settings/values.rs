//! The values that settings have, parsed at the border.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// How CouchDB is reached: the same scheme and port on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// http or https.
    pub scheme: Scheme,
    /// The local CouchDB's host, as it stands in a URL.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The schemes that CouchDB serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// Whether the Kubernetes API is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kubernetes {
    /// With the pod's service account, else a kubeconfig; without either as [`Kubernetes::Off`].
    Auto,
    /// Never: hostname, injected size and DNS are enough to join and to found.
    Off,
}

impl Endpoint {
    /// Where the official image serves: `http://127.0.0.1:5984`.
    pub(super) fn local() -> Self {
        Self { scheme: Scheme::Http, host: "127.0.0.1".to_owned(), port: contract::ports::COUCHDB }
    }

    /// The address inside the pod that an https URL names. No certificate is made for it: that of the pod's full name
    /// is asked for there.
    pub(crate) fn loopback(&self) -> Option<IpAddr> {
        let host = self.host.trim_matches(['[', ']']);
        let address = if host == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { host.parse().ok() };
        address.filter(|address: &IpAddr| self.scheme == Scheme::Https && address.is_loopback())
    }

    /// The URL of `host`, with this scheme and port.
    pub fn at(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.scheme, self.port)
    }
}

impl FromStr for Endpoint {
    type Err = ();

    /// `http://host:port`, with or without a final slash. A path, a user or a query would be dropped in silence
    /// when the same URL is made for a peer, so they are refused.
    fn from_str(url: &str) -> Result<Self, ()> {
        let (scheme, rest) = url.split_once("://").ok_or(())?;
        let (scheme, usual) = match scheme {
            "http" => (Scheme::Http, contract::ports::COUCHDB),
            "https" => (Scheme::Https, contract::ports::COUCHDB_TLS),
            _ => return Err(()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let bracketed = authority.starts_with('[');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !bracketed || host.ends_with(']') => (host, port.parse().map_err(|_| ())?),
            Some(_) | None => (authority, usual),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        let v6 = || host.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok();
        match !host.is_empty() && (host.bytes().all(plain) || v6().is_some()) {
            true => Ok(Self { scheme, host: host.to_owned(), port }),
            false => Err(()),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl FromStr for Kubernetes {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

/// The format of a log line, by its name.
pub(super) struct LogFormat(pub(super) program::log::Format);

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value.to_ascii_lowercase().as_str() {
            "text" => Ok(Self(program::log::Format::Text)),
            "json" => Ok(Self(program::log::Format::Json)),
            _ => Err(()),
        }
    }
}

/// A level by its name. tracing's own parser also takes numbers, which mean something else elsewhere.
pub(super) struct Level(pub(super) tracing::Level);

impl FromStr for Level {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value.to_ascii_lowercase().as_str() {
            "error" => Ok(Self(tracing::Level::ERROR)),
            "warn" | "warning" => Ok(Self(tracing::Level::WARN)),
            "info" => Ok(Self(tracing::Level::INFO)),
            "debug" => Ok(Self(tracing::Level::DEBUG)),
            "trace" => Ok(Self(tracing::Level::TRACE)),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_what_would_be_lost_is_refused() {
        for (url, again) in [
            ("http://127.0.0.1:5984", "http://127.0.0.1:5984"),
            ("http://127.0.0.1:5984/", "http://127.0.0.1:5984"),
            ("https://couch.example:6984", "https://couch.example:6984"),
            ("http://[::1]:15984", "http://[::1]:15984"),
            ("http://[::1]", "http://[::1]:5984"),
            ("http://localhost", "http://localhost:5984"),
            ("https://localhost", "https://localhost:6984"),
        ] {
            let endpoint: Endpoint = url.parse().unwrap();
            assert_eq!(endpoint.at(&endpoint.host), again);
        }
        for url in [
            "",
            "127.0.0.1:5984",
            "ftp://x",
            "http://",
            "http://x:y",
            "http://x/db",
            "http://u@x",
            "http://[x]:1",
        ] {
            assert_eq!(url.parse::<Endpoint>(), Err(()), "{url}");
        }
    }

    #[test]
    fn inside_the_pod_a_certificate_of_its_name_is_asked_for() {
        for (url, address) in [
            ("https://127.0.0.1:6984", Some("127.0.0.1")),
            ("https://[::1]:6984", Some("::1")),
            ("https://localhost", Some("127.0.0.1")),
            ("https://db-0.db:6984", None),
            ("https://10.0.0.7", None),
            ("http://127.0.0.1:5984", None),
        ] {
            let found = url.parse::<Endpoint>().unwrap().loopback();
            assert_eq!(found, address.map(|address| address.parse().unwrap()), "{url}");
        }
    }
}
