//! The log of calls, and the rules that make calls fail.

use super::http::{Request, Time};
use super::settings::Host;

/// One HTTP call that a node received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Position in the log of the whole network, from 1.
    pub number: u64,
    /// Host of the node that received the call.
    pub node: Host,
    /// The caller that the address is for, or the peer's IP address; see [`super::NodeHandle::addr_for`].
    pub source: String,
    /// HTTP method in upper case.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query without its `?`.
    pub query: String,
    /// The credentials in the call, before they are verified.
    pub login: CallLogin,
    /// HTTP status of the answer. `None` while the call runs, and if the connection was cut.
    pub status: Option<u16>,
    /// Time of arrival on the network's clock.
    pub at: Time,
}

impl Call {
    /// Method and path: `GET /_membership`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// `true` if the method may change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// The kind of credentials in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallLogin {
    /// None.
    Open,
    /// User and password: in a header, or in the body of a login.
    Password,
    /// The cookie of a session, and no password.
    Session,
}

impl CallLogin {
    fn of(request: &Request) -> Self {
        let is_login = request.path == "/_session" && request.method == "POST";
        if request.authorization.is_some() || is_login {
            return Self::Password;
        }
        if request.cookie.is_some() { Self::Session } else { Self::Open }
    }
}

/// The moment at which a connection is cut, relative to the effect of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The call has no effect.
    Before,
    /// The call has its effect, but its answer is lost.
    After,
}

/// The calls that a rule or a query of the log is about.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    node: Option<Host>,
    source: Option<String>,
    writes_only: bool,
    path_prefix: Option<String>,
}

impl CallFilter {
    /// Every call on every node.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only calls that this node receives.
    #[must_use]
    pub fn on(mut self, node: impl Into<Host>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Only calls of this source.
    #[must_use]
    pub fn from(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    /// Only calls that may change something.
    #[must_use]
    pub fn writes(mut self) -> Self {
        self.writes_only = true;
        self
    }

    /// Only calls with a path that starts with this prefix.
    #[must_use]
    pub fn below(mut self, path: &str) -> Self {
        self.path_prefix = Some(path.to_owned());
        self
    }

    /// `true` if the call passes every part of the filter.
    pub fn matches(&self, call: &Call) -> bool {
        self.node.as_ref().is_none_or(|n| *n == call.node)
            && self.source.as_ref().is_none_or(|s| *s == call.source)
            && (!self.writes_only || call.is_write())
            && self.path_prefix.as_ref().is_none_or(|p| call.path.starts_with(p))
    }
}

/// A fault that a test injects into later calls.
#[derive(Debug, Clone)]
struct Rule {
    filter: CallFilter,
    /// Matching calls until the rule is used up.
    left: u64,
    fault: Fault,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Cuts the connection of the last of these calls.
    Cut(Moment),
    /// Answers each of these calls with this status.
    Fail(u16),
}

/// The treatment of one call by the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// No rule applies: the node answers.
    Serve,
    /// The connection is cut.
    Cut(Moment),
    /// The call is answered with this status and has no effect.
    Fail(u16),
}

/// The log of calls and the rules for later ones.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) log: Vec<Call>,
    count: u64,
    rules: Vec<Rule>,
}

impl Calls {
    /// Cuts the `k`-th matching call from now on; 1 is the next one.
    pub(crate) fn cut(&mut self, filter: CallFilter, k: u64, moment: Moment) {
        self.rules.push(Rule { filter, left: k, fault: Fault::Cut(moment) });
    }

    /// Fails the next `times` matching calls.
    pub(crate) fn fail(&mut self, filter: CallFilter, times: u64, status: u16) {
        self.rules.push(Rule { filter, left: times, fault: Fault::Fail(status) });
    }

    pub(crate) fn forget_rules(&mut self) {
        self.rules.clear();
    }

    /// Logs a call that has arrived. Returns its number and its treatment.
    pub(crate) fn begin(&mut self, node: &Host, request: &Request) -> (u64, Treatment) {
        self.count += 1;
        let call = Call {
            number: self.count,
            node: node.clone(),
            source: request.source.clone(),
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            login: CallLogin::of(request),
            status: None,
            at: request.received,
        };
        let treatment = self.apply_rules(&call);
        self.log.push(call);
        (self.count, treatment)
    }

    /// Logs the answer of a call. The call is missing if a test cleared the log while it ran.
    pub(crate) fn end(&mut self, number: u64, status: u16) {
        if let Ok(index) = self.log.binary_search_by_key(&number, |call| call.number) {
            self.log[index].status = Some(status);
        }
    }

    fn apply_rules(&mut self, call: &Call) -> Treatment {
        let mut treatment = Treatment::Serve;
        // Each rule counts each of its calls, also those that another rule treats; the last rule wins.
        for rule in &mut self.rules {
            if rule.left == 0 || !rule.filter.matches(call) {
                continue;
            }
            rule.left -= 1;
            match rule.fault {
                Fault::Cut(moment) if rule.left == 0 => treatment = Treatment::Cut(moment),
                Fault::Cut(_) => {}
                Fault::Fail(status) => treatment = Treatment::Fail(status),
            }
        }
        treatment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str) -> Request {
        Request { method: method.to_owned(), path: "/_up".to_owned(), ..Request::default() }
    }

    #[test]
    fn the_kth_matching_call_is_cut_once() {
        let mut calls = Calls::default();
        calls.cut(CallFilter::all().writes(), 2, Moment::After);
        let node = Host::from("n0");
        let treatments: Vec<Treatment> = ["PUT", "GET", "PUT", "PUT"]
            .into_iter()
            .map(|method| calls.begin(&node, &request(method)).1)
            .collect();
        let cut = Treatment::Cut(Moment::After);
        assert_eq!(treatments, [Treatment::Serve, Treatment::Serve, cut, Treatment::Serve]);
        assert_eq!(calls.log.len(), 4);
    }
}
