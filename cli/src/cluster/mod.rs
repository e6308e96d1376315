//! The live cluster, read with the user's kubeconfig and rights.
//!
//! ```text
//! connect   a client for the cluster
//! pods      the pods of a StatefulSet with the pages of their agents
//! request   requests to the API server
//! lookup    a part of the cluster, or the reason why it could not be read
//! lease     the record of drained nodes
//! json      fields of objects that are kept as JSON
//! ```

mod connect;
mod json;
mod lease;
mod lookup;
mod pods;
mod request;

pub use connect::{Error, Target};
pub(crate) use connect::{configuration, connect};
pub(crate) use json::{items, string, strings};
pub(crate) use lease::evidence;
pub(crate) use lookup::{Lookup, LookupError};
pub(crate) use pods::{PodFacts, containers, has_agent, pods};
pub(crate) use request::{
    ADMISSION, AUTHORIZATION, COORDINATION, CORE, DISCOVERY, RBAC, agent_page, agent_plan, create_dry, get,
    labelled, list, merge, path, stateful_sets,
};
