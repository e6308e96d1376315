//! The facts that requests which remove nodes are judged by, read from the Kubernetes API: only for such requests, and for at
//! most 3 s.
//!
//! * `look`: the calls
//! * `judge`: from a request that removes pods to the verdict about it

mod judge;
mod look;

pub(crate) use judge::Guard;
pub(crate) use look::{Look, LookError};
