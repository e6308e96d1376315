//! Stand-ins that speak the real protocols on real loopback ports, and know none of our crates.

pub mod apiserver;
pub mod conformance;
pub mod couchdb;
mod date;
pub mod kubelet;
mod port;
mod query;
mod random;
