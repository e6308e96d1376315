//! Who is calling: basic passwords, session cookies, the lockout.

use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Request, Response, Time};
use super::password::{self, SESSION, Session, Stored};
use super::settings::Host;
use super::world::World;
use crate::date::cookie_date;

/// `[chttpd_auth_lockout]`: threshold and how long failures are remembered.
const LOCKOUT_AFTER: u32 = 5;
const LOCKOUT_FOR: Duration = Duration::from_secs(300);

/// The caller, once known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// No credentials, or a cookie that is no good here.
    Nobody,
    /// Someone of `_users`.
    User {
        /// The name.
        name: String,
        /// Roles of the user document.
        roles: Vec<String>,
        /// How the name was proven.
        by: Proof,
    },
    /// Someone of `[admins]`.
    Admin {
        /// The name.
        name: String,
        /// How the name was proven.
        by: Proof,
    },
}

/// How a name was proven; `/_session` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The password of a basic header.
    Password,
    /// A session cookie.
    Cookie,
}

impl Proof {
    fn word(self) -> &'static str {
        match self {
            Self::Password => "default",
            Self::Cookie => "cookie",
        }
    }
}

impl Caller {
    pub(crate) fn is_admin(&self) -> bool {
        matches!(self, Self::Admin { .. })
    }
}

fn wrong_password() -> Response {
    Response::error(401, "unauthorized", "Name or password is incorrect.")
}

/// Who a request says it is from, true or not.
pub(crate) fn claimed_user(request: &Request) -> Option<String> {
    let by_cookie = request.cookie.as_deref().and_then(Session::parse).map(|session| session.user);
    let by_password = || request.authorization.as_deref().and_then(password::basic).map(|(user, _)| user);
    let by_login =
        || (request.method == "POST" && request.path == "/_session").then(|| credentials(request).0);
    by_cookie.or_else(by_password).or_else(by_login)
}

impl World {
    /// The user's document can't be read with quorum, and nobody says so: a copy is silent.
    pub(crate) fn is_user_out_of_reach(&self, host: &Host, user: &str) -> bool {
        let Some(map) = self.map_of(host, "_users") else { return false };
        let Some(range) = map.range_of(&format!("org.couchdb.user:{user}")) else { return false };
        let copies = self.copies(host, &map, range);
        copies.silent && copies.live.len() < copies.n / 2 + 1
    }

    /// Erlang connects on its own to whom a message goes: the holders of `_users`.
    pub(crate) fn rouse_users(&mut self, host: &Host, now: Time) {
        if self.nodes[host].is_running()
            && let Some(map) = self.map_of(host, "_users")
        {
            self.rouse(host, &map, now);
        }
    }

    /// The caller of a request, or the answer that ends it.
    pub(crate) fn caller(&mut self, host: &Host, request: &Request, now: Time) -> Result<Caller, Response> {
        if let Some(session) = request.cookie.as_deref().and_then(Session::parse)
            && let Some(caller) = self.by_cookie(host, &session, now)
        {
            return Ok(caller);
        }
        match request.authorization.as_deref().and_then(password::basic) {
            Some((user, pass)) => self.by_password(host, &user, &pass, &request.source, now),
            None if self.nodes[host].settings.version.major < 3 && !self.nodes[host].has_admins() => {
                Ok(Caller::Admin { name: String::new(), by: Proof::Password }) // 2.x: the admin party
            }
            None => Ok(Caller::Nobody),
        }
    }

    /// Checks a password, and counts a wrong one against the user and the source.
    pub(crate) fn by_password(
        &mut self,
        host: &Host,
        user: &str,
        pass: &str,
        source: &str,
        now: Time,
    ) -> Result<Caller, Response> {
        let key = (user.to_owned(), source.to_owned());
        let known = self.stored(host, user);
        let Some(process) = self.nodes.get_mut(host).and_then(|n| n.process.as_mut()) else {
            return Err(wrong_password());
        };
        process.failures.retain(|_, (_, since)| now < *since + LOCKOUT_FOR);
        if process.failures.get(&key).is_some_and(|(count, _)| *count >= LOCKOUT_AFTER) {
            let reason = "Account is temporarily locked due to multiple authentication failures";
            return Err(Response::error(403, "forbidden", reason));
        }
        match known {
            Some((stored, roles)) if stored.accepts(pass) => Ok(named(user, roles, Proof::Password)),
            Some(_) | None => {
                process.failures.entry(key).or_insert((0, now)).0 += 1;
                Err(wrong_password())
            }
        }
    }

