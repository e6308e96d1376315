//! The parser of scripts.

use std::collections::BTreeMap;
use std::time::Duration;

/// The settings of a node, by name: `secret`, `cookie`, `user`, `password`, or `section/key` of its ini.
pub(crate) type Settings = BTreeMap<String, String>;

/// A parsed script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The number of nodes that the script needs.
    pub nodes: usize,
    /// Settings of all nodes (`None`), and those in which single nodes differ.
    pub(crate) settings: BTreeMap<Option<usize>, Settings>,
    pub(crate) steps: Vec<Step>,
}

/// One step of a script, and its line number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) kind: StepKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StepKind {
    /// A request with the expected answer.
    Exchange(Box<Exchange>),
    /// A fault or its end, with the words that the script has for it.
    Action { action: Action, words: String },
}

/// A request, and the answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) repeat: Repeat,
    pub(crate) method: String,
    pub(crate) node: usize,
    pub(crate) path: String,
    pub(crate) body: Option<String>,
    pub(crate) login: Login,
    pub(crate) status: u16,
    pub(crate) expected: String,
    pub(crate) at_least: Duration,
}

/// The number of times that a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Once; the first answer counts.
    Once,
    /// `eventually`: until the answer is as expected, or the wait is over.
    UntilExpected,
}

/// The credentials of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// User `admin`, password `s3cret`.
    Admin,
    /// No credentials.
    None,
    /// Another user and password.
    Basic(String, String),
    /// The cookie of the last login on this node.
    Cookie(usize),
}

/// An action on a node, the number of which comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// SIGKILL.
    Kill(usize),
    /// A start with the volume and the ini that the node has.
    Start(usize),
    /// The volume is lost; the node is down.
    Wipe(usize),
    /// The container's own files are lost; the node is down.
    LoseIni(usize),
    /// SIGSTOP.
    Pause(usize),
    /// SIGCONT.
    Resume(usize),
    /// The name is removed from DNS.
    Hide(usize),
    /// The name is published in DNS.
    Publish(usize),
    /// Erlang packets to and from the node are dropped silently.
    Cut(usize),
    /// The end of every cut.
    Heal,
    /// Another environment for the next start.
    Set(usize, Settings),
}

/// The first line of a script that has none of the known forms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}: {text}")]
pub struct ParseError {
    line: usize,
    reason: &'static str,
    text: String,
}

impl Script {
    /// Parses a script.
    ///
    /// # Errors
    ///
    /// The first line that has none of the forms in the documentation of [`conformance`](super).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut script = Self { nodes: 0, settings: BTreeMap::new(), steps: Vec::new() };
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        while let Some((line, text)) = lines.next() {
            // A request is the only form that takes a second line, its answer.
            let answer = if Self::is_request(text) { lines.next().map(|(_, answer)| answer) } else { None };
            script.push_line(line, text, answer).map_err(|reason| ParseError {
                line,
                reason,
                text: text.to_owned(),
            })?;
        }
        Ok(script)
    }

    fn is_request(text: &str) -> bool {
        !["nodes ", "node ", "! "].iter().any(|form| text.starts_with(form))
    }

    fn push_line(&mut self, line: usize, text: &str, answer: Option<&str>) -> Result<(), &'static str> {
        if let Some(rest) = text.strip_prefix("nodes ") {
            let (count, settings) = split_number(rest).ok_or("expected a number")?;
            self.nodes = count;
            self.settings.insert(None, settings);
        } else if let Some(rest) = text.strip_prefix("node ") {
            let (node, settings) = split_number(rest).ok_or("expected a number")?;
            self.settings.insert(Some(node), settings);
        } else if let Some(words) = text.strip_prefix("! ") {
            let action = Action::parse(words).ok_or("unknown action")?;
            let kind = StepKind::Action { action, words: words.to_owned() };
            self.steps.push(Step { line, kind });
        } else {
            let answer = answer.ok_or("expected an answer")?;
            let exchange = Exchange::parse(text, answer).ok_or("expected a request and '-> status'")?;
            self.steps.push(Step { line, kind: StepKind::Exchange(Box::new(exchange)) });
        }
        Ok(())
    }

    pub(crate) fn settings_of(&self, node: usize) -> Settings {
        let mut settings = self.settings.get(&None).cloned().unwrap_or_default();
        settings.extend(self.settings.get(&Some(node)).cloned().unwrap_or_default());
        settings
    }

    /// `true` if the script consists of requests and no node has settings of its own. Such a script can be run
    /// against real nodes without a hook.
    pub fn has_only_requests(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.kind, StepKind::Exchange(_)))
            && self.settings.keys().all(Option::is_none)
    }
}

