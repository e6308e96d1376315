//! Repairs that a person decides about: `open`, `readmit` and `forget`, run in the agent's container with its credentials.
//!
//! Each is proposed first, with what may be lost, and refused where the agent's own rules would refuse it. The program
//! changes something only with `--yes`.
//!
//! | module | contents |
//! |---|---|
//! | [`verb`] | the repairs, as the command line names them |
//! | [`proposal`] | what a repair changes, and what may be lost; pure |
//! | [`repairer`] | reads the facts, and carries a proposal out |

mod proposal;
mod repairer;
mod verb;

pub use proposal::{Change, Proposal, Refused};
pub use repairer::{RepairError, Repairer};
pub use verb::Repair;
