//! Password hashes and session cookies, as `couch_passwords` and `couch_httpd_auth` compute them.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::crypto::{Prf, hex, hmac_sha256, pbkdf2};
use super::http::Time;
use super::settings::Version;

/// `[chttpd_auth] iterations`. The default of CouchDB 3.4 is 600000 rounds, a third of a second; tests use 10. A hash
/// contains its number of rounds and is verified with that number.
pub(crate) const ITERATIONS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// `[chttpd_auth] timeout`: the lifetime of a session cookie, ten minutes.
pub(crate) const SESSION: Time = Time::from_secs(600);

/// A stored password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    prf: Prf,
    derived: String,
    pub(crate) salt: String,
    iterations: NonZeroU32,
}

/// The stored form of a password: `-pbkdf2:sha256-<derived key>,<salt>,<iterations>`, before 3.4 `-pbkdf2-..`. A value
/// that is a hash already, in the eyes of this release, is returned unchanged.
pub(crate) fn hash(version: Version, password: &str, salt: &str) -> String {
    if is_hash(version, password) {
        return password.to_owned();
    }
    let prf = prf_of(version);
    format!("{}{},{salt},{ITERATIONS}", prefix(prf), derive(prf, password, salt, ITERATIONS))
}

/// `true` if this release treats a value of `[admins]` as a hash, not as a password in clear text.
pub(crate) fn is_hash(version: Version, value: &str) -> bool {
    let is_old_hash = [prefix(Prf::Sha1), "-hashed-"].iter().any(|old| value.starts_with(old));
    // Releases before 3.4 do not know the new prefix: to them, the line is a password.
    let is_new_hash = prf_of(version) == Prf::Sha256 && value.starts_with(prefix(Prf::Sha256));
    is_old_hash || is_new_hash
}

pub(crate) fn derive(prf: Prf, password: &str, salt: &str, iterations: NonZeroU32) -> String {
    hex(&pbkdf2(prf, password.as_bytes(), salt.as_bytes(), iterations))
}

/// The function that a release uses for new hashes.
fn prf_of(version: Version) -> Prf {
    if version < Version::new(3, 4, 0) { Prf::Sha1 } else { Prf::Sha256 }
}

fn prefix(prf: Prf) -> &'static str {
    match prf {
        Prf::Sha1 => "-pbkdf2-",
        Prf::Sha256 => "-pbkdf2:sha256-",
    }
}

impl Stored {
    /// Parses a value of `[admins]`.
    pub(crate) fn from_admin(line: &str) -> Option<Self> {
        [Prf::Sha256, Prf::Sha1].into_iter().find_map(|prf| Self::from_hash(prf, line))
    }

    fn from_hash(prf: Prf, line: &str) -> Option<Self> {
        let mut parts = line.strip_prefix(prefix(prf))?.split(',');
        Some(Self {
            prf,
            derived: parts.next()?.to_owned(),
            salt: parts.next()?.to_owned(),
            iterations: parts.next()?.trim().parse().ok()?,
        })
    }

    /// Parses a document of `_users`.
    pub(crate) fn from_user(doc: &serde_json::Map<String, serde_json::Value>) -> Option<Self> {
        Some(Self {
            prf: if doc.get("pbkdf2_prf")? == "sha256" { Prf::Sha256 } else { Prf::Sha1 },
            derived: doc.get("derived_key")?.as_str()?.to_owned(),
            salt: doc.get("salt")?.as_str()?.to_owned(),
            iterations: u32::try_from(doc.get("iterations")?.as_u64()?).ok()?.try_into().ok()?,
        })
    }

    pub(crate) fn accepts(&self, password: &str) -> bool {
        derive(self.prf, password, &self.salt, self.iterations) == self.derived
    }
}

/// Parses the user and password of a basic `Authorization` header.
pub(crate) fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The value of the cookie `AuthSession`: user, time in hex, and their HMAC under the secret and the user's salt. So it
/// is valid on another node only if secret and hash are equal there.
pub(crate) fn session_token(user: &str, secret: &str, salt: &str, now: Time) -> String {
    let data = format!("{user}:{:X}", now.as_secs());
    let mac = hmac_sha256(format!("{secret}{salt}").as_bytes(), data.as_bytes());
    URL_SAFE_NO_PAD.encode([data.as_bytes(), b":", &mac].concat())
}

/// A session cookie, parsed but not verified.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) user: String,
    created: Time,
    token: String,
}

impl Session {
    /// The time at which the session began, or was extended.
    pub(crate) fn created(&self) -> Time {
        self.created
    }

    /// Parses a `Cookie` header.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let token = header.split(';').find_map(|pair| pair.trim().strip_prefix("AuthSession="))?;
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
        // `user:time:hmac`; the HMAC is binary and may contain colons.
        let user_end = bytes.iter().position(|b| *b == b':')?;
        let time_end = user_end + 1 + bytes[user_end + 1..].iter().position(|b| *b == b':')?;
        let hex_time = std::str::from_utf8(&bytes[user_end + 1..time_end]).ok()?;
        Some(Self {
            user: String::from_utf8(bytes[..user_end].to_vec()).ok()?,
            created: Time::from_secs(u64::from_str_radix(hex_time, 16).ok()?),
            token: token.trim_end_matches('=').to_owned(),
        })
    }

    pub(crate) fn is_valid(&self, secret: &str, salt: &str, now: Time) -> bool {
        now < self.created + SESSION && session_token(&self.user, secret, salt, self.created) == self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_accepts_only_its_password() {
        for version in [Version::new(3, 3, 3), Version::RECORDED] {
            let line = hash(version, "s3cret", "salt");
            let stored = Stored::from_admin(&line).unwrap();
            assert!(stored.accepts("s3cret") && !stored.accepts("other"));
            assert_eq!(hash(version, &line, "another salt"), line, "a hash is stored as it is");
        }
    }

    #[test]
    fn an_old_release_treats_a_new_hash_as_a_password_and_all_releases_read_an_old_hash() {
        let (before, since) = (Version::new(3, 3, 3), Version::new(3, 4, 0));
        let new = hash(since, "s3cret", "salt");
        let hashed_again = Stored::from_admin(&hash(before, &new, "salt")).unwrap();
        assert!(hashed_again.accepts(&new) && !hashed_again.accepts("s3cret"));
        let old = hash(before, "s3cret", "salt");
        assert_eq!(hash(since, &old, "salt"), old);
        // PBKDF2 of RFC 6070: "password", "salt", 2 rounds.
        let rounds = NonZeroU32::new(2).unwrap();
        let derived = derive(Prf::Sha1, "password", "salt", rounds);
        assert_eq!(derived, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
    }

    #[test]
    fn a_cookie_is_valid_for_one_secret_and_salt() {
        let now = Time::from_secs(1_795_221_185);
        let token = session_token("admin", "secret", "salt", now);
        let session = Session::parse(&format!("a=b; AuthSession={token}")).unwrap();
        assert_eq!(session.user, "admin");
        assert!(session.is_valid("secret", "salt", now));
        assert!(!session.is_valid("secret", "other", now));
        assert!(!session.is_valid("other", "salt", now));
        assert!(!session.is_valid("secret", "salt", now + SESSION));
        assert!(Session::parse("AuthSession=").is_none());
    }

    #[test]
    fn a_basic_header_is_split_at_its_first_colon() {
        assert_eq!(basic("Basic YWRtaW46czM6Y3JldA=="), Some(("admin".into(), "s3:cret".into())));
        assert_eq!(basic("Bearer x"), None);
    }
}
