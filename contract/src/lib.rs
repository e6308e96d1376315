//! The vocabulary that couchdiscover's programs share: keys, variables, ports, names, and the formats that one program
//! writes and another reads. Each word is defined here once. Nothing in this crate does I/O.
//!
//! Words in Kubernetes objects:
//!
//! * [`keys`]: keys of labels and annotations, and their values
//! * [`mod@env`]: environment variables of the CouchDB container and of the agent
//! * [`ports`]: port numbers and paths
//! * [`objects`]: names of Kubernetes objects, and of keys in Secrets
//! * [`workload`]: the kind of workload that is injected
//!
//! Rules that the webhook and the agent must apply in the same way:
//!
//! * [`container`]: the CouchDB container of a pod
//! * [`expand`]: `$(VAR)` in a container's values
//! * [`ini`]: values that an ini file of CouchDB does not keep
//! * [`name`]: the grammar of pod and host names
//! * [`naming`]: the grammar of Erlang node names, and their common parts in a StatefulSet
//! * [`members`]: names of members that are no pods of the StatefulSet
//!
//! Formats:
//!
//! * [`moves`]: the record of copies, and the progress and plans of moves
//! * [`record`]: the founding record and its schema
//! * [`status`]: the page that the agent serves
//! * [`error`]: an error and its sources on one line
//! * [`text`]: text of foreign origin as one line that a terminal shows and does not obey

pub mod container;
pub mod env;
pub mod error;
pub mod expand;
pub mod ini;
pub mod keys;
pub mod members;
pub mod moves;
pub mod name;
pub mod naming;
pub mod objects;
pub mod ports;
pub mod record;
pub mod status;
pub mod text;
pub mod workload;

pub use members::OtherMembers;
pub use name::{Label, NameError, PodFqdn, PodName};
pub use naming::{Naming, NodeName};
