//! Authentication: basic passwords, session cookies, the lockout.

use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Request, Response, Time};
use super::node::Persist;
use super::password::{self, SESSION, Session, Stored};
use super::settings::Host;
use super::world::World;
use crate::date::cookie_date;
use crate::query::param;

/// `[chttpd_auth_lockout] threshold`: the number of failures that locks a user out.
const LOCKOUT_AFTER: u32 = 5;
/// `[chttpd_auth_lockout] max_lifetime`: failures are remembered for 5 minutes.
const LOCKOUT_FOR: Duration = Duration::from_secs(300);

/// The authenticated caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// No credentials, or a cookie that is not valid on this node.
    Anonymous,
    /// A user of the clustered `_users`.
    User { name: String, roles: Vec<String>, by: Proof },
    /// An admin of `[admins]`.
    Admin { name: String, by: Proof },
}

/// The credential that authenticated a caller; `/_session` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The password of a basic header.
    Password,
    /// A session cookie.
    Cookie,
}

impl Proof {
    /// The function of the authentication handler in `[chttpd] authentication_handlers`.
    fn function(self) -> &'static str {
        match self {
            Self::Password => "default_authentication_handler",
            Self::Cookie => "cookie_authentication_handler",
        }
    }

    /// The name of the authentication handler in `/_session`.
    fn handler(self) -> &'static str {
        match self {
            Self::Password => "default",
            Self::Cookie => "cookie",
        }
    }
}

/// A password that is known to a node, with the roles of its user.
struct Account {
    password: Stored,
    /// `None` for an admin.
    roles: Option<Vec<String>>,
}

impl Account {
    fn authenticated(self, user: &str, by: Proof) -> Caller {
        let name = user.to_owned();
        match self.roles {
            None => Caller::Admin { name, by },
            Some(roles) => Caller::User { name, roles, by },
        }
    }
}

impl Caller {
    pub(crate) fn is_admin(&self) -> bool {
        matches!(self, Self::Admin { .. })
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User { name, .. } | Self::Admin { name, .. } => Some(name),
        }
    }

    fn roles(&self) -> Vec<String> {
        match self {
            Self::Anonymous => Vec::new(),
            Self::User { roles, .. } => roles.clone(),
            Self::Admin { .. } => vec!["_admin".to_owned()],
        }
    }

    fn proof(&self) -> Option<Proof> {
        match self {
            Self::Anonymous => None,
            Self::User { by, .. } | Self::Admin { by, .. } => Some(*by),
        }
    }
}

fn wrong_password() -> Response {
    Response::error(401, "unauthorized", "Name or password is incorrect.")
}

/// The user name in the credentials of a request, before they are verified.
pub(crate) fn claimed_user(request: &Request) -> Option<String> {
    // In the order in which CouchDB's handlers look for credentials; the login comes last.
    if let Some(session) = request.cookie.as_deref().and_then(Session::parse) {
        return Some(session.user);
    }
    if let Some((user, _)) = request.authorization.as_deref().and_then(password::basic) {
        return Some(user);
    }
    (request.method == "POST" && request.path == "/_session").then(|| credentials(request).0)
}

impl World {
    /// `true` if the user's document can't be read with quorum because a copy does not answer.
    pub(crate) fn is_user_unreachable(&self, host: &Host, user: &str) -> bool {
        let Some(map) = self.map_of(host, "_users") else { return false };
        let copies = self.copies(host, &map, &user_doc_id(user));
        // A copy that refuses is noticed at once; only one that does not answer holds the call up.
        copies.has_unresponsive && copies.live.len() < copies.quorum
    }

    /// Connects to the holders of `_users`, as Erlang does when a message is sent to them.
    pub(crate) fn dial_holders_of_users(&mut self, host: &Host, now: Time) {
        if self.nodes[host].is_running()
            && let Some(map) = self.map_of(host, "_users")
        {
            self.dial_holders(host, &map, now);
        }
    }

    /// Authenticates a request. The error is the answer that ends it.
    pub(crate) fn caller(&mut self, host: &Host, request: &Request, now: Time) -> Result<Caller, Response> {
        let handlers = self.handlers(host);
        // A cookie that is not valid here is no error: the next credential counts.
        if handlers.contains(&Proof::Cookie)
            && let Some(session) = request.cookie.as_deref().and_then(Session::parse)
            && let Some(caller) = self.caller_by_cookie(host, &session, now)
        {
            return Ok(caller);
        }
        if handlers.contains(&Proof::Password)
            && let Some((user, pass)) = request.authorization.as_deref().and_then(password::basic)
        {
            return self.caller_by_password(host, (&user, &pass), &request.source, now);
        }
        let node = &self.nodes[host];
        // The "admin party" of 2.x: without an admin, every caller is one.
        if node.settings.version.major < 3 && !node.has_admins() {
            return Ok(Caller::Admin { name: String::new(), by: Proof::Password });
        }
        Ok(Caller::Anonymous)
    }

    /// The credentials that the node reads: `[chttpd] authentication_handlers`. A credential of another kind is ignored.
    fn handlers(&self, host: &Host) -> Vec<Proof> {
        let all = [Proof::Cookie, Proof::Password];
        match self.nodes[host].config("chttpd", "authentication_handlers") {
            Some(set) => all.into_iter().filter(|proof| set.contains(proof.function())).collect(),
            None => all.into(),
        }
    }

    /// The cookie that extends the session of a request, which CouchDB sends once a tenth of its time has passed.
    pub(crate) fn extended_session(&self, host: &Host, request: &Request, now: Time) -> Option<String> {
        let session = request.cookie.as_deref().and_then(Session::parse)?;
        self.caller_by_cookie(host, &session, now)?;
        if now < session.created() + SESSION / 10 {
            return None;
        }
        let salt = self.account(host, &session.user)?.password.salt;
        Some(session_cookie(
            &password::session_token(&session.user, self.nodes[host].secret()?, &salt, now),
            now,
        ))
    }

