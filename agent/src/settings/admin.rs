//! CouchDB's admin user and password.

use contract::env;

use super::mistake::Mistake;
use super::secret::Secret;

/// Admin credentials and the variables that they were read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The admin's name.
    pub user: String,
    /// The admin's password.
    pub password: Secret,
    /// The source of both, for messages: `COUCHDB_USER and COUCHDB_PASSWORD`.
    pub source: String,
}

/// Reads the first complete pair of user and password; `None` if no variable of any pair is set.
pub(crate) fn credentials_from(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Credentials>, Mistake> {
    let mut half = None;
    for (user_variable, password_variable) in env::CREDENTIALS {
        let user = get(user_variable).and_then(as_in_ini);
        let password = get(password_variable).and_then(as_in_ini);
        if let (Some(user), Some(password)) = (&user, &password) {
            if is_hash(password) {
                return Err(Mistake::HashedPassword { variable: password_variable });
            }
            // Basic authentication ends the user's name at the first colon.
            if user.contains(':') {
                return Err(Mistake::ColonInUser { variable: user_variable });
            }
            let source = format!("{user_variable} and {password_variable}");
            return Ok(Some(Credentials {
                user: user.clone(),
                password: Secret::new(password.clone()),
                source,
            }));
        }
        // Half a pair is a mistake only if no later pair is complete.
        if user.is_some() {
            half =
                half.or(Some(Mistake::HalfCredentials { present: user_variable, absent: password_variable }));
        } else if password.is_some() {
            half =
                half.or(Some(Mistake::HalfCredentials { present: password_variable, absent: user_variable }));
        }
    }
    half.map_or(Ok(None), Err)
}

/// The value as CouchDB reads it. Secrets are often made of a file that ends in a line break; the image writes the value
/// into an ini file, where it ends with its line.
fn as_in_ini(value: String) -> Option<String> {
    value.lines().next().filter(|line| !line.is_empty()).map(str::to_owned)
}

/// `true` if CouchDB treats the password as a hash: it writes `-pbkdf2-..`, `-pbkdf2:sha256-..` or `-hashed-..`, and does
/// not hash such a value again.
fn is_hash(password: &str) -> bool {
    ["-pbkdf2-", "-pbkdf2:", "-hashed-"].iter().any(|prefix| password.starts_with(prefix))
}
