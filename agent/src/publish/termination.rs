//! The termination message: shown by `kubectl describe pod` for a container that ended, however it ended.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use contract::text;

/// The file from which Kubernetes reads a container's termination message, if there is one.
#[derive(Clone, Debug, Default)]
pub struct TerminationLog {
    file: Option<PathBuf>,
}

impl TerminationLog {
    /// The file exists only in a container; it is never created.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// Replaces the message by one line. Names that a peer reported may be part of the text.
    pub fn write_line(&self, text: &str) {
        self.write(&format!("{}\n", text::one_line(text, text::MESSAGE_LIMIT)));
    }

    /// Replaces the message.
    pub fn write(&self, message: &str) {
        let Some(path) = &self.file else { return };
        if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(path) {
            // The log has the same text; a failure here has no other place to be reported.
            let _ = file.write_all(message.as_bytes());
        }
    }
}

/// Kubernetes' default for `terminationMessagePath`.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_replaces_the_one_before_and_no_file_is_created() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        TerminationLog::new(Some(file.clone())).write("discarded");
        assert!(!file.exists());
        std::fs::write(&file, "").unwrap();
        let log = TerminationLog::new(Some(file.clone()));
        log.write("a longer message");
        log.write("short");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "short");
        log.write_line("NodeNameMismatch: 'x\r\nFAKE\u{1b}[2J'");
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "NodeNameMismatch: 'x\\u{d}\\u{a}FAKE\\u{1b}[2J'\n"
        );
    }
}
