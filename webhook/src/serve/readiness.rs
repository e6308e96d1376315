//! Readiness of the server, as `/readyz` shows it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// Whether callers are served.
#[derive(Debug)]
pub(crate) struct Readiness(ArcSwapOption<String>);

impl Readiness {
    /// Why it isn't so; `None`: it is.
    pub(crate) fn why_not(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }
}

impl Readiness {
    /// Replaces the reason; `None`: callers are served.
    pub(crate) fn set(&self, why_not: Option<String>) {
        self.0.store(why_not.map(Arc::new));
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self(ArcSwapOption::from_pointee("there is no certificate yet".to_owned()))
    }
}
