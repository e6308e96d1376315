//! Moves copies between nodes: reads what the decisions of [`agent_core::moves`] follow from, and makes the calls that they
//! ask for.
//!
//! One agent leads. All writes of maps go to its own node; calls for files go to their nodes over Erlang. The agent keeps
//! only times and a queue: maps, files and checkpoints contain the state.

mod leader;
mod mover;
mod nodes;
mod plan;
mod record;
mod run;
mod sizes;

pub use mover::Mover;
pub use plan::PlanInputs;
