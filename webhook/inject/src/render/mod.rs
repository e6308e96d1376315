//! What is added to it.

pub(crate) mod sidecar;
pub(crate) mod variables;
