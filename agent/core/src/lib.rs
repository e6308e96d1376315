//! The agent's decisions, without I/O: what a round observed goes in, the next step and its explanation come out.
//!
//! The crate depends on no runtime, client, log or clock, so it can't do I/O. Time and randomness are arguments.
//!
//! * [`facts`]: what a round observes
//! * [`shards`]: shard maps, and what the comparison of shards shows
//! * [`decide`]: the rules, from facts to the next [`decide::Step`]
//! * [`explain`]: steps as reasons for machines and sentences for people
//!
//! Each module imports only from those above it.

pub mod decide;
pub mod explain;
pub mod facts;
pub mod shards;