    /// Verifies a user name and password. A wrong one counts against the user and the source.
    pub(crate) fn caller_by_password(
        &mut self,
        host: &Host,
        (user, pass): (&str, &str),
        source: &str,
        now: Time,
    ) -> Result<Caller, Response> {
        let account = self.account(host, user);
        let Some(process) = self.nodes.get_mut(host).and_then(|n| n.process.as_mut()) else {
            return Err(wrong_password());
        };
        let key = (user.to_owned(), source.to_owned());
        process.failures.retain(|_, (_, since)| now < *since + LOCKOUT_FOR);
        // The lockout also refuses the right password, and the refusal does not prolong it.
        if process.failures.get(&key).is_some_and(|(count, _)| *count >= LOCKOUT_AFTER) {
            let reason = "Account is temporarily locked due to multiple authentication failures";
            return Err(Response::error(403, "forbidden", reason));
        }
        match account {
            Some(account) if account.password.accepts(pass) => {
                Ok(account.authenticated(user, Proof::Password))
            }
            Some(_) | None => {
                process.failures.entry(key).or_insert((0, now)).0 += 1;
                Err(wrong_password())
            }
        }
    }

    fn caller_by_cookie(&self, host: &Host, session: &Session, now: Time) -> Option<Caller> {
        let account = self.account(host, &session.user)?;
        let secret = self.nodes[host].secret()?;
        session
            .is_valid(secret, &account.password.salt, now)
            .then(|| account.authenticated(&session.user, Proof::Cookie))
    }

    /// The account of an admin of this node, or of a user of the cluster.
    fn account(&self, host: &Host, user: &str) -> Option<Account> {
        // An admin hides a user of the same name.
        if let Some(line) = self.nodes[host].config("admins", user) {
            return Some(Account { password: Stored::from_admin(line)?, roles: None });
        }
        let doc = self.read_doc(host, "_users", &user_doc_id(user))?;
        let roles = doc.get("roles").and_then(Value::as_array).into_iter().flatten();
        let roles = roles.filter_map(Value::as_str).map(str::to_owned).collect();
        Some(Account { password: Stored::from_user(&doc)?, roles: Some(roles) })
    }

    /// `GET`, `POST` and `DELETE /_session`.
    pub(crate) fn session(&mut self, host: &Host, request: &Request, caller: &Caller, now: Time) -> Response {
        match request.method.as_str() {
            "GET" | "HEAD" => session_info(caller, &self.handlers(host)),
            "POST" => self.log_in(host, request, now),
            "DELETE" => {
                // Sessions are not stored: a logout only clears the client's cookie.
                let mut response = Response::ok(200);
                response.headers.push(("set-cookie", "AuthSession=; Version=1; Path=/; HttpOnly".to_owned()));
                response
            }
            _ => Response::not_allowed("GET,HEAD,POST,DELETE"),
        }
    }

    fn log_in(&mut self, host: &Host, request: &Request, now: Time) -> Response {
        let (user, pass) = credentials(request);
        let caller = match self.caller_by_password(host, (&user, &pass), &request.source, now) {
            Ok(caller) => caller,
            Err(response) => return response,
        };
        let secret = self.ensure_secret(host);
        let salt = self.account(host, &user).map(|account| account.password.salt).unwrap_or_default();
        let token = password::session_token(&user, &secret, &salt, now);
        let mut response = Response::json(200, &json!({"ok": true, "name": user, "roles": caller.roles()}));
        response.headers.push(("set-cookie", session_cookie(&token, now)));
        response
    }

    /// The session secret. The first login generates it (couch_httpd_auth.erl, `ensure_cookie_auth_secret`).
    fn ensure_secret(&mut self, host: &Host) -> String {
        if let Some(secret) = self.nodes[host].secret() {
            return secret.to_owned();
        }
        let secret = self.random.hex32();
        if let Some(node) = self.nodes.get_mut(host) {
            node.set_config(node.settings.version.secret_section(), "secret", &secret, Persist::OnDisk);
        }
        secret
    }
}

fn session_cookie(token: &str, now: Time) -> String {
    let expires = cookie_date(now + SESSION);
    format!("AuthSession={token}; Version=1; Expires={expires}; Max-Age=600; Path=/; HttpOnly")
}

fn user_doc_id(user: &str) -> String {
    format!("org.couchdb.user:{user}")
}

/// The answer to `GET /_session`.
fn session_info(caller: &Caller, handlers: &[Proof]) -> Response {
    let handlers = Vec::from_iter(handlers.iter().map(|proof| proof.handler()));
    let mut info = json!({"authentication_handlers": handlers});
    if let Some(proof) = caller.proof() {
        info["authenticated"] = json!(proof.handler());
    }
    let context = json!({"name": caller.name(), "roles": caller.roles()});
    Response::json(200, &json!({"ok": true, "userCtx": context, "info": info}))
}

/// Name and password of a login, from JSON or from a form.
fn credentials(request: &Request) -> (String, String) {
    // CouchDB accepts the user as `name` and as `username`.
    let mut name = login_field(request, "name");
    if name.is_empty() {
        name = login_field(request, "username");
    }
    (name, login_field(request, "password"))
}

fn login_field(request: &Request, name: &str) -> String {
    match request.json() {
        Some(body) => body[name].as_str().unwrap_or_default().to_owned(),
        None => param(&String::from_utf8_lossy(&request.body), name).unwrap_or_default(),
    }
}
