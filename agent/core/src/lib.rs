//! The agent's decisions, without I/O: from the observations of a round to the next step and its explanation.
//!
//! The crate depends on no runtime, client, log or clock, so it can't do I/O. Time and randomness are arguments.
//!
//! * [`facts`]: the observations of a round
//! * [`shards`]: shard maps, and the result of a comparison of shards
//! * [`moves`]: moving copies between nodes
//! * [`decide`]: the rules, from facts to the next [`decide::Step`]
//! * [`explain`]: steps as reasons for machines and sentences for people
//!
//! Each module imports only from those above it.

pub mod decide;
pub mod explain;
pub mod facts;
pub mod moves;
pub mod shards;
