//! The product with a real API server: requests of users, the messages that they get, and restarts of their pods.
//!
//! The tests share one control plane. Each has a namespace, and a webhook that is called only for this namespace.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod agent;
mod all_manifests;
mod certificates;
mod chart;
mod check;
mod deployed;
mod guard;
mod injection;
mod install;
mod literals;
mod messages;
mod namespace;
mod outage;
mod platforms;
mod pod_security;
mod policy;
mod provider;
mod published;
mod removals;
mod rights;
mod updates;
