//! The agent's state for others: probes, the page for people, `/status`, `/metrics` and the termination message.

mod accept;
pub mod exposition;
pub mod html;
pub mod http;
pub mod page;
pub mod termination;
