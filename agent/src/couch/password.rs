//! The comparison of the agent's password with a hash in the configuration of a node.

use std::num::NonZeroU32;

use ring::{digest, pbkdf2};

/// Returns `true` if `stored`, a value of `[admins]`, is a hash of `password`. A hash of a kind that is unknown here is
/// none of it.
///
/// Takes about a third of a second of a core: CouchDB 3.4 and later hash 600,000 times.
pub(crate) fn is_hash_of(stored: &str, password: &str) -> bool {
    check(stored, password).unwrap_or(false)
}

fn check(stored: &str, password: &str) -> Option<bool> {
    if let Some(hash) = stored.strip_prefix("-hashed-") {
        let (expected, salt) = hash.split_once(',')?;
        let actual =
            digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{password}{salt}").as_bytes());
        return Some(unhex(expected)? == actual.as_ref());
    }
    let (algorithm, hash) = if let Some(hash) = stored.strip_prefix("-pbkdf2-") {
        (pbkdf2::PBKDF2_HMAC_SHA1, hash)
    } else {
        let (name, hash) = stored.strip_prefix("-pbkdf2:")?.split_once('-')?;
        (algorithm(name)?, hash)
    };
    let mut parts = hash.split(',');
    let (expected, salt, rounds) = (unhex(parts.next()?)?, parts.next()?, parts.next()?);
    let rounds: NonZeroU32 = rounds.trim().parse().ok()?;
    // A number that would keep a core busy for minutes is none that CouchDB uses.
    if rounds.get() > MOST_ROUNDS || expected.is_empty() {
        return None;
    }
    Some(pbkdf2::verify(algorithm, rounds, salt.as_bytes(), password.as_bytes(), &expected).is_ok())
}

/// The algorithm behind a value of `[chttpd_auth] pbkdf2_prf`.
fn algorithm(name: &str) -> Option<pbkdf2::Algorithm> {
    match name {
        "sha" => Some(pbkdf2::PBKDF2_HMAC_SHA1),
        "sha256" => Some(pbkdf2::PBKDF2_HMAC_SHA256),
        "sha384" => Some(pbkdf2::PBKDF2_HMAC_SHA384),
        "sha512" => Some(pbkdf2::PBKDF2_HMAC_SHA512),
        _ => None,
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = Vec::from_iter(text.chars().map(|digit| digit.to_digit(16)));
    let bytes = digits.chunks(2).map(|pair| match pair {
        [Some(high), Some(low)] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    bytes.collect()
}

/// CouchDB's default is 600,000.
const MOST_ROUNDS: u32 = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_each_release_are_recognized() {
        // From RFC 6070.
        let old = "-pbkdf2-ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957,salt,2";
        assert!(is_hash_of(old, "password") && !is_hash_of(old, "Password"));
        let mut key = [0; 32];
        let rounds = NonZeroU32::new(7).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, b"ab12", b"s3cret", &mut key);
        let key = String::from_iter(key.map(|byte| format!("{byte:02x}")));
        assert!(is_hash_of(&format!("-pbkdf2:sha256-{key},ab12,7"), "s3cret"));
        assert!(!is_hash_of(&format!("-pbkdf2:sha256-{key},ab12,8"), "s3cret"));
        assert!(!is_hash_of(&format!("-pbkdf2:sha224-{key},ab12,7"), "s3cret"), "an unknown kind");
        assert!(!is_hash_of(&format!("-pbkdf2:sha256-{key},ab12,4294967295"), "s3cret"), "too many rounds");
        assert!(is_hash_of("-hashed-c88e9c67041a74e0357befdff93f87dde0904214,salt", "password"));
        for garbage in ["", "-pbkdf2-", "-pbkdf2:", "-hashed-x,y", "-pbkdf2-,s,1", "s3cret", "-pbkdf2-e,s,10"]
        {
            assert!(!is_hash_of(garbage, "s3cret"), "{garbage}");
        }
    }
}
