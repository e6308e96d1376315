//! Steps as reasons for machines and sentences for people.
//!
//! A message states a subject, what it does and the consequence, then `Fix:` with a command where there is one. Reasons
//! are labels of metrics and the reasons of Events: they never change.
//!
//! * `steps`, `waits`, `local`, `refusals`: the message of each step
//! * `conditions`: the message of each condition
//! * `evidence`: the observations behind a step
//! * `names`: names that another node reported, cut
//! * [`when_entered`], [`when_done`]: the Event that belongs to a step

mod announce;
mod conditions;
mod evidence;
mod explainer;
mod explanation;
mod local;
mod names;
mod refusals;
mod round;
mod steps;
mod waits;

pub use announce::{
    About, Announcement, Severity, when_condition_begins, when_condition_ends, when_done, when_entered,
};
pub use conditions::ExplainedCondition;
pub use explainer::Explainer;
pub use explanation::Explanation;
pub use names::{FirstNames, cut_name};
pub use round::ExplainedDecision;
