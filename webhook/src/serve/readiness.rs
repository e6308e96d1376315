//! The state behind `/readyz`.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// The result of the last check of the server by itself. Not ready until the first one.
#[derive(Debug)]
pub(crate) struct Readiness(ArcSwapOption<String>);

impl Readiness {
    /// The reason for which the server is not ready; `None` if it is ready.
    pub(crate) fn problem(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }

    pub(crate) fn set(&self, problem: Option<String>) {
        self.0.store(problem.map(Arc::new));
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self(ArcSwapOption::from_pointee("there is no certificate yet".to_owned()))
    }
}
