//! Warnings about a StatefulSet that is about to be injected.
//!
//! ```text
//! account      the service account of the pods
//! annotations  those that have no effect, and those about changes of size
//! storage      volumes, number of pods, credentials: what the data depends on
//! container    image, entrypoint, probes and variables of the CouchDB container
//! cookie       the Erlang cookie, and the Secrets that images are pulled with
//! node_names   the names that Erlang will give the nodes
//! references   `$(VAR)` that Kubernetes does not expand
//! ```

mod account;
mod annotations;
mod container;
mod cookie;
mod node_names;
mod references;
mod storage;

pub(crate) use annotations::{StaleTarget, raised_over_target};

use crate::outcome::Warning;
use crate::read::Planning;
use crate::render::{Credentials, Variable};

/// Adds all warnings. `added` are the variables to be injected.
pub(crate) fn warn(
    planning: &Planning<'_>,
    credentials: &Credentials<'_>,
    added: &[Variable<'_>],
    warnings: &mut Vec<Warning>,
) {
    annotations::unknown(planning.view, warnings);
    storage::credentials(planning, credentials, warnings);
    container::env_from(planning, added, warnings);
    storage::volumes(planning, warnings);
    storage::size(planning, warnings);
    container::warn(planning, warnings);
    storage::other_operators(planning, warnings);
    annotations::cookie_secret(planning, warnings);
    annotations::other_members(planning, warnings);
    annotations::size_change(planning, warnings);
    cookie::warn(planning, warnings);
    cookie::pull_secrets(planning, warnings);
    node_names::warn(planning, warnings);
    account::warn(planning, warnings);
}
