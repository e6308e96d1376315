//! couchdiscover's agent: the sidecar that joins the CouchDB nodes of one StatefulSet into one cluster and keeps them one.
//!
//! [`start`] turns [`settings::Settings`] into a running agent. Each round of [`run`] observes, decides and acts; the
//! decision itself is pure and lives in `agent_core`.
//!
//! | module | contents |
//! |---|---|
//! | [`run`] | the loop and the start of the agent |
//! | [`observe`] | reads: the local CouchDB, its peers, ports, EndpointSlices |
//! | [`act`] | writes: one step, on the local CouchDB or the Lease |
//! | [`repair`] | repairs that a person decides about |
//! | [`publish`] | probes, `/status`, `/metrics`, the termination message |
//! | [`metrics`] | counters |
//! | [`couch`] | HTTP client for CouchDB |
//! | [`kubernetes`] | the StatefulSet, the Lease and Events |
//! | [`credentials`] | CouchDB's admin user, read from the CouchDB container if it is not injected |
//! | [`settings`] | environment variables |
//! | [`cli`] | verbs, log, exit codes |

pub mod act;
pub mod cli;
pub mod couch;
pub mod credentials;
pub mod kubernetes;
pub mod metrics;
pub mod observe;
pub mod publish;
pub mod repair;
pub mod run;
pub mod settings;

pub use run::start::{StartError, Started, Surroundings, start};
