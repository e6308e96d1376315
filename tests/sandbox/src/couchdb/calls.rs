//! The log of calls, and the rules that make calls fail.

use std::sync::Arc;

use tokio::sync::watch;

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
        self.matches_caller(call)
            && (!self.writes_only || call.is_write())
            && self.path_prefix.as_ref().is_none_or(|p| call.path.starts_with(p))
    }

    /// `true` if the call is from the source to the node of the filter.
    fn matches_caller(&self, call: &Call) -> bool {
        self.node.as_ref().is_none_or(|n| *n == call.node)
            && self.source.as_ref().is_none_or(|s| *s == call.source)
    }
}

/// A caller that is stopped at one of its calls; see [`Network::stop_caller`](super::Network::stop_caller).
#[derive(Debug, Clone)]
pub struct StoppedCaller(watch::Receiver<bool>);

impl StoppedCaller {
    /// `true` once the caller is stopped. `false` at the end of a run means that the run has fewer matching calls.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the caller is stopped.
    pub async fn stopped(&mut self) {
        // Without its rule the caller is never stopped any more.
        if self.0.wait_for(|is_stopped| *is_stopped).await.is_err() {
            std::future::pending().await
        }
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

#[derive(Debug, Clone)]
enum Fault {
    /// Cuts the connection of the last of these calls.
    Cut(Moment),
    /// Cuts the connection of the last of these calls, and every later call of the same caller before its effect.
    Stop(Moment, Arc<watch::Sender<bool>>),
    /// Answers each of these calls with this status.
    Fail(u16),
}

impl Rule {
    /// Counts a call. Returns its treatment if the rule applies to it.
    fn apply(&mut self, call: &Call) -> Option<Treatment> {
        if let Fault::Stop(_, stopped) = &self.fault
            && *stopped.borrow()
        {
            return self.filter.matches_caller(call).then_some(Treatment::Cut(Moment::Before));
        }
        if self.left == 0 || !self.filter.matches(call) {
            return None;
        }
        self.left -= 1;
        match &self.fault {
            Fault::Cut(moment) if self.left == 0 => Some(Treatment::Cut(*moment)),
            Fault::Stop(moment, stopped) if self.left == 0 => {
                stopped.send_replace(true);
                Some(Treatment::Cut(*moment))
            }
            Fault::Cut(_) | Fault::Stop(..) => None,
            Fault::Fail(status) => Some(Treatment::Fail(*status)),
        }
    }
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

    /// Cuts the `k`-th matching call from now on, and all later calls of the filter's source to its node.
    pub(crate) fn stop(&mut self, filter: CallFilter, k: u64, moment: Moment) -> StoppedCaller {
        let (sender, receiver) = watch::channel(false);
        self.rules.push(Rule { filter, left: k, fault: Fault::Stop(moment, Arc::new(sender)) });
        StoppedCaller(receiver)
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
            treatment = rule.apply(call).unwrap_or(treatment);
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

    #[test]
    fn a_stopped_caller_has_its_kth_write_and_no_later_call() {
        let mut calls = Calls::default();
        let stopped = calls.stop(CallFilter::all().from("agent").writes(), 2, Moment::After);
        let node = Host::from("n0");
        let mut begin = |method: &str, source: &str| {
            let request = Request { source: source.to_owned(), ..request(method) };
            calls.begin(&node, &request).1
        };
        for (method, source) in [("PUT", "agent"), ("GET", "agent"), ("PUT", "other")] {
            assert_eq!(begin(method, source), Treatment::Serve);
        }
        assert!(!stopped.is_stopped());
        assert_eq!(begin("POST", "agent"), Treatment::Cut(Moment::After));
        assert!(stopped.is_stopped());
        assert_eq!(begin("GET", "agent"), Treatment::Cut(Moment::Before));
        assert_eq!(begin("PUT", "other"), Treatment::Serve);
    }
}
