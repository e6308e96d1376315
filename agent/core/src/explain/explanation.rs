//! The explanation of a state, and how its sentences are put together.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;

use contract::text::one_line;

use super::names::{FirstNames, cut_name};
use crate::facts::Unseen;

/// A reason for machines and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// CamelCase, stable: a label of metrics and the reason of an Event.
    pub reason: &'static str,
    /// The state, followed by its fix where there is one.
    pub message: String,
    /// The fix alone: the end of the message. `None` where the state ends on its own or no fix is known.
    pub fix: Option<String>,
}

impl Explanation {
    /// An explanation without a fix.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: visible(message.into()), fix: None }
    }

    /// An explanation that ends with a fix.
    pub(super) fn with_fix(reason: &'static str, state: impl Display, fix: impl Into<String>) -> Self {
        let fix = visible(fix.into());
        Self { reason, message: format!("{}. Fix: {fix}", visible(state.to_string())), fix: Some(fix) }
    }

    /// The state before the first round.
    pub fn first_look() -> Self {
        Self::new("FirstLook", "no round has been completed yet")
    }
}

/// The text on one line, without the characters that a terminal obeys. Names of admins, nodes and databases come from the network,
/// and may contain any.
pub(super) fn visible(text: String) -> String {
    match one_line(&text, usize::MAX) {
        Cow::Borrowed(_) => text,
        Cow::Owned(escaped) => escaped,
    }
}

/// The end of a sentence about a node that could not be observed.
pub(super) fn predicate(unseen: &Unseen) -> String {
    match unseen {
        Unseen::Busy => "is not up yet".to_owned(),
        Unseen::Garbled => "does not answer like CouchDB 3.x".to_owned(),
        Unseen::LockedOut => "has locked the admin out after too many wrong passwords".to_owned(),
        Unseen::LoginIgnored => "ignores basic authentication and session cookies".to_owned(),
        Unseen::Misnamed(actual) => format!("runs as '{}'", cut_name(actual)),
        Unseen::NameUnknown => "is not in DNS".to_owned(),
        Unseen::NotConnected => "answers, but Erlang is not connected to it".to_owned(),
        Unseen::NotReported => {
            "answers, but its agent does not report on it, and a node outside of the cluster gets no password"
                .to_owned()
        }
        Unseen::NoAnswer => "does not answer in time".to_owned(),
        Unseen::Rejects => "rejects the admin's name or password".to_owned(),
        Unseen::Unreachable => "cannot be reached".to_owned(),
        Unseen::Untrusted => "presents no certificate for its name from a trusted authority".to_owned(),
    }
}

/// `a, b, c`
pub(super) fn list(words: impl IntoIterator<Item = String>) -> String {
    Vec::from_iter(words).join(", ")
}

/// `a does this; b does that`
pub(super) fn clauses(clauses: impl IntoIterator<Item = String>) -> String {
    Vec::from_iter(clauses).join("; ")
}

/// `'a', 'b'`; of many names the first, and the number of the others.
pub(super) fn quoted(words: &BTreeSet<String>) -> String {
    let FirstNames { names, more } = FirstNames::of(words);
    let others = (more > 0).then(|| format!("and {more} more"));
    list(names.iter().map(|word| format!("'{word}'")).chain(others))
}

/// The verb that fits the number of its subjects.
pub(super) fn agreeing<T>(subjects: &BTreeSet<T>, one: &'static str, many: &'static str) -> &'static str {
    if subjects.len() == 1 { one } else { many }
}
