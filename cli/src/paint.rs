//! Colours: for the severity of a text, beside words that mean the same.

use std::borrow::Cow;

use clap::ValueEnum;

/// The choice of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// Where stdout is a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also in files and pipes
    Always,
    /// Nowhere
    Never,
}

/// The destination of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `true` if it is a terminal.
    pub is_terminal: bool,
    /// `true` if the environment variable NO_COLOR is set to anything, or TERM to `dumb`.
    pub declines_color: bool,
}

/// The use of colours in one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// The 16 colours of terminals, which follow the user's scheme, light or dark.
    Colored,
    /// None.
    Plain,
}

impl Paint {
    /// The use of colours at a destination.
    pub fn new(color: Color, destination: Destination) -> Self {
        let Destination { is_terminal, declines_color } = destination;
        match color {
            Color::Always => Self::Colored,
            Color::Auto if is_terminal && !declines_color => Self::Colored,
            Color::Auto | Color::Never => Self::Plain,
        }
    }

    /// In order.
    pub(crate) fn good(self, text: &str) -> Cow<'_, str> {
        self.with("32", text)
    }

    /// Worth a look.
    pub(crate) fn warn(self, text: &str) -> Cow<'_, str> {
        self.with("33", text)
    }

    /// Calls for action. Bold as well, because red on black is hard to read.
    pub(crate) fn bad(self, text: &str) -> Cow<'_, str> {
        self.with("1;31", text)
    }

    /// A heading.
    pub(crate) fn heading(self, text: &str) -> Cow<'_, str> {
        self.with("1", text)
    }

    fn with<'a>(self, code: &str, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Colored if !text.is_empty() => Cow::Owned(format!("\u{1b}[{code}m{text}\u{1b}[0m")),
            Self::Colored | Self::Plain => Cow::Borrowed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_the_user_chooses() {
        let paint = |color, is_terminal, declines_color| {
            Paint::new(color, Destination { is_terminal, declines_color })
        };
        assert_eq!(paint(Color::Auto, true, false), Paint::Colored);
        assert_eq!(paint(Color::Auto, true, true), Paint::Plain);
        assert_eq!(paint(Color::Auto, false, false), Paint::Plain);
        assert_eq!(paint(Color::Always, false, true), Paint::Colored);
        assert_eq!(paint(Color::Never, true, false), Paint::Plain);
        assert_eq!(Paint::Plain.bad("WRONG"), "WRONG");
        assert_eq!(Paint::Colored.bad("WRONG"), "\u{1b}[1;31mWRONG\u{1b}[0m");
    }
}
