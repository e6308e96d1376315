//! The rules: from the facts of a round to the one next step.
//!
//! A step follows from facts alone, so an agent that was killed between any two calls decides the same as one that was
//! not.
//!
//! * [`next_step`]: the order of the rules
//! * [`readiness`]: whether the pod may receive clients
//! * [`pause`], [`is_due`]: the pace of rounds and of repeated attempts
//! * [`expectation`], [`displaced_by`], [`LeaseUser::state`], [`agree`]: facts that are computed from other facts
//! * [`checks_ports`], [`checks_service`], [`checks_maps`]: what the next round looks at besides the nodes

mod expectation;
mod heal;
mod lease;
mod look;
mod naming;
mod order;
mod pace;
mod readiness;
mod step;
mod view;

pub use expectation::{Expectation, displaced_by, expectation};
pub use lease::{LeaseFacts, LeaseUser};
pub use look::{checks_maps, checks_ports, checks_service};
pub use naming::{Agreed, LocalName, agree, ours_and_strangers};
pub use order::next_step;
pub use pace::{GLANCE, is_due, pause, until_asked_again};
pub use readiness::{NotReady, Readiness, readiness};
pub use step::{IdentityDifference, IdentitySource, Refusal, Step, StepKind, WaitFor};
pub use view::unconnected_members;
