//! The agent's state for others: probes, `/status`, `/metrics` and the termination message.

mod accept;
pub mod exposition;
pub mod http;
pub mod page;
pub mod termination;
