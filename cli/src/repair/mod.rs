//! Repairs that a person decides about: `open`, `readmit` and `forget`.
//!
//! They run in the container of an agent, with its credentials, by `kubectl exec`: no port serves them. The agent proposes
//! the change and what may be lost; it is carried out when the user consents.
//!
//! ```text
//! run      arguments; look, choose a pod, propose, ask, carry out
//! choose   the pod whose agent carries a repair out; pure
//! answer   the agent's proposal; pure
//! exec     kubectl exec
//! error    failures, each with its exit code
//! ```

mod answer;
mod choose;
mod error;
mod exec;
mod run;

pub(crate) use error::RepairError;
pub(crate) use run::{ForgetArgs, OpenArgs, ReadmitArgs, forget, open, readmit};
