//! `completion`: the script with which a shell completes the command line.

use std::io;

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use clap_complete::Shell;

use crate::{explain, terminal};

/// Arguments of `completion`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell that reads the script
    #[arg(value_enum)]
    shell: ShellName,
}

/// A shell that can complete the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ShellName {
    Bash,
    Fish,
    Powershell,
    Zsh,
}

/// Prints the script of a shell.
pub(crate) fn completion(args: &CompletionArgs, program: clap::Command) -> io::Result<()> {
    terminal::print(&script(args.shell, program))
}

fn script(shell: ShellName, program: clap::Command) -> String {
    let shell = match shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Fish => Shell::Fish,
        ShellName::Powershell => Shell::PowerShell,
        ShellName::Zsh => Shell::Zsh,
    };
    let name = program.get_name().to_owned();
    let mut script = vec![];
    clap_complete::generate(shell, &mut with_values(program), name, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Fish {
        script.push_str(&fish_pages());
    }
    script
}

/// The names of pages: in fish, clap completes no values of positional arguments.
fn fish_pages() -> String {
    let names: Vec<&str> = explain::names().collect();
    let names = names.join(" ");
    format!(
        "complete -c couchdiscover -n \"__fish_couchdiscover_using_subcommand explain\" -f -a \"{names}\"\n"
    )
}

/// Adds the values that only completion lists: an unknown name of a page gets an answer of its own otherwise.
pub(super) fn with_values(program: clap::Command) -> clap::Command {
    program.mut_subcommand("explain", |explain| {
        explain.mut_arg("name", |name| name.value_parser(PossibleValuesParser::new(explain::names())))
    })
}
