//! The plan as a JSON Patch.

pub(crate) mod patch;
pub(crate) mod template;
