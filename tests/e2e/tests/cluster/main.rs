//! The product on a real Kubernetes node: real pods, probes, DNS and volumes, and the shipped manifests unchanged.
//!
//! Run in the namespaces of `tests/cluster`, which its README describes. The tests share the cluster and one
//! installation; each has a namespace of its own.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(
    clippy::print_stdout,
    reason = "the times that the steps take, shown with --nocapture or for a failed test"
)]

mod diagnosis;
mod forming;
mod installation;
mod kubectl;
mod losses;
mod opting;
mod removal;
mod set;
mod sizes;
mod spreading;
mod updates;
mod waiting;
mod webhook;
