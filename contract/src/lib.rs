//! What couchdiscover's webhook writes and its agent reads: keys, variables, ports and names.
//!
//! Neither side owns these words, so they live here, each once. Nothing in this crate does I/O.
//!
//! * [`keys`]: label and annotation keys, and the values they take
//! * [`container`]: which container of a pod runs CouchDB
//! * [`env`]: environment variables of the CouchDB container and of the agent
//! * [`expand`]: `$(VAR)` in a container's values
//! * [`ports`]: port numbers and probe paths
//! * [`objects`]: names of the Kubernetes objects and Secret keys that both sides refer to
//! * [`name`]: the grammar of pod, host and Erlang node names
//! * [`naming`]: what Erlang calls the nodes of one StatefulSet
//! * [`record`]: the founding record and its schema
//! * [`status`]: the page that the agent serves
//! * [`workload`]: the kind of workload that is injected

pub mod container;
pub mod env;
pub mod expand;
pub mod keys;
pub mod name;
pub mod naming;
pub mod objects;
pub mod ports;
pub mod record;
pub mod status;
pub mod workload;

pub use name::{Label, NameError, NodeName, PodFqdn, PodName};
pub use naming::Naming;
