//! CouchDB's URL.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// CouchDB's scheme and port, the same on every node, and the local host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// HTTP, with or without TLS.
    pub scheme: Scheme,
    /// The local CouchDB's host as written in the URL, an IPv6 address in brackets.
    pub host: String,
    /// The TCP port.
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

impl Endpoint {
    /// The address of the official image: `http://127.0.0.1:5984`.
    pub(super) fn local() -> Self {
        Self { scheme: Scheme::Http, host: "127.0.0.1".to_owned(), port: contract::ports::COUCHDB }
    }

    /// The loopback address of an https URL. Certificates are not issued for it, so TLS verifies the pod's full name there.
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

    /// Parses `http://host:port`, with or without a final slash. A path, a user or a query is refused, because it would be
    /// missing from the URLs of the peers without notice.
    fn from_str(url: &str) -> Result<Self, ()> {
        let (scheme, rest) = url.split_once("://").ok_or(())?;
        let (scheme, default_port) = match scheme {
            "http" => (Scheme::Http, contract::ports::COUCHDB),
            "https" => (Scheme::Https, contract::ports::COUCHDB_TLS),
            _ => return Err(()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        // The colons inside of an IPv6 address's brackets do not begin a port.
        let bracketed = authority.starts_with('[');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !bracketed || host.ends_with(']') => (host, port.parse().map_err(|_| ())?),
            Some(_) | None => (authority, default_port),
        };
        if is_name(host) || is_ipv6(host) {
            Ok(Self { scheme, host: host.to_owned(), port })
        } else {
            Err(())
        }
    }
}

/// `true` for a DNS name or an IPv4 address.
fn is_name(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

/// `true` for an IPv6 address in brackets.
fn is_ipv6(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_and_parts_that_would_be_lost_are_refused() {
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
    fn an_https_url_of_the_loopback_has_a_loopback_address() {
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
