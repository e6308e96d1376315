//! What goes through, with a warning.

pub(crate) mod concerns;
pub(crate) mod node_names;
