//! Reading scripts.

use std::collections::BTreeMap;
use std::time::Duration;

/// A script, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// How many nodes it needs.
    pub nodes: usize,
    /// Settings of all nodes, and of single ones over them.
    pub(crate) settings: BTreeMap<Option<usize>, BTreeMap<String, String>>,
    pub(crate) steps: Vec<Step>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A request, and what is expected.
    Ask(Box<Ask>),
    /// A fault, or its end; and how the script says it.
    Do { deed: Deed, words: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) eventually: bool,
    pub(crate) method: String,
    pub(crate) node: usize,
    pub(crate) path: String,
    pub(crate) body: Option<String>,
    pub(crate) login: Login,
    pub(crate) status: u16,
    pub(crate) expected: String,
    pub(crate) at_least: Duration,
}

/// With what a request proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// admin, s3cret
    Admin,
    /// Nothing.
    None,
    /// Another user and password.
    Basic(String, String),
    /// The cookie of the last login on this node.
    Cookie(usize),
}

/// What scripts do to nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// SIGKILL.
    Kill(usize),
    /// Started as it was.
    Start(usize),
    /// The volume is lost, and the node down.
    Wipe(usize),
    /// The container is lost, and the node down.
    LoseIni(usize),
    /// SIGSTOP.
    Pause(usize),
    /// SIGCONT.
    Resume(usize),
    /// Its name isn't published in DNS.
    Hide(usize),
    /// Its name is published.
    Publish(usize),
    /// Its Erlang packets are dropped silently.
    Cut(usize),
    /// No packets are dropped any more.
    Heal,
    /// Another environment for its next start.
    Set(usize, BTreeMap<String, String>),
}

/// Why a line can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}: {text}")]
pub struct ParseError {
    line: usize,
    why: &'static str,
    text: String,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    ///
    /// At the first line that is none of the forms above.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut script = Self { nodes: 0, settings: BTreeMap::new(), steps: Vec::new() };
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        while let Some((line, text)) = lines.next() {
            let error = |why| ParseError { line, why, text: text.to_owned() };
            match text.split_once(' ') {
                Some(("nodes", rest)) => {
                    let (count, settings) = numbered(rest).ok_or_else(|| error("expected a number"))?;
                    script.nodes = count;
                    script.settings.insert(None, settings);
                }
                Some(("node", rest)) => {
                    let (node, settings) = numbered(rest).ok_or_else(|| error("expected a number"))?;
                    script.settings.insert(Some(node), settings);
                }
                Some(("!", rest)) => {
                    let deed = Deed::parse(rest).ok_or_else(|| error("unknown deed"))?;
                    let what = What::Do { deed, words: rest.to_owned() };
                    script.steps.push(Step { line, what });
                }
                _ => {
                    let (_, answer) = lines.next().ok_or_else(|| error("expected an answer"))?;
                    let ask = Ask::parse(text, answer)
                        .ok_or_else(|| error("expected a request and '-> status'"))?;
                    script.steps.push(Step { line, what: What::Ask(Box::new(ask)) });
                }
            }
        }
        Ok(script)
    }

    pub(crate) fn settings_of(&self, node: usize) -> BTreeMap<String, String> {
        let mut settings = self.settings.get(&None).cloned().unwrap_or_default();
        settings.extend(self.settings.get(&Some(node)).cloned().unwrap_or_default());
        settings
    }

    /// True when it only asks, and its nodes need no special settings: then real nodes can be asked, too.
    pub fn only_asks(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.what, What::Ask(_)))
            && self.settings.keys().all(Option::is_none)
    }
}

fn numbered(text: &str) -> Option<(usize, BTreeMap<String, String>)> {
    let mut words = text.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let settings = words.map(|word| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())));
    Some((number, settings.collect::<Option<_>>()?))
}

impl Deed {
    fn parse(text: &str) -> Option<Self> {
        if text == "heal" {
            return Some(Self::Heal);
        }
        let (verb, rest) = text.split_once(' ')?;
        let (node, settings) = numbered(rest)?;
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

impl Ask {
    fn parse(request: &str, answer: &str) -> Option<Self> {
        let (eventually, request) = match request.strip_prefix("eventually ") {
            Some(rest) => (true, rest),
            None => (false, request),
        };
        let (request, login) = split_login(request)?;
        let mut parts = request.splitn(4, ' ');
        let method = parts.next()?.to_owned();
        let node = parts.next()?.parse().ok()?;
        let path = parts.next()?.to_owned();
        let body = parts.next().map(str::to_owned).filter(|b| !b.is_empty());
        let (answer, at_least) = split_duration(answer.strip_prefix("-> ")?);
        let (status, expected) = answer.split_once(' ').unwrap_or((answer, ""));
        Some(Self {
            eventually,
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

/// `(none)`, `(user:password)` or `(cookie 0)` at the end of a request.
fn split_login(request: &str) -> Option<(&str, Login)> {
    let Some((rest, login)) = request.strip_suffix(')').and_then(|r| r.rsplit_once(" (")) else {
        return Some((request, Login::Admin));
    };
    let login = match (login, login.strip_prefix("cookie "), login.split_once(':')) {
        ("none", _, _) => Login::None,
        (_, Some(node), _) => Login::Cookie(node.parse().ok()?),
        (_, _, Some((user, password))) => Login::Basic(user.to_owned(), password.to_owned()),
        _ => return None,
    };
    Some((rest.trim_end(), login))
}

/// `(5 s)` at the end of an answer.
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
    fn the_forms() {
        let script = Script::parse(
            "# words\nnodes 2 secret=x\nnode 1 cookie=y\n\neventually PUT 0 /a/b {\"c\": \"d e\"} (bob:p)\n\
             -> 500 {\"error\":\"x\"} (5 s)\n! kill 1\nGET 1 /\n-> 200\n",
        )
        .unwrap();
        assert_eq!((script.nodes, script.steps.len(), script.only_asks()), (2, 3, false));
        let What::Ask(ask) = &script.steps[0].what else { panic!() };
        assert_eq!(ask.body.as_deref(), Some("{\"c\": \"d e\"}"));
        assert_eq!(ask.login, Login::Basic("bob".to_owned(), "p".to_owned()));
        assert_eq!((ask.status, ask.expected.as_str()), (500, "{\"error\":\"x\"}"));
        assert_eq!((ask.eventually, ask.at_least), (true, Duration::from_secs(5)));
        let words = "kill 1".to_owned();
        assert_eq!(script.steps[1].what, What::Do { deed: Deed::Kill(1), words });
    }

    #[test]
    fn mistakes_are_named() {
        for (text, message) in [
            ("GET 0 /", "line 1: expected an answer: GET 0 /"),
            ("\n! explode 1", "line 2: unknown deed: ! explode 1"),
            ("nodes many", "line 1: expected a number: nodes many"),
            ("GET zero /\n-> 200", "line 1: expected a request and '-> status': GET zero /"),
        ] {
            assert_eq!(Script::parse(text).unwrap_err().to_string(), message);
        }
    }
}
