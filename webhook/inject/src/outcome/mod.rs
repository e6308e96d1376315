//! What came of it.

pub(crate) mod explanation;
pub(crate) mod problem;
pub(crate) mod warning;
