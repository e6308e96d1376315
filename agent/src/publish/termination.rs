//! What `kubectl describe pod` shows of a container that ended, however it ended.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// The file that Kubernetes reads a container's last words from, if there is one.
#[derive(Clone, Debug, Default)]
pub struct LastWords {
    file: Option<PathBuf>,
}

impl LastWords {
    /// Only in a container is there such a file; it is not made where it lacks.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// These are the last words, until there are others.
    pub fn are(&self, words: &str) {
        let open = |file| OpenOptions::new().write(true).truncate(true).open(file);
        if let Some(Ok(mut file)) = self.file.as_ref().map(open) {
            // Nobody could be told that nobody can be told.
            let _ = file.write_all(words.as_bytes());
        }
    }
}

/// Kubernetes' default for `terminationMessagePath`.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_stay_and_no_file_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        LastWords::new(Some(file.clone())).are("nobody reads this");
        assert!(!file.exists());
        std::fs::write(&file, "").unwrap();
        let words = LastWords::new(Some(file.clone()));
        words.are("a longer story");
        words.are("short");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "short");
    }
}
