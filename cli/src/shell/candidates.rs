//! Completion as a plugin of kubectl: kubectl runs `kubectl_complete-couchdiscover` with the words of the command line,
//! and expects a candidate on each line, then a directive.

use std::fmt::Write as _;
use std::io;

use clap::{Arg, Args, Command};

use super::completion::with_values;
use crate::terminal;

/// Arguments of `__complete`.
#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct CandidateArgs {
    /// The words of the command line after the program; the last one is completed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Prints the candidates for the last word.
pub(crate) fn candidates(args: &CandidateArgs, program: Command) -> io::Result<()> {
    let mut program = with_values(program);
    // Gives every subcommand its inherited options.
    program.build();
    terminal::print(&answer(&program, &args.words))
}

/// The candidates with their descriptions, then the directive of cobra: `:0` completes file names, `:4` does not.
fn answer(program: &Command, words: &[String]) -> String {
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", words),
    };
    let position = Position::after(program, before);
    let mut answer = String::new();
    let found = position.candidates(last);
    for (value, help) in found.iter().filter(|(value, _)| value.starts_with(last)) {
        let _ = writeln!(answer, "{value}\t{help}");
    }
    // Values that nothing lists, such as those of --filename, may be files.
    let expects_file = !last.starts_with('-') && position.expects_any_value();
    let directive = if expects_file { ":0" } else { ":4" };
    let _ = writeln!(answer, "{directive}");
    answer
}

/// The place of the last word in the command line.
struct Position<'a> {
    command: &'a Command,
    /// The option whose value comes next.
    option: Option<&'a Arg>,
    /// The number of positional arguments before.
    positionals: usize,
}

impl<'a> Position<'a> {
    fn after(program: &'a Command, words: &[String]) -> Self {
        let mut position = Self { command: program, option: None, positionals: 0 };
        for word in words {
            position.step(word);
        }
        position
    }

    fn step(&mut self, word: &str) {
        if self.option.take().is_some() {
            return;
        }
        if word.starts_with('-') {
            self.option = self.option(word).filter(|option| option.get_action().takes_values());
        } else if let Some(subcommand) = self.command.find_subcommand(word) {
            (self.command, self.positionals) = (subcommand, 0);
        } else {
            self.positionals += 1;
        }
    }

    /// The option of this word; `None` for `--option=value`, which is complete.
    fn option(&self, word: &str) -> Option<&'a Arg> {
        let is_named = |arg: &&Arg| match word.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            None => arg.get_short().is_some_and(|short| word == format!("-{short}")),
        };
        self.command.get_arguments().find(is_named)
    }

    fn candidates(&self, last: &str) -> Vec<(String, String)> {
        if let Some(option) = self.option {
            return values(option);
        }
        if last.starts_with('-') {
            let options = self.command.get_arguments().filter(|arg| !arg.is_hide_set());
            return options
                .filter_map(|arg| Some((format!("--{}", arg.get_long()?), help(arg.get_help()))))
                .collect();
        }
        let subcommands = self.command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
        let mut found: Vec<_> = subcommands
            .map(|subcommand| (subcommand.get_name().to_owned(), help(subcommand.get_about())))
            .collect();
        found.extend(self.positional().into_iter().flat_map(values));
        found
    }

    fn positional(&self) -> Option<&'a Arg> {
        self.command.get_positionals().nth(self.positionals)
    }

    /// `true` if the word is a value, and no list of values exists.
    fn expects_any_value(&self) -> bool {
        self.option.or_else(|| self.positional()).is_some_and(|arg| values(arg).is_empty())
    }
}

fn values(arg: &Arg) -> Vec<(String, String)> {
    let values = arg.get_possible_values();
    let values = values.iter().filter(|value| !value.is_hide_set());
    values.map(|value| (value.get_name().to_owned(), help(value.get_help()))).collect()
}

/// The first line: each candidate is one line.
fn help(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