/// Splits `2 secret=x cookie=y` into the number and the settings.
fn split_number(text: &str) -> Option<(usize, Settings)> {
    let mut words = text.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let settings = words.map(|word| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())));
    Some((number, settings.collect::<Option<_>>()?))
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        // The only action without a node: it ends the cuts of all.
        if text == "heal" {
            return Some(Self::Heal);
        }
        let (verb, rest) = text.split_once(' ')?;
        let (node, settings) = split_number(rest)?;
        Some(match verb {
            "kill" => Self::Kill(node),
            "start" => Self::Start(node),
            "wipe" => Self::Wipe(node),
            "lose-ini" => Self::LoseIni(node),
            "pause" => Self::Pause(node),
            "resume" => Self::Resume(node),
            "hide" => Self::Hide(node),
            "publish" => Self::Publish(node),
            "cut" => Self::Cut(node),
            "set" => Self::Set(node, settings),
            _ => return None,
        })
    }
}

impl Exchange {
    fn parse(request: &str, answer: &str) -> Option<Self> {
        let (repeat, request) = match request.strip_prefix("eventually ") {
            Some(rest) => (Repeat::UntilExpected, rest),
            None => (Repeat::Once, request),
        };
        let (request, login) = split_login(request)?;
        // A body is JSON and may contain spaces, so everything after the path belongs to it.
        let mut parts = request.splitn(4, ' ');
        let method = parts.next()?.to_owned();
        let node = parts.next()?.parse().ok()?;
        let path = parts.next()?.to_owned();
        let body = parts.next().map(str::to_owned).filter(|b| !b.is_empty());
        let (answer, at_least) = split_duration(answer.strip_prefix("-> ")?);
        let (status, expected) = answer.split_once(' ').unwrap_or((answer, ""));
        Some(Self {
            repeat,
            method,
            node,
            path,
            body,
            login,
            status: status.parse().ok()?,
            expected: expected.trim().to_owned(),
            at_least,
        })
    }
}

/// Splits `(none)`, `(user:password)` or `(cookie 0)` off the end of a request.
fn split_login(request: &str) -> Option<(&str, Login)> {
    let Some((rest, login)) = request.strip_suffix(')').and_then(|r| r.rsplit_once(" (")) else {
        return Some((request, Login::Admin));
    };
    let login = if login == "none" {
        Login::None
    } else if let Some(node) = login.strip_prefix("cookie ") {
        Login::Cookie(node.parse().ok()?)
    } else {
        let (user, password) = login.split_once(':')?;
        Login::Basic(user.to_owned(), password.to_owned())
    };
    Some((rest.trim_end(), login))
}

/// Splits `(5 s)` off the end of an answer.
fn split_duration(answer: &str) -> (&str, Duration) {
    let split = answer.strip_suffix(" s)").and_then(|a| a.rsplit_once(" ("));
    match split.and_then(|(rest, seconds)| Some((rest, seconds.parse::<f64>().ok()?))) {
        Some((rest, seconds)) => (rest.trim_end(), Duration::from_secs_f64(seconds)),
        None => (answer, Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_line_is_parsed() {
        let script = Script::parse(
            "# words\nnodes 2 secret=x\nnode 1 cookie=y\n\neventually PUT 0 /a/b {\"c\": \"d e\"} (bob:p)\n\
             -> 500 {\"error\":\"x\"} (5 s)\n! kill 1\nGET 1 /\n-> 200\n",
        )
        .unwrap();
        assert_eq!((script.nodes, script.steps.len(), script.has_only_requests()), (2, 3, false));
        let StepKind::Exchange(exchange) = &script.steps[0].kind else { panic!() };
        assert_eq!(exchange.body.as_deref(), Some("{\"c\": \"d e\"}"));
        assert_eq!(exchange.login, Login::Basic("bob".to_owned(), "p".to_owned()));
        assert_eq!((exchange.status, exchange.expected.as_str()), (500, "{\"error\":\"x\"}"));
        assert_eq!((exchange.repeat, exchange.at_least), (Repeat::UntilExpected, Duration::from_secs(5)));
        let words = "kill 1".to_owned();
        assert_eq!(script.steps[1].kind, StepKind::Action { action: Action::Kill(1), words });
    }

    #[test]
    fn an_error_contains_the_line_and_the_reason() {
        for (text, message) in [
            ("GET 0 /", "line 1: expected an answer: GET 0 /"),
            ("\n! explode 1", "line 2: unknown action: ! explode 1"),
            ("nodes many", "line 1: expected a number: nodes many"),
            ("GET zero /\n-> 200", "line 1: expected a request and '-> status': GET zero /"),
        ] {
            assert_eq!(Script::parse(text).unwrap_err().to_string(), message);
        }
    }
}
