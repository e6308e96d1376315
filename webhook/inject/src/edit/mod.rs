//! Turns a plan into a JSON Patch.
//!
//! ```text
//! patch      the operations; the patch for a template without injection
//! tree       a JSON value that records its changes as operations
//! place      where the items of a record are
//! ownership  whether an item is still what was injected
//! keep       a template of which the agent is removed, and the variables stay
//! template   a template with an injection: remove it, put it back, render it again
//! injection  the templates of a request as trees, made once
//! ```

mod injection;
mod keep;
mod ownership;
mod patch;
mod place;
mod template;
mod tree;

pub use tree::apply;

pub(crate) use injection::Injection;
pub(crate) use patch::fresh;
