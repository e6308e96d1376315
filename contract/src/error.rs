//! The format of errors in logs, in messages for people and on the status page.

use std::error::Error;
use std::iter::successors;

/// The error and all its sources on one line, separated by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    for source in successors(error.source(), |source| (*source).source()) {
        line.push_str(": ");
        line.push_str(&source.to_string());
    }
    line
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("failed to {action}")]
    struct Failed {
        action: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn every_source_is_on_the_line() {
        let read = Failed { action: "read", source: None };
        assert_eq!(chain(&read), "failed to read");
        let load = Failed { action: "load", source: Some(Box::new(read)) };
        let start = Failed { action: "start", source: Some(Box::new(load)) };
        assert_eq!(chain(&start), "failed to start: failed to load: failed to read");
    }
}
