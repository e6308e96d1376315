//! The state behind `/readyz`.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

/// The result of the last check of the server by itself. Not ready until the first one.
#[derive(Debug)]
pub(crate) struct Readiness {
    problem: ArcSwapOption<String>,
    doubt: Notify,
}

impl Readiness {
    /// The reason for which the server is not ready; `None` if it is ready.
    pub(crate) fn problem(&self) -> Option<Arc<String>> {
        self.problem.load_full()
    }

    pub(crate) fn set(&self, problem: Option<String>) {
        self.problem.store(problem.map(Arc::new));
    }

    /// Requests a check: the port may be too crowded for callers.
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Returns once a check was requested.
    pub(crate) async fn doubted(&self) {
        self.doubt.notified().await;
    }
}

impl Default for Readiness {
    fn default() -> Self {
        let problem = ArcSwapOption::from_pointee("there is no certificate yet".to_owned());
        Self { problem, doubt: Notify::new() }
    }
}
