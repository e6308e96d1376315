//! Passwords and session cookies, as `couch_passwords` and `couch_httpd_auth` compute them.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::crypto::{Kind, hex, hmac_sha256, pbkdf2};
use super::http::Time;
use super::settings::Version;

/// CouchDB 3.4 makes 600000 rounds, a third of a second; `[chttpd_auth] iterations` may be lower, and here it is.
/// A hash with any number of rounds is checked with that number.
pub(crate) const ITERATIONS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// Session cookies are good for `[chttpd_auth] timeout`, ten minutes.
pub(crate) const SESSION: Time = Time::from_secs(600);

/// A stored password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    kind: Kind,
    derived: String,
    pub(crate) salt: String,
    iterations: NonZeroU32,
}

/// `-pbkdf2:sha256-<derived key>,<salt>,<iterations>`, before 3.4 `-pbkdf2-..`; or what already is a hash to this
/// release, unchanged.
pub(crate) fn hash(version: Version, password: &str, salt: &str) -> String {
    let kind = made_by(version);
    let is_old = [prefix(Kind::Sha1), "-hashed-"].iter().any(|old| password.starts_with(old));
    if is_old || (kind == Kind::Sha256 && password.starts_with(prefix(Kind::Sha256))) {
        return password.to_owned();
    }
    format!("{}{},{salt},{ITERATIONS}", prefix(kind), derive(kind, password, salt, ITERATIONS))
}

/// Whether what stands in the ini is no password in clear to this release.
pub(crate) fn is_hash(version: Version, value: &str) -> bool {
    hash(version, value, "") == value
}

pub(crate) fn derive(kind: Kind, password: &str, salt: &str, iterations: NonZeroU32) -> String {
    hex(&pbkdf2(kind, password.as_bytes(), salt.as_bytes(), iterations))
}

fn made_by(version: Version) -> Kind {
    if version < Version::new(3, 4, 0) { Kind::Sha1 } else { Kind::Sha256 }
}

fn prefix(kind: Kind) -> &'static str {
    match kind {
        Kind::Sha1 => "-pbkdf2-",
        Kind::Sha256 => "-pbkdf2:sha256-",
    }
}

impl Stored {
    /// A line of `[admins]`.
    pub(crate) fn from_admin(line: &str) -> Option<Self> {
        let stored = |kind| {
            let mut parts = line.strip_prefix(prefix(kind))?.split(',');
            Some(Self {
                kind,
                derived: parts.next()?.to_owned(),
                salt: parts.next()?.to_owned(),
                iterations: parts.next()?.trim().parse().ok()?,
            })
        };
        stored(Kind::Sha256).or_else(|| stored(Kind::Sha1))
    }

    /// A document of `_users`.
    pub(crate) fn from_user(doc: &serde_json::Map<String, serde_json::Value>) -> Option<Self> {
        Some(Self {
            kind: if doc.get("pbkdf2_prf")? == "sha256" { Kind::Sha256 } else { Kind::Sha1 },
            derived: doc.get("derived_key")?.as_str()?.to_owned(),
            salt: doc.get("salt")?.as_str()?.to_owned(),
            iterations: u32::try_from(doc.get("iterations")?.as_u64()?).ok()?.try_into().ok()?,
        })
    }

    pub(crate) fn accepts(&self, password: &str) -> bool {
        derive(self.kind, password, &self.salt, self.iterations) == self.derived
    }
}

/// The user and password of a basic `Authorization` header.
pub(crate) fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The value of `AuthSession`: user, moment in hex, and their HMAC under the secret and the user's salt. So it is
/// good on another node only when secret and hash are the same there.
pub(crate) fn session_token(user: &str, secret: &str, salt: &str, now: Time) -> String {
    let data = format!("{user}:{:X}", now.as_secs());
    let mac = hmac_sha256(format!("{secret}{salt}").as_bytes(), data.as_bytes());
    URL_SAFE_NO_PAD.encode([data.as_bytes(), b":", &mac].concat())
}

/// A session cookie, parsed but not yet believed.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) user: String,
    made: Time,
    token: String,
}

impl Session {
    /// From a `Cookie` header.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let token = header.split(';').find_map(|pair| pair.trim().strip_prefix("AuthSession="))?;
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
        let user_end = bytes.iter().position(|b| *b == b':')?;
        let time_end = user_end + 1 + bytes[user_end + 1..].iter().position(|b| *b == b':')?;
        let hex_time = std::str::from_utf8(&bytes[user_end + 1..time_end]).ok()?;
        Some(Self {
            user: String::from_utf8(bytes[..user_end].to_vec()).ok()?,
            made: Time::from_secs(u64::from_str_radix(hex_time, 16).ok()?),
            token: token.trim_end_matches('=').to_owned(),
        })
    }

    pub(crate) fn is_good(&self, secret: &str, salt: &str, now: Time) -> bool {
        now < self.made + SESSION && session_token(&self.user, secret, salt, self.made) == self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_accepts_its_password_only() {
        for version in [Version::new(3, 3, 3), Version::RECORDED] {
            let line = hash(version, "s3cret", "salt");
            let stored = Stored::from_admin(&line).unwrap();
            assert!(stored.accepts("s3cret") && !stored.accepts("other"));
            assert_eq!(hash(version, &line, "another salt"), line, "a hash is stored as it is");
        }
    }

    #[test]
    fn a_new_hash_is_a_password_in_clear_to_an_old_release_and_an_old_one_is_read_by_all() {
        let (before, since) = (Version::new(3, 3, 3), Version::new(3, 4, 0));
        let new = hash(since, "s3cret", "salt");
        let taken = Stored::from_admin(&hash(before, &new, "salt")).unwrap();
        assert!(taken.accepts(&new) && !taken.accepts("s3cret"));
        let old = hash(before, "s3cret", "salt");
        assert_eq!(hash(since, &old, "salt"), old);
        // PBKDF2 of RFC 6070: "password", "salt", 2 rounds.
        let rounds = NonZeroU32::new(2).unwrap();
        let derived = derive(Kind::Sha1, "password", "salt", rounds);
        assert_eq!(derived, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
    }

    #[test]
    fn a_cookie_is_good_for_one_secret_and_salt() {
        let now = Time::from_secs(1_795_221_185);
        let token = session_token("admin", "secret", "salt", now);
        let session = Session::parse(&format!("a=b; AuthSession={token}")).unwrap();
        assert_eq!(session.user, "admin");
        assert!(session.is_good("secret", "salt", now));
        assert!(!session.is_good("secret", "other", now));
        assert!(!session.is_good("other", "salt", now));
        assert!(!session.is_good("secret", "salt", now + SESSION));
        assert!(Session::parse("AuthSession=").is_none());
    }

    #[test]
    fn basic_headers() {
        assert_eq!(basic("Basic YWRtaW46czM6Y3JldA=="), Some(("admin".into(), "s3:cret".into())));
        assert_eq!(basic("Bearer x"), None);
    }
}
