//! The loop of the agent, and its start.
//!
//! | module | contents |
//! |---|---|
//! | [`agent`] | the loop: observe, decide, explain, publish, act, pause |
//! | [`memory`] | state between two rounds, which no rule reads |
//! | [`login`] | credentials and authorities: found, and replaced when they are rejected |
//! | [`rest`] | the pause between two rounds, and what ends it early |
//! | [`start`] | the composition of an agent from its settings |
//! | [`understand`] | what a round makes of given answers, without a network: for fuzzing |

mod agent;
mod login;
mod memory;
mod rest;
pub mod start;
pub mod understand;
