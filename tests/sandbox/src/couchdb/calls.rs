//! What was called, and which call is to be cut.

use super::http::{Request, Time};
use super::settings::Host;

/// One call that came in, in the order in which they did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// 1 is the first call of the network.
    pub number: u64,
    /// Where it came in.
    pub node: Host,
    /// Who called: a door's name, or the peer's address.
    pub source: String,
    /// `GET`, ..
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query without its `?`.
    pub query: String,
    /// What was answered; `None` while it runs, and when the connection was cut.
    pub status: Option<u16>,
    /// When it came in.
    pub at: Time,
}

impl Call {
    /// `GET /_membership`
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// True when it may change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// Whether the node did what was asked before the connection was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The call had no effect.
    Before,
    /// The call had its effect; the answer got lost.
    After,
}

/// Which calls a rule counts.
#[derive(Debug, Clone, Default)]
pub struct Which {
    node: Option<Host>,
    source: Option<String>,
    writes_only: bool,
    path_prefix: Option<String>,
}

impl Which {
    /// Every call on every node.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only calls on this node.
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

    /// Only calls below this path.
    #[must_use]
    pub fn below(mut self, path: &str) -> Self {
        self.path_prefix = Some(path.to_owned());
        self
    }

    /// True when the call is one of these.
    pub fn matches(&self, call: &Call) -> bool {
        self.node.as_ref().is_none_or(|n| *n == call.node)
            && self.source.as_ref().is_none_or(|s| *s == call.source)
            && (!self.writes_only || call.is_write())
            && self.path_prefix.as_ref().is_none_or(|p| call.path.starts_with(p))
    }
}

/// What is to happen to calls from now on.
#[derive(Debug, Clone)]
enum Rule {
    /// Cut the connection of the call that comes after so many others.
    Cut { which: Which, left: u64, moment: Moment },
    /// Answer so many calls with an error instead of doing them.
    Fail { which: Which, left: u64, status: u16 },
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing special.
    Served,
    /// Its connection is cut.
    Cut(Moment),
    /// It is answered with this status.
    Failed(u16),
}

/// The log and the rules.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) log: Vec<Call>,
    count: u64,
    rules: Vec<Rule>,
}

impl Calls {
    /// `k` counts from one: 1 is the next call.
    pub(crate) fn cut(&mut self, which: Which, k: u64, moment: Moment) {
        self.rules.push(Rule::Cut { which, left: k, moment });
    }

    pub(crate) fn fail(&mut self, which: Which, times: u64, status: u16) {
        self.rules.push(Rule::Fail { which, left: times, status });
    }

    pub(crate) fn forget_rules(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn begin(&mut self, node: &Host, request: &Request) -> (u64, Fate) {
        self.count += 1;
        let call = Call {
            number: self.count,
            node: node.clone(),
            source: request.source.clone(),
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            status: None,
            at: request.received,
        };
        let fate = self.fate(&call);
        self.log.push(call);
        (self.count, fate)
    }

    pub(crate) fn end(&mut self, number: u64, status: u16) {
        if let Ok(index) = self.log.binary_search_by_key(&number, |call| call.number) {
            self.log[index].status = Some(status);
        }
    }

    fn fate(&mut self, call: &Call) -> Fate {
        let mut fate = Fate::Served;
        for rule in &mut self.rules {
            match rule {
                Rule::Cut { which, left, moment } if *left > 0 && which.matches(call) => {
                    *left -= 1;
                    if *left == 0 {
                        fate = Fate::Cut(*moment);
                    }
                }
                Rule::Fail { which, left, status } if *left > 0 && which.matches(call) => {
                    *left -= 1;
                    fate = Fate::Failed(*status);
                }
                Rule::Cut { .. } | Rule::Fail { .. } => {}
            }
        }
        fate
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
        calls.cut(Which::all().writes(), 2, Moment::After);
        let node = Host::from("n0");
        let fates: Vec<Fate> = ["PUT", "GET", "PUT", "PUT"]
            .into_iter()
            .map(|method| calls.begin(&node, &request(method)).1)
            .collect();
        assert_eq!(fates, [Fate::Served, Fate::Served, Fate::Cut(Moment::After), Fate::Served]);
        assert_eq!(calls.log.len(), 4);
    }
}
