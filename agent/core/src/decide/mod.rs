//! The rules: from the facts of a round to the one next step.
//!
//! A step follows from facts alone, so an agent that was killed between any two calls decides the same as one that was
//! not.
//!
//! | rules, in their order | |
//! |---|---|
//! | [`next_step`] | the order |
//! | `found` | forms the cluster while no node is established |
//! | `join` | joins the established cluster |
//! | `guard` | stops where data of two clusters might meet |
//! | `fill` | closes an incomplete node, gives it its copies, reopens it |
//! | `loss` | keeps a node closed whose lost volume held the only copies of some documents |
//! | `heal` | makes uuid, session secret and admin hashes equal |
//! | `prove` | requires everything that makes a cluster settled |
//! | `moves` | moves copies, and removes and readmits members |
//! | `obstacle` | replaces a wait by its cause |
//! | `conditions` | problems beside the step, which stop nothing |
//!
//! Besides: [`readiness`], the pace of rounds ([`pause`], [`is_due`]), the checks of the next round ([`checks_ports`],
//! [`checks_service`], [`checks_maps`], [`misses_database`]), and facts that are computed from others ([`expectation`], [`displaced_by`],
//! [`LeaseUser::state`], [`agree`]).

mod conditions;
mod decision;
mod expectation;
mod fill;
mod found;
mod guard;
mod heal;
mod join;
mod lease;
mod look;
mod loss;
mod moves;
mod naming;
mod obstacle;
mod order;
mod pace;
mod prove;
mod readiness;
mod record;
mod step;
mod strangers;
mod view;

pub use conditions::Condition;
pub use decision::{Decision, decide};
pub use expectation::{Expectation, displaced_by, expectation};
pub use lease::{LeaseFacts, LeaseUser};
pub use look::{
    checks_maps, checks_origin, checks_ports, checks_resharding, checks_service, is_stalled, misses_database,
};
pub use loss::is_remembered;
pub use moves::{leads_moves, untried_release};
pub use naming::{Agreed, LocalName, NameRule, Names, agree};
pub use order::next_step;
pub use pace::{GLANCE, is_due, pause, until_asked_again};
pub use readiness::{NotReady, Readiness, readiness};
pub use record::recorded_uuid;
pub(crate) use step::Evidence;
pub use step::{IdentityDifference, IdentitySource, MoveNodes, MoveTask, Refusal, Step, StepKind, WaitFor};
pub(crate) use strangers::former_ordinal;
pub use view::unconnected_members;
