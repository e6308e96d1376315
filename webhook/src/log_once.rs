//! Logging a failure that is met again and again.

use std::error::Error;

use tracing::{info, warn};

use contract::error::chain;

/// Logs a failing task when the failure begins, when its cause changes and when it ends.
#[derive(Debug)]
pub(crate) struct LogOnce {
    task: &'static str,
    error: Option<String>,
}

impl LogOnce {
    /// `task` reads as the subject of a sentence, such as `reading the Secret`.
    pub(crate) fn new(task: &'static str) -> Self {
        Self { task, error: None }
    }

    /// Logs the error, unless it is the one that was logged last.
    pub(crate) fn failed(&mut self, error: &dyn Error) {
        // As text rather than as `&dyn Error`: of that, tracing-subscriber's JSON format, which the manifests select,
        // keeps the outermost message only. All log lines of the program do this.
        let error = chain(error);
        if self.error.as_ref() != Some(&error) {
            warn!(error, "{} failed: trying again", self.task);
            self.error = Some(error);
        }
    }

    /// Logs the end of a failure, if there was one.
    pub(crate) fn succeeded(&mut self) {
        if self.error.take().is_some() {
            info!("{} works again", self.task);
        }
    }

    /// The current failure and its causes.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}
