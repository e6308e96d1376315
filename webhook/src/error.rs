//! Printing errors.

pub(crate) use contract::error::chain;
