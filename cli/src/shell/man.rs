//! `man`: the man pages, for packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use thiserror::Error;

/// Arguments of `man`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder that the pages are written to; it is created if it does not exist
    folder: PathBuf,
}

/// Reason why the pages were not written.
#[derive(Debug, Error)]
#[error("failed to write to '{path}'")]
pub(crate) struct ManError {
    path: String,
    source: io::Error,
}

/// Writes a page for the program and one for each subcommand that its help lists.
pub(crate) fn man(args: &ManArgs, program: Command) -> Result<(), ManError> {
    let failed = |path: &Path, source| ManError { path: path.display().to_string(), source };
    fs::create_dir_all(&args.folder).map_err(|error| failed(&args.folder, error))?;
    for (name, page) in pages(program) {
        let path = args.folder.join(name);
        fs::write(&path, page).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// The pages by the names of their files.
fn pages(program: Command) -> Vec<(String, Vec<u8>)> {
    let source = format!("{} {}", program.get_name(), program.get_version().unwrap_or_default());
    // `couchdiscover help VERB` has no page of its own.
    let mut program = program.disable_help_subcommand(true);
    // Names the pages of subcommands, such as `couchdiscover-status`.
    program.build();
    let listed = program.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    let commands: Vec<Command> = listed.chain([&program]).cloned().collect();
    let pages = commands.into_iter().map(|command| {
        let page = Man::new(command).source(&source).manual("couchdiscover");
        let mut text = vec![];
        // Writing to a vector does not fail.
        let _ = page.render(&mut text);
        (page.get_filename(), text)
    });
    pages.collect()
}