    /// A cookie that is no good here makes its bearer nobody, without an error.
    fn by_cookie(&self, host: &Host, session: &Session, now: Time) -> Option<Caller> {
        let (stored, roles) = self.stored(host, &session.user)?;
        let secret = self.nodes[host].secret()?;
        session.is_good(secret, &stored.salt, now).then(|| named(&session.user, roles, Proof::Cookie))
    }

    /// The stored password of an admin of this node (roles `None`), or of a user of the cluster.
    fn stored(&self, host: &Host, user: &str) -> Option<(Stored, Option<Vec<String>>)> {
        if let Some(line) = self.nodes[host].config("admins", user) {
            return Some((Stored::from_admin(line)?, None));
        }
        let doc = self.read_doc(host, "_users", &format!("org.couchdb.user:{user}"))?;
        let roles = doc.get("roles").and_then(Value::as_array).into_iter().flatten();
        let roles = roles.filter_map(Value::as_str).map(str::to_owned).collect();
        Some((Stored::from_user(&doc)?, Some(roles)))
    }

    /// `GET`, `POST` and `DELETE /_session`.
    pub(crate) fn session(&mut self, host: &Host, request: &Request, caller: &Caller, now: Time) -> Response {
        match request.method.as_str() {
            "GET" | "HEAD" => who(caller),
            "POST" => self.log_in(host, request, now),
            "DELETE" => {
                let mut response = Response::ok(200);
                response.headers.push(("set-cookie", "AuthSession=; Version=1; Path=/; HttpOnly".to_owned()));
                response
            }
            _ => Response::not_allowed("GET,HEAD,POST,DELETE"),
        }
    }

    fn log_in(&mut self, host: &Host, request: &Request, now: Time) -> Response {
        let (user, pass) = credentials(request);
        let caller = match self.by_password(host, &user, &pass, &request.source, now) {
            Ok(caller) => caller,
            Err(response) => return response,
        };
        let secret = self.ensure_secret(host);
        let salt = self.stored(host, &user).map(|(stored, _)| stored.salt).unwrap_or_default();
        let token = password::session_token(&user, &secret, &salt, now);
        let roles = match caller {
            Caller::Admin { .. } => vec!["_admin".to_owned()],
            Caller::User { roles, .. } => roles,
            Caller::Nobody => Vec::new(),
        };
        let mut response = Response::json(200, &json!({"ok": true, "name": user, "roles": roles}));
        let expires = cookie_date(now + SESSION);
        let cookie =
            format!("AuthSession={token}; Version=1; Expires={expires}; Max-Age=600; Path=/; HttpOnly");
        response.headers.push(("set-cookie", cookie));
        response
    }

    /// The first login makes the secret, if there is none (couch_httpd_auth.erl, `ensure_cookie_auth_secret`).
    fn ensure_secret(&mut self, host: &Host) -> String {
        if let Some(secret) = self.nodes[host].secret() {
            return secret.to_owned();
        }
        let secret = self.random.hex32();
        if let Some(node) = self.nodes.get_mut(host) {
            node.set_config(node.settings.version.secret_section(), "secret", &secret, true);
        }
        secret
    }
}

fn named(user: &str, roles: Option<Vec<String>>, by: Proof) -> Caller {
    let name = user.to_owned();
    match roles {
        None => Caller::Admin { name, by },
        Some(roles) => Caller::User { name, roles, by },
    }
}

fn who(caller: &Caller) -> Response {
    let (name, roles, by) = match caller {
        Caller::Nobody => (Value::Null, Vec::new(), None),
        Caller::User { name, roles, by } => (json!(name), roles.clone(), Some(by)),
        Caller::Admin { name, by } => (json!(name), vec!["_admin".to_owned()], Some(by)),
    };
    let mut info = json!({"authentication_handlers": ["cookie", "default"]});
    if let Some(by) = by {
        info["authenticated"] = json!(by.word());
    }
    Response::json(200, &json!({"ok": true, "userCtx": {"name": name, "roles": roles}, "info": info}))
}

/// Name and password of a login, from JSON or from a form.
fn credentials(request: &Request) -> (String, String) {
    let field = |name: &str| match request.json() {
        Some(body) => body[name].as_str().unwrap_or_default().to_owned(),
        None => {
            let form =
                Request { query: String::from_utf8_lossy(&request.body).into_owned(), ..Request::default() };
            form.param(name).unwrap_or_default()
        }
    };
    // The form says `username` or `name`.
    let name = field("name");
    (if name.is_empty() { field("username") } else { name }, field("password"))
}
