//! Logins: the quarantine of nodes that refuse the password, and the session cookies that work there.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{RequestBuilder, Response};
use tokio::time::Instant;

use super::error::CouchError;
use crate::settings::{Credentials, Secret};

/// The login of one call.
pub(super) enum Login {
    /// No credentials.
    None,
    /// User and password, by basic authentication.
    Password,
    /// The cookie of a session.
    Session(Secret),
}

impl Login {
    /// The request with this login.
    pub(super) fn add_to(&self, request: RequestBuilder, admin: &Credentials) -> RequestBuilder {
        match self {
            Self::None => request,
            Self::Password => request.basic_auth(&admin.user, Some(admin.password.reveal())),
            Self::Session(cookie) => request.header(COOKIE, cookie.reveal()),
        }
    }
}

/// The way in which a node refused the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// None of its authentication handlers reads the password of a request.
    Ignored,
    /// It has locked the user out; the right password would be refused too.
    Lockout,
    /// It does not accept the user or the password.
    Rejection,
}

impl LoginRefusal {
    /// The error of a call that was refused like this.
    pub(super) fn error(self, call: String, Credentials { user, source, .. }: &Credentials) -> CouchError {
        match self {
            Self::Ignored => CouchError::LoginIgnored { call },
            Self::Lockout => CouchError::LockedOut { call, user: user.clone() },
            Self::Rejection => CouchError::Rejects { call, user: user.clone(), origin: source.clone() },
        }
    }
}

/// The logins at all nodes, by base URL.
#[derive(Debug, Default)]
pub(super) struct Logins {
    /// Nodes that refused the password, each with the end of its quarantine.
    refused: Mutex<HashMap<String, (Instant, LoginRefusal)>>,
    /// Session cookies, as requests contain them.
    sessions: Mutex<HashMap<String, Secret>>,
}

impl Logins {
    /// The refusal that the quarantine of `base` began with, while it lasts.
    pub(super) fn quarantined(&self, base: &str) -> Option<LoginRefusal> {
        let mut refused = lock(&self.refused);
        refused.retain(|_, (until, _)| *until > Instant::now());
        refused.get(base).map(|(_, refusal)| *refusal)
    }

    /// Begins the quarantine of `base`.
    pub(super) fn quarantine(&self, base: &str, refusal: LoginRefusal) {
        lock(&self.refused).insert(base.to_owned(), (Instant::now() + QUARANTINE, refusal));
    }

    /// The cookie of the session at `base`.
    pub(super) fn session(&self, base: &str) -> Option<Secret> {
        lock(&self.sessions).get(base).cloned()
    }

    /// Forgets the session at `base`, which has ended.
    pub(super) fn end_session(&self, base: &str) {
        lock(&self.sessions).remove(base);
    }

    /// Keeps the cookie that an answer begins or extends a session with.
    pub(super) fn keep_session(&self, base: &str, response: &Response) {
        let cookies = response.headers().get_all(SET_COOKIE).into_iter();
        let cookie = cookies.filter_map(|cookie| cookie.to_str().ok()).find_map(session_of);
        if let Some(cookie) = cookie {
            lock(&self.sessions).insert(base.to_owned(), Secret::new(cookie));
        }
    }

    /// Forgets everything: the credentials are others now.
    pub(super) fn forget(&self) {
        lock(&self.refused).clear();
        lock(&self.sessions).clear();
    }
}

/// The cookie of a session in a `Set-Cookie` header, such as `AuthSession=YWRt..; Version=1; Path=/; HttpOnly`.
fn session_of(header: &str) -> Option<&str> {
    let cookie = header.split(';').next()?.trim();
    let token = cookie.strip_prefix("AuthSession=")?;
    // An empty one ends the session. Longer ones than CouchDB's are not kept.
    (!token.is_empty() && token.len() < 4096).then_some(cookie)
}

/// Locks a mutex. A panic while it was locked leaves nothing half done here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time for which a node that refused the credentials gets no further calls. CouchDB locks a user's address out
/// after more than 5 failures within 5 minutes, and the pod's other containers share the address.
pub const QUARANTINE: Duration = Duration::from_secs(75);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_the_first_part_of_its_cookie() {
        assert_eq!(session_of("AuthSession=YWRt; Version=1; Path=/; HttpOnly"), Some("AuthSession=YWRt"));
        assert_eq!(session_of("AuthSession=; Version=1"), None);
        assert_eq!(session_of("other=1"), None);
    }
}
