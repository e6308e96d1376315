//! The agent's proposal, a line for each part.

use serde::Serialize;

/// What a repair would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Answer {
    /// The state that the agent found.
    pub(super) state: String,
    /// What is changed.
    pub(super) change: String,
    /// What may be lost; `None` if nothing is to be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loss: Option<String>,
}

impl Answer {
    /// Reads the proposal from the output of the agent's program; `None` if it is none.
    pub(super) fn parse(output: &str) -> Option<Self> {
        let part = |name: &str| output.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Some(Self { state: part("State: ")?, change: part("Change: ")?, loss: part("Loss: ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_read_line_by_line() {
        let answer = Answer::parse(
            "State: a is closed\nChange: it opens\nLoss: nothing\nNothing was changed. Fix: --yes\n",
        );
        let expected = Answer {
            state: "a is closed".to_owned(),
            change: "it opens".to_owned(),
            loss: Some("nothing".to_owned()),
        };
        assert_eq!(answer, Some(expected));
        assert_eq!(Answer::parse("State: a\nChange: nothing\n").and_then(|answer| answer.loss), None);
        assert_eq!(Answer::parse("error"), None);
    }
}
