//! The product against a real API server: what users do, what they are told, and whether their pods restart.
//!
//! The tests share one control plane. Each has a namespace of its own, and a webhook of its own that is asked about
//! this namespace only.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

mod agent;
mod all_manifests;
mod certificates;
mod check;
mod deployed;
mod injection;
mod install;
mod literals;
mod outage;
mod pods;
mod policy;
mod provider;
mod published;
mod said;
mod scene;
mod taken_away;
mod updates;
