//! The progress of a change of size: one line that is redrawn on a terminal, or lines for logs.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::progress::Progress;
use crate::terminal::{note, shown};

/// Shows the progress on stderr.
#[derive(Debug)]
pub(super) enum Bar {
    Terminal(ProgressBar),
    Lines {
        /// The last line, and when it was printed.
        last: Option<(String, Instant)>,
    },
}

impl Bar {
    pub(super) fn new() -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines { last: None };
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(style("{msg}"));
        Self::Terminal(bar)
    }

    /// Shows what is going on.
    pub(super) fn show(&mut self, progress: &Progress) {
        match self {
            Self::Terminal(bar) => {
                let known = progress.copies.filter(|(_, all)| *all > 0);
                bar.set_style(style(if known.is_some() { "{wide_bar} {percent}%\n{msg}" } else { "{msg}" }));
                if let Some((done, all)) = known {
                    bar.set_length(all);
                    bar.set_position(done);
                }
                bar.set_message(shown(&progress.text).into_owned());
                bar.tick();
            }
            Self::Lines { last } => {
                // Numbers change with each look: in a log, a line now and then is enough.
                let is_due = last.as_ref().is_none_or(|(text, at)| {
                    *text != progress.text
                        && (at.elapsed() >= BETWEEN_LINES || is_other(text, &progress.text))
                });
                if is_due {
                    note(&progress.text);
                    *last = Some((progress.text.clone(), Instant::now()));
                }
            }
        }
    }

    /// Prints a line that stays.
    pub(super) fn line(&self, text: &str) {
        match self {
            Self::Terminal(bar) => bar.suspend(|| note(text)),
            Self::Lines { .. } => note(text),
        }
    }

    /// Removes the redrawn line.
    pub(super) fn clear(&self) {
        if let Self::Terminal(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// `true` if two lines differ in more than their numbers.
fn is_other(one: &str, two: &str) -> bool {
    let words = |text: &str| text.chars().filter(|letter| letter.is_alphabetic()).collect::<String>();
    words(one) != words(two)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// In a log.
const BETWEEN_LINES: Duration = Duration::from_secs(30);
