//! The files of a command line: several, folders, and stdin.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Reason why a file was not read.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// The system's error.
    #[error("failed to read '{path}'")]
    Failed {
        /// The file or folder; `-` is stdin.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A URL is not fetched: it would need a client with the system's proxies and authorities.
    #[error("'{0}' is a URL, which is not fetched. Fix: curl -fsSL {0} | couchdiscover inject -f -")]
    Url(String),
    /// A folder without manifests.
    #[error(
        "'{0}' contains no file that ends in .yaml, .yml or .json. Fix: name another folder, or use -R for those within"
    )]
    Empty(PathBuf),
    /// A folder that kustomize renders.
    #[error(
        "'{0}' contains a kustomization.yaml, which is not rendered. Fix: kubectl kustomize {0} | couchdiscover inject -f -"
    )]
    Kustomization(PathBuf),
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path for reports.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The files that were read, and those that were not.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) sources: Vec<Source>,
    pub(crate) unreadable: Vec<ReadError>,
}

/// Reads files and folders, in the order of the command line and of the names in each folder.
pub(crate) fn read<'p>(paths: impl Iterator<Item = &'p PathBuf>, recursive: bool) -> Sources {
    let mut sources = Sources::default();
    let depth = if recursive { MAX_DEPTH } else { 1 };
    for path in paths {
        sources.add(path, depth);
    }
    sources
}

impl Sources {
    fn add(&mut self, path: &Path, depth: usize) {
        let text = path.to_string_lossy();
        if text.starts_with("https://") || text.starts_with("http://") {
            return self.unreadable.push(ReadError::Url(text.into_owned()));
        }
        if path != Path::new("-") && path.is_dir() {
            return self.folder(path, depth);
        }
        match text_of(path) {
            Ok(text) => self.sources.push(Source { name: path.display().to_string(), text }),
            Err(source) => self.unreadable.push(ReadError::Failed { path: path.to_owned(), source }),
        }
    }

    fn folder(&mut self, folder: &Path, depth: usize) {
        let entries = std::fs::read_dir(folder).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
        });
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(source) => {
                return self.unreadable.push(ReadError::Failed { path: folder.to_owned(), source });
            }
        };
        entries.sort();
        if entries.iter().any(|entry| is_kustomization(entry)) {
            return self.unreadable.push(ReadError::Kustomization(folder.to_owned()));
        }
        let before = self.sources.len() + self.unreadable.len();
        for entry in entries {
            if entry.is_dir() {
                // A folder within may be empty, or that of another program.
                if depth > 1 {
                    self.add(&entry, depth - 1);
                    self.unreadable
                        .retain(|error| !matches!(error, ReadError::Empty(path) if *path == entry));
                }
            } else if is_manifest(&entry) {
                self.add(&entry, depth);
            }
        }
        if self.sources.len() + self.unreadable.len() == before {
            self.unreadable.push(ReadError::Empty(folder.to_owned()));
        }
    }
}

fn text_of(path: &Path) -> io::Result<String> {
    if path == Path::new("-") {
        io::read_to_string(io::stdin().lock())
    } else {
        std::fs::read_to_string(path)
    }
}

/// The endings that kubectl reads in folders.
fn is_manifest(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ["yaml", "yml", "json"].contains(&ending))
}

fn is_kustomization(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name))
}

/// Folders within folders at most: a link may lead back.
const MAX_DEPTH: usize = 32;
